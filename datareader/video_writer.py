"""Writing a video file with FFmpeg: of frames that are made here, or frame by frame of another video."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Callable

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from video_zoo.datareader.rgb import is_turned, plain, upright
from video_zoo.datareader.timeline import stamp_of, timeline_of

_COLOURS = ("color_range", "colorspace", "color_primaries", "color_trc")


class VideoWriter:
    """A video file in the making, a context manager: leaving it without an error finishes the file.

    Args:
        path: its extension names the container, unless `file_format` does.
        size: (height, width) in px; yuv420p needs even ones.
        rate: frames a second.
        codec, options: the encoder and its options, as FFmpeg names them.
        time_base: of the frames' times, in seconds; None: 1 / rate.
        threads: of the encoder; with more than 1, some files differ from run to run. None: the encoder's choice.
        file_options: of the container.

    Raises OSError, ValueError or av.FFmpegError, as all methods: the file cannot be written or encoded so.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        rate: Fraction | int,
        *,
        codec: str = "libx264",
        options: Mapping[str, str] | None = None,
        pix_fmt: str = "yuv420p",
        time_base: Fraction | None = None,
        threads: int | None = None,
        file_format: str | None = None,
        file_options: Mapping[str, str] | None = None,
    ):
        self.container = av.open(str(path), "w", format=file_format, options=dict(file_options or {}))
        self.stream = self.container.add_stream(codec, rate=rate, options=dict(options or {}))
        self.stream.height, self.stream.width = size
        self.stream.pix_fmt = pix_fmt
        if threads is not None:
            self.stream.codec_context.thread_count = threads
        if time_base is not None:
            self.stream.codec_context.time_base = self.stream.time_base = time_base

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        try:
            if error is None:  # otherwise the muxer might crash: perhaps its head could not be written
                self.container.mux(self.stream.encode())
        finally:
            self.container.close()

    def add(self, frame: av.VideoFrame) -> None:
        """Encodes a frame; without a time of its own it follows the one before."""
        self.container.mux(self.stream.encode(frame))

    def add_pixels(self, pixels: np.ndarray, time: int | None = None) -> None:
        """Encodes uint8 RGB (H, W, 3); `time` is in units of the time base that was given."""
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        if time is not None:
            frame.pts, frame.time_base = time, self.stream.codec_context.time_base
        self.add(frame)


class Transcoder(VideoWriter):
    """H.264 in an mp4 that follows a source frame by frame: upright, in its colours and shape of pixels, at its times,
    which begin at 0 and go on where its clock jumps (timeline.py). The header comes first, so that a browser plays it
    before it has all of it. Its sound is `sound.Sound`'s.

    Args:
        stream: the source's, for its times and shape of pixels.
        frame: the first one.
        size: (width, height) in px of the frames before they are turned, even; None: the source's, rounded down.
        options: x264's.
    """

    def __init__(
        self,
        path: Path,
        stream: Any,
        frame: av.VideoFrame,
        options: Mapping[str, str],
        *,
        size: tuple[int, int] | None = None,
        threads: int | None = None,
    ):
        self._reformatter = VideoReformatter()
        self._size = size or (max(frame.width // 2 * 2, 2), max(frame.height // 2 * 2, 2))
        turned = is_turned(frame)
        self.size = self._size if turned else self._size[::-1]  # (height, width), upright
        self._source, self._time_base = stream, stream.time_base
        self._timeline = timeline_of(stream)
        self._latest: tuple[av.VideoFrame | None, int] = (None, -1)  # the frame asked for last, and its time
        super().__init__(
            path,
            self.size,
            stream.average_rate or stream.guessed_rate or Fraction(25),
            options=options,
            time_base=self._time_base,
            threads=threads,
            file_format="mp4",
            file_options={"movflags": "faststart"},
        )
        aspect = stream.sample_aspect_ratio  # the container's, or else the codec's
        if aspect and aspect > 0:
            self.stream.codec_context.sample_aspect_ratio = 1 / aspect if turned else aspect
        for name in _COLOURS:
            if hasattr(frame, name) and hasattr(self.stream.codec_context, name):
                setattr(self.stream.codec_context, name, getattr(frame, name))

    def time_s(self, frame: av.VideoFrame) -> float:
        """Of a frame that is not added yet, in seconds from the first one."""
        return float(self._time(frame) * self._time_base)

    def add(self, frame: av.VideoFrame, draw: Callable[[np.ndarray], None] | None = None) -> None:
        """Encodes a frame of the source. `draw` may change its pixels: yuv420p (3/2 H, W), upright."""
        time = self._time(frame)
        scaled = self._reformatter.reformat(plain(frame), *self._size, "yuv420p", interpolation="BICUBIC")
        pixels = scaled.to_ndarray()  # a copy: the decoder goes on with the frame
        planes = [upright(plane, frame) for plane in planes_of(pixels)]
        pixels = np.concatenate([plane.reshape(-1) for plane in planes]).reshape(-1, planes[0].shape[1])
        if draw is not None:
            draw(pixels)
        drawn = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
        drawn.pts, drawn.time_base = time, self._time_base
        drawn.pict_type = PictureType.NONE  # the encoder chooses, not the source
        super().add(drawn)

    @property
    def jumps(self) -> int:
        """How often the source's clock has jumped so far."""
        return self._timeline.jumps

    def _time(self, frame: av.VideoFrame) -> int:
        """In units of the time base, from 0, always rising. Each frame is asked for in its turn, once or twice."""
        latest, last = self._latest
        if frame is not latest:
            last = max(round(self._timeline.add(stamp_of(frame, self._source)) / self._time_base), last + 1)
            self._latest = frame, last
        return last


def planes_of(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y, U and V of a yuv420p picture (3/2 H, W), as views of it."""
    height, width = pixels.shape[0] * 2 // 3, pixels.shape[1]
    chroma = pixels[height:].reshape(2, height // 2, width // 2)
    return pixels[:height], chroma[0], chroma[1]
