"""One pass of a network over labelled clips."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import paddle

from video_zoo.engine.ranks import Ranks
from video_zoo.engine.stepper import clip_losses
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import Progress, logger, timed
from video_zoo.utils.paddle_env import cores

if TYPE_CHECKING:
    from video_zoo.datareader.batches import Batch
    from video_zoo.metrics.metric import MetricSet, Scores


@paddle.no_grad()
def evaluate(
    network: paddle.nn.Layer,
    batches: Iterable[Batch],
    metrics: MetricSet,
    progress: Progress,
    *,
    log_interval: int,
    line: str,
    ranks: Ranks | None = None,
) -> Scores:
    """The scores over all batches, of all ranks together.

    Args:
        network: clips (n, T, 3, H, W) -> logits (n, num_classes).
        progress: counts the videos, and where the time goes.
        log_interval: batches between log lines; 0: none.
        line: how a log line begins, with {} for the batch's number.
        ranks: each has its part of every batch; None: this process has all.

    Raises InputError: the loss is not finite.
    """
    network.eval()
    metrics.reset()
    for number, (batch, reader_s) in enumerate(timed(batches)):
        start = time.monotonic()
        cores().share()
        logits = average_views(network(paddle.to_tensor(batch.clips)), batch.views)
        labels = paddle.to_tensor(batch.labels[:: batch.views])
        losses = clip_losses(logits, labels)
        scores = metrics.update(metrics.measure(losses.numpy(), logits.numpy(), labels.numpy()))
        if not math.isfinite(scores["loss"]):
            raise InputError(f"the loss is {scores['loss']} in batch {number}: the weights are not sound, or no match")
        done = scores.samples * (ranks.size if ranks else 1)  # the others are about as far
        progress.add(done, reader=reader_s, compute=time.monotonic() - start)
        if log_interval and number % log_interval == 0:
            said = f"{scores}, {progress}" if ranks is None or ranks.size == 1 else progress  # these are one rank's
            logger.info("%s  %s", line.format(number), said)
    progress.finish()
    if ranks:
        metrics.restore(ranks.all_reduce(metrics.state()))
    return metrics.compute()


def average_views(logits: paddle.Tensor, views: int) -> paddle.Tensor:
    """Logits of clips (n * views, num_classes), video by video -> the mean of each video's, (n, num_classes)."""
    return logits if views == 1 else logits.reshape([-1, views, logits.shape[1]]).mean(1)
