"""One pass of training."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

import paddle

from engine.board import Board
from engine.evaluate import clip_losses
from engine.interfaces import Batch, Metrics, Scores
from utils.errors import InputError
from utils.log import Progress, logger, timed


@dataclass(frozen=True)
class EpochSummary:
    """steps done, mean seconds a step without the first (which warms up), and the scores of all samples."""

    steps: int
    step_s: float
    scores: Scores


def train_one_epoch(
    network: paddle.nn.Layer,
    batches: Iterable[Batch],
    optimizer: paddle.optimizer.Optimizer,
    schedule: paddle.optimizer.lr.LRScheduler,
    metrics: Metrics,
    progress: Progress,
    board: Board,
    *,
    epoch: int,
    first_step: int,
    log_interval: int,
) -> EpochSummary:
    """A step of the optimizer, and one of the schedule, for each batch.

    Args:
        network: clips -> logits (n, classes).
        progress: counts the videos, and where the time goes.
        board: gets each step's scores and times, by global step.
        epoch: for the log lines.
        first_step: the global step of the first batch.
        log_interval: batches between log lines; 0: none.

    Raises InputError: the loss is not finite; the message names the step, the learning rate and the videos.
    """
    network.train()
    metrics.reset()
    periods = []
    for number, (batch, reader_s) in enumerate(timed(batches)):
        start = time.monotonic()
        logits = network(paddle.to_tensor(batch.clips))
        losses = clip_losses(logits, paddle.to_tensor(batch.labels))
        # Waits for a GPU here, and not after the backward pass, which then runs while the next batch is fetched.
        scores = metrics.update(losses.numpy(), logits.numpy(), batch.labels)
        if not math.isfinite(scores.loss):
            raise InputError(_not_finite(scores.loss, epoch, number, schedule(), batch.ids))
        losses.mean().backward()
        optimizer.step()
        optimizer.clear_grad()
        learning_rate = schedule()
        schedule.step()
        compute_s = time.monotonic() - start
        periods.append(reader_s + compute_s)
        progress.add(scores.samples, reader=reader_s, compute=compute_s)
        board.add(
            "train",
            first_step + number,
            scores,
            learning_rate=learning_rate,
            reader_ms=1000 * reader_s,
            compute_ms=1000 * compute_s,
        )
        if log_interval and number % log_interval == 0:
            logger.info("[TRAIN] Epoch %d, iter %d  %s, %s", epoch, number, scores, progress)
    steady = periods[1:] or periods
    return EpochSummary(len(periods), sum(steady) / max(len(steady), 1), metrics.scores())


def _not_finite(loss: float, epoch: int, number: int, learning_rate: float, ids: list[str]) -> str:
    return (
        f"the loss is {loss} in epoch {epoch}, iter {number}, at learning rate {learning_rate:g}. Try a smaller"
        f" --learning_rate, and resume from the last checkpoint. The batch: {', '.join(ids)}"
    )
