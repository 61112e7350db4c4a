"""The windows of a video that is decoded once, as it comes over a network, by the rule of a file's windows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from functools import cache
from typing import Callable

import numpy as np

from video_zoo.datareader.sampling import NEARLY_S, Span, Windows, count_windows, end_of_video
from video_zoo.datareader.views import View

Read = Callable[[], np.ndarray]  # makes a frame uint8 (3, H, W)


class OnePassWindows:
    """Picks the frames of windows out of a video whose number of frames is not known yet.

    There are the windows of `sampling.Cuts`, and they have its frames where the number of frames in a window is within
    one of what the frame rate so far says; elsewhere, the nearest of those that were kept. In memory are, for each
    window under way, some clips.

    Args:
        step_s: from one frame to the next, before any has come.
        length_s: of the video, as far as it is known: where its last window is perhaps cut.
    """

    def __init__(self, windows: Windows, view: View, step_s: float, length_s: float | None):
        self._windows, self._view = windows, view
        self._step_s, self._length_s = step_s, length_s
        self._now_s, self._frames = 0.0, 0  # the latest frame's time, and how many there were
        self._next = 0  # number of the first window that has not begun
        self._begun: deque[_Window] = deque()
        self._latest: Read | None = None

    def add(self, time_s: float, read: Read) -> Iterator[tuple[Span, np.ndarray]]:
        """Takes the next frame, of a time that is not below the last one's; gives the windows that are complete now.

        Args:
            read: is called only if the frame is needed, perhaps as late as when the next frame is added.
        """
        read = cache(read)  # once for all windows
        while True:
            if self._begun and self._begun[0].span.end_s - NEARLY_S <= time_s:
                yield self._complete()
            elif self._next * self._windows.stride_s - NEARLY_S <= time_s:
                self._begin()
            else:
                break
        for window in self._begun:
            window.add(read)
        self._now_s, self._frames, self._latest = time_s, self._frames + 1, read

    def finish(self, end_s: float | None = None) -> Iterator[tuple[Span, np.ndarray]]:
        """The other windows, when there are no more frames: the video is cut at `end_s`, or ends with its last one."""
        if not self._frames:
            return
        if end_s is None:
            end_s = end_of_video(self._now_s, self._frames)
        count = count_windows(end_s, self._windows)
        while self._begun or self._next < count:
            if not self._begun:
                self._begin()
            number = self._next - len(self._begun)
            if number >= count:
                return
            yield self._complete(end_s)

    def _begin(self) -> None:
        start_s, (window_s, _) = self._next * self._windows.stride_s, self._windows
        step_s = self._now_s / (self._frames - 1) if self._now_s else self._step_s
        lengths_s = {window_s} | ({self._length_s - start_s} if self._length_s is not None else set())
        self._begun.append(_Window(Span(start_s, start_s + window_s), self._view, [s / step_s for s in lengths_s]))
        self._next += 1

    def _complete(self, end_s: float = math.inf) -> tuple[Span, np.ndarray]:
        """The oldest window under way. One in which no frame begins has the one that is on the screen."""
        window = self._begun.popleft()
        if not window.num_frames:
            window.add(self._latest)
        return Span(window.span.start_s, min(window.span.end_s, end_s)), window.clip()


class _Window:
    """A window that is under way.

    Args:
        expected: how many frames it may have, roughly.
    """

    def __init__(self, span: Span, view: View, expected: list[float]):
        self.span, self.num_frames = span, 0
        self._view = view
        counts = {max(math.ceil(count) + step, 1) for count in expected for step in (-2, -1, 0, 1)}
        self._wanted = {0}.union(*map(view.indices, counts))
        self._kept: dict[int, np.ndarray] = {}

    def add(self, read: Read) -> None:
        if self.num_frames in self._wanted:
            self._kept[self.num_frames] = read()
        self.num_frames += 1

    def clip(self) -> np.ndarray:
        """uint8 (T, 3, H, W)."""
        indices = self._view.indices(self.num_frames)
        return np.stack([self._kept[min(self._kept, key=lambda kept: abs(kept - index))] for index in indices])  # noqa: B023
