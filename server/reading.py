"""Visitors' videos, read by a process of its own: a file that makes a decoder crash or hang ends that process alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader.clip_reader import Chunk, ClipReader
from video_zoo.datareader.decode import VideoError, decode_video, open_video
from video_zoo.datareader.sampling import Windows, end_of_video
from video_zoo.datareader.video_list import Video
from video_zoo.datareader.views import views_of
from video_zoo.datareader.workers import SettingNames, Task, WorkerPool
from video_zoo.engine.page import film_strip

MOST_PIXELS = 8192 * 4352  # of a frame
WINDOWS_AT_ONCE = 4
_NO_PROCESSES = "infer.py --set INFER.num_reader_threads=0"  # what messages say; a server cannot do without
_STRIP_S = 30.0  # that a strip may take
_ROW_FRAMES, _ROW_HEIGHT = 4, 180  # of each of a strip's two rows of frames; px
_PICTURES = ("_pipe", "image2")  # FFmpeg's formats of single pictures


class VideoFacts(NamedTuple):
    """A video: seconds, frames, and its size in pixels."""

    duration_s: float
    frames: int
    width: int
    height: int


class VideoSource:
    """Reads videos in a process that stays. One thread may use it.

    Args:
        settings: INFER says how clips are made.
        transform: a name of transforms.TRANSFORMS.
    """

    def __init__(self, settings: Config, transform: str):
        self._closed = False
        settings = replace(settings, MODEL=replace(settings.MODEL, format="mp4"))
        self._pool = WorkerPool(
            _Reading(settings, transform),
            1,
            1,
            shape=(WINDOWS_AT_ONCE, *settings.clip_shape("infer")),
            timeout_s=settings.INFER.decode_timeout_s,
            settings=SettingNames(_NO_PROCESSES, "INFER.decode_timeout_s"),
        )

    def describe(self, path: Path) -> VideoFacts:
        """Opens a file. Raises VideoError: it is no video."""
        return _call(self._pool, path, None, -1)[0]

    def read(self, path: Path, windows: Windows | None, first: int) -> tuple[Chunk, np.ndarray]:
        """Some windows from number `first` on, or the whole video, with their clips, uint8 (n, T, 3, H, W), which are
        valid until the next call. Raises VideoError."""
        chunk, clips = _call(self._pool, path, windows, first)
        return chunk, clips[: len(chunk.samples)]

    def forget(self) -> None:
        """Closes the file of the last call."""
        if not self._closed:
            _call(self._pool, None, None, -1)

    def close(self) -> None:
        """Ends the process, also in the middle of a call of another thread."""
        self._closed = True
        self._pool.close()


class StripSource:
    """Draws strips of videos in a process that stays. One thread may use it."""

    def __init__(self) -> None:
        names = SettingNames(_NO_PROCESSES, "a strip may")
        self._pool = WorkerPool(_draw_strip, 1, 1, timeout_s=_STRIP_S, settings=names)

    def read(self, path: Path, span: tuple[float, float] | None) -> bytes:
        """A JPEG of two rows of four frames, evenly spaced, of a video or a part, in seconds. Raises VideoError."""
        return _call(self._pool, path, span)[0]

    def close(self) -> None:
        """Ends the process, also in the middle of a call of another thread."""
        self._pool.close()


def _call(pool: WorkerPool, *args: Any) -> tuple[Any, np.ndarray | None]:
    (done,) = pool.run([Task(args, (0,))])
    if isinstance(done.result, VideoError):
        raise done.result
    return done.result, done.array


class _Reading:
    """What the process does."""

    def __init__(self, settings: Config, transform: str):
        self._settings, self._views = settings, views_of(settings, "infer", transform)
        self._key: tuple[Path, Windows | None] | None = None
        self._reader: ClipReader | None = None

    def __call__(self, path: Path | None, windows: Windows | None, first: int, clips: np.ndarray) -> Any:
        if first < 0:
            self._key = self._reader = None  # which closes its file
            return None if path is None else describe_video(path)
        if self._key != (path, windows):
            settings = self._settings
            parts = (settings.MODEL, settings.INFER, self._views, Path(), settings.TRAIN.seed, windows)
            self._key, self._reader = (path, windows), ClipReader(*parts)
        return self._reader(Video(str(path), None, 1), 0, first, clips if windows else clips[: len(self._views)])


def describe_video(path: Path) -> VideoFacts:
    """What a file's packets say, without decoding it. Raises VideoError: it is no video."""
    try:
        with open_video(path) as video:
            if video.container.format.name.endswith(_PICTURES):
                raise VideoError("it is a picture, and no video")
            times_s, context = video.times()[0], video.context
            if not times_s:
                raise VideoError("it has no frames")
            return VideoFacts(end_of_video(times_s[-1], len(times_s)), len(times_s), context.width, context.height)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise VideoError("it is no video, or it is damaged") from error


def _draw_strip(path: Path, span: tuple[float, float] | None) -> bytes:
    """A JPEG of two rows of four frames, evenly spaced, of a video or of a part of it. Raises VideoError."""

    def choose(count: int) -> list[int]:
        inside = range(count)
        if times_s:
            inside = [n for n in inside if n < len(times_s) and span[0] <= times_s[n] < span[1]] or [count - 1]
        places = (np.arange(2 * _ROW_FRAMES) + 0.5) * len(inside) / (2 * _ROW_FRAMES)
        return [inside[int(place)] for place in places]

    try:
        with open_video(path) as video:
            width, height = video.context.width, video.context.height
            if width * height > MOST_PIXELS:
                raise VideoError(f"its frames are {width} x {height} px, which is too large")
            times_s = video.times()[0] if span else []
        frames = np.stack(decode_video(path, choose).frames).transpose(0, 3, 1, 2)  # (8, H, W, 3) -> (8, 3, H, W)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(error.strerror or str(error)) from error
    pairs = np.concatenate([frames[:_ROW_FRAMES], frames[_ROW_FRAMES:]], axis=2)  # (4, 3, 2 H, W)
    return film_strip(pairs, 2 * _ROW_HEIGHT)
