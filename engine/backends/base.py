"""What an engine says of itself, what it is given, and what it makes of that."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Callable

import numpy as np

from video_zoo.utils.errors import InputError

PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "int8")
NO_BF16 = "--precision=bf16: this CPU has no bfloat16 arithmetic; other precisions are there"
INPUT, OUTPUT = "clips", "probabilities"  # of a program: uint8 (n, T, 3, H, W) and float32 (n, classes)
# Of a program that follows streams: uint8 (n, 3, H, W), float32 (n, classes), and for each tensor of the state
# `state_input` and `state_output` (n, *shape)
FRAME, LOGITS = "frame", "logits"
BATCH_AXIS = "clips"  # the first axis of an ONNX program's inputs and outputs


def state_input(name: str) -> str:
    """The input for a tensor of the state, as the frame before left it."""
    return f"state_{name}"


def state_output(name: str) -> str:
    """The output of a tensor of the state, for the next frame."""
    return f"next_{name}"


@dataclass(frozen=True)
class Job:
    """How a program is to be run.

    Args:
        program: its file; None while it is still to be written.
        precision: one of the engine's.
        on_gpu: the device.
        threads: on a CPU.
        batch_size: the most clips at once.
        clip_shape: (T, 3, H, W); of a program that follows streams (3, H, W).
        state: of a program that follows streams: the name of each tensor of a stream's state -> its shape, without the
            axis of the streams.
        rest_bf16: of an int8 program, whether what is not quantised may compute in bfloat16 where the CPU has it.
    """

    program: Path | None = None
    precision: str = "fp32"
    on_gpu: bool = False
    threads: int = 1
    batch_size: int = 1
    clip_shape: tuple[int, ...] = ()
    state: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    rest_bf16: bool = True

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """The program's inputs -> their shapes, without the first axis; as of `outputs`, in its order."""
        return {
            FRAME if self.state else INPUT: self.clip_shape,
            **{state_input(name): tuple(shape) for name, shape in self.state.items()},
        }

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what the program returns."""
        return (LOGITS, *map(state_output, self.state)) if self.state else (OUTPUT,)

    @property
    def device(self) -> str:
        """For the log."""
        return "GPU" if self.on_gpu else f"CPU, {self.threads} threads"


class Backend:
    """A program that is ready to run.

    Attributes:
        description: engine, version, precision and device, for the log.
        engine: its name.
        device: "CPU" or "GPU".
        state: of a program that follows streams, as Job's.
    """

    description: str
    engine: str = ""
    device: str = "CPU"
    state: Mapping[str, tuple[int, ...]] = MappingProxyType({})

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The program's inputs by name -> its outputs by name; the first axis of each is the number of clips.

        A state that goes in with one call and comes out for the next is an input and an output like any other.
        """
        raise NotImplementedError

    def step(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """As `run`, of a program that follows streams. A state may come out in the engine's own form, which goes in
        again without copies; np.asarray makes an array of it. It stays what it is until the next call but one."""
        return self.run(feeds)

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """uint8 clips (n, T, 3, H, W) -> float32 probabilities (n, classes)."""
        return self.run({INPUT: clips})[OUTPUT]

    def logits(self, clips: np.ndarray) -> np.ndarray:
        """uint8 clips (n, T, 3, H, W) -> float32 logits (n, classes). Where a program has probabilities alone, they are
        its logits less a number a clip, which changes neither their softmax nor that of their mean over several."""
        return np.log(np.maximum(self(clips), np.finfo(np.float32).tiny))


@dataclass(frozen=True)
class Engine:
    """An inference engine.

    Args:
        name: as --engine takes it.
        program: the kind of program it loads (engine/programs.py); None: it takes the network as it is.
        load: makes a backend of a job. Raises InputError.
        packages: modules it needs, and the pip names of them; Paddle itself is not among them.
        cpu, gpu: the precisions it has on each; none: it does not compute there.
        no_gpu: why it cannot compute on the GPUs of this machine, as far as it can tell without Paddle; None if it can.
        cpu_priority, gpu_priority: its place in the order in which "auto" tries engines; None: "auto" never takes it.
    """

    name: str
    program: str | None
    load: Callable[[Job], Backend]
    packages: Mapping[str, str] | None = None
    cpu: tuple[str, ...] = ()
    gpu: tuple[str, ...] = ()
    no_gpu: Callable[[], str | None] = lambda: None
    cpu_priority: int | None = None
    gpu_priority: int | None = None

    def missing(self) -> list[str]:
        """The pip names of the packages that are not installed."""
        return missing_packages(self.packages or {})

    def needs_paddle(self) -> bool:
        """Whether its programs run in Paddle."""
        return self.program in ("paddle", None)

    def obstacle(self, precision: str, on_gpu: bool) -> str | None:
        """Why it cannot compute here, and what would help; None if it can."""
        missing = self.missing()
        if missing:
            return f"not installed (pip install {' '.join(missing)})"
        precisions, device = (self.gpu, "a GPU") if on_gpu else (self.cpu, "a CPU")
        if not precisions:
            return f"it does not compute on {device} here; --use_gpu={not on_gpu} or another engine"
        if precision not in precisions:
            return f"it has no {precision} on {device}, only {', '.join(precisions)}"
        return self.no_gpu() if on_gpu else None


def check_state(job: Job, inputs: Mapping[str, Sequence[int]], outputs: Sequence[str]) -> None:
    """Raises InputError if a program that follows streams has other inputs or outputs than the job says.

    Args:
        inputs: the program's -> their sizes, without the first axis.
        outputs: the program's, in its order.
    """
    found, wanted = ({name: tuple(sizes) for name, sizes in each.items()} for each in (inputs, job.inputs))
    if found != wanted or tuple(outputs) != job.outputs:
        raise InputError(
            f"{job.program} keeps another state of a stream than it is said to keep: its folder's inference.yaml is"
            " damaged, or another network's; copy the folder again, or export it again"
        )


def run_each(
    compute: Callable[[dict[str, np.ndarray]], Any], feeds: Mapping[str, np.ndarray], outputs: Sequence[str]
) -> dict[str, np.ndarray]:
    """As Backend.run, clip after clip.

    Args:
        compute: feeds of one clip -> what the program returns, in the order of `outputs`.
    """
    clips = (dict(zip(feeds, values)) for values in zip(*feeds.values()))
    found = [compute({name: value[None] for name, value in clip.items()}) for clip in clips]
    if len(found) == 1:  # a state is large enough for a copy of it to take its time
        return {name: found[0][place] for place, name in enumerate(outputs)}
    return {name: np.concatenate([each[place] for each in found]) for place, name in enumerate(outputs)}


def missing_packages(packages: Mapping[str, str]) -> list[str]:
    """Module -> pip name: the pip names of the modules that are not installed."""
    return [pip for module, pip in packages.items() if importlib.util.find_spec(module) is None]
