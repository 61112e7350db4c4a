"""Frames of a live source - an address or a camera - as they come, and the windows they make."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple

import av
import cv2
import numpy as np

from video_zoo.datareader.decode import Frame, reason_of
from video_zoo.datareader.rgb import ToRGB
from video_zoo.datareader.sampling import NEARLY_S, USUAL_STEP_S, Span, Windows, segment_moments
from video_zoo.datareader.timeline import LONGEST_STEP_S, Timeline, stamp_of, timeline_of
from video_zoo.datareader.video_file import open_address, open_container, packets_of, video_stream
from video_zoo.datareader.views import View
from video_zoo.utils.log import logger


class SourceError(Exception):
    """A source that cannot be opened, or breaks off; the message says why."""


class Source(NamedTuple):
    """An open source. It may be iterated over once.

    Args:
        finite: it says how long it is, in time or in bytes, so it is no live one.
        timeline: for the stamps of its frames, which are in seconds.
        length_s: seconds, as far as it says.
    """

    frames: Iterator[Frame]
    close: Callable[[], None]
    finite: bool
    timeline: Timeline
    length_s: float | None = None


class Timing(NamedTuple):
    """Seconds that opening an address and reading on it may take, and between one try to reconnect and the next."""

    open_s: float = 10.0
    read_s: float = 10.0
    waits_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)


class Reconnects:
    """How often a source that broke off may be opened again, and when.

    Args:
        name: of the source, for the log.
        retries: tries to connect again without a frame between them.
        waits_s: before each of them.
    """

    def __init__(self, name: str, retries: int, waits_s: Sequence[float]):
        self.failure = ""  # why it was given up
        self._name, self._retries, self._waits_s = name, retries, waits_s
        self._tries = 0

    def wait_s(self, reason: str, got_frame: bool) -> float | None:
        """Seconds to the next try, which the log tells; None: it is given up.

        Args:
            got_frame: whether the connection that broke off gave any.
        """
        tries = 0 if got_frame else self._tries
        if tries == self._retries:
            self.failure = f"{reason}{f' (after {tries} tries to connect again)' if tries else ''}"
            return None
        wait_s = self._waits_s[min(tries, len(self._waits_s) - 1)]
        self._tries = tries + 1
        words = (self._name, reason, wait_s, self._tries, self._retries)
        logger.warning("%s: %s; connecting again in %g s (try %d of %d)", *words)
        return wait_s


def open_source(source: str | Path, open_s: float, read_s: float) -> Source:
    """Opens an address, the camera of a number, or a video file, which is a Path.

    Args:
        open_s, read_s: seconds that opening and reading on an address may take.

    Raises SourceError; so does iterating. That ends without an error only where the source says that it ends.
    """
    if isinstance(source, Path):
        return _open(partial(open_container, source.absolute()), file=True)
    return _open_camera(int(source)) if _is_camera(source) else _open(partial(open_address, source, open_s, read_s))


def _is_camera(source: str) -> bool:
    """Whether a source is the number of a camera."""
    return source.isascii() and source.isdigit()


def _open(open_it: Callable[[], Any], file: bool = False) -> Source:
    """The source of a container that FFmpeg opens."""
    try:
        container = open_it()
    except (av.FFmpegError, OSError, ValueError) as error:
        no_video = file and not isinstance(error, OSError)
        raise SourceError(reason_of(error) if no_video else _reason(error)) from error
    try:
        stream = video_stream(container)
    except ValueError as error:
        no_video = not container.streams.video
        container.close()
        raise SourceError("no video in it" if no_video else str(error)) from error
    finite = file or _is_finite(container)
    timeline = timeline_of(stream, unit_s=1, live=not finite)
    length = stream.duration * stream.time_base if stream.duration else Fraction(container.duration or 0, av.time_base)
    frames = _frames_of_address(container, stream)
    return Source(frames, container.close, finite, timeline, float(length) if length > 0 else None)


def _is_finite(container: Any) -> bool:
    """Whether the source says how long it is, in time or (not of a playlist, which is text) in bytes."""
    if container.duration and container.duration > 0:
        return True
    return not {"hls", "dash", "sdp", "rtsp"} & set(container.format.name.split(",")) and container.size > 0


def _frames_of_address(container: Any, stream: Any) -> Iterator[Frame]:
    to_rgb = ToRGB()
    try:
        for packet in packets_of(container, stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:  # a packet that got lost in part: a live stream goes on
                continue
            for frame in frames:
                stamp = stamp_of(frame, stream)
                yield None if stamp is None else float(stamp * stream.time_base), lambda frame=frame: to_rgb(frame)
    except (av.FFmpegError, ValueError) as error:
        raise SourceError(_reason(error)) from error


def _open_camera(number: int) -> Source:
    camera = cv2.VideoCapture(number)
    if not camera.isOpened():
        camera.release()
        raise SourceError("there is no such camera, or another program uses it")
    return Source(_frames_of_camera(camera), camera.release, False, Timeline(longest_s=LONGEST_STEP_S))


def _frames_of_camera(camera: Any) -> Iterator[Frame]:
    def to_rgb() -> np.ndarray:
        ok, image = camera.retrieve()
        if not ok:
            raise SourceError("the camera gives no image")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    while camera.grab():
        yield time.monotonic(), to_rgb
    raise SourceError("the camera gives no more images")


def _reason(error: Exception) -> str:
    """Without the address, which may hold a password."""
    if isinstance(error, av.error.ExitError):
        return "nothing came in time"
    return getattr(error, "strerror", None) or type(error).__name__


class Clock:
    """Seconds since a stream's first frame, over connections that break and time stamps that jump.

    A source that ends has the times of a file. Of a live one the monotonic clock says how long a jump or a break took.
    """

    def __init__(self, timeline: Timeline, finite: bool):
        self._timeline, self._finite = timeline, finite
        self._begin = self._moment = 0.0  # of the stream and of the last frame, by the monotonic clock
        self._broken = False  # since the last frame

    @property
    def now_s(self) -> float | None:
        """Of the latest frame."""
        return self._timeline.now_s

    @property
    def jumps(self) -> int:
        """How often the time stamps have jumped."""
        return self._timeline.jumps

    def reconnect(self) -> None:
        """A live source, which has gone on meanwhile, is opened again; of another one, no frame comes twice."""
        if not self._finite and self.now_s is not None:
            self._broken = True
            self._timeline.forget()

    def tell(self, stamp_s: float | None) -> bool:
        """Sets `now_s` for a frame. Returns whether it follows the last one without a break."""
        moment, last, broken, step_s = time.monotonic(), self.now_s, self._broken, None
        if last is None:
            self._begin = moment
        elif broken:
            step_s = max(moment - self._begin - last, USUAL_STEP_S)
        elif stamp_s is not None and not self._finite:
            step_s = max(moment - self._moment, USUAL_STEP_S)
        self._moment, self._broken = moment, False
        self._timeline.add(stamp_s, step_s)
        return self._finite or not broken and self.now_s - (last or 0.0) <= LONGEST_STEP_S


class LiveWindows:
    """Picks the frames of windows out of a stream.

    Windows begin at 0, stride_s, 2 * stride_s ... A window has `seg_num` moments, the middles of equal parts of it; of
    each, the first frame at or after it is taken, and the `seglen` - 1 that follow, frame_stride apart. A window is
    complete with the last of them. One in which no frame begins, or with a break in it, is left out.
    """

    def __init__(self, windows: Windows, view: View):
        self._windows, self._view = windows, view
        self._next = 0  # number of the first window that has not begun
        self._begun: dict[int, _LiveWindow] = {}  # by number

    def add(self, time_s: float, read: Callable[[], np.ndarray]) -> list[tuple[Span, np.ndarray]]:
        """Takes the next frame; returns the windows that are complete now.

        Args:
            read: makes the frame uint8 (3, H, W); it is called only if the frame is needed.

        Returns: windows with their clips, uint8 (T, 3, H, W).
        """
        late_s, (window_s, stride_s) = time_s + NEARLY_S, self._windows
        while self._next * stride_s <= late_s:
            start_s = self._next * stride_s
            if late_s < start_s + window_s:
                self._begun[self._next] = _LiveWindow(Span(start_s, start_s + window_s), self._view)
            self._next += 1
        frame, complete = None, []
        for number, window in list(self._begun.items()):
            for frames in window.wanting(late_s):
                frame = read() if frame is None else frame
                frames.append(frame)
            if window.is_complete:
                complete.append((window.span, np.stack(sum(window.frames, []))))
                del self._begun[number]
        return complete

    def break_off(self, time_s: float) -> None:
        """Leaves out the windows under way; the next one begins at this time or later."""
        self._begun.clear()
        self._next = max(self._next, int(np.ceil(time_s / self._windows.stride_s - NEARLY_S)))


class _LiveWindow:
    """A window of a stream that is under way."""

    def __init__(self, span: Span, view: View):
        self.span = span
        self.frames: list[list[np.ndarray]] = [[] for _ in range(view.seg_num)]  # of each moment so far
        self._view = view
        self._moments = segment_moments(span, view.seg_num)
        self._passed = [0] * view.seg_num  # frames at or after each moment so far

    @property
    def is_complete(self) -> bool:
        return all(len(frames) == self._view.seglen for frames in self.frames)

    def wanting(self, time_s: float) -> Iterator[list[np.ndarray]]:
        """The lists of `frames` that a frame of this time belongs into."""
        for place, (moment_s, frames) in enumerate(zip(self._moments, self.frames)):
            if moment_s <= time_s and len(frames) < self._view.seglen:
                if self._passed[place] % self._view.frame_stride == 0:
                    yield frames
                self._passed[place] += 1
