"""The sides that inference.py compares, each in a process of its own."""

from __future__ import annotations

import abc
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmark.processes import peak_mb, serve
from video_zoo.utils.runtime import compute_threads

CONFIG, WEIGHTS, TORCH_WEIGHTS, DEPLOYMENT = "config.yaml", "weights", "torch.npz", "deployment"  # in the folder
EXPECTED = "expected.npy"  # what our dynamic network says of the clips
_TURN_S = 1  # of calls, and two at least
_WARMUP_S, _WARMUP_CALLS = 2, 20  # at most


@dataclass(frozen=True)
class Network:
    """What is compared: a TSM, the classes it tells apart, and the clips it gets at once."""

    num_layers: int
    base_width: int
    segments: int
    size: int
    classes: int
    dropout: float
    batch: int

    def clips(self) -> np.ndarray:
        """uint8 (batch, segments, 3, size, size), from a seed."""
        shape = (self.batch, self.segments, 3, self.size, self.size)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


class Runner(abc.ABC):
    """Computes probabilities of the network's clips. Attributes: hello: the side's versions."""

    hello: dict[str, Any] = {}
    on_gpu = False

    @abc.abstractmethod
    def open(self, network: Network, **method: Any) -> str:
        """Gets ready; returns a description."""

    @abc.abstractmethod
    def compute(self, clips: np.ndarray) -> np.ndarray:
        """uint8 clips -> float32 probabilities, back in main memory."""

    def start(self, network: dict[str, Any], path: str, **method: Any) -> dict[str, Any]:
        """Opens, writes what is said of the clips to `path`, and warms up. {"ms": of the quickest call, "what"}."""
        described = Network(**network)
        what = self.open(described, **method)
        self._clips = described.clips()
        np.save(path, self.compute(self._clips))
        times = [self._time()]
        while len(times) < _WARMUP_CALLS and sum(times) < 1000 * _WARMUP_S:
            times.append(self._time())
        return {"ms": min(times), "what": what}

    def turn(self) -> dict[str, float]:
        """Milliseconds of a call, the median and the least."""
        times: list[float] = []
        while len(times) < 2 or sum(times) < 1000 * _TURN_S:
            times.append(self._time())
        return {"ms": median(times), "fastest": min(times)}

    def peak(self) -> dict[str, float]:
        """{"mb"}: of the GPU's memory in use, or of the process."""
        return {"mb": self.gpu_mb() if self.on_gpu else peak_mb()}

    def gpu_mb(self) -> float:
        """The most that was in use."""
        return float("nan")

    def _time(self) -> float:
        start = time.perf_counter()
        self.compute(self._clips)
        return 1000 * (time.perf_counter() - start)


class EngineRunner(Runner):
    """A program in an engine of engine/backends, whoever made it; or our network in Paddle."""

    def open(
        self, network: Network, engine: str, precision: str, program: str | None, folder: str, on_gpu: bool
    ) -> str:
        """`program`: None for our network, whose checkpoint lies in the folder."""
        from video_zoo.engine.backends import ENGINES, Job

        self.on_gpu, self._paddle, chosen = on_gpu, None, ENGINES.get(engine)
        need(chosen.missing())
        if chosen.needs_paddle():
            from video_zoo.utils.runtime import start_paddle

            start_paddle(on_gpu)
            import paddle

            self._paddle = paddle
        if program is None:
            self._backend = _our_network(Path(folder))
        else:
            shape = (network.segments, 3, network.size, network.size)
            job = Job(Path(program), precision, on_gpu, compute_threads(), network.batch, shape)
            self._backend = chosen.load(job)
        return self._backend.description

    def compute(self, clips: np.ndarray) -> np.ndarray:
        return self._backend(clips)

    def gpu_mb(self) -> float:
        return self._paddle.device.cuda.max_memory_allocated() / 1e6 if self._paddle else super().gpu_mb()


def _our_network(folder: Path) -> Any:
    from video_zoo.configs.schema import Config
    from video_zoo.engine.backends.paddle_network import PaddleNetwork
    from video_zoo.models import get_trained
    from video_zoo.utils.config import load

    settings = load(str(folder / CONFIG), Config)
    return PaddleNetwork(get_trained("TSM", settings, "infer", folder / WEIGHTS)[0], compute_threads())


def torch_network(network: Network, weights: Path, form: str, channels_last: bool = False) -> Any:
    """PyTorch's network, clips -> probabilities."""
    import torch

    from benchmark.torch_tsm import TorchTSN

    sizes = (network.classes, network.segments, network.num_layers, network.base_width)
    layers = TorchTSN(*sizes, "torch", network.dropout, channels_last=channels_last, form=form)
    with np.load(weights) as file:
        layers.load_v15(file)
    return torch.nn.Sequential(layers, torch.nn.Softmax(1)).eval()


class TorchRunner(Runner):
    """PyTorch's network, as it is or compiled."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        torch.set_num_threads(compute_threads())
        torch.backends.cudnn.benchmark = True
        self.hello = {"versions": f"PyTorch {torch.__version__}", "gpu": torch.cuda.is_available()}

    def open(
        self, network: Network, folder: str, form: str, way: str, channels_last: bool, half: bool, on_gpu: bool
    ) -> str:
        """`way`: "eager" or "compile". `half`: float16 by autocast."""
        torch = self._torch
        self.on_gpu, self._half, self._device = on_gpu, half, "cuda" if on_gpu else "cpu"
        self._layers = torch_network(network, Path(folder) / TORCH_WEIGHTS, form, channels_last).to(self._device)
        if way == "compile":
            import torch._inductor.config as inductor

            inductor.freezing = True  # weights become constants, BatchNorm goes into the convolutions
            self._layers = torch.compile(self._layers)
        return f"PyTorch {torch.__version__}"

    def compute(self, clips: np.ndarray) -> np.ndarray:
        torch = self._torch
        with torch.inference_mode(), torch.autocast(self._device, torch.float16, enabled=self._half):
            return self._layers(torch.from_numpy(clips).to(self._device)).float().cpu().numpy()

    def gpu_mb(self) -> float:
        return self._torch.cuda.max_memory_allocated() / 1e6


def need(packages: list[str]) -> None:
    """Raises ModuleNotFoundError, which says how to install them, if there are any."""
    if packages:
        raise ModuleNotFoundError(f"pip install {' '.join(packages)}")


if __name__ == "__main__":
    serve({"engine": EngineRunner, "torch": TorchRunner})
