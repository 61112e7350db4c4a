"""What computes probabilities: one small interface, one file an engine, and the choice between them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Protocol

import numpy as np

from video_zoo.utils.errors import InputError
from video_zoo.utils.registry import Registry

PRECISIONS = ("fp32", "bf16", "fp16", "int8")


class Backend(Protocol):
    """A network that is ready to run. Attributes: description: engine, version, precision and device, for the log."""

    description: str

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """uint8 clips (n, T, C, H, W) -> float32 probabilities (n, classes)."""


@dataclass(frozen=True)
class Job:
    """How a program is to be run.

    Args:
        program: its file; None while it is still to be written.
        precision: one of the engine's.
        on_gpu: the device.
        threads: on a CPU.
        batch_size: the most clips at once; more than one and the engine may share its threads among them.
        clip_shape: (T, C, H, W).
    """

    program: Path | None = None
    precision: str = "fp32"
    on_gpu: bool = False
    threads: int = 1
    batch_size: int = 1
    clip_shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Engine:
    """An inference engine.

    Args:
        name: as --engine takes it.
        program: the kind of program it loads (engine/deployment.py); None: it takes the network as it is.
        packages: modules it needs, and the pip names of them; Paddle itself is not among them.
        cpu, gpu: the precisions it has on each; none: not there.
        load: makes a backend of a job.
    """

    name: str
    program: str | None
    packages: dict[str, str]
    cpu: tuple[str, ...]
    gpu: tuple[str, ...]
    load: Callable[[Job], Backend]

    def missing(self) -> list[str]:
        """The pip names of the packages that are not installed."""
        return [pip for module, pip in self.packages.items() if importlib.util.find_spec(module) is None]

    def needs_paddle(self) -> bool:
        """Whether its programs run in Paddle."""
        return self.program in ("paddle", None)


def _lazy(module: str) -> Callable[[Job], Any]:
    """Imports the engine's file when it is used: the others' packages need not be there."""

    def load(job: Job) -> Backend:
        return importlib.import_module(f"{__name__}.{module}").load(job)

    return load


ENGINES: Registry[Engine] = Registry("engine")
for _engine in (
    Engine("openvino", "openvino", {"openvino": "openvino"}, ("fp32", "bf16", "int8"), (), _lazy("open_vino")),
    Engine("onnxruntime", "onnx", {"onnxruntime": "onnxruntime"}, ("fp32",), ("fp32",), _lazy("onnx_runtime")),
    Engine("paddle-inference", "paddle", {}, ("fp32", "bf16"), ("fp32", "fp16"), _lazy("paddle_inference")),
    Engine("tensorrt", "paddle", {}, (), ("fp32", "fp16"), _lazy("tensorrt")),
    Engine("paddle", None, {}, ("fp32",), ("fp32",), _lazy("paddle_network")),
):
    ENGINES.add(_engine.name, _engine)

# Fastest first: benchmark/RESULTS.md. On GPUs nothing has been measured; TensorRT takes minutes to start.
_ON_CPU = ("openvino", "onnxruntime", "paddle-inference", "paddle")
_ON_GPU = ("paddle-inference", "paddle")


@dataclass(frozen=True)
class Choice:
    """An engine, and why it was taken."""

    engine: Engine
    reason: str


def choose_engine(
    name: str, precision: str, on_gpu: bool, has_program: Callable[[Engine], str | None] = lambda engine: None
) -> Choice:
    """The engine of that name, or for "auto" the fastest that can be used.

    Args:
        has_program: what stands against an engine beside packages and precisions: None if nothing does.

    Raises InputError: the name is unknown, or the engine cannot be used; the message says what would help.
    """
    if name != "auto":
        engine = ENGINES.get(name)
        obstacle = _obstacle(engine, precision, on_gpu) or has_program(engine)
        if obstacle:
            raise InputError(f"--engine={engine.name}: {obstacle}")
        return Choice(engine, "asked for")
    obstacles = []
    for each in _ON_GPU if on_gpu else _ON_CPU:
        engine = ENGINES.get(each)
        obstacle = _obstacle(engine, precision, on_gpu) or has_program(engine)
        if obstacle is None:
            device = "GPUs" if on_gpu else "CPUs"
            left_out = f"; {', '.join(obstacles)}" if obstacles else ""
            return Choice(engine, f"auto: the fastest here on {device}{left_out}")
        obstacles.append(f"{each}: {obstacle}")
    raise InputError(
        f"no engine computes {precision} on this {'GPU' if on_gpu else 'CPU'}:\n  " + "\n  ".join(obstacles)
    )


def _obstacle(engine: Engine, precision: str, on_gpu: bool) -> str | None:
    missing = engine.missing()
    if missing:
        return f"not installed (pip install {' '.join(missing)})"
    precisions, device = (engine.gpu, "a GPU") if on_gpu else (engine.cpu, "a CPU")
    if not precisions:
        return f"it does not compute on {device} here; --use_gpu={not on_gpu} or another engine"
    if precision not in precisions:
        return f"it has no {precision} on {device}, only {', '.join(precisions)}"
    return None
