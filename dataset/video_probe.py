"""What a video file is like, and whether all of it can be decoded."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av

from video_zoo.datareader.decode import VideoError, decode_video, open_video
from video_zoo.datareader.rgb import is_turned
from video_zoo.datareader.sampling import segment_indices
from video_zoo.datareader.selective import PacketVideo


class VideoFacts(NamedTuple):
    """Of a video file; None: not known.

    Args:
        status: ok, missing, empty, unreadable or damaged.
        reason: what is wrong.
        width, height: upright, in px.
        frames: of the whole video, or up to the damage.
        gop_max: the largest distance between keyframes, in frames.
        discontinuity: what jumps where the file was joined from others, and is no damage: "counter" (the continuity
            counter of MPEG-TS), "clock" (the times) or "counter and clock".
    """

    status: str = "ok"
    reason: str = ""
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None
    duration_s: float | None = None
    gop_max: int | None = None
    audio: bool | None = None
    bytes: int | None = None
    discontinuity: str | None = None


def examine(path: str, seg_num: int, quick: bool) -> VideoFacts:
    """Decodes every frame; `quick`: reads all packets, and decodes the frames of a test clip of `seg_num` frames."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return VideoFacts("missing", "there is no such file")
    except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be read
        return VideoFacts("unreadable", getattr(error, "strerror", None) or str(error))
    if not stat.S_ISREG(status.st_mode):
        return VideoFacts("unreadable", "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no file")
    if not (size := status.st_size):
        return VideoFacts("empty", "the file is empty", bytes=0)
    try:
        facts = _probe(Path(path), seg_num, quick)
    except VideoError as error:
        facts = VideoFacts("unreadable", str(error))
    except Exception as error:  # whatever a hostile file does, the others are looked at
        facts = VideoFacts("unreadable", f"{type(error).__name__}: {error}")
    return facts._replace(bytes=size)


def _probe(path: Path, seg_num: int, quick: bool) -> VideoFacts:
    with open_video(path) as video:
        table = video.table
        if quick:
            num_frames, (height, width), damage = _decode_clip(path, seg_num)
        else:
            announced = None if table.unclear or table.damage else table.num_frames
            num_frames, (height, width) = decode_everything(video)
            damage = table.damage
            if announced not in (None, num_frames) and not damage:
                damage = f"{num_frames} of its {announced} frames can be decoded"
        times_s, clock_jumps = video.times()
        duration_s = duration_of(times_s)
        return VideoFacts(
            "damaged" if damage else "ok",
            f"{damage}; {num_frames} frames before the damage" if damage else "",
            video.stream.codec_context.name,
            width,
            height,
            num_frames,
            num_frames / duration_s if duration_s else None,
            duration_s or None,
            largest_gop(table.keyframes),
            bool(video.container.streams.audio),
            discontinuity=" and ".join(["counter"] * table.joined + ["clock"] * (clock_jumps > 0)) or None,
        )


def duration_of(times_s: Sequence[float]) -> float:
    """From the first picture's beginning to the last one's end, in seconds, of the pictures' times, ascending from 0;
    0 where there are fewer than two."""
    return times_s[-1] * len(times_s) / (len(times_s) - 1) if len(times_s) > 1 else 0.0


def largest_gop(keyframes: list[bool]) -> int:
    """The most packets from one keyframe to before the next, or to the end."""
    starts = [place for place, keyframe in enumerate(keyframes) if keyframe or not place]
    return max((end - start for start, end in zip(starts, [*starts[1:], len(keyframes)])), default=0)


def _decode_clip(path: Path, seg_num: int) -> tuple[int, tuple[int, int], str | None]:
    """The number of frames, (height, width), and the damage, as a reader finds them."""
    clip = decode_video(path, partial(segment_indices, seg_num=seg_num), keep=lambda image: image.shape[:2])
    return clip.num_frames, clip.frames[0], clip.damage


def decode_everything(video: PacketVideo) -> tuple[int, tuple[int, int]]:
    """The number of frames up to the damage, which is then in the video's table; (height, width). Raises VideoError."""
    count, size = 0, None
    try:
        for count, frame in enumerate(video.decode_all(), 1):  # noqa: B007
            if size is None:
                size = (frame.width, frame.height) if is_turned(frame) else (frame.height, frame.width)
    except av.FFmpegError as error:
        raise VideoError(error.strerror) from error
    if size is None:
        damage = video.table.damage
        raise VideoError(f"not one frame can be decoded{f': {damage}' if damage else ''}")
    return count, size
