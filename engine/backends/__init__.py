"""Inference engines: each file of this folder but base.py is one, and describes itself in its ENGINE."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Callable

from video_zoo.engine.backends.base import PRECISIONS, Engine
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.registry import Registry

ENGINES: Registry[Engine] = Registry("engine")
for _module in pkgutil.iter_modules(__path__):
    if _module.name != "base":
        _engine = importlib.import_module(f"{__name__}.{_module.name}").ENGINE
        ENGINES.add(_engine.name, _engine)


@dataclass(frozen=True)
class Choice:
    """An engine, and why it was taken."""

    engine: Engine
    reason: str


def add_engine_flags(parser: cli.Parser, default: str = "auto") -> None:
    """--engine, which is None where it is left out, and --precision.

    Args:
        default: what a command takes then, for its help.
    """
    *names, last = (engine.name for engine in _all_engines())
    parser.add_argument(
        "--engine",
        metavar="NAME",
        help=f"auto, the fastest that is installed; {', '.join(names)} or {last} ({default})",
    )
    known = {precision for engine in _all_engines() for precision in engine.cpu + engine.gpu}
    parser.add_argument(
        "--precision",
        default="fp32",
        choices=[precision for precision in PRECISIONS if precision in known],
        help="of the arithmetic; int8, and fp16 in ONNX Runtime, need a deployment folder of export.py (fp32)",
    )


def choose_engine(
    name: str, precision: str, on_gpu: bool, obstacle_to: Callable[[Engine], str | None] = lambda engine: None
) -> Choice:
    """The engine of that name, or for "auto" the fastest that can be used.

    Args:
        obstacle_to: the reason why an engine cannot be used, beside packages and precisions; None if there is none.

    Raises InputError: the name is unknown, or the engine cannot be used; the message says what would help.
    """
    if name != "auto":
        engine = ENGINES.get(name)
        obstacle = engine.obstacle(precision, on_gpu) or obstacle_to(engine)
        if obstacle:
            raise InputError(f"--engine={engine.name}: {obstacle}")
        return Choice(engine, "asked for")
    obstacles = []
    for engine in _auto_order(on_gpu):
        obstacle = engine.obstacle(precision, on_gpu) or obstacle_to(engine)
        if obstacle is None:
            device = "GPUs" if on_gpu else "CPUs"
            left_out = f"; {', '.join(obstacles)}" if obstacles else ""
            return Choice(engine, f"auto: the fastest here on {device}{left_out}")
        obstacles.append(f"{engine.name}: {obstacle}")
    raise InputError(
        f"no engine computes {precision} on this {'GPU' if on_gpu else 'CPU'}:\n  " + "\n  ".join(obstacles)
    )


def _all_engines() -> list[Engine]:
    return [ENGINES.get(name) for name in ENGINES.names()]


def _auto_order(on_gpu: bool) -> list[Engine]:
    """The engines that "auto" may take on a device, fastest first."""
    ranked = [(engine.gpu_priority if on_gpu else engine.cpu_priority, engine) for engine in _all_engines()]
    return [engine for rank, engine in sorted(ranked, key=lambda each: each[0] or 0) if rank is not None]
