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
        global_batch_size: videos of the batch in all ranks together, also those that could not be read.
        spans: the stretch of its video that each clip is of; empty: whole videos.
        views: clips of each video; they come one after the other.
        number: of the batch in its pass, from 0; one of which nothing could be read is left out.
    """

    clips: np.ndarray
    labels: np.ndarray
    ids: list[str]
    global_batch_size: int
    spans: tuple[Span, ...] = ()
    views: int = 1
    number: int = 0


class Failure(NamedTuple):
    """A video that could not be read, and why."""

    video: Video
    reason: str


class Sample(NamedTuple):
    """What a clip is of: a video, the span of it (None: the whole of it), and the number of the view."""

    video_id: str
    label: int
    span: Span | None = None
    view: int = 0


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

    def take(self, global_batch_size: int, number: int) -> Batch:
        """The batch, which is the caller's from now on."""
        ids, labels, spans, views = zip(*self._samples)
        spans = tuple(span for span in spans if span is not None)
        clips, labels = self._clips[: len(ids)], np.asarray(labels, np.int64)
        return Batch(clips, labels, list(ids), global_batch_size, spans, max(views) + 1, number)
