"""The sizes that frames are scaled to before a crop: a rule for each name of the public toolkits.

Each makes the shorter side `short_size` px; a frame whose shorter side is that already stays as it is. The rules differ
in how the longer side is rounded. Pixels are computed in one way for all (bilinear, by Pillow).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Callable, NamedTuple

from video_zoo.utils.registry import Registry

V15 = "v15"


class Size(NamedTuple):
    """In pixels."""

    width: int
    height: int


def short_side_scaled(source: Size, short_size: int, keep_aspect: bool = False) -> Size:
    """The shorter side becomes `short_size` px; the longer 4/3 of it whatever its shape was (v1.5's squeeze), or with
    `keep_aspect` in proportion. A size whose shorter side is that already stays as it is."""
    return _scaled(source, short_size, _in_proportion if keep_aspect else _four_to_three)


def _scaled(
    source: Size, short_size: int, long_side: Callable[[int, int, int], int], square_is_wide: bool = True
) -> Size:
    """`long_side`: (short_size, longer side, shorter side) -> the new longer side."""
    width, height = source
    if min(source) == short_size:
        return source
    long_size = long_side(short_size, max(source), min(source))
    wide = width > height or square_is_wide and width == height
    return Size(long_size, short_size) if wide else Size(short_size, long_size)


def _in_proportion(short_size: int, longer: int, shorter: int) -> int:
    return round(short_size * longer / shorter)


def _four_to_three(short_size: int, longer: int, shorter: int) -> int:
    return int(short_size * 4.0 / 3.0)


def _truncated(short_size: int, longer: int, shorter: int) -> int:
    return int(short_size * longer / shorter)


def _floor_of_ratio(short_size: int, longer: int, shorter: int) -> int:
    return math.floor(longer / shorter * short_size)


def _half_up(short_size: int, longer: int, shorter: int) -> int:
    return int(longer * (short_size / shorter) + 0.5)


RESIZES: Registry[Callable[[Size, int], Size]] = Registry("resize")
for _long_side, _names in {
    _truncated: "torchvision_resize_int tsm_groupscale videomae_resize paddle_scale_keep paddle_scale_keepNone",
    _floor_of_ratio: "slowfast_short_side pytorchvideo_short_side paddle_jitter",
    _half_up: "mmaction2_resize paddle_scale_round",
}.items():
    for _name in _names.split():
        RESIZES.add(_name, partial(_scaled, long_side=_long_side))
RESIZES.add("paddle_scale_fixed43", partial(_scaled, long_side=_four_to_three, square_is_wide=False))
