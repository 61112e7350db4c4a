"""One pass of a network over labelled clips, in whatever engine it is computed."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Callable

import numpy as np

from video_zoo.engine.evaluation import NATURAL
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import Progress, timed

if TYPE_CHECKING:
    from video_zoo.datareader.batches import Batch
    from video_zoo.engine.ranks import Ranks
    from video_zoo.metrics.metric import MetricSet, Scores


def evaluate(
    compute: Callable[[Batch], np.ndarray],
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
        compute: a batch -> the logits of its videos, float32 (n, num_classes), as a VideoLogits gives them.
        progress: counts the videos, and where the time goes.
        log_interval: batches between log lines; 0: none.
        line: how a log line begins, with {} for the batch's number.
        ranks: each has its part of every batch; None: this process has all.

    Raises InputError: the loss is not finite.
    """
    metrics.reset()
    for batch, reader_s in timed(batches):
        start = time.monotonic()
        logits, labels = compute(batch), batch.labels[:: batch.views]
        scores = metrics.update(metrics.measure(cross_entropy(logits, labels), logits, labels))
        done = scores.samples * (ranks.size if ranks else 1)  # the others are about as far
        progress.add(done, reader=reader_s, compute=time.monotonic() - start)
        if log_interval:
            said = f"  {scores}" if ranks is None or ranks.size == 1 else ""  # these are one rank's
            progress.say(line.format(batch.number) + said, due=batch.number % log_interval == 0)
    progress.finish()
    if ranks:
        metrics.restore(ranks.all_reduce(metrics.state()))
    return metrics.compute()


class VideoLogits:
    """Makes logits of a batch's videos.

    Args:
        compute: uint8 clips (n, T, 3, H, W) -> logits (n, num_classes), as Backend.logits.
        average: of a video's views, which are "logits", or "probabilities"; the logits are then those whose softmax is
            the mean of the views' probabilities.
        clips_at_once: that `compute` is given, always: where there are fewer, black ones fill up. A clip's logits then
            have the same digits in whatever batch and process it is; those of another number differ by some 1e-6.
            None: a whole batch.
    """

    def __init__(
        self,
        compute: Callable[[np.ndarray], np.ndarray],
        average: str = "logits",
        clips_at_once: int | None = None,
    ):
        self._compute, self._average, self._clips_at_once = compute, average, clips_at_once

    def __call__(self, batch: Batch, order: str = NATURAL) -> np.ndarray:
        """float32 (videos, num_classes). Raises InputError: a logit is not finite.

        Args:
            order: of each clip's frames; see `reorder`.
        """
        step = self._clips_at_once or len(batch.clips)
        parts = []
        for first in range(0, len(batch.clips), step):
            clips, ids = batch.clips[first : first + step], batch.ids[first : first + step]
            parts.append(self._compute(_fill_up(reorder(clips, ids, order), step))[: len(clips)])
        logits = average_views(np.concatenate(parts), batch.views, self._average)
        bad = ~np.isfinite(logits).all(axis=1)
        if bad.any():
            video = batch.ids[:: batch.views][int(bad.argmax())]
            raise InputError(f"the logits of {video} are not finite: the weights are not sound, or no match")
        return logits


def average_views(logits: np.ndarray, views: int, average: str = "logits") -> np.ndarray:
    """Logits of clips (n * views, num_classes), video by video -> float32 (n, num_classes), of each video.

    They are summed in float64, one view after the other, so that the result is the same in batches of any size.
    """
    if views == 1:
        return logits
    of_views = logits.reshape(-1, views, logits.shape[1]).astype(np.float64)  # (n, views, num_classes)
    if average == "probabilities":
        mean = np.exp(log_softmax(of_views)).mean(axis=1)
        return np.log(np.maximum(mean, np.finfo(np.float64).tiny)).astype(np.float32)
    return of_views.mean(axis=1).astype(np.float32)


def reorder(clips: np.ndarray, ids: Sequence[str], order: str) -> np.ndarray:
    """Clips (n, T, 3, H, W) with their frames in another order.

    Args:
        ids: of the clips' videos. What "shuffle" draws is decided by them, and is never the natural order.
        order: "natural", "reverse" or "shuffle".

    Raises ValueError: a clip of one frame has no other order.
    """
    if order == NATURAL:
        return clips
    if clips.shape[1] == 1:
        raise ValueError("one frame has no order")
    if order == "reverse":
        return np.ascontiguousarray(clips[:, ::-1])
    return np.stack([clip[_shuffled(len(clip), video)] for clip, video in zip(clips, ids)])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (..., num_classes) -> the logarithms of their probabilities, float64."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The loss of each sample, float64 (n,), in nats; 0 where the label is -1.

    Args:
        logits: (n, num_classes).
        labels: integers (n,).
    """
    own = np.take_along_axis(log_softmax(logits), np.maximum(labels, 0)[:, None], axis=1)[:, 0]
    return np.where(labels >= 0, -own, 0.0)


def steps_of(batch_size: int, views: int) -> int:
    """How many clips are computed at once, at most `batch_size`, so that videos of so many views fill the steps."""
    if views <= batch_size:
        return batch_size // views * views
    return math.ceil(views / math.ceil(views / batch_size))


def _fill_up(clips: np.ndarray, count: int) -> np.ndarray:
    missing = count - len(clips)
    return np.pad(clips, [(0, missing), *[(0, 0)] * 4]) if missing else clips


def _shuffled(count: int, video: str) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(video.encode("utf-8", "surrogateescape")))
    while True:
        order = rng.permutation(count)
        if (order != np.arange(count)).any():
            return order
