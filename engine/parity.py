"""Whether programs compute what the network computes, on real clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from video_zoo.engine.backends import ENGINES
from video_zoo.engine.backends.base import Backend, Job
from video_zoo.engine.backends.paddle_network import PaddleNetwork, PaddleSteps
from video_zoo.engine.evaluate import log_softmax
from video_zoo.engine.programs import PROGRAMS
from video_zoo.engine.streams import Streams
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import Progress, logger

if TYPE_CHECKING:
    from paddle import nn

    from video_zoo.datareader.batches import Batch

LARGEST = 1e-4  # difference of a probability, float32
AGREEMENT, MEAN = 0.98, 0.02  # lower precision: share of the same top-1; mean difference of the top-1's probability


@dataclass
class Parity:
    """A program's probabilities against the network's.

    Args:
        clips: compared; of a program that follows streams, frames.
        same: of them, with the same most probable class.
        largest: difference of any probability.
        total: of the differences of the probability of the network's top-1.
        unit: what is compared.
    """

    clips: int = 0
    same: int = 0
    largest: float = 0.0
    total: float = 0.0
    unit: str = "clips"

    def add(self, expected: np.ndarray, found: np.ndarray) -> None:
        """Compares probabilities (n, classes)."""
        top = expected.argmax(1)
        difference = np.abs(expected.astype(np.float64) - found)
        if not np.isfinite(found).all():
            difference[:] = np.inf
        self.clips += len(top)
        self.same += int((found.argmax(1) == top).sum())
        self.largest = max(self.largest, float(difference.max()))
        self.total += float(difference[np.arange(len(top)), top].sum())

    @property
    def agreement(self) -> float:
        """The share of clips with the same top-1, 0 to 1."""
        return self.same / self.clips

    @property
    def mean(self) -> float:
        """The mean difference of the top-1's probability."""
        return self.total / self.clips

    def holds(self, precision: str) -> bool:
        """Whether the differences are those of the arithmetic."""
        if precision == "fp32":
            return self.largest <= LARGEST
        return self.agreement >= AGREEMENT and self.mean <= MEAN

    def __str__(self) -> str:
        return (
            f"top-1 {self.agreement:.1%} the same of {self.clips} {self.unit}, probabilities differ by at most"
            f" {self.largest:.1e}, the top-1's by {self.mean:.1e} in the mean"
        )


def check_programs(
    network: nn.Layer,
    batches: Iterable[Batch],
    clips: int,
    programs: Mapping[str, Mapping[str, Path]],
    job: Job,
) -> dict[str, dict[str, Any]]:
    """Runs each program beside the network on up to `clips` clips, and logs how they compare. Programs that follow
    streams are given the frames of the clips one by one, as one stream, up to `clips` frames; each keeps its own state.

    Args:
        programs: kind -> precision -> file. A float32 program is run in
            lower precisions, too, where its kind says so and the CPU has them.
        job: threads, clip_shape and state.

    Returns: "ENGINE PRECISION" -> {clips, top1_agreement, largest_difference, mean_top1_difference}.

    Raises InputError: one differs by more than its precision explains, or there are no clips.
    """
    unit, own = ("frames", PaddleSteps(network, job.state)) if job.state else ("clips", PaddleNetwork(network))
    backends = dict(_load(programs, job))
    reference, *computing = (_probabilities_of(each, job) for each in (own, *backends.values()))
    found = {name: Parity(unit=unit) for name in backends}
    progress = Progress(clips, unit)
    for batch in batches:
        given = batch.clips.reshape([-1, *job.clip_shape]) if job.state else batch.clips
        pixels = given[: clips - progress.done]
        expected = reference(pixels)
        for parity, compute in zip(found.values(), computing):
            parity.add(expected, compute(pixels))
        progress.add(len(pixels))
        progress.say(f"compared {progress.done} {unit}")
        if progress.done >= clips:
            break
    if not progress.done:
        raise InputError("no clip could be read to compare the programs with: see --input and --filelist")
    for name, parity in found.items():
        logger.info("%s: %s", name, parity)
    for name, parity in found.items():
        engine, precision = name.split()
        _check(engine, precision, parity)
    return {name: _figures(parity) for name, parity in found.items()}


def _probabilities_of(backend: Backend, job: Job) -> Callable[[np.ndarray], np.ndarray]:
    """What computes clips (n, T, 3, H, W), or a stream's next n frames (n, 3, H, W) -> probabilities (n, classes)."""
    if not job.state:
        return backend
    streams = Streams(backend, job.state, job.clip_shape)

    def follow(frames: np.ndarray) -> np.ndarray:
        logits = np.stack([streams.step({0: frame})[0] for frame in frames])
        return np.exp(log_softmax(logits))

    return follow


def _load(programs: Mapping[str, Mapping[str, Path]], job: Job) -> Iterable[tuple[str, Backend]]:
    for kind, files in programs.items():
        engine = ENGINES.get(PROGRAMS[kind].engine)
        for precision, file in files.items():
            yield f"{engine.name} {precision}", engine.load(dataclasses.replace(job, program=file, precision=precision))
        for precision in PROGRAMS[kind].also_compared:
            lower = dataclasses.replace(job, program=files["fp32"], precision=precision)
            try:
                yield f"{engine.name} {precision}", engine.load(lower)
            except InputError as error:  # the CPU has none
                logger.info("not compared: %s", error)


def _check(engine: str, precision: str, parity: Parity) -> None:
    if parity.holds(precision):
        return
    if precision == "fp32":
        raise InputError(
            f"{engine} computes something else than the network: {parity}; allowed are {LARGEST:.0e}. Nothing was"
            " written."
        )
    too_far = f"{engine} in {precision} is too far from the network: {parity}; {AGREEMENT:.0%} and {MEAN} are allowed."
    if precision == "bf16":  # no program of its own, but a way to run fp32's
        logger.warning("%s Do not run it with --precision=bf16.", too_far)
        return
    remedy = "leave --fp16 out" if precision == "fp16" else "other clips, or more, in --calibration may help"
    raise InputError(f"{too_far} Nothing was written; {remedy}. Where few are compared, more --clips may help, too.")


def _figures(parity: Parity) -> dict[str, Any]:
    return {
        "clips": parity.clips,
        "top1_agreement": round(parity.agreement, 4),
        "largest_difference": float(f"{parity.largest:.2g}"),
        "mean_top1_difference": float(f"{parity.mean:.2g}"),
    }
