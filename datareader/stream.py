"""A live source -> batches of one clip, one of each window that slides over it."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader.batches import Batch, Failure
from video_zoo.datareader.checks import check_memory, check_sizes, check_windows
from video_zoo.datareader.live import Clock, LiveWindows, Reconnects, Source, SourceError, Timing, open_source
from video_zoo.datareader.one_pass_windows import OnePassWindows
from video_zoo.datareader.sampling import Span, Windows
from video_zoo.datareader.timeline import describe_jumps
from video_zoo.datareader.video_list import Video
from video_zoo.datareader.views import View
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger
from video_zoo.utils.texts import hide_secrets

_QUEUED = 2  # complete windows that wait for the network
_LOOK_S = 0.2  # after which a wait looks around
_GRACE_S = 1.0  # for the frames that a window which ends at duration_s still needs


_TIMING = Timing()


class StreamReader:
    """Batches of one clip each, of the windows of a live source; one pass.

    A thread reads the source, and keeps what windows need. Where the network is slower than the stream, the oldest
    complete windows are dropped, and counted in `dropped`: a live answer is about what happens now. A source that says
    how long it is, as a file of a web server, is no live one: it waits for the network, has the windows of the file
    (one_pass_windows.py), and ends at its end. When a source breaks off, it is opened again; windows of a live one with
    the break in them are left out. When that fails `retries` times in a row, the pass ends, and `failures` says so.

    Args:
        settings: the whole config; INFER says the sizes of frames.
        source: an address, or the number of a camera; without its password and keys it is the id of all clips.
        duration_s: ends the stream so long after its first frame; None: it goes on.
        retries: tries to connect again without a frame between them.

    Raises InputError: the sizes or times cannot be used, or MODEL.format is not mp4.
    """

    def __init__(
        self,
        settings: Config,
        source: str,
        windows: Windows,
        transform: str = "center_crop",
        *,
        duration_s: float | None = None,
        retries: int = 5,
        timing: Timing = _TIMING,
    ):
        check_windows(settings, windows)
        check_sizes("infer", settings.INFER)
        if duration_s is not None and not 0 < duration_s < math.inf:
            raise InputError(f"a duration of {duration_s:g} seconds; it must be longer than 0, as 60")
        self.source, self.name = source, hide_secrets(source)
        self.failures: list[Failure] = []
        self.damaged: list[Failure] = []
        self.dropped = 0
        self._duration_s = math.inf if duration_s is None else duration_s
        self._reconnects, self._timing = Reconnects(self.name, retries, timing.waits_s), timing
        self._view = View.of(settings, "infer", transform)
        what = f"windows of {windows.window_s:g} seconds, one every {windows.stride_s:g}"
        # Those that wait, the one that the network has, and those that have begun.
        clips = _QUEUED + 1 + math.ceil(windows.window_s / windows.stride_s)
        check_memory(what, clips, settings.clip_shape("infer"), "A longer stride")
        self._spans = windows
        self._windows: LiveWindows | OnePassWindows | None = None  # until the source is open
        self._clock: Clock | None = None
        self._frames = self._jumps = 0  # of a source that ends, and of its clock, so far
        self._since = math.inf  # the monotonic clock at the start, then at the first frame
        self._got_frame = self._finite = self._ended = False  # the first: on this connection
        self._complete: deque[tuple[Span, np.ndarray]] = deque()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, name=f"stream {self.name}", daemon=True)

    def __len__(self) -> int:
        """One source."""
        return 1

    def __enter__(self) -> StreamReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the stream, without waiting for what the thread is doing."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(_LOOK_S)

    def __iter__(self) -> Iterator[Batch]:
        """The only pass. Raises RuntimeError if it is not the first."""
        self._since = time.monotonic()
        self._thread.start()
        try:
            while (item := self._next()) is not None:
                span, clip = item
                yield Batch(clip[None], np.full(1, -1, np.int64), [self.name], 1, (span,))
            if self._error is not None:
                raise self._error
        finally:
            self.close()

    def check_failures(self) -> None:
        """Raises InputError if the source broke off, or could not be opened."""
        for failure in self.failures:
            raise InputError(f"{self.name}: {failure.reason}")

    def report_failures(self) -> None:
        """Logs how many windows were dropped, and why the stream ended if it was not meant to."""
        if self.dropped:
            logger.warning(
                "%s: the network was slower than the stream: %d windows were dropped", self.name, self.dropped
            )
        for failure in self.failures:
            logger.warning("%s: %s", self.name, failure.reason)

    def _next(self) -> tuple[Span, np.ndarray] | None:
        """The oldest complete window; None at the end."""
        with self._changed:
            while not self._complete:
                overdue = time.monotonic() - self._since > self._duration_s + _GRACE_S  # nothing comes any more
                if self._ended or self._stop.is_set() or overdue and not self._finite:
                    return None
                self._changed.wait(_LOOK_S)  # not longer: on some systems Ctrl-C waits for it
            item = self._complete.popleft()
            self._changed.notify_all()
            return item

    def _read(self) -> None:
        """What the thread does."""
        try:
            while (reason := self._connect()) is not None:
                wait_s = self._reconnects.wait_s(reason, self._got_frame)
                if wait_s is None:
                    self.failures.append(Failure(Video(self.name, None, 1), self._reconnects.failure))
                    break
                if self._stop.wait(wait_s):
                    break
        except Exception as error:  # the other thread raises it
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _connect(self) -> str | None:
        """Reads until the source ends (None) or breaks off (the reason)."""
        self._got_frame, transformed = False, self._view.transformed
        try:
            source = open_source(self.source, self._timing.open_s, self._timing.read_s)
        except SourceError as error:
            return None if self._stop.is_set() else str(error)
        try:
            self._begin(source)
            known = self._frames  # of a source that begins anew, those that were read before it broke off
            end_s = None
            for number, (stamp_s, to_rgb) in enumerate(source.frames, 1):
                if self._stop.is_set():
                    return None
                if self._finite and number <= known:
                    continue
                self._frames = number
                first = self._clock.now_s is None
                unbroken = self._clock.tell(stamp_s)
                self._report_jumps()
                if first:
                    self._since = time.monotonic()
                elif not unbroken:
                    self._windows.break_off(self._clock.now_s)
                self._got_frame = True
                if self._finite and self._clock.now_s >= self._duration_s:
                    end_s = self._duration_s
                    break
                for span, clip in self._windows.add(self._clock.now_s, lambda to_rgb=to_rgb: transformed(to_rgb())):
                    self._give(span, clip)
                if self._clock.now_s >= self._duration_s:
                    return None
            if self._finite:
                for span, clip in self._windows.finish(end_s):
                    self._give(span, clip)
        except SourceError as error:
            return None if self._stop.is_set() else str(error)
        finally:
            source.close()
        return None if self._finite or self._stop.is_set() else "the stream ended"

    def _begin(self, source: Source) -> None:
        """What the first connection says of the source holds for all."""
        if self._clock is not None:
            self._clock.reconnect()
            return
        self._finite, self._clock = source.finite, Clock(source.timeline, source.finite)
        if source.finite:
            self._windows = OnePassWindows(self._spans, self._view, source.timeline.step_s, source.length_s)
        else:
            self._windows = LiveWindows(self._spans, self._view)

    def _report_jumps(self) -> None:
        if (jumps := self._clock.jumps) > self._jumps and is_told(jumps):
            logger.warning("%s: %s", self.name, describe_jumps(jumps))
        self._jumps = jumps

    def _give(self, span: Span, clip: np.ndarray) -> None:
        with self._changed:
            while self._finite and len(self._complete) == _QUEUED and not self._stop.is_set():
                self._changed.wait(_LOOK_S)
            if len(self._complete) == _QUEUED:
                self._complete.popleft()
                self.dropped += 1
                if is_told(self.dropped):
                    logger.warning(
                        "%s: the network is slower than the stream: dropped so far: %d", self.name, self.dropped
                    )
            self._complete.append((span, clip))
            self._changed.notify_all()


def is_told(count: int) -> bool:
    """Whether the log says that something has happened so often by now."""
    return count in (1, 10) or count % 100 == 0
