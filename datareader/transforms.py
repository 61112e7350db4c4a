"""What happens to the frames of a clip, in training and in evaluation; the same for all frames of a clip.

The arithmetic is v1.5's, through Pillow, to the bit. A transform is drawn once a clip, when the size of the frames is
known, and then takes one frame after the other, so that no more than one is in memory at its full size.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Callable, NamedTuple

import numpy as np
from PIL import Image

from video_zoo.configs.schema import ReaderSection, TrainSection
from video_zoo.datareader.decode import VideoError
from video_zoo.utils.registry import Registry

_CROP_SCALES = (1, 0.875, 0.75, 0.66)
# Corners, centre, edge middles and quarter points, in quarters of the room that the crop leaves (TSN's 13 fixed crops).
_CROP_PLACES = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3))


class Size(NamedTuple):
    """In pixels."""

    width: int
    height: int


class Box(NamedTuple):
    """A crop: its left upper corner and its size, in pixels; the corner may lie between pixels."""

    left: float
    top: float
    width: int
    height: int


class Step(NamedTuple):
    """Scaling to a size, then a crop out of that."""

    size: Size
    crop: Box


@dataclass(frozen=True)
class ClipTransform:
    """Steps one after the other, then perhaps a mirror.

    Args:
        short_size, keep_aspect: of the first step; frames of different sizes must come out of it alike.
        fast: compute only the pixels of a crop, which may round some of them differently.
    """

    short_size: int
    keep_aspect: bool
    steps: tuple[Step, ...]
    mirror: bool = False
    fast: bool = False

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """uint8 RGB (H, W, 3) -> uint8 (3, height, width) of the last crop. Raises VideoError: another shape."""
        image = Image.fromarray(frame)
        if short_side_scaled(Size(*image.size), self.short_size, self.keep_aspect) != self.steps[0].size:
            raise VideoError("its frames change their shape")
        for step in self.steps:
            image = scale_and_crop(image, step, self.fast)
        if self.mirror:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(image).transpose(2, 0, 1)  # (H, W, 3) -> (3, H, W)


@dataclass(frozen=True)
class TrainTransform:
    """Scale, (TSM) crop at one of several sizes, crop at a random place, mirror half of the clips."""

    short_size: int
    target_size: int
    keep_aspect: bool
    multi_scale: bool
    flip: bool
    fast: bool = False

    def draw(self, source: Size, rng: np.random.Generator) -> ClipTransform:
        """The transform of one clip, whose frames have the size `source`."""
        scaled = short_side_scaled(source, self.short_size, self.keep_aspect)
        steps = []
        if self.multi_scale:
            steps.append(Step(scaled, multi_scale_crop(scaled, self.short_size, rng)))
            scaled = Size(self.short_size, self.short_size)
        steps.append(Step(scaled, random_crop(scaled, self.target_size, rng)))
        mirror = self.flip and rng.random() < 0.5
        return ClipTransform(self.short_size, self.keep_aspect, tuple(steps), mirror, self.fast)


@dataclass(frozen=True)
class EvalTransform:
    """Scale, and crop the centre."""

    short_size: int
    target_size: int
    keep_aspect: bool
    fast: bool = False

    def draw(self, source: Size, rng: np.random.Generator | None = None) -> ClipTransform:
        """The transform of a clip whose frames have the size `source`; nothing is left to chance."""
        scaled = short_side_scaled(source, self.short_size, self.keep_aspect)
        step = Step(scaled, center_crop(scaled, self.target_size))
        return ClipTransform(self.short_size, self.keep_aspect, (step,), fast=self.fast)


def _train_transform(section: TrainSection, multi_scale: bool) -> TrainTransform:
    sizes = (section.short_size, section.target_size, section.keep_aspect)
    return TrainTransform(*sizes, multi_scale, section.flip, section.fast_crop)


def _eval_transform(section: ReaderSection) -> EvalTransform:
    return EvalTransform(section.short_size, section.target_size, section.keep_aspect, section.fast_crop)


# What a section of the config makes of each name.
TRANSFORMS: Registry[Callable[..., TrainTransform | EvalTransform]] = Registry("transform")
TRANSFORMS.add("multi_scale_crop", partial(_train_transform, multi_scale=True))
TRANSFORMS.add("random_crop", partial(_train_transform, multi_scale=False))
TRANSFORMS.add("center_crop", _eval_transform)


def short_side_scaled(source: Size, short_size: int, keep_aspect: bool = False) -> Size:
    """The shorter side becomes `short_size` px; the longer 4/3 of it whatever its shape was (v1.5's squeeze), or with
    `keep_aspect` in proportion. A size whose shorter side is that already stays as it is."""
    width, height = source
    if min(source) == short_size:
        return source
    long_size = int(short_size * 4.0 / 3.0)
    if keep_aspect:
        long_size = round(short_size * max(source) / min(source))
    return Size(short_size, long_size) if width < height else Size(long_size, short_size)


def multi_scale_crop(scaled: Size, size: int, rng: np.random.Generator) -> Box:
    """A crop whose width and height are 1, 0.875, 0.75 or 0.66 of the shorter side (at most one step apart), at one of
    13 fixed places (Wang et al., ECCV 2016, section 3.2: corner cropping and scale jittering). A side within 3 px of
    `size` is `size`."""
    sides = [int(min(scaled) * factor) for factor in _CROP_SCALES]
    sides = [size if abs(side - size) < 3 else side for side in sides]
    pairs = [(w, h) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    width, height = pairs[rng.integers(len(pairs))]
    across, down = _CROP_PLACES[rng.integers(len(_CROP_PLACES))]
    return Box(across * (scaled.width - width) / 4, down * (scaled.height - height) / 4, width, height)


def random_crop(scaled: Size, size: int, rng: np.random.Generator) -> Box:
    """A `size` x `size` px crop at a random place."""
    left = int(rng.integers(0, scaled.width - size, endpoint=True))
    top = int(rng.integers(0, scaled.height - size, endpoint=True))
    return Box(left, top, size, size)


def center_crop(scaled: Size, size: int) -> Box:
    """The `size` x `size` px in the middle."""
    return Box(round((scaled.width - size) / 2.0), round((scaled.height - size) / 2.0), size, size)


def scale_and_crop(image: Image.Image, step: Step, fast: bool = False) -> Image.Image:
    """Bilinear scaling of the whole image to `step.size`, then the crop.

    Pixels outside the crop are not computed, along an axis, where leaving them out changes no bit: Pillow takes the
    rectangle to be scaled in single precision, so its corners must be exact there. `fast` leaves them out always.
    """
    # As Image.crop has it: the corners, rounded.
    left, top, right, bottom = (
        round(side) for side in (*step.crop[:2], step.crop.left + step.crop.width, step.crop.top + step.crop.height)
    )
    if step.size == image.size:
        return image.crop((left, top, right, bottom))
    wide, high = (Fraction(full, scaled) for full, scaled in zip(image.size, step.size))
    across = (left, right) if fast or _is_exact(wide) else (0, step.size.width)
    two_passes = image.height > 100 * image.width  # Pillow then scales the whole image to rows first
    down = (top, bottom) if fast or _is_exact(high) and not two_passes else (0, step.size.height)
    inside = 0 <= left <= right <= step.size.width and 0 <= top <= bottom <= step.size.height
    if not inside:  # Image.crop fills what lies outside with black
        across, down = (0, step.size.width), (0, step.size.height)
    rectangle = (float(across[0] * wide), float(down[0] * high), float(across[1] * wide), float(down[1] * high))
    size = (across[1] - across[0], down[1] - down[0])
    image = image.resize(size, Image.Resampling.BILINEAR, box=rectangle)
    if (across, down) != ((left, right), (top, bottom)):
        image = image.crop((left - across[0], top - down[0], right - across[0], bottom - down[0]))
    return image


def _is_exact(factor: Fraction) -> bool:
    """Whether each pixel's border on the scaled axis has an exact float32, of 24 bits, on the source's: 14 bits for up
    to 16,384 px, and 10 for a fraction whose denominator is a power of 2."""
    return factor.denominator & (factor.denominator - 1) == 0 and factor.denominator <= 1 << 10
