"""Where the public toolkits crop a scaled frame in a test: a rule for each of their names, in their order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Callable, NamedTuple, Optional

from video_zoo.datareader.resizes import Size
from video_zoo.utils.registry import Registry

V15 = "v15"
_CORNERS_AND_CENTRE = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2))  # in quarters of the room
_LEFT_RIGHT_CENTRE = ((0, 2), (4, 2), (2, 2))


class Place(NamedTuple):
    """The left upper corner of a square crop in px, and whether the crop is mirrored."""

    x: int
    y: int
    flip: bool = False


@dataclass(frozen=True)
class Crops:
    """A rule of crops.

    Args:
        rule: size of the frame and of the crop, which fits into it -> the crops.
        count: of crops.
        whole_side: one side of the frame must be as long as the crop's.
        mirrors: whether some are mirrored.
        note: what a user has to know.
    """

    rule: Callable[[Size, int], list[Place]]
    count: int = 1
    whole_side: bool = False
    mirrors: bool = False
    note: str = ""

    def places(self, size: Size, crop: int) -> Optional[list[Place]]:
        """The crops of `crop` x `crop` px out of a frame; None where they do not fit."""
        if crop > min(size) or self.whole_side and crop != min(size):
            return None
        return self.rule(size, crop)


def centre(size: Size, crop: int, rounding: Callable[[float], int] = round) -> list[Place]:
    """The middle; `rounding` of half a pixel: `round` is to the even one."""
    return [Place(*(rounding((side - crop) / 2) for side in size))]


def quarters(size: Size, crop: int, places: Sequence[tuple[int, int]], mirrors: bool = False) -> list[Place]:
    """At multiples of a quarter of the room, in whole pixels; each mirror behind its crop."""
    x, y = ((side - crop) // 4 for side in size)
    flips = (False, True) if mirrors else (False,)
    return [Place(across * x, down * y, flip) for across, down in places for flip in flips]


def along(size: Size, crop: int, offsets: Callable[[int], Sequence[int]]) -> list[Place]:
    """Along the longer side, at the offsets that `offsets` gives for the room; in the middle of the other one."""
    width, height = (side - crop for side in size)
    if size.height > size.width:
        return [Place(math.ceil(width / 2), offset) for offset in offsets(height)]
    return [Place(offset, math.ceil(height / 2)) for offset in offsets(width)]


def centre_and_ends(size: Size, crop: int) -> list[Place]:
    """Centre, left and right."""
    middle = centre(size, crop, math.floor)[0]
    return [middle, Place(0, middle.y), Place(size.width - crop, middle.y)]


def _thirds(room: int) -> Sequence[int]:
    return 0, math.ceil(room / 2), room


def _ends_first(room: int) -> Sequence[int]:
    return 0, room // 2 * 2, room // 2


def _truncated_halves(room: int) -> Sequence[int]:
    return 0, int(room / 2), room


def _whole_halves(room: int) -> Sequence[int]:
    return 0, room // 2, room // 2 * 2


_ONLY_PUBLIC_RANDOM = "the public code crops images at random places, and only arrays at these"
CROPS: Registry[Crops] = Registry("crop")
for _names, _entry in {
    f"{V15} tsm_center torchvision_center paddle_center videomae_center": Crops(centre),
    "mmaction2_center paddle_center_floor": Crops(partial(centre, rounding=math.floor)),
    "slowfast_center1": Crops(partial(centre, rounding=math.ceil)),
    "tsm_fullres3 paddle_fullres3": Crops(partial(quarters, places=_LEFT_RIGHT_CENTRE), 3),
    "tsm_over5": Crops(partial(quarters, places=_CORNERS_AND_CENTRE), 5),
    "tsm_over10 mmaction2_ten paddle_ten": Crops(
        partial(quarters, places=_CORNERS_AND_CENTRE, mirrors=True), 10, mirrors=True
    ),
    "mmaction2_three paddle_uniform3": Crops(partial(along, offsets=_ends_first), 3, whole_side=True),
    "slowfast_uniform3 pytorchvideo_uniform3 paddle_multicrop3": Crops(partial(along, offsets=_thirds), 3),
    "paddle_multicenter3": Crops(centre_and_ends, 3, note=_ONLY_PUBLIC_RANDOM),
    "videomae_3crop": Crops(partial(along, offsets=_truncated_halves), 3, whole_side=True),
    "vjepa_3crop": Crops(partial(along, offsets=_whole_halves), 3, whole_side=True),
}.items():
    for _name in _names.split():
        CROPS.add(_name, _entry)
