"""Streams with what is recognised drawn into them: as videos, and in a window."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

from video_zoo.datareader.video_writer import VideoWriter
from video_zoo.engine.annotate import targets_in
from video_zoo.engine.overlay import CLASSES, Overlay
from video_zoo.engine.results import top_classes
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_path

if TYPE_CHECKING:
    from video_zoo.datareader.online_frames import OnlineFrames

_TIME_BASE = Fraction(1, 1000)  # of the videos, in seconds
_OPTIONS = {"crf": "23", "preset": "veryfast"}  # x264's
_END_KEYS = (27, ord("q"))  # Escape


def draw_label(
    picture: np.ndarray, probabilities: np.ndarray, names: Sequence[str], event: tuple[int, float] | None
) -> np.ndarray:
    """The most probable classes in a picture's upper left corner; of an event that is under way, also its start.

    Args:
        picture: uint8 RGB (H, W, 3); an odd row or column is left out.
        probabilities: (classes,), smoothed.
        names: of the classes.
        event: the class and the start of the one under way.

    Returns: yuv420p, uint8 (3/2 H, W).
    """
    height, width = (max(side // 2 * 2, 2) for side in picture.shape[:2])
    pixels = cv2.cvtColor(np.ascontiguousarray(picture[:height, :width]), cv2.COLOR_RGB2YUV_I420)
    if event is not None:
        label, start_s = event
        names = list(names)
        names[label] = f"{names[label]} (since {start_s:.1f} s)"
    Overlay.of(top_classes("", probabilities, CLASSES), names, height, width).blend(pixels)
    return pixels


class StreamVideos:
    """The annotated videos of streams: H.264 in an mp4 each, of the frames that the network was given, at their times.
    A context manager: a video has its name when it is left, also after an error.

    Args:
        targets: the name of each stream -> its video.
        fps: that the frames have, at most.
    """

    def __init__(self, targets: Mapping[str, Path], fps: float):
        self.written: list[Path] = []
        self._targets, self._rate = targets, Fraction(fps).limit_denominator(1000)
        self._files: dict[str, contextlib.ExitStack] = {}
        self._writers: dict[str, tuple[VideoWriter, tuple[int, int]]] = {}
        self._last: dict[str, int] = {}  # time of the latest frame

    def __enter__(self) -> StreamVideos:
        return self

    def __exit__(self, *error: object) -> None:
        failures = {}
        for stream, files in self._files.items():
            try:
                files.close()
                self.written.append(self._targets[stream])
            except (OSError, ValueError, av.FFmpegError) as failure:
                failures[stream] = failure
        for stream, failure in failures.items():
            raise _cannot_write(self._targets[stream], failure) from failure

    def add(self, stream: str, time_s: float, pixels: np.ndarray) -> None:
        """Adds a frame, yuv420p (3/2 H, W), scaled to the size of the first one. Raises InputError."""
        try:
            if stream not in self._writers:
                self._writers[stream] = self._begin(stream, (pixels.shape[0] * 2 // 3, pixels.shape[1]))
            writer, size = self._writers[stream]
            if pixels.shape != (size[0] * 3 // 2, size[1]):
                rgb = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_YUV2RGB_I420), size[::-1])
                pixels = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
            frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            self._last[stream] = max(round(time_s / _TIME_BASE), self._last.get(stream, -1) + 1)
            frame.pts, frame.time_base = self._last[stream], _TIME_BASE
            writer.add(frame)
        except (OSError, ValueError, av.FFmpegError) as error:
            raise _cannot_write(self._targets[stream], error) from error

    def _begin(self, stream: str, size: tuple[int, int]) -> tuple[VideoWriter, tuple[int, int]]:
        files = self._files[stream] = contextlib.ExitStack()
        temporary = files.enter_context(atomic_path(self._targets[stream]))
        writer = VideoWriter(
            temporary, size, max(self._rate, 1), options=_OPTIONS, time_base=_TIME_BASE, file_format="mp4"
        )
        return files.enter_context(writer), size


def _cannot_write(path: Path, error: Exception) -> InputError:
    return InputError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}")


class Window:
    """A window a stream on the screen; a context manager.

    Raises InputError, on entering: this OpenCV has no windows, or there is no screen.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()

    def __enter__(self) -> Window:
        screen = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        headless = re.search(r"GUI:\s+NONE", cv2.getBuildInformation()) is not None
        if headless or not screen:
            why = "this OpenCV has no windows (opencv-python has, opencv-python-headless has not)"
            raise InputError(
                f"--show: {why if headless else 'there is no screen (DISPLAY is not set)'}; --save_video=DIR makes"
                " videos instead"
            )
        return self

    def __exit__(self, *error: object) -> None:
        if self._names:
            cv2.destroyAllWindows()

    def show(self, stream: str, pixels: np.ndarray) -> None:
        """Shows a picture, yuv420p (3/2 H, W)."""
        self._names.add(stream)
        cv2.imshow(stream, cv2.cvtColor(pixels, cv2.COLOR_YUV2BGR_I420))

    def is_closed(self) -> bool:
        """Lets the windows react; whether the user has pressed q or Escape in one of them."""
        return bool(self._names) and cv2.waitKey(1) in _END_KEYS


def open_pictures(
    stack: contextlib.ExitStack,
    sources: Sequence[OnlineFrames],
    files: Sequence[str],
    fps: float,
    save_video: str | None,
    show: bool,
) -> tuple[StreamVideos | None, Window | None]:
    """What shows the streams, as far as it is asked for; the stack closes it.

    Args:
        files: paths that must not be written over.
        fps: of the videos.
        save_video: their folder.

    Raises InputError: a video would be written over, or there is no screen.
    """
    videos = None
    if save_video:
        stems = {
            each.name: (re.sub(r"[^\w.-]+", "_", each.name) if each.is_live else Path(each.name).stem)
            for each in sources
        }
        videos = stack.enter_context(StreamVideos(targets_in(save_video, stems, files), fps))
    return videos, stack.enter_context(Window()) if show else None
