"""The sides of train_step.py: networks and their training steps, each in a process of its own."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any, Callable

import numpy as np
from harness import Shape, TimedSide, serve
from pairs import load_settings, our_network, save_pair, torch_network

from video_zoo.utils.runtime import compute_threads

PARTS = ("forward", "backward", "optimizer")
LEARNING_RATE, MOMENTUM, DECAY = 1e-3, 0.9, 1e-4


class Trainer(TimedSide):
    """Trains on the same batch again and again. Subclasses have `build`: the network, its optimizer, and `step`.

    Attributes: step: clips, labels -> milliseconds of each of the PARTS; the device has then done what it was told.
    """

    warmup_s, least_calls = 5.0, 1
    step: Callable[[np.ndarray, np.ndarray], dict[str, float]]

    def prepare(self, shape: dict[str, Any], **options: Any) -> dict[str, Any]:
        self._shape = Shape(**shape)
        self.build(self._shape, **options)
        clips = self._shape.clips()
        labels = np.random.default_rng(1).integers(0, self._shape.classes, len(clips))
        self._parts: list[dict[str, float]] = []
        self.call = lambda: self._parts.append(self.step(clips, labels))
        return {}

    def turn(self) -> dict[str, float]:
        """Medians of the steps of a second."""
        self._parts.clear()
        found = super().turn()
        return {**found, **{part: median(each[part] for each in self._parts) for part in PARTS}}


class PaddleTrainer(Trainer):
    """Ours: engine.stepper.Stepper."""

    def __init__(self) -> None:
        from video_zoo.utils.paddle_env import start_paddle

        self._on_gpu = start_paddle(None)
        import paddle

        device = paddle.device.cuda.get_device_name() if self._on_gpu else f"{compute_threads()} threads"
        self.hello = {"versions": f"Paddle {paddle.__version__}, {device}", "gpu": self._on_gpu}

    def build(self, shape: Shape, amp: str, channels_last: bool, static: bool) -> None:
        import paddle

        from video_zoo.engine.optimizer import momentum, piecewise_decay
        from video_zoo.engine.ranks import Ranks
        from video_zoo.engine.stepper import Stepper
        from video_zoo.utils.runtime import ALONE

        network = our_network(load_settings(shape, {"TRAIN": {"channels_last": channels_last}}), "train")
        network.train()
        schedule = piecewise_decay(LEARNING_RATE, 0.1, [], 1)
        optimizer = momentum(network, schedule, MOMENTUM, DECAY)
        if static:
            network = paddle.jit.to_static(network, full_graph=True)
        stepper, seconds, update = Stepper(network, optimizer, schedule, Ranks(ALONE), amp=amp), [], optimizer.step

        def timed_update() -> None:
            start = time.perf_counter()
            update()
            seconds.append(time.perf_counter() - start)

        def step(clips: np.ndarray, labels: np.ndarray) -> dict[str, float]:
            start = time.perf_counter()
            stepper.forward(clips, labels, len(clips))
            middle = time.perf_counter()
            stepper.update()
            if self._on_gpu:
                paddle.device.cuda.synchronize()
            rest, last = time.perf_counter() - middle, seconds.pop()
            return dict(zip(PARTS, (1000 * (middle - start), 1000 * (rest - last), 1000 * last)))

        optimizer.step, self.step = timed_update, step

    def feed(self, filelist: str, steps: int) -> dict[str, float]:
        """Steps on the batches of our reader. {"ms": a step, "reader": of them waiting for its batch}."""
        from video_zoo.datareader import open_reader

        keys = {"filelist": filelist, "batch_size": self._shape.batch}
        with open_reader("train", load_settings(self._shape, {"TRAIN": keys}), "multi_scale_crop") as reader:
            batches, waited_s = iter(reader), 0.0
            first = next(batches)  # starts the processes
            self.step(first.clips, first.labels)
            start = time.perf_counter()
            for _ in range(steps):
                before = time.perf_counter()
                batch = next(batches)
                waited_s += time.perf_counter() - before
                self.step(batch.clips, batch.labels)
            return {"ms": 1000 * (time.perf_counter() - start) / steps, "reader": 1000 * waited_s / steps}

    def save(self, shape: dict[str, Any], folder: str) -> dict[str, Any]:
        """Fills the folder with random weights, clips and what our network says of them, on the CPU."""
        import paddle

        paddle.set_device("cpu")
        given = Shape(**shape)
        save_pair(our_network(load_settings(given, {"TRAIN": {}}), "train"), given.model, given.clips(), Path(folder))
        return {}


class TorchTrainer(Trainer):
    """PyTorch, with cuDNN's search for the fastest convolutions and the fused optimizer on a GPU."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(compute_threads())
        torch.backends.cudnn.benchmark = True
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.cuda.get_device_name() if self._device == "cuda" else f"{compute_threads()} threads"
        self.hello = {"versions": f"PyTorch {torch.__version__}, {device}", "gpu": self._device == "cuda"}

    def build(self, shape: Shape, amp: str, channels_last: bool) -> None:
        import torch

        dtype, device = {"off": None, "fp16": torch.float16, "bf16": torch.bfloat16}[amp], self._device
        network = torch_network(shape, "trained", channels_last).to(device)
        scaler = torch.amp.GradScaler(device, enabled=amp == "fp16")
        rates = {"momentum": MOMENTUM, "weight_decay": DECAY, "fused": device == "cuda"}
        optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, **rates)

        def step(clips: np.ndarray, labels: np.ndarray) -> dict[str, float]:
            times = [time.perf_counter()]
            with torch.autocast(device, dtype, enabled=dtype is not None):
                logits = network(torch.from_numpy(clips).to(device))
            loss = torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(labels).to(device))
            times.append(time.perf_counter())
            scaler.scale(loss).backward()
            times.append(time.perf_counter())
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter())
            return {part: 1000 * (end - start) for part, start, end in zip(PARTS, times, times[1:])}

        self.step = step

    def differ(self, shape: dict[str, Any], folder: str) -> dict[str, float]:
        """The largest difference of PyTorch's logits from the folder's, and the largest of those."""
        from torch_tsm import logits_of

        expected = np.load(f"{folder}/logits.npy")
        network = torch_network(Shape(**shape), "published", folder=Path(folder)).eval()
        said = logits_of(network, np.load(f"{folder}/clips.npy"))
        return {"difference": float(np.abs(said - expected).max()), "largest": float(np.abs(expected).max())}


if __name__ == "__main__":
    serve({"paddle": PaddleTrainer, "torch": TorchTrainer})
