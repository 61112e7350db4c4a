"""The frames of a stream that a network follows frame by frame: chosen by their times; of a live one, the newest."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

from video_zoo.datareader.live import Clock, Reconnects, Source, SourceError, Timing, open_source
from video_zoo.datareader.pace import FrameRate, Pace
from video_zoo.datareader.stream import is_told
from video_zoo.datareader.timeline import LONGEST_STEP_S, describe_jumps
from video_zoo.utils.log import logger
from video_zoo.utils.texts import hide_secrets

LOOK_S = 0.2  # after which a wait looks around
_AHEAD = 2  # frames of a file that wait for the network
_MOST = 64  # frames of a live source that wait
_GRACE_S = 1.0  # for what is on its way when a stream is to end at duration_s

_TIMING = Timing()


class TakenFrame(NamedTuple):
    """A frame for the network.

    Args:
        time_s: since the stream's first frame.
        pixels: uint8 RGB (3, H, W), as the network takes it.
        picture: uint8 RGB (H, W, 3), as it came; None if nobody wants it.
        seconds: what capture (from the decoded frame to RGB) and preprocessing (scaling and cropping) took.
        ready: the monotonic clock when it began to wait for the network.
        lag_s: how much later it was ready than the stream's time says.
    """

    time_s: float
    pixels: np.ndarray
    picture: np.ndarray | None
    seconds: dict[str, float]
    ready: float
    lag_s: float = 0.0


class OnlineFrames:
    """The frames of one source, taken at a rate of their own.

    Each connection has a thread that reads; `watch`, which the caller calls again and again, looks after it: where a
    connection breaks off, or gives no frame for `timing.read_s` seconds, the source is opened again, and a thread that
    hangs in a read is left behind. A live source never waits for the network: where a frame has waited longer, by more
    than 0.25 s, than the longest of the latest gaps in which the source gave none, the newest is next, and those before
    it are counted in `left`. So frames that come in bursts, as those of HLS, are not left out. Where the thread itself
    is so far behind its source, as scaling takes too long, frames are left out unmade, and counted, until it has to
    wait for one. A source that ends, as a file, waits for the network.

    Args:
        source: an address, the number of a camera, or a video file, which is a Path.
        transform: uint8 RGB (H, W, 3) -> uint8 (3, target_size, target_size).
        fps: frames a second that are taken, at most.
        changed: is notified when there is something to take.
        duration_s: ends the stream so long after its first frame; None: it goes on.
        keep_pictures: whether frames come with their pictures.
        retries: tries to connect again without a frame between them; a file is opened once.
    """

    def __init__(
        self,
        source: str | Path,
        transform: Callable[[np.ndarray], np.ndarray],
        fps: float,
        changed: threading.Condition,
        *,
        duration_s: float | None = None,
        keep_pictures: bool = False,
        retries: int = 5,
        timing: Timing = _TIMING,
    ):
        self.name = hide_secrets(str(source))
        self.left = self.taken = 0
        self.ended = False  # nothing comes behind what waits
        self.failure: str | None = None  # why it ended too early
        self._source, self._transform, self._changed, self._timing = source, transform, changed, timing
        self._rate, self._keep_pictures = FrameRate(fps), keep_pictures
        self._duration_s = math.inf if duration_s is None else duration_s
        self._reconnects = Reconnects(self.name, 0 if isinstance(source, Path) else retries, timing.waits_s)
        self._items: deque[TakenFrame | None] = deque()  # None: a break
        self._clock: Clock | None = None
        self._finite = isinstance(source, Path)
        self._stamped = False  # whether a frame had a time stamp
        self._jumps = self._frames = 0  # of the clock, and of a source that ends, so far
        self._began = math.inf  # the monotonic clock at the first frame
        self._pace = Pace()
        self._size: tuple[int, int] | None = None
        self._connection: _Connection | None = None
        self._watched = 0.0  # the monotonic clock when `watch` was called last
        self._next_try = 0.0  # the monotonic clock when the next thread starts

    @property
    def is_live(self) -> bool:
        """Whether it goes on while nobody looks. An address says so when it is open."""
        return not self._finite

    def watch(self) -> None:
        """Starts what is to be started, and notices what has ended or hangs."""
        now = time.monotonic()
        with self._changed:
            connection = self._connection
            if connection is not None and now - self._watched > self._timing.read_s:
                connection.heard = now  # this process was stopped, as by Ctrl-Z: what came meanwhile is not known yet
            self._watched = now
            if self.ended:
                return
            if self.is_live and now - self._began > self._duration_s + _GRACE_S:
                self._end()
            elif connection is None:
                if now >= self._next_try:
                    self._connection = _Connection(self)
            elif connection.error is not None:
                raise connection.error
            elif connection.is_done:
                self._lose(connection.reason)
            elif now - connection.heard > self._timing.read_s and (self.is_live or len(self._items) < _AHEAD):
                self._lose(f"no frame for {self._timing.read_s:g} s")

    def take(self) -> TakenFrame | None:
        """The frame that waits, if one does and no break comes before it."""
        with self._changed:
            if not self._items or self._items[0] is None:
                return None
            if self.is_live and self._pace.is_late(self._items[0].ready) and self._skip():
                return None
            self.taken += 1
            if self._connection is not None and not self.is_live:
                self._connection.heard = time.monotonic()  # it may have waited for room
            self._changed.notify_all()
            return self._items.popleft()

    def broke(self) -> bool:
        """Whether the stream broke off behind the last frame that was taken; says so once a break."""
        with self._changed:
            broken = bool(self._items) and self._items[0] is None
            if broken:
                self._items.popleft()
            return broken

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to take; with `changed` held."""
        return bool(self._items)

    def close(self) -> None:
        """Ends the stream, without waiting for what a thread is doing."""
        with self._changed:
            if not self.ended:
                self._end()
            self._items.clear()

    def _skip(self) -> bool:
        """Leaves out the frames that wait, but for the newest. Returns whether a break is before that."""
        items = list(self._items)
        newest = max(place for place, item in enumerate(items) if item is not None)
        before = items[:newest]
        broken = None in before
        self.left += len(before) - before.count(None)
        self._items = deque([*[None] * broken, *items[newest:]])
        return broken

    def _end(self, failure: str | None = None) -> None:
        self.ended, self.failure, self._connection = True, failure, None
        self._changed.notify_all()

    def _lose(self, reason: str | None) -> None:
        """A connection is over: with a reason, it broke off."""
        got_frame = self._connection.got_frame
        self._connection = None  # its thread sees that it is not wanted any more
        wait_s = None if reason is None else self._reconnects.wait_s(reason, got_frame)
        if wait_s is None:
            self._end(self._reconnects.failure if reason else None)
            return
        self._next_try = time.monotonic() + wait_s
        if self._clock is not None:
            self._clock.reconnect()
            if self.is_live:
                self._break()

    def _break(self) -> None:
        self._pace.begin()
        if not self._items or self._items[-1] is not None:
            self._items.append(None)
            self._changed.notify_all()

    def _begin(self, source: Source) -> None:
        """What the first connection says of the source holds for all."""
        if self._clock is None:
            self._finite, self._clock = source.finite, Clock(source.timeline, source.finite)

    def _hear(self, stamp_s: float | None, waited_s: float | None) -> float | None:
        """Notes the next frame's time stamp, and how long its thread waited for it, unless it is the first one of a
        connection; its time if it is taken."""
        last = self._clock.now_s
        if stamp_s is not None:
            self._stamped = True
        elif not self._stamped:  # where others have a stamp, one without it follows the last one after the usual step
            if self._finite:
                raise SourceError("its frames have no times; put it into a container that has them, as mp4")
            stamp_s = time.monotonic()  # they come as they are made
        unbroken = self._clock.tell(stamp_s)
        now_s = self._clock.now_s
        if last is None:
            self._began = time.monotonic()
            logger.info("%s: the first frame", self.name)
        elif not unbroken or self._clock.jumps > self._jumps or now_s - last > LONGEST_STEP_S:
            self._break()
            waited_s = None
        if (jumps := self._clock.jumps) > self._jumps and is_told(jumps):
            logger.warning("%s: %s", self.name, describe_jumps(jumps))
        self._jumps = jumps
        self._pace.add(now_s, now_s - (last or 0.0), waited_s)
        if not self._rate.takes(now_s):
            return None
        if self.is_live and self._pace.is_behind:
            self.left += 1
            return None
        return now_s

    def _make(self, time_s: float, to_rgb: Callable[[], np.ndarray]) -> TakenFrame:
        start = time.monotonic()
        picture = to_rgb()
        captured = time.monotonic()
        if self._size not in (None, picture.shape[:2]):
            words = (self.name, *self._size[::-1], *picture.shape[1::-1])
            logger.warning("%s: its frames were %d x %d, and are %d x %d from here on; they are scaled", *words)
        self._size = picture.shape[:2]
        pixels = self._transform(picture)
        ready = time.monotonic()
        seconds = {"capture": captured - start, "preprocess": ready - captured}
        return TakenFrame(time_s, pixels, picture if self._keep_pictures else None, seconds, ready)

    def _put(self, frame: TakenFrame, connection: _Connection) -> None:
        """Hands a frame over; of a file, when there is room for it. With `changed` held."""
        while self._finite and len(self._items) >= _AHEAD and self._connection is connection:
            self._changed.wait(LOOK_S)
        if self._connection is not connection:
            return
        connection.heard = time.monotonic()
        self._items.append(frame._replace(lag_s=self._pace.lag_s(frame.ready, frame.time_s)))
        if self.is_live and len(self._items) > _MOST:
            self._skip()
        self._changed.notify_all()


class _Connection:
    """A thread that opens a source and reads it until it ends, breaks off or is not wanted any more."""

    def __init__(self, frames: OnlineFrames):
        self.heard = time.monotonic()  # when there was a sign of the source
        self.got_frame = self.is_done = False
        self.reason: str | None = None  # why it broke off
        self.error: BaseException | None = None  # what the caller is to raise
        self._frames = frames
        threading.Thread(target=self._run, name=f"stream {frames.name}", daemon=True).start()

    def _run(self) -> None:
        frames = self._frames
        try:
            source = open_source(frames._source, frames._timing.open_s, frames._timing.read_s)
            try:
                self._read(source)
            finally:
                source.close()
        except SourceError as error:
            self.reason = str(error)
        except BaseException as error:
            self.error = error
        finally:
            with frames._changed:
                self.is_done = True
                frames._changed.notify_all()

    def _read(self, source: Source) -> None:
        """Raises SourceError if a source breaks off."""
        frames = self._frames
        with frames._changed:
            if frames._connection is not self:
                return
            frames._begin(source)
            self.heard, known = time.monotonic(), frames._frames
        asked: float | None = None  # the monotonic clock when the thread was ready for the next frame
        for number, (stamp_s, to_rgb) in enumerate(source.frames, 1):
            with frames._changed:
                if frames._connection is not self:
                    return
                self.heard = came = time.monotonic()
                if source.finite and number <= known:  # it begins anew: this one was read before it broke off
                    continue
                self.got_frame, frames._frames = True, number
                time_s = frames._hear(stamp_s, came - asked if asked else None)
                if frames._clock.now_s >= frames._duration_s:
                    return
            if time_s is not None:
                taken = frames._make(time_s, to_rgb)
                with frames._changed:
                    frames._put(taken, self)
            asked = time.monotonic()
        if not source.finite:
            raise SourceError("the stream ended")
