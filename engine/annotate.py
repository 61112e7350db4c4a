"""Videos with the most probable classes drawn into them."""

from __future__ import annotations

import contextlib
import errno
import glob
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from video_zoo.engine.overlay import Overlay, planes_of
from video_zoo.engine.results import Prediction
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import remove_leftovers
from video_zoo.utils.log import heartbeat, logger

_OPTIONS = {"crf": "20", "preset": "veryfast"}  # x264's
_COLOURS = ("color_range", "colorspace", "color_primaries", "color_trc")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


class AnnotateError(InputError):
    """One video that cannot be annotated; others can."""


def plan(videos: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Where each video's annotated one goes: FOLDER/STEM.mp4, or STEM_2.mp4 ... where two have the same name.

    Args:
        videos: id -> file, all of a list, so that a resumed pass gives the same names.

    Raises InputError if one of the videos is there itself.
    """
    targets: dict[str, Path] = {}
    for video_id, source in videos.items():
        target, number = folder / f"{source.stem}.mp4", 1
        while target in targets.values():
            number += 1
            target = target.with_name(f"{source.stem}_{number}.mp4")
        targets[video_id] = target
    sources = {os.path.realpath(source) for source in videos.values()}
    for target in targets.values():
        if os.path.realpath(target) in sources:
            raise InputError(f"{target} is one of the videos; choose another folder for annotated ones")
    return targets


def annotate_all(
    predictions: Iterable[Prediction], videos: Mapping[str, Path], targets: Mapping[str, Path], names: Sequence[str]
) -> list[str]:
    """Annotates each video of the predictions, which come video by video, one after the other.

    Args:
        videos, targets: by id. One whose target is left out is not wanted.

    Returns what is wrong with those that cannot be annotated. Raises InputError: there is no room.
    """
    failures, made = [], set()
    for video_id, rows in itertools.groupby(predictions, key=lambda row: row.video_id):
        target = targets.get(video_id)
        if target is None or target in made:
            continue
        made.add(target)
        try:
            with heartbeat(f"annotating {target}"):
                damage = annotate(videos[video_id], target, list(rows), names)
            logger.info("annotated: %s%s", target, f", up to the damage: {damage}" if damage else "")
        except AnnotateError as error:  # one video's trouble, not the run's
            logger.warning("not annotated: %s", error)
            failures.append(str(error))
    return failures


def annotate(source: Path, target: Path, predictions: Sequence[Prediction], names: Sequence[str]) -> str | None:
    """Writes a video with the three most probable classes in its upper left corner, while a prediction's span lasts.

    Where spans overlap, the one that began last is shown; a prediction without a span is shown all the time. The
    video is H.264 in an mp4, upright, with the source's times, without its sound; sides are rounded down to even ones.
    It has its name only when it is whole.

    Args:
        source: a video file. Spans count from its first frame.
        names: of the classes.

    Returns what is wrong with the source: the video then ends before the damage. None: nothing was found.

    Raises:
        AnnotateError: the source is no video, not one frame can be decoded, or it cannot be encoded.
        InputError: there is no room, or `target` is the source.
    """
    source, target = Path(source).absolute(), Path(target).absolute()
    temporary = target.with_name(f".{target.name}.{os.getpid() % 10**8:08d}.tmp")
    try:
        with _open(source) as container:
            if target.exists() and target.samefile(source):
                raise InputError(f"{target} is the video itself; choose another folder for annotated videos")
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(target.parent, glob.escape(target.name))
            damage = _write(container, temporary, predictions, names)
        os.replace(temporary, target)
        return damage
    except AnnotateError as error:
        raise AnnotateError(f"{source}: {error}") from error.__cause__
    except (OSError, ValueError, av.FFmpegError) as error:  # whatever a strange video does, the others are encoded
        said = getattr(error, "strerror", None) or error
        if getattr(error, "errno", None) in _NO_ROOM:
            raise InputError(f"cannot write {target}: {said}") from error
        raise AnnotateError(f"{source}: cannot be annotated: {said}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _open(path: Path) -> Any:
    """An FFmpeg container that reads this file and nothing else. Raises AnnotateError."""
    # PyAV 15 crashes on an FLV file with the option; there, what a list names is opened, and then not read.
    options = {"protocol_whitelist": "file"} if int(av.__version__.split(".")[0]) > 15 else {}
    try:
        container = av.open(str(path), options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        raise AnnotateError(said or "it is no video, or its header is damaged") from error
    if {"hls", "concat", "dash", "sdp"} & set(container.format.name.split(",")):
        container.close()
        raise AnnotateError("it is a list of other files")
    return container


def _write(container: Any, path: Path, predictions: Sequence[Prediction], names: Sequence[str]) -> str | None:
    streams = [each for each in container.streams.video if "attached_pic" not in str(each.disposition)]
    if not streams or streams[0].codec_context is None:
        raise AnnotateError("there is no video in it")
    damage: list[str] = []
    writer, shown, drawn = None, None, None
    schedule = _Schedule(predictions)
    try:
        for frame in _decode(container, streams[0], damage):
            writer = writer or _Writer(path, streams[0], frame)
            prediction = schedule.at(writer.time_s(frame))
            if prediction is not shown:
                shown, drawn = prediction, prediction and Overlay.of(prediction, names, *writer.size)
            writer.add(frame, drawn)
        if writer is not None:
            writer.finish()
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise AnnotateError(f"not one frame can be decoded{f': {damage[0]}' if damage else ''}")
    return damage[0] if damage else None


def _decode(container: Any, stream: Any, damage: list[str]) -> Iterator[av.VideoFrame]:
    """The frames up to the damage, which is noted."""
    begun = False
    try:
        for packet in container.demux(stream):
            begun |= packet.is_keyframe
            try:
                frames = stream.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError:
                if not begun:
                    continue  # before the first keyframe nothing can be expected
                raise
            for frame in frames:
                if frame.is_corrupt:
                    damage.append("a frame is damaged")
                    return
                yield frame
    except av.FFmpegError as error:
        damage.append(error.strerror or str(error))


class _Schedule:
    """Which prediction is shown; asked for times that rise."""

    def __init__(self, predictions: Sequence[Prediction]):
        self._waiting = sorted(predictions, key=lambda each: each.span[0] if each.span else -math.inf)[::-1]
        self._begun: list[Prediction] = []

    def at(self, time_s: float) -> Prediction | None:
        """The one that began last and has not ended; spans are in whole milliseconds."""
        while self._waiting and (not self._waiting[-1].span or self._waiting[-1].span[0] <= time_s + 5e-4):
            self._begun.append(self._waiting.pop())
        self._begun = [each for each in self._begun if not each.span or time_s + 5e-4 < each.span[1]]
        return self._begun[-1] if self._begun else None


class _Writer:
    """An mp4 file in the making.

    Args:
        stream: the source's, for its times and colours.
        frame: the first one.
    """

    def __init__(self, path: Path, stream: Any, frame: av.VideoFrame):
        self._reformatter = VideoReformatter()
        self._upright = tuple(max(side // 2 * 2, 2) for side in (frame.width, frame.height))  # before it is turned
        turned = round(frame.rotation / 90) % 2
        self.size = self._upright if turned else self._upright[::-1]  # (height, width)
        self._time_base = frame.time_base or stream.time_base
        self._rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self._start = frame.pts or 0
        self._last: int | None = None
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream = self._container.add_stream("libx264", rate=self._rate, options=_OPTIONS)
        self._stream.height, self._stream.width = self.size
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = self._stream.time_base = self._time_base
        aspect = stream.sample_aspect_ratio
        if aspect and aspect > 0:
            context.sample_aspect_ratio = 1 / aspect if turned else aspect
        for name in _COLOURS:
            if hasattr(frame, name) and hasattr(context, name):
                setattr(context, name, getattr(frame, name))

    def time_s(self, frame: av.VideoFrame) -> float:
        """Of a frame that is not added yet, in seconds from the first one."""
        return float(self._time(frame.pts) * self._time_base)

    def add(self, frame: av.VideoFrame, overlay: Overlay | None) -> None:
        """Encodes a frame, with what is drawn over it."""
        self._last = self._time(frame.pts)
        plain = self._reformatter.reformat(frame, *self._upright, "yuv420p", interpolation="BICUBIC")
        pixels = plain.to_ndarray()  # a copy: the decoder goes on with the frame
        for _ in range(round(frame.rotation / 90) % 4):  # counterclockwise
            pixels = _turn(pixels)
        if overlay is not None:
            overlay.blend(pixels)
        drawn = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
        drawn.pts, drawn.time_base = self._last, self._time_base
        drawn.pict_type = PictureType.NONE  # the encoder chooses
        self._container.mux(self._stream.encode(drawn))

    def finish(self) -> None:
        """Encodes what the encoder still holds. Not after an error: the muxer crashes where its head is not written."""
        self._container.mux(self._stream.encode())

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _time(self, pts: int | None) -> int:
        """In units of the time base, from 0, always rising."""
        if self._last is None:
            return 0
        if pts is None:
            return self._last + max(round(1 / (self._rate * self._time_base)), 1)
        return max(pts - self._start, self._last + 1)


def _turn(pixels: np.ndarray) -> np.ndarray:
    """A yuv420p picture (3/2 H, W), turned by a quarter counterclockwise."""
    planes = [np.rot90(plane).reshape(-1) for plane in planes_of(pixels)]
    return np.concatenate(planes).reshape(-1, pixels.shape[0] * 2 // 3)
