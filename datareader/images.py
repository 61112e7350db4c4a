"""Frames that are images of their own: in v1.5's pickles, or in a folder a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Callable, TypeVar

import cv2
import numpy as np

from video_zoo.datareader.decode import Choose, VideoError
from video_zoo.utils.open_files import read_regular

Kept = TypeVar("Kept")

_IMAGE_BYTES = 1 << 28  # of an image of a folder, at most


def decode_images(images: Sequence[bytes], choose: Choose, keep: Callable[[np.ndarray], Kept]) -> list[Kept]:
    """What `keep` makes of the chosen ones of a list of encoded images, as v1.5 read them: what they say of their
    orientation (EXIF) is ignored. Raises VideoError.

    Args:
        choose: number of images -> the numbers of the wanted ones.
        keep: is called with each, uint8 RGB (H, W, 3).
    """
    if not images:
        raise VideoError("it holds no frames")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return _each_once(choose(len(images)), lambda number: keep(_decode_image(images[number], f"frame {number}", flags)))


def read_frame_folder(
    folder: Path, num_frames: int, template: str, first: int, choose: Choose, keep: Callable[[np.ndarray], Kept]
) -> list[Kept]:
    """What `keep` makes of the chosen frames of a folder of images, upright. Raises VideoError.

    Args:
        num_frames: images in the folder.
        template: their names, with one `%d` for the number: "img_%05d.jpg".
        first: the number of the first.
    """
    if not folder.is_dir():
        raise VideoError("there is no such folder")

    def read(number: int) -> Kept:
        name = template % (first + number)
        try:
            return keep(_decode_image(read_regular(folder / name, _IMAGE_BYTES), name))
        except OSError as error:
            raise VideoError(f"{name}: {error.strerror or error}; the list gives it {num_frames} frames") from error

    return _each_once(choose(num_frames), read)


def _each_once(numbers: Sequence[int], read: Callable[[int], Kept]) -> list[Kept]:
    """What `read` gives for each number, for which it is called once where a number comes again."""
    kept = {number: read(number) for number in dict.fromkeys(numbers)}
    return [kept[number] for number in numbers]


def _decode_image(data: bytes, name: str, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # no bytes, or more pixels than OpenCV takes
        image = None
    if image is None:
        raise VideoError(f"{name} is no image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
