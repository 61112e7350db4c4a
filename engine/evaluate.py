"""One pass of a network over labelled clips."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import paddle
from paddle.nn import functional as F

from engine.interfaces import Batch, Metrics, Scores
from utils.errors import InputError
from utils.log import Progress, logger, timed


def clip_losses(logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
    """Cross entropy of each clip, (n,), in nats; 0 where the label is -1."""
    return F.cross_entropy(logits, labels, ignore_index=-1, reduction="none").flatten()


@paddle.no_grad()
def evaluate(
    network: paddle.nn.Layer,
    batches: Iterable[Batch],
    metrics: Metrics,
    progress: Progress,
    *,
    log_interval: int,
    line: str,
) -> Scores:
    """The scores over all batches.

    Args:
        network: clips -> logits (n, classes).
        progress: counts the videos, and where the time goes.
        log_interval: batches between log lines; 0: none.
        line: how a log line begins, with {} for the batch's number.

    Raises InputError: the loss is not finite.
    """
    network.eval()
    metrics.reset()
    for number, (batch, reader_s) in enumerate(timed(batches)):
        start = time.monotonic()
        logits = network(paddle.to_tensor(batch.clips))
        losses = clip_losses(logits, paddle.to_tensor(batch.labels))
        scores = metrics.update(losses.numpy(), logits.numpy(), batch.labels)
        if not math.isfinite(scores.loss):
            raise InputError(f"the loss is {scores.loss} in batch {number}: the weights are not sound, or no match")
        progress.add(scores.samples, reader=reader_s, compute=time.monotonic() - start)
        if log_interval and number % log_interval == 0:
            logger.info("%s  %s, %s", line.format(number), scores, progress)
    progress.finish()
    return metrics.scores()
