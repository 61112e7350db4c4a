"""Probabilities of unlabelled clips."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import paddle
from paddle.nn import functional as F

from engine.interfaces import Batch
from utils.log import Progress, logger, timed


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of a video: indices and probabilities, descending."""

    video_id: str
    classes: list[int]
    probabilities: list[float]


def predict(
    network: paddle.nn.Layer, batches: Iterable[Batch], topk: int, progress: Progress, *, log_interval: int
) -> Iterator[Prediction]:
    """The `topk` most probable classes of each clip, as they come."""
    network.eval()
    for number, (batch, reader_s) in enumerate(timed(batches)):
        start = time.monotonic()
        with paddle.no_grad():  # not around the whole: the caller's code runs between two results
            probabilities = F.softmax(network(paddle.to_tensor(batch.clips))).numpy()  # (n, classes)
        progress.add(len(batch.ids), reader=reader_s, compute=time.monotonic() - start)
        if log_interval and number % log_interval == 0:
            logger.info("[INFER] Processed %d samples, %s", progress.done, progress)
        yield from (top_classes(video_id, row, topk) for video_id, row in zip(batch.ids, probabilities))
    progress.finish()


def top_classes(video_id: str, probabilities: np.ndarray, topk: int) -> Prediction:
    """The `topk` largest of the probabilities (classes,); of equal ones the lower class comes first."""
    order = np.argsort(-probabilities, kind="stable")[:topk]
    return Prediction(video_id, order.tolist(), probabilities[order].tolist())
