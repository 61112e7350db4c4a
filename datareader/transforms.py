"""What happens to the frames of a clip, in training and in evaluation; the same for all frames of a clip.

The arithmetic is v1.5's, through Pillow, to the bit. A transform is drawn once a clip, when the size of the frames is
known, and then takes one frame after the other, so that no more than one is in memory at its full size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Callable, NamedTuple

import numpy as np
from PIL import Image

from video_zoo.configs.schema import ReaderSection, TrainSection
from video_zoo.datareader.crops import CROPS, centre
from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.resizes import RESIZES, V15, Size, short_side_scaled
from video_zoo.utils.registry import Registry

_CROP_SCALES = (1, 0.875, 0.75, 0.66)
# Corners, centre, edge middles and quarter points, in quarters of the room that the crop leaves (TSN's 13 fixed crops).
_CROP_PLACES = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3))


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
        short_size, keep_aspect, resize: of the first step; frames of different sizes must come out of it alike.
        fast: compute only the pixels of a crop, which may round some of them differently.
    """

    short_size: int
    keep_aspect: bool
    steps: tuple[Step, ...]
    mirror: bool = False
    fast: bool = False
    resize: str = V15

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """uint8 RGB (H, W, 3) -> uint8 (3, height, width) of the last crop. Raises VideoError: another shape."""
        self.check_shape(frame)
        image = Image.fromarray(frame)
        for step in self.steps:
            image = scale_and_crop(image, step, self.fast)
        if self.mirror:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(image).transpose(2, 0, 1)  # (H, W, 3) -> (3, H, W)

    def is_crop_of(self, size: Size) -> bool:
        """Whether it does no more than scale to that size, take a crop that lies inside, and perhaps mirror it."""
        (scaled, (left, top, width, height)), *more = self.steps
        inside = 0 <= left <= size.width - width and 0 <= top <= size.height - height
        return not more and not self.fast and scaled == size and inside

    def cut_out(self, scaled: np.ndarray) -> np.ndarray:
        """A view of a scaled frame, where `is_crop_of` its size: uint8 (H, W, 3) -> (3, height, width)."""
        left, top, width, height = self.steps[0].crop
        crop = scaled[top : top + height, left : left + width]
        return (crop[:, ::-1] if self.mirror else crop).transpose(2, 0, 1)  # (H, W, 3) -> (3, H, W)

    def check_shape(self, frame: np.ndarray) -> None:
        """Raises VideoError: a frame, (H, W, 3), that comes out of the first step at another size."""
        source = Size(frame.shape[1], frame.shape[0])
        if scaled_size(source, self.short_size, self.keep_aspect, self.resize) != self.steps[0].size:
            raise VideoError("its frames change their shape")


def apply_all(transforms: Sequence[ClipTransform], frame: np.ndarray) -> list[np.ndarray]:
    """What each of the transforms makes of a frame, uint8 RGB (H, W, 3); where several are crops of it at one size, it
    is scaled once for them, which gives the same bits. Raises VideoError: another shape."""
    scaled: np.ndarray | None = None
    size, results = transforms[0].steps[0].size, []
    for transform in transforms:
        if len(transforms) == 1 or not transform.is_crop_of(size):
            results.append(transform(frame))
            continue
        transform.check_shape(frame)
        if scaled is None:
            scaled = np.asarray(scale_and_crop(Image.fromarray(frame), Step(size, Box(0, 0, *size))))
        results.append(transform.cut_out(scaled))
    return results


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
    """Scale, and crop: the centre, or one of the crops that a rule gives.

    Args:
        resize: the name of a rule of resizes.py; "v15" heeds keep_aspect.
        crops: the name of a rule of crops.py.
        number: of the crop among the rule's.
    """

    short_size: int
    target_size: int
    keep_aspect: bool
    fast: bool = False
    resize: str = V15
    crops: str = V15
    number: int = 0

    def draw(self, source: Size, rng: np.random.Generator | None = None) -> ClipTransform:
        """The transform of a clip whose frames have the size `source`; nothing is left to chance.

        Raises VideoError: the rule has no crops in frames of that size.
        """
        scaled, size = scaled_size(source, self.short_size, self.keep_aspect, self.resize), self.target_size
        if self.crops == V15:
            crop, mirror = center_crop(scaled, size), False
        else:
            places = CROPS.get(self.crops).places(scaled, size)
            if places is None:
                raise VideoError(
                    f"{self.crops} has no crop of {size} px in its frames, which are scaled to"
                    f" {scaled.width} x {scaled.height}"
                )
            left, top, mirror = places[self.number]
            crop = Box(left, top, size, size)
        steps = (Step(scaled, crop),)
        return ClipTransform(self.short_size, self.keep_aspect, steps, mirror, self.fast, self.resize)


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


def scaled_size(source: Size, short_size: int, keep_aspect: bool, resize: str) -> Size:
    """The size that the rule `resize` scales a frame to; "v15" is `short_side_scaled`, which heeds `keep_aspect`."""
    if resize == V15:
        return short_side_scaled(source, short_size, keep_aspect)
    return RESIZES.get(resize)(source, short_size)


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
    place = centre(scaled, size)[0]
    return Box(place.x, place.y, size, size)


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
