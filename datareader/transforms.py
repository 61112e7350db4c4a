"""What happens to the frames of a clip, in training and in evaluation; the same for all frames of a clip.

The arithmetic is v1.5's, through Pillow, to the bit. Frames are PIL images; all of a clip have one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

Frames = list[Image.Image]

_CROP_SCALES = (1, 0.875, 0.75, 0.66)
# Corners, centre, edge middles and quarter points, in quarters of the room that the crop leaves (TSN's 13 fixed crops).
_CROP_PLACES = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3))


@dataclass(frozen=True)
class TrainTransform:
    """Scale, (TSM) crop at one of several sizes, crop at a random place, mirror half of the clips."""

    short_size: int
    target_size: int
    keep_aspect: bool
    multi_scale: bool
    flip: bool

    def __call__(self, frames: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """uint8 RGB (H, W, 3) frames -> uint8 (frames, 3, target_size, target_size)."""
        images = scale(frames, self.short_size, self.keep_aspect)
        if self.multi_scale:
            images = multi_scale_crop(images, self.short_size, rng)
        images = random_crop(images, self.target_size, rng)
        if self.flip and rng.random() < 0.5:
            images = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
        return to_array(images)


@dataclass(frozen=True)
class EvalTransform:
    """Scale, and crop the centre."""

    short_size: int
    target_size: int
    keep_aspect: bool

    def __call__(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """uint8 RGB (H, W, 3) frames -> uint8 (frames, 3, target_size, target_size)."""
        return to_array(center_crop(scale(frames, self.short_size, self.keep_aspect), self.target_size))


def scale(frames: Sequence[np.ndarray], short_size: int, keep_aspect: bool = False) -> Frames:
    """Bilinear scaling, the shorter side to `short_size` px; the longer to 4/3 of it whatever its shape was (v1.5's
    squeeze), or with `keep_aspect` in proportion. Frames whose shorter side has that size already stay as they are."""
    images = [_scale_one(Image.fromarray(frame), short_size, keep_aspect) for frame in frames]
    if len({image.size for image in images}) > 1:
        raise ValueError("its frames change their shape")
    return images


def _scale_one(image: Image.Image, short_size: int, keep_aspect: bool) -> Image.Image:
    width, height = image.size
    if min(width, height) == short_size:
        return image
    long_size = int(short_size * 4.0 / 3.0)
    if keep_aspect:
        long_size = round(short_size * max(width, height) / min(width, height))
    size = (short_size, long_size) if width < height else (long_size, short_size)
    return image.resize(size, Image.Resampling.BILINEAR)


def multi_scale_crop(images: Frames, size: int, rng: np.random.Generator) -> Frames:
    """A crop whose width and height are 1, 0.875, 0.75 or 0.66 of the shorter side (at most one step apart), at one of
    13 fixed places, scaled to `size` x `size` px (Wang et al., section 3.2: corner cropping and scale jittering)."""
    width, height = images[0].size
    sides = [int(min(width, height) * factor) for factor in _CROP_SCALES]
    sides = [size if abs(side - size) < 3 else side for side in sides]
    pairs = [(w, h) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    crop_width, crop_height = pairs[rng.integers(len(pairs))]
    across, down = _CROP_PLACES[rng.integers(len(_CROP_PLACES))]
    left, top = across * (width - crop_width) / 4, down * (height - crop_height) / 4
    box = (left, top, left + crop_width, top + crop_height)
    return [image.crop(box).resize((size, size), Image.Resampling.BILINEAR) for image in images]


def random_crop(images: Frames, size: int, rng: np.random.Generator) -> Frames:
    """A `size` x `size` px crop at a random place."""
    width, height = images[0].size
    left = int(rng.integers(0, width - size, endpoint=True))
    top = int(rng.integers(0, height - size, endpoint=True))
    return [image.crop((left, top, left + size, top + size)) for image in images]


def center_crop(images: Frames, size: int) -> Frames:
    """The `size` x `size` px in the middle."""
    width, height = images[0].size
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return [image.crop((left, top, left + size, top + size)) for image in images]


def to_array(images: Frames) -> np.ndarray:
    """Images of one size -> uint8 (frames, 3, H, W)."""
    return np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)  # (T, H, W, 3) -> (T, 3, H, W)
