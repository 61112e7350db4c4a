"""The sides that train_step.py compares: networks and their training steps, each in a process of its own."""

from __future__ import annotations

import abc
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmark.processes import peak_mb, serve

CLASSES, PARTS = 400, ("forward", "backward", "optimizer")
LEARNING_RATE, MOMENTUM, DECAY = 1e-3, 0.9, 1e-4
_WARMUP_S = 5  # at most, and a step
_TURN_S = 1  # of steps, unless their number is given
_SPREAD = {"scale": (0.5, 1.0), "variance": (0.5, 1.5), "offset": (-0.1, 0.1), "mean": (-0.1, 0.1)}

Mark = Callable[[str], None]


@dataclass(frozen=True)
class Cell:
    """What a step is of. static: Paddle's network goes through `to_static`."""

    model: str
    num_layers: int
    base_width: int
    size: int
    segments: int
    batch: int
    amp: str = "off"
    channels_last: bool = False
    static: bool = False

    def clips(self) -> tuple[np.ndarray, np.ndarray]:
        """A batch and its labels, from a seed."""
        rng = np.random.default_rng(0)
        shape = (self.batch, self.segments, 3, self.size, self.size)
        return rng.integers(0, 256, shape, np.uint8), rng.integers(0, CLASSES, self.batch)


class Marks:
    """Seconds between one mark and the next, by the latter's name; `wait` waits for the device."""

    def __init__(self, wait: Callable[[], None]):
        self.seconds: Counter[str] = Counter()
        self._wait = wait
        self._last = 0.0

    def __call__(self, part: str) -> None:
        self._wait()
        now = time.perf_counter()
        self.seconds[part] += now - self._last
        self._last = now


class Side(abc.ABC):
    """A framework. Attributes: hello: its version, its device, and whether that is a GPU."""

    hello: dict[str, Any]
    on_gpu: bool

    @abc.abstractmethod
    def make(self, cell: Cell) -> None:
        """The network and its optimizer."""

    @abc.abstractmethod
    def step(self, clips: np.ndarray, labels: np.ndarray, mark: Mark) -> None:
        """A training step, from the clips in memory on; `mark` is called at the end of each of the PARTS."""

    @abc.abstractmethod
    def wait(self) -> None:
        """Until the device has done what it was told."""

    @abc.abstractmethod
    def release(self) -> None:
        """Gives back the device's memory that is not in use: the other sides need it."""

    @abc.abstractmethod
    def gpu_mb(self) -> float:
        """The most that was in use."""

    def build(self, cell: dict[str, Any], warmup: int) -> dict[str, float]:
        """Makes the network and warms it up. {"ms"}: of the quickest step."""
        self.make(Cell(**cell))
        self._batch = Cell(**cell).clips()
        times = [self._time(1, _nothing)]
        while len(times) < warmup and sum(times) < 1000 * _WARMUP_S:
            times.append(self._time(1, _nothing))
        self._step_ms = min(times)
        self.release()
        return {"ms": self._step_ms}

    def turn(self, steps: int | None, split: bool) -> dict[str, float]:
        """Milliseconds of a step; and of its parts, if `split`: on a GPU they are other steps', which wait for it."""
        if self.on_gpu:
            self._time(1, _nothing)  # takes the memory again
        steps = steps or max(1, round(1000 * _TURN_S / self._step_ms))
        marks = Marks(self.wait)
        step_ms = self._time(steps, _nothing if self.on_gpu else marks)
        if self.on_gpu and split:
            self._time(steps, marks)
        self.release()
        return {"step": step_ms, **({part: 1000 * marks.seconds[part] / steps for part in PARTS} if split else {})}

    def peak(self) -> dict[str, float]:
        """{"mb"}: of the GPU's memory in use, or of the process."""
        return {"mb": self.gpu_mb() if self.on_gpu else peak_mb()}

    def _time(self, steps: int, mark: Mark) -> float:
        self.wait()
        start = time.perf_counter()
        for _ in range(steps):
            mark("start")
            self.step(*self._batch, mark)
        self.wait()
        return 1000 * (time.perf_counter() - start) / steps


class PaddleSide(Side):
    """Ours: engine.step.Stepper."""

    def __init__(self) -> None:
        from video_zoo.utils.runtime import start_paddle

        start_paddle(None)
        import paddle

        self._paddle = paddle
        self.on_gpu = paddle.device.get_device() != "cpu"
        device = f"{os.environ['OMP_NUM_THREADS']} threads"
        if self.on_gpu:
            device = paddle.device.cuda.get_device_name()
        self.hello = {"versions": f"Paddle {paddle.__version__}", "device": device, "gpu": self.on_gpu}

    def make(self, cell: Cell) -> None:
        from video_zoo.engine.optimizer import momentum, piecewise_decay
        from video_zoo.engine.ranks import Ranks
        from video_zoo.engine.step import Stepper
        from video_zoo.utils.runtime import Launch

        class MarkedRanks(Ranks):
            """This process alone, which marks the end of each backward pass."""

            mark: Mark = staticmethod(_nothing)

            def backward(self, loss: Any) -> None:
                super().backward(loss)
                self.mark("backward")

        self._cell, self._ranks = cell, MarkedRanks(Launch())
        network = self._network(cell)
        schedule = piecewise_decay(LEARNING_RATE, 0.1, [], 1)
        optimizer = momentum(network, schedule, MOMENTUM, DECAY)
        if cell.static:
            network = self._paddle.jit.to_static(network, full_graph=True)
        self._stepper = Stepper(network, optimizer, schedule, self._ranks, amp=cell.amp)

    def _network(self, cell: Cell) -> Any:
        from video_zoo.models import MODELS

        more = {"channels_last": True} if cell.channels_last and self.on_gpu else {}
        sizes = {"num_layers": cell.num_layers, "base_width": cell.base_width, "seg_num": cell.segments}
        network = MODELS.get(cell.model)(num_classes=CLASSES, **sizes, **more)
        network.train()
        return network

    def step(self, clips: np.ndarray, labels: np.ndarray, mark: Mark) -> None:
        self._ranks.mark = mark
        self._stepper.forward(clips, labels, len(clips))
        mark("forward")
        self._stepper.update()
        mark("optimizer")

    def wait(self) -> None:
        if self.on_gpu:
            self._paddle.device.cuda.synchronize()

    def release(self) -> None:
        if self.on_gpu:
            self._paddle.device.cuda.empty_cache()

    def gpu_mb(self) -> float:
        return self._paddle.device.cuda.max_memory_allocated() / 1e6

    def feed(self, filelist: str, steps: int, warmup: int) -> dict[str, float]:
        """Steps on the batches of our reader: mean milliseconds of a step, and those of waiting for its batch."""
        from video_zoo.datareader import open_reader

        waits = []
        transform = "multi_scale_crop" if self._cell.model == "TSM" else "random_crop"
        with open_reader("train", reader_config(self._cell, filelist), transform) as reader:
            batches = iter(reader)
            for number in range(warmup + steps):
                if number == warmup:
                    self.wait()
                    start = time.perf_counter()
                before = time.perf_counter()
                batch = next(batches)
                waits.append(1000 * (time.perf_counter() - before))
                self.step(batch.clips, batch.labels, _nothing)
            self.wait()
            step_ms = 1000 * (time.perf_counter() - start) / steps
        return {"step": step_ms, "reader": mean(waits[warmup:])}

    def say(self, cell: dict[str, Any], path: str) -> dict[str, Any]:
        """Writes random weights, clips and what the network says of them in eval mode, on a CPU."""
        self._paddle.set_device("cpu")
        network, rng = self._network(Cell(**cell)), np.random.default_rng(0)
        for name, tensor in network.variables().items():
            spread = next((spread for end, spread in _SPREAD.items() if name.endswith(f"_{end}")), None)
            if spread:
                tensor.set_value(rng.uniform(*spread, tensor.shape).astype(np.float32))
        network.eval()
        clips, _ = Cell(**cell).clips()
        with self._paddle.no_grad():
            logits = network(self._paddle.to_tensor(clips)).numpy()
        variables = {name: tensor.numpy() for name, tensor in network.variables().items()}
        np.savez(path, **variables, **{"?clips": clips, "?logits": logits})
        return {}


class TorchSide(Side):
    """PyTorch, with cuDNN's search for the fastest convolutions and the fused optimizer on a GPU."""

    def __init__(self) -> None:
        import torch

        threads = int(os.environ["OMP_NUM_THREADS"])
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = True
        self._torch = torch
        self.on_gpu = torch.cuda.is_available()
        device = torch.cuda.get_device_name() if self.on_gpu else f"{threads} threads"
        self.hello = {"versions": f"PyTorch {torch.__version__}", "device": device, "gpu": self.on_gpu}

    def make(self, cell: Cell) -> None:
        torch = self._torch
        self._dtype = {"off": None, "fp16": torch.float16, "bf16": torch.bfloat16}[cell.amp]
        self._device = "cuda" if self.on_gpu else "cpu"
        self._net = self._network(cell).to(self._device)
        self._scaler = torch.amp.GradScaler(self._device, enabled=cell.amp == "fp16")
        self._optimizer = torch.optim.SGD(
            self._net.parameters(), LEARNING_RATE, momentum=MOMENTUM, weight_decay=DECAY, fused=self.on_gpu
        )

    def _network(self, cell: Cell) -> Any:
        from benchmark.torch_tsm import TorchTSN

        own = {"TSM": {"shift": "ours", "dropout": 0.5}, "TSN": {"shift": None, "dropout": 0.0}}[cell.model]
        sizes = (CLASSES, cell.segments, cell.num_layers, cell.base_width)
        return TorchTSN(*sizes, **own, channels_last=cell.channels_last)

    def step(self, clips: np.ndarray, labels: np.ndarray, mark: Mark) -> None:
        torch = self._torch
        with torch.autocast(self._device, self._dtype, enabled=self._dtype is not None):
            logits = self._net(torch.from_numpy(clips).to(self._device))
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(labels).to(self._device))
        mark("forward")
        self._scaler.scale(loss).backward()
        mark("backward")
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        mark("optimizer")

    def wait(self) -> None:
        if self.on_gpu:
            self._torch.cuda.synchronize()

    def release(self) -> None:
        if self.on_gpu:
            self._torch.cuda.empty_cache()

    def gpu_mb(self) -> float:
        return self._torch.cuda.max_memory_allocated() / 1e6

    def differ(self, cell: dict[str, Any], path: str) -> dict[str, float]:
        """{"difference"}: the largest, between the logits of the file that PaddleSide.say wrote and PyTorch's."""
        with np.load(path) as file:
            arrays = dict(file)
        clips, logits = arrays.pop("?clips"), arrays.pop("?logits")
        network = self._network(Cell(**cell))
        network.load_v15(arrays)
        with self._torch.no_grad():
            said = network.eval()(self._torch.from_numpy(clips)).numpy()
        return {"difference": float(np.abs(said - logits).max()), "largest": float(np.abs(logits).max())}


def reader_config(cell: Cell, filelist: str) -> Any:
    """A config whose training reader gives batches of the cell's kind."""
    from video_zoo.configs.schema import Config, ModelSection, TrainSection

    train = TrainSection(
        filelist=filelist, batch_size=cell.batch, target_size=cell.size, short_size=round(cell.size * 256 / 224)
    )
    return Config(MODEL=ModelSection(name=cell.model, num_classes=CLASSES, seg_num=cell.segments), TRAIN=train)


def _nothing(part: str) -> None:
    pass


if __name__ == "__main__":
    serve({"paddle": PaddleSide, "torch": TorchSide})
