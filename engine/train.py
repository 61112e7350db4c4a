"""One pass of training."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Callable

import numpy as np
import paddle

from video_zoo.engine.board import Board
from video_zoo.engine.checkpoint import NotFinite, State
from video_zoo.engine.interfaces import Batch, Metrics, Scores
from video_zoo.engine.ranks import Ranks
from video_zoo.engine.step import Stepper
from video_zoo.utils.log import Progress, heartbeat, logger, timed
from video_zoo.utils.runtime import gpu_memory
from video_zoo.utils.stop import Stop

_SLOW_READER = 0.3  # of the time of this many steps, after the first ones, in which the readers start
_SLOW_READER_STEPS = range(5, 25)


@dataclass(frozen=True)
class EpochSummary:
    """steps done here, mean seconds a step without the first (which warms up), and the scores of the epoch's samples,
    also those of before a resume."""

    steps: int
    step_s: float
    scores: Scores


class ReaderWatch:
    """Warns, once at most, where the reader holds the network up."""

    def __init__(self):
        self._steps = 0
        self._reader_s = self._all_s = 0.0

    def add(self, reader_s: float, compute_s: float) -> None:
        if self._steps in _SLOW_READER_STEPS:
            self._reader_s += reader_s
            self._all_s += reader_s + compute_s
        self._steps += 1
        if self._steps == _SLOW_READER_STEPS.stop and self._reader_s > _SLOW_READER * self._all_s:
            logger.warning(
                "the reader is the bottleneck: the network waits for it %.0f%% of the time. More processes help while"
                " there are idle cores (TRAIN.num_reader_threads), and dataset/prepare_videos.py makes videos that are"
                " read faster",
                100 * self._reader_s / self._all_s,
            )


def train_one_epoch(
    stepper: Stepper,
    batches: Iterable[Batch],
    metrics: Metrics,
    progress: Progress,
    board: Board | None,
    ranks: Ranks,
    state: State,
    stop: Stop,
    watch: ReaderWatch,
    *,
    seed: int,
    log_interval: int,
    after_step: Callable[[], None] = lambda: None,
) -> EpochSummary:
    """A step for each batch.

    Args:
        progress: counts the videos of all ranks, and where the time goes.
        board: gets each step's scores and times, by global step.
        state: where the training is; it is kept up to date after every step.
        stop: asked for in one rank, it stops all of them after the same step; a rank alone, also while it waits for
            the reader.
        watch: warns where the reader holds the network up.
        seed: of the random draws (dropout), with the step and the rank.
        log_interval: steps between log lines; 0: none.
        after_step: called when `state` is up to date.

    Raises:
        NotFinite: the loss; the message names the step, the learning rate and the videos. The weights are those of
            before the step.
        Stopped: `stop` was asked for.
    """
    stepper.network.train()
    metrics.reset()
    if state.totals:
        metrics.add(np.asarray(state.totals))
    periods = []

    @contextlib.contextmanager
    def waiting() -> Iterator[None]:
        harmless = stop.at_once() if ranks.size == 1 else contextlib.nullcontext()
        with heartbeat(f"waiting for the reader at epoch {state.epoch}, iter {state.iteration}"), harmless:
            yield

    for batch, reader_s in timed(batches, waiting):
        start = time.monotonic()
        number = state.iteration
        paddle.seed(_step_seed(seed, state.global_step, ranks.rank))
        with heartbeat(f"computing epoch {state.epoch}, iter {number}"):
            outcome = stepper.forward(batch.clips, batch.labels, batch.global_batch_size)
            own = metrics.counts(outcome.losses, outcome.logits, batch.labels)
            *counts, stopping = ranks.sum([*own, stop.signal is not None])
            scores = metrics.add(np.asarray(counts))
            if not math.isfinite(scores.loss):
                raise NotFinite(_not_finite(scores.loss, own, state, stepper.schedule(), batch.ids, ranks))
            learning_rate = stepper.update()
        state.iteration, state.global_step = number + 1, state.global_step + 1
        state.totals = metrics.totals().tolist()
        compute_s = time.monotonic() - start
        periods.append(reader_s + compute_s)
        progress.add(scores.samples, reader=reader_s, compute=compute_s)
        watch.add(reader_s, compute_s)
        if board:
            times = {"reader_ms": 1000 * reader_s, "compute_ms": 1000 * compute_s}
            board.add("train", state.global_step - 1, scores, learning_rate=learning_rate, **times)
        if log_interval and number % log_interval == 0:
            where = f"[TRAIN] Epoch {state.epoch}, iter {number}"
            logger.info("%s  %s, %s%s", where, scores, progress, gpu_memory())
        after_step()
        if stopping:
            stop.end()
    steady = periods[1:] or periods
    return EpochSummary(len(periods), sum(steady) / max(len(steady), 1), metrics.scores())


def _step_seed(seed: int, global_step: int, rank: int) -> int:
    """The same draws in the same step, however often the training was stopped before."""
    return int(np.random.SeedSequence([seed, global_step, rank]).generate_state(1)[0])


def _not_finite(loss: float, own: np.ndarray, state: State, learning_rate: float, ids: list[str], ranks: Ranks) -> str:
    guilty = [] if math.isfinite(own[0]) else ids
    named = [video for part in ranks.gather(guilty) for video in part]
    return (
        f"the loss is {loss} in epoch {state.epoch}, iter {state.iteration} (step {state.global_step}), at learning"
        f" rate {learning_rate:g}. A smaller --learning_rate or TRAIN.clip_grad_norm may help. The batch:"
        f" {', '.join(named)}"
    )
