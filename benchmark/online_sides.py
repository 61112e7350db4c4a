"""The sides of online.py, each in a process of its own: our engines, and MIT's way in PyTorch."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np
from harness import TimedSide, memory_mb, serve

from video_zoo.utils.runtime import compute_threads

WINDOW = 8  # frames


class Ours(TimedSide):
    """A network in one of our engines: as a stream with state, of one frame without a state, and of a window."""

    def prepare(self, network: dict[str, Any], size: int, engine: str, precision: str, parts: list[str]) -> dict:
        from video_zoo.engine.inference import open_backend
        from video_zoo.engine.streams import open_streams
        from video_zoo.utils import paddle_env

        paddle_env.start_paddle(False)
        frames, self._number = frames_of(size), 0
        shape, way = (3, size, size), (engine, precision, False)
        uni = our_network("TSM", {**network, "shift": "uni"}, WINDOW)
        streams, _ = open_streams(lambda: (uni, None), *way, shape, 1)
        self.calls = {"ms": lambda: streams.step({0: self._next(frames)})}
        if "window" in parts:
            bi = our_network("TSM", network, WINDOW)
            window, _ = open_backend(lambda: (bi, None), *way, 1, (WINDOW, *shape))
            self.calls["window_ms"] = lambda: window(frames[None, :WINDOW])
        if "still" in parts:
            tsn = our_network("TSN", network, 1)
            still, _ = open_backend(lambda: (tsn, None), *way, 1, (1, *shape))
            self.calls["still_ms"] = lambda: still(self._next(frames)[None, None])
        self.call = self.calls["ms"]
        state_bytes = sum(4 * int(np.prod(each)) for each in uni.state_shapes(size, size).values())
        learnt = [each for each in uni.parameters() if not each.stop_gradient]  # no statistics of BatchNorms
        parameters = sum(int(np.prod(each.shape)) for each in learnt)
        return {"parameters": parameters, "bytes": state_bytes, "what": streams.description.split(",")[0]}

    def turn(self) -> dict[str, float]:
        """Calls of each part in turn, for a second each; {"ms": the median of a frame, "window_ms", "still_ms"}."""
        times: dict[str, list[float]] = {part: [] for part in self.calls}
        until = time.perf_counter() + self.turn_s * len(self.calls)
        while time.perf_counter() < until or min(map(len, times.values())) < self.least_calls:
            for part, call in self.calls.items():
                self.call = call
                for _ in range(1 if part == "window_ms" else WINDOW):
                    times[part].append(self._time_ms())
        self.call = self.calls["ms"]
        return {**{part: median(each) for part, each in times.items()}, "fastest": min(times["ms"])}

    def follow(self, frames: int) -> dict[str, float]:
        """So many frames: percentiles of the milliseconds a frame, and MB of memory after a tenth of them and at the
        end."""
        times, early = [], 0.0
        for number in range(frames):
            times.append(self._time_ms())
            if number == frames // 10:
                early = memory_mb("VmRSS")
        found = dict(zip(("p50", "p95", "p99"), np.percentile(times, (50, 95, 99)).tolist()))
        return {**found, "early_mb": early, "late_mb": memory_mb("VmRSS")}

    def _next(self, frames: np.ndarray) -> np.ndarray:
        self._number = (self._number + 1) % len(frames)
        return frames[self._number]


class Torch(TimedSide):
    """PyTorch, eager, with the state as tensors that go in and out, in one of its memory formats."""

    def prepare(self, network: dict[str, Any], size: int, channels_last: bool) -> dict[str, Any]:
        import torch
        from torch_stream import StreamNetwork

        torch.set_num_threads(compute_threads())
        form = torch.channels_last if channels_last else torch.contiguous_format
        model = StreamNetwork(**network).eval().to(memory_format=form)
        frames, self._number = torch.from_numpy(frames_of(size)), 0
        with torch.inference_mode():
            self._state = model.initial_state(1, size)

        def call() -> np.ndarray:
            self._number = (self._number + 1) % len(frames)
            with torch.inference_mode():
                logits, self._state = model(frames[self._number : self._number + 1], self._state)
                return logits.numpy()

        self.call = call
        parameters = sum(each.numel() for each in model.parameters())
        return {
            "parameters": parameters,
            "bytes": sum(4 * each.numel() for each in self._state),
            "what": f"PyTorch {torch.__version__}",
        }


def frames_of(size: int) -> np.ndarray:
    """uint8 (16, 3, size, size), drawn from a seed."""
    return np.random.default_rng(0).integers(0, 256, (16, 3, size, size), np.uint8)


def our_network(model: str, keys: dict[str, Any], seg_num: int) -> Any:
    """One of our networks, as it is before training, in evaluation mode."""
    from video_zoo.configs.schema import Config
    from video_zoo.models import MODELS, build_network
    from video_zoo.utils import cli, config

    sections = {"MODEL": {**keys, "seg_num": seg_num, "num_classes": 27}, "INFER": {"seg_num": seg_num}}
    file = str(cli.default_config(model))
    network = build_network(config.load(file, Config, sections, cli.model_sections(MODELS)), "infer")
    network.eval()
    return network


if __name__ == "__main__":
    serve({"ours": Ours, "torch": Torch})
