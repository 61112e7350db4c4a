"""Batches of clips, and the videos that cannot be read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from video_zoo.datareader.sampling import Span
from video_zoo.datareader.video_list import Video


class Batch(NamedTuple):
    """Clips and what they are of.

    Args:
        clips: uint8 RGB (n, T, 3, H, W), T = seg_num * seglen frames in order.
        labels: int64 (n,), -1 where there is none.
        ids: one a clip.
        global_batch_size: clips of the batch in all ranks together, also of videos that could not be read.
        spans: the stretch of its video that each clip is of; empty: whole videos.
    """

    clips: np.ndarray
    labels: np.ndarray
    ids: list[str]
    global_batch_size: int
    spans: tuple[Span, ...] = ()


class Failure(NamedTuple):
    """A video that could not be read, and why."""

    video: Video
    reason: str


class Sample(NamedTuple):
    """What a clip is of: a video, and the span of it; None: the whole of it. One view of each is taken."""

    video_id: str
    label: int
    span: Span | None = None


class BatchBuilder:
    """Clips on their way into a batch."""

    def __init__(self, batch_size: int, shape: tuple[int, ...]):
        self._clips = np.empty((batch_size, *shape), np.uint8)
        self._samples: list[Sample] = []

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, sample: Sample, clip: np.ndarray) -> None:
        """The one copy between a reader process and the network."""
        self._clips[len(self._samples)] = clip
        self._samples.append(sample)

    def take(self, global_batch_size: int) -> Batch:
        """The batch, which is the caller's from now on."""
        ids, labels, spans = zip(*self._samples)
        spans = tuple(span for span in spans if span is not None)
        return Batch(self._clips[: len(ids)], np.asarray(labels, np.int64), list(ids), global_batch_size, spans)
