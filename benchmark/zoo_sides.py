"""The sides of zoo.py, each in a process of its own: who counts and makes programs, who runs them, and who trains."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import TimedSide, reason, serve
from inference_sides import start_paddle
from pairs import logits_of, softmax
from zoo_networks import CLASSES, ENTRIES, Entry, torch_network

from video_zoo.utils.runtime import compute_threads

_LOGITS = 3.0  # their deviation, so that probabilities differ
_LEARNING_RATE, _MOMENTUM, _DECAY = 1e-3, 0.9, 1e-4


def our_network(entry: Entry) -> Any:
    """Ours with fresh weights, the same in every process."""
    import paddle

    from video_zoo.models import build_network

    paddle.seed(0)
    return build_network(entry.settings(), "infer")


class Ours:
    """Counts what our networks cost, and writes their programs."""

    def __init__(self) -> None:
        start_paddle()

    def cost(self, network: str) -> dict[str, float]:
        """{"parameters": that learn, "gflops": of a clip}."""
        from video_zoo.models.cost import multiply_adds

        entry = ENTRIES[network]
        made = our_network(entry)
        learned = sum(each.size for each in made.parameters() if not each.stop_gradient)
        return {"parameters": learned, "gflops": multiply_adds(made, entry.clips().shape[1:]) / 1e9}

    def make(self, network: str, folder: str) -> dict[str, Any]:
        """Writes the weights of the last layer, which give logits of a sensible size, our probabilities, and a program
        of each kind. {"missing": {kind: why there is none}}."""
        from video_zoo.engine.programs import PROGRAMS, write_program

        entry, missing = ENTRIES[network], {}
        made, clips, base = our_network(entry), entry.clips(), Path(folder)
        scale_last(made, _LOGITS / float(logits_of(made, clips).std()))
        last = made.variables()[made.last_layer[0]]
        np.savez(base / "network.npz", last=last.numpy(), expected=softmax(logits_of(made, clips)))
        for kind, program in PROGRAMS.items():
            try:
                write_program(kind, made, clips.shape[1:], base / program.files["fp32"])
            except Exception as error:  # the others can be measured all the same
                missing[kind] = reason(error)
        return {"missing": missing}


def scale_last(network: Any, factor: float) -> None:
    """Multiplies the weights of the last layer."""
    last = network.variables()[network.last_layer[0]]
    last.set_value(last.numpy() * np.float32(factor))


class ClipSide(TimedSide):
    """Computes on the same clip again and again."""

    warmup_s = 1.0

    def turn(self) -> dict[str, float]:
        """TimedSide's, with "cpu_ms": processor time a call, of all threads."""
        calls, call, start = [0], self.call, time.process_time()

        def counted() -> None:
            calls[0] += 1
            call()

        self.call = counted
        try:
            found = super().turn()
        finally:
            self.call = call
        return {**found, "cpu_ms": 1000 * (time.process_time() - start) / calls[0]}


class EngineRunner(ClipSide):
    """One of our engines."""

    def prepare(self, network: str, folder: str, engine: str) -> dict[str, Any]:
        """{"difference": of a probability from our dynamic network's, at most}."""
        from video_zoo.engine.backends import ENGINES
        from video_zoo.engine.backends.base import Job
        from video_zoo.engine.programs import PROGRAMS

        entry, chosen, base = ENTRIES[network], ENGINES.get(engine), Path(folder)
        clips = entry.clips()
        if engine.startswith("paddle"):
            start_paddle()
        with np.load(base / "network.npz") as file:
            last, expected = file["last"], file["expected"]
        if chosen.program is None:
            from video_zoo.engine.backends.paddle_network import PaddleNetwork

            made = our_network(entry)
            made.variables()[made.last_layer[0]].set_value(last)
            backend = PaddleNetwork(made, compute_threads())
        else:
            program = base / PROGRAMS[chosen.program].files["fp32"]
            backend = chosen.load(Job(program, "fp32", False, compute_threads(), 1, clips.shape[1:]))
        self.call = lambda: backend(clips)
        return {"difference": float(np.abs(self.call() - expected).max())}


class TorchRunner(ClipSide):
    """PyTorch's network as it is, in one of its memory formats."""

    def prepare(self, network: str, folder: str, channels_last: bool, form: str) -> dict[str, Any]:
        import torch
        import torch_clips

        torch.set_num_threads(compute_threads())
        entry = ENTRIES[network]
        layers, clips = torch_network(entry.peer, form).eval(), torch.from_numpy(entry.clips())
        if channels_last:
            layers = torch_clips.channels_last(layers)

        def call() -> None:
            with torch.inference_mode():
                layers(clips).softmax(1)

        self.call = call
        return {}


class Trainer(ClipSide):
    """Our training step, on a clip."""

    warmup_s, turn_s, least_calls = 0.5, 0.5, 1

    def prepare(self, network: str) -> dict[str, Any]:
        from video_zoo.engine.optimizer import momentum, piecewise_decay
        from video_zoo.engine.ranks import Ranks
        from video_zoo.engine.stepper import Stepper
        from video_zoo.utils.runtime import ALONE

        start_paddle()
        entry = ENTRIES[network]
        made, clips = our_network(entry), entry.clips()
        made.train()
        labels = np.random.default_rng(1).integers(0, CLASSES, len(clips))
        schedule = piecewise_decay(_LEARNING_RATE, 0.1, [], 1)
        stepper = Stepper(made, momentum(made, schedule, _MOMENTUM, _DECAY), schedule, Ranks(ALONE), amp="off")

        def call() -> None:
            stepper.forward(clips, labels, len(clips))
            stepper.update()

        self.call = call
        return {}


if __name__ == "__main__":
    serve({"ours": Ours, "engine": EngineRunner, "torch": TorchRunner, "train": Trainer})
