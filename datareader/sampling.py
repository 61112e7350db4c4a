"""Which frames of a video a clip has: functions over numbers of frames and times, whatever decodes them.

Segments: TSN's sparse sampling (Wang et al., ECCV 2016, section 3.1).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

USUAL_STEP_S = 0.04  # between two frames, where a source does not say
NEARLY_S = 1e-6  # times that are no further apart are equal


class Span(NamedTuple):
    """A stretch of a video: seconds from its first frame; a frame that is presented at `end_s` is not in it."""

    start_s: float
    end_s: float


class Windows(NamedTuple):
    """Spans that slide over a video: `window_s` seconds each, which begin at 0, stride_s, 2 * stride_s ..."""

    window_s: float
    stride_s: float


class Cut(NamedTuple):
    """A span of a video and its frames: the number of the first, and how many."""

    span: Span
    first: int
    num_frames: int


def segment_indices(
    num_frames: int,
    seg_num: int,
    seglen: int = 1,
    *,
    frame_stride: int = 1,
    segment_stride: int | None = None,
    rng: np.random.Generator | None = None,
    legacy_pkl: bool = False,
) -> list[int]:
    """Frame numbers of a clip: `seglen` frames, `frame_stride` apart, at one place in each of `seg_num` equal segments.

    They cover (seglen - 1) * frame_stride + 1 frames. A shorter segment is read from its first frame on. Numbers past
    the end of the video wrap around to its start, and so do those of a video with fewer frames than segments.

    Args:
        num_frames: of the whole video, at least 1.
        segment_stride: frames of a segment; the segments then cover a stretch of the video, which is drawn from `rng`
            or in the middle. None, or where the video is shorter than that: they cover all of it.
        rng: places are drawn from it (training); without it they are the segments' middles.
        legacy_pkl: v1.5's middle for pickled videos, (d - seglen) // 2; its mp4 reader takes (d - 1) // 2, as if the
            segment's first frame were its only one. With a larger frame_stride all formats take the first rule.

    Returns: seg_num * seglen numbers in [0, num_frames), segment by segment.
    """
    length, first = num_frames // seg_num, 0  # frames a segment, and before the first one
    if segment_stride is not None and segment_stride <= length:
        length, left = segment_stride, num_frames - seg_num * segment_stride
        first = left // 2 if rng is None else int(rng.integers(0, left, endpoint=True))
    covered = (seglen - 1) * frame_stride + 1
    centred = legacy_pkl or frame_stride > 1
    indices = []
    for segment in range(seg_num):
        start = first + segment * length if length else segment
        if length >= covered:
            if rng is not None:
                start += int(rng.integers(0, length - covered, endpoint=True))
            else:
                start += (length - covered if centred else length - 1) // 2
        indices += [(start + step * frame_stride) % num_frames for step in range(seglen)]
    return indices


def segment_moments(span: Span, seg_num: int) -> list[float]:
    """The middles of `seg_num` equal parts of a span, in seconds: where a source has times, and no numbers yet."""
    return [span.start_s + (segment + 0.5) * (span.end_s - span.start_s) / seg_num for segment in range(seg_num)]


def count_windows(video_end_s: float, windows: Windows) -> int:
    """How many windows a video has.

    The first window that reaches the video's end is the last; it is cut there, and left out if it is not the only one
    and less than half of window_s is left.
    """
    window_s, stride_s = windows
    rest_s = video_end_s - NEARLY_S

    def is_last(number: int) -> bool:
        return number * stride_s + window_s > rest_s or (number + 1) * stride_s >= rest_s

    last = max(int((rest_s - window_s) / stride_s), 0)  # but for the rounding
    while last and is_last(last - 1):
        last -= 1
    while not is_last(last):
        last += 1
    left_s = min(window_s, video_end_s - last * stride_s)
    return last + (not last or left_s > window_s / 2 - NEARLY_S)


class Cuts(Sequence):
    """The windows of a video, and their frames: those presented from a window's start to before its end.

    `count_windows` says which there are. A window in which no frame begins has the frame that is on the screen then.
    They are worked out when they are asked for: a long video has millions of short windows.

    Args:
        times_s: of all frames, ascending, from 0; at least one. The last frame lasts as long as frames do on average,
            an only one 1/25 second.
    """

    def __init__(self, times_s: Sequence[float], windows: Windows):
        self._times_s, self._windows = times_s, windows
        self._video_end_s = end_of_video(times_s[-1], len(times_s))
        self._count = count_windows(self._video_end_s, windows)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int | slice) -> Cut | list[Cut]:
        if isinstance(number, slice):
            return [self._cut(each) for each in range(self._count)[number]]
        return self._cut(range(self._count)[number])

    def _cut(self, number: int) -> Cut:
        start_s = number * self._windows.stride_s
        end_s = min(start_s + self._windows.window_s, self._video_end_s)
        first, last = (bisect_left(self._times_s, each - NEARLY_S) for each in (start_s, end_s))
        return Cut(Span(start_s, end_s), first if last > first else first - 1, max(last - first, 1))


def end_of_video(last_s: float, num_frames: int) -> float:
    """When the last frame ends, which begins at `last_s`; it lasts as long as frames do on average."""
    return last_s + (last_s / (num_frames - 1) if last_s else USUAL_STEP_S)
