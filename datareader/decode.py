"""The chosen frames of a video file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, TypeVar

import av
import numpy as np

from video_zoo.datareader.codecs import Unclear
from video_zoo.datareader.rgb import ToRGB
from video_zoo.datareader.selective import PacketVideo

av.logging.set_level(av.logging.PANIC)  # a damaged file is reported by us, once, by name

Choose = Callable[[int], Sequence[int]]  # number of frames in the video -> the numbers of the frames wanted
Frame = tuple[Any, Callable[[], np.ndarray]]  # its time in seconds or None, and what makes it RGB (H, W, 3)
Kept = TypeVar("Kept")


class VideoError(Exception):
    """A video that cannot be read; the message says why."""


class Decoded(NamedTuple):
    """frames: what was kept of them, as chosen. num_frames: of the whole video, or up to the damage. damage: what is
    wrong with the file."""

    frames: list[Any]
    num_frames: int
    damage: str | None = None


def decode_video(
    path: Path, choose: Choose, keep: Callable[[np.ndarray], Kept] = np.asarray, decoder: str = "auto"
) -> Decoded:
    """The chosen frames of a video, in the order they were chosen.

    The frames are those of decoding everything, to the bit, and their numbers count the frames that come out then.
    Only what `keep` makes of the chosen ones stays in memory. Of a damaged file, the frames before the damage count.

    Args:
        choose: is asked again when there turn out to be more or fewer frames than the file says.
        keep: is called once with each chosen frame, uint8 RGB (H, W, 3), in no particular order.
        decoder: "pyav" and "auto" decode selectively (selective.py); "opencv" decodes everything and passes over
            damage, as v1.5's OpenCV did.

    Raises VideoError: not there, no video, or not one whole frame.
    """
    try:
        with open_video(path, decoder) as video:
            return _decode(video, choose, keep)
    except av.FFmpegError as error:
        raise VideoError(error.strerror) from error


def open_video(path: Path, decoder: str = "auto") -> PacketVideo:
    """An open video file; `decoder` as in `decode_video`. A refusal is final: nothing else opens the file then.

    Raises VideoError: not there, no video, or a list of other files.
    """
    _check_file(path)
    path = path.absolute()  # FFmpeg takes what comes before a colon for a protocol, unless a slash comes first
    try:
        return PacketVideo(path, lenient=decoder == "opencv", probe=False)
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """Why a file could not be opened, for the user: FFmpeg's own messages say little."""
    return str(error) if type(error) is ValueError else "it is no video, or its header is damaged"


def _decode(video: PacketVideo, choose: Choose, keep: Callable[[np.ndarray], Kept]) -> Decoded:
    table, to_rgb = video.table, ToRGB()
    if not table.unclear:
        try:
            numbers = choose(table.num_frames)
            kept = {number: keep(to_rgb(frame)) for number, frame in video.decode_selected(numbers)}
            return Decoded([kept[number] for number in numbers], table.num_frames, table.damage)
        except Unclear:
            pass  # what went wrong, and where, shows when everything is decoded
    count = max(table.num_frames, 1)
    for _ in range(3):
        numbers, kept, decoded = choose(count), {}, 0
        for frame in video.decode_all():
            if decoded in numbers:
                kept[decoded] = keep(to_rgb(frame))
            decoded += 1
        if decoded == 0:
            raise VideoError(f"not one frame can be decoded{f': {table.damage}' if table.damage else ''}")
        if decoded == count:
            return Decoded([kept[number] for number in numbers], count, table.damage)
        count = decoded
    raise VideoError(f"its number of frames changes from one decoding to the next ({count})")


def _check_file(path: Path) -> None:
    """Raises VideoError: no file, or an empty one."""
    try:
        if path.is_dir():
            raise VideoError("it is a folder")
        if not path.is_file():
            raise VideoError("there is no such file")
        if path.stat().st_size == 0:
            raise VideoError("the file is empty")
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise VideoError(error.strerror or str(error)) from error
