"""Videos -> batches of clips, one of each window that slides over a video."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader.batches import (
    Batch,
    BatchBuilder,
    BatchReader,
    Clip,
    check_decoder,
    check_sizes,
    check_windows,
)
from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.video_list import Video
from video_zoo.datareader.window_reader import Chunk, Window, WindowReader, window_frames
from video_zoo.datareader.workers import Done, WorkerPool
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import usable_cores

__all__ = ["Window", "WindowReader", "WindowedReader", "window_frames"]

_WINDOWS_A_TASK = 8


class WindowedReader(BatchReader):
    """Batches of the windows of videos, in the order of the videos and of their windows.

    A long video is read by all processes; one that must be decoded from its start to its end (damaged, or of an
    unclear make), beyond its first windows by one. A video that cannot be read is named in the log and kept in
    `failures`; if that shows only on the way, its windows up to there are given. One that is damaged and used is kept
    in `damaged`. A batch may hold windows of several videos; the last one holds what is left.

    Args:
        config: INFER says the sizes of frames and batches; decode_timeout_s is for a task, of some windows.
        videos: their paths are meant as they are; the id of a clip is its video's path.
        window_s, stride_s: seconds; stride_s is from a window's start to the next one's, None: as window_s.

    Raises InputError: the sizes or times cannot be used, or MODEL.format is not mp4.
    """

    def __init__(self, config: Config, videos: Sequence[Video], window_s: float, stride_s: float | None = None):
        section, stride_s = config.INFER, window_s if stride_s is None else stride_s
        check_windows(config, window_s, stride_s)
        check_decoder("infer", section)
        check_sizes("infer", section)
        if not videos:
            raise InputError("no videos are given")
        super().__init__("infer", videos, section.max_bad_videos)
        self.batch_size = section.batch_size
        self._stride_s = stride_s
        self._count = min(_WINDOWS_A_TASK, section.buf_size)
        workers = min(section.num_reader_threads, usable_cores())
        self._ahead = max(min(2 * workers, section.buf_size // self._count), 1)
        clip = (config.seg_num("infer"), 3 * config.MODEL.seglen, section.target_size, section.target_size)
        self._shape = clip
        tasks = {"shape": (self._count, *clip), "timeout_s": section.decode_timeout_s}
        read = WindowReader(section, tasks["shape"], window_s, stride_s)
        self._pool = WorkerPool(read, workers, self._ahead, **tasks)
        self._in_order = WorkerPool(read, min(workers, 1), 1, **tasks)

    def close(self) -> None:
        """Ends the reader processes."""
        self._pool.close()
        self._in_order.close()

    def __iter__(self) -> Iterator[Batch]:
        """One pass over the videos."""
        self.failures, self.damaged = [], []
        batch = BatchBuilder(self.batch_size, self._shape)
        with contextlib.closing(self._windows()) as windows:
            for video, window, pixels in windows:
                batch.add(Clip(-1, video.path, span=tuple(window)), pixels)
                if len(batch) == self.batch_size:
                    yield batch.take(len(batch))
                    batch = BatchBuilder(self.batch_size, self._shape)
        if len(batch):
            yield batch.take(len(batch))

    def _windows(self) -> Iterator[tuple[Video, Window, np.ndarray]]:
        """All windows in order; the pixels are valid until the next one is taken."""
        schedule = _Schedule(self.videos, self._count, self._ahead if self._ahead > 1 else 0)
        early: dict[int, Done] = {}  # the first windows of videos whose turn has not come
        with contextlib.closing(self._pool.map(schedule)) as results:
            for done in results:
                index = schedule.taken()
                if index == schedule.turn:
                    yield from self._give(schedule, done)
                    while schedule.turn in early:
                        yield from self._give(schedule, early.pop(schedule.turn))
                elif index > schedule.turn:  # else the rest of a video that is through: it failed, or is read in order
                    size = 0 if isinstance(done.result, VideoError) else len(done.result.windows)
                    early[index] = done._replace(array=done.array[:size].copy())

    def _give(self, schedule: _Schedule, done: Done) -> Iterator[tuple[Video, Window, np.ndarray]]:
        """The windows of a task of the video whose turn it is, and what follows from it."""
        (video, first), chunk = done.task, done.result
        yield from self._take(video, first, chunk, done.array)
        if isinstance(chunk, VideoError):
            schedule.next_video()
            return
        behind = first + len(chunk.windows)
        if chunk.in_order and (chunk.total is None or behind < chunk.total):
            yield from self._rest_in_order(video, behind)
            schedule.next_video()
        elif behind >= chunk.total:
            self._note_end(video, chunk)
            schedule.next_video()
        else:
            schedule.go_on(chunk.total)

    def _rest_in_order(self, video: Video, first: int) -> Iterator[tuple[Video, Window, np.ndarray]]:
        while True:
            with contextlib.closing(self._in_order.map([(video, first)])) as results:
                for _, chunk, pixels in results:
                    yield from self._take(video, first, chunk, pixels)
            if isinstance(chunk, VideoError):
                return
            first += len(chunk.windows)
            if chunk.total is not None and first >= chunk.total:
                self._note_end(video, chunk)
                return

    def _take(
        self, video: Video, first: int, chunk: Chunk | VideoError, pixels: np.ndarray
    ) -> Iterator[tuple[Video, Window, np.ndarray]]:
        if isinstance(chunk, VideoError):
            self._note_failure(video, f"from {first * self._stride_s:.2f} s on: {chunk}" if first else str(chunk))
        else:
            yield from ((video, window, clip) for window, clip in zip(chunk.windows, pixels))

    def _note_end(self, video: Video, chunk: Chunk) -> None:
        if chunk.damage:
            self._note_damage(video, chunk.damage)


class _Schedule:
    """The tasks of a pass, (video, its first window): how many a video has shows when its first task is done.

    An iterator that is asked again after each result, as `WorkerPool.map` does it: it may have nothing now, and more
    later. The videos' first tasks are given out ahead, others only of the video whose turn it is.

    Args:
        count: windows a task.
        ahead: videos behind that one whose first task may be under way or done.
    """

    def __init__(self, videos: Sequence[Video], count: int, ahead: int):
        self._videos, self._count, self._ahead = videos, count, ahead
        self.turn = 0  # number of the video whose windows are wanted now
        self._begun = 0  # videos whose first task is given out
        self._rest: range = range(0)  # first windows of the turn's other tasks
        self._known = -1  # the last video whose other tasks are known
        self._given: deque[int] = deque()  # videos of the tasks that are under way

    def __iter__(self) -> Iterator[tuple[Video, int]]:
        return self

    def __next__(self) -> tuple[Video, int]:
        first = 0
        if self._rest:
            first, self._rest, number = self._rest[0], self._rest[1:], self.turn
        elif self._begun < min(len(self._videos), self.turn + 1 + self._ahead):
            number, self._begun = self._begun, self._begun + 1
        else:
            raise StopIteration
        self._given.append(number)
        return self._videos[number], first

    def taken(self) -> int:
        """The number of the video that the next result is of."""
        return self._given.popleft()

    def go_on(self, total: int) -> None:
        """The turn's video has so many windows. Known after its first task; later ones change nothing."""
        if self._known != self.turn:
            self._known, self._rest = self.turn, range(self._count, total, self._count)

    def next_video(self) -> None:
        """The turn's video is through."""
        self.turn, self._rest = self.turn + 1, range(0)
