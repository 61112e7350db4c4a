"""One video, encoded anew for fast reading: small H.264 with many keyframes, verified before it gets its name."""

from __future__ import annotations

import errno
import json
import os
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av

from video_zoo.datareader.containers import cut_off
from video_zoo.datareader.decode import VideoError, reason_of
from video_zoo.datareader.selective import PacketVideo
from video_zoo.datareader.video_file import open_container
from video_zoo.datareader.video_writer import Transcoder
from video_zoo.dataset.video_probe import decode_everything
from video_zoo.utils.errors import InputError
from video_zoo.utils.json_files import check_fields, is_count, is_text, none_or, parse_json

TOOL = "prepare_videos"
PRESET = "fast"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


_MARKER = {
    "tool": lambda tool: tool == TOOL,
    "source": is_text,
    "bytes": is_count,
    "mtime_ns": lambda time: type(time) is int,  # of today, it is more than a count may be
    "damage": none_or(is_text),
    **dict.fromkeys(("short_size", "gop", "crf"), is_count),
}


class Form(NamedTuple):
    """How videos are written.

    Args:
        short_size: of the shorter side, px, even; a smaller video keeps its size.
        gop: the most frames from one keyframe to the next.
        crf: x264's constant quality; less is better and larger.
    """

    short_size: int
    gop: int
    crf: int


class Outcome(NamedTuple):
    """kept: it was there before. damage: of the source; the frames before it were kept. bytes: of the two files. jumps:
    of the source's clock, in what was written now."""

    kept: bool
    damage: str | None
    bytes_before: int
    bytes_after: int
    jumps: int = 0


def prepare(source: str, target: str, temporary: str, form: Form) -> Outcome:
    """Writes `target`, by way of `temporary` in the same file system; one that is there already is kept if it fits.

    Raises:
        VideoError: the source cannot be read, or what was written does not decode to its frames.
        InputError: `target` is another video's or no work of this tool, or there is no room.
    """
    try:
        status = os.stat(source)
        if not status.st_size:
            raise VideoError("the file is empty")
        origin = {"tool": TOOL, "source": source, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        there = _marker(target) if os.path.lexists(target) else None
        video = None if there and _fits(there, origin, form, target) else PacketVideo(Path(source))
    except OSError as error:
        raise VideoError(error.strerror or str(error)) from error
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(reason_of(error)) from error
    if video is None:
        return Outcome(True, there["damage"], status.st_size, os.path.getsize(target))
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with video:
            frames, size, jumps = _encode_whole(video, temporary, form, origin)
        _verify(temporary, frames, size)
        os.replace(temporary, target)
        return Outcome(False, video.table.damage, status.st_size, os.path.getsize(target), jumps)
    except (VideoError, InputError):
        raise
    except Exception as error:  # whatever a strange video does, the others are encoded
        if getattr(error, "errno", None) in _NO_ROOM:
            raise InputError(f"cannot write {target}: {error.strerror}") from error
        raise VideoError(f"it cannot be encoded: {type(error).__name__}: {error}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def output_size(width: int, height: int, short_size: int) -> tuple[int, int]:
    """(width, height), even, the shorter side `short_size` or less: nothing is enlarged."""
    short, long = sorted((width, height))
    if short > short_size:
        short, long = short_size, round(Fraction(long * short_size, short) / 2) * 2
    short, long = (max(side // 2 * 2, 2) for side in (short, long))
    return (long, short) if width > height else (short, long)


def _encode_whole(
    video: PacketVideo, path: str, form: Form, origin: dict[str, Any]
) -> tuple[int, tuple[int, int], int]:
    """Encodes the frames up to the damage, if there is any; returns their number, (height, width), and how often their
    clock jumps."""
    while True:
        damage = video.table.damage
        written = _encode(video, path, form, json.dumps({**origin, **form._asdict(), "damage": damage}))
        if video.table.damage == damage:
            return written  # otherwise damage was found on the way, and the file must say so


def _encode(video: PacketVideo, path: str, form: Form, comment: str) -> tuple[int, tuple[int, int], int]:
    frames = video.decode_all()
    first = next(frames, None)
    if first is None:
        damage = video.table.damage
        raise VideoError(f"not one frame can be decoded{f': {damage}' if damage else ''}")
    options = {"crf": str(form.crf), "preset": PRESET, "g": str(form.gop)}
    size = output_size(first.width, first.height, form.short_size)
    with Transcoder(Path(path), video.stream, first, options, size=size, threads=1) as writer:
        writer.container.metadata["comment"] = comment
        for count, frame in enumerate(chain([first], frames), 1):  # noqa: B007
            writer.add(frame)
    return count, writer.size, writer.jumps


def _verify(path: str, frames: int, size: tuple[int, int]) -> None:
    try:
        with PacketVideo(Path(path)) as video:
            found = (*decode_everything(video), video.table.damage)
    except ValueError as error:
        raise VideoError(f"what was written cannot be read: {error}") from error
    if found != (frames, size, None):
        raise VideoError(f"what was written decodes to {found} instead of {(frames, size, None)}")


def _marker(target: str) -> dict[str, Any]:
    """What this tool wrote into a file. Raises InputError if it did not."""
    try:
        with open_container(Path(target)) as container:
            return check_fields(parse_json(container.metadata.get("comment", "")), _MARKER, needed=_MARKER)
    except (av.FFmpegError, OSError, ValueError):
        pass
    raise InputError(f"{target} is there and was not written by {TOOL}.py; move it, or choose another OUT_DIR")


def _fits(marker: dict[str, Any], origin: dict[str, Any], form: Form, target: str) -> bool:
    """Whether the file is what would be written. Raises InputError if it is another video's."""
    same = all(marker[key] == origin[key] for key in ("bytes", "mtime_ns"))
    if not same and marker["source"] != origin["source"]:
        raise InputError(
            f"{target} was made from {marker['source']}, not from {origin['source']}; choose another OUT_DIR"
        )
    return same and all(marker[key] == value for key, value in form._asdict().items()) and not cut_off(Path(target))
