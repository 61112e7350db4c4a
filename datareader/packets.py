"""A video's packets, and which of them must be decoded for the wanted pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

import av

from video_zoo.datareader.codecs import Describe, Malformed, Picture, Unclear

# Compressed video kept between finding the packets and decoding them; the packets of a larger file are read twice.
KEPT_BYTES = 64 << 20
_MOST_REORDERED = 16  # pictures, by any standard
_MARKED_BEFORE = 3  # places from a packet that is marked as corrupt to the first one behind the joint, at most
_AROUND = 8  # steps before and after a joint that tell what is usual there
_TELLS_SIDE_DATA = hasattr(av.Packet, "has_sidedata")  # PyAV 15 cannot tell
_REORDERED = ("h264", "hevc", "mpeg4")  # their decoders hold pictures back to bring them into order


@dataclass
class PacketTable:
    """What is known of a video's packets before one is decoded, in the order of the file.

    Args:
        pts: time of presentation of each, in units of the stream's time base.
        dts: time of decoding, likewise.
        keyframes, discards: the container's marks. A discarded packet is decoded and not shown (edit lists).
        pictures: see codecs/picture.py; as long as `pts` unless the file is `unclear`.
        packets: the packets themselves, or None if they are too large to be kept.
        unclear: why the whole file must be decoded; None if parts will do.
        malformed: whether a packet is not what its codec's standard allows.
        joints: of an MPEG-TS file whose continuity counter jumps where no packet need be missing, the places that
            FFmpeg marks as corrupt for it: up to three before the first picture behind the jump.
        ends_early: whether packets are missing at the end.
        damage: what is wrong with the file, as far as is known.
    """

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    keyframes: list[bool] = field(default_factory=list)
    discards: list[bool] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    packets: list[av.Packet] | None = field(default_factory=list)
    unclear: str | None = None
    malformed: bool = False
    joints: list[int] = field(default_factory=list)
    ends_early: bool = False
    damage: str | None = None
    bytes: int = 0

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def joined(self) -> bool:
        """Whether it is an MPEG-TS file that was joined from others."""
        return bool(self.joints)

    @property
    def num_frames(self) -> int:
        """Frames that are shown, if each packet gives one."""
        return len(self) - sum(self.discards)

    def shown(self) -> list[int]:
        """Places of the packets in the order of presentation."""
        return sorted((place for place in range(len(self)) if not self.discards[place]), key=self.pts.__getitem__)

    def add(self, packet: av.Packet) -> None:
        self.pts.append(packet.pts)
        self.dts.append(packet.dts)
        self.keyframes.append(packet.is_keyframe)
        self.discards.append(packet.is_discard)
        self.bytes += packet.size
        if self.packets is not None:
            self.packets.append(packet)
            if self.bytes > KEPT_BYTES:
                self.packets = None

    def describe(self, packets: Iterable[av.Packet], describe: Describe) -> None:
        """Adds the pictures of the packets added last, up to one about which something is unclear."""
        for packet in packets:
            if self.unclear:
                return
            try:
                self.pictures.append(describe(bytes(packet)))
            except Unclear as error:
                self.unclear, self.malformed = str(error), isinstance(error, Malformed)
            if _TELLS_SIDE_DATA and any(packet.iter_sidedata()) and packet.has_sidedata("new_extradata"):
                self.unclear = "the codec's configuration changes on the way"

    def check_joints(self, jump: float) -> None:
        """The file was joined from others: leaves out what follows a joint at which pictures may be missing.

        Nothing is missing where the times of decoding go on as in the pictures around the joint (the parts may differ
        in their frame rates, which may vary), or begin anew with a keyframe that no picture of its part is shown
        before.

        Args:
            jump: the shortest step ahead with which times begin anew, in units of the stream's time base.
        """
        steps = [0.0, *(math.inf if None in pair else pair[1] - pair[0] for pair in zip(self.dts, self.dts[1:]))]
        windows = [range(max(joint, 1), min(joint + _MARKED_BEFORE + 1, len(self))) for joint in self.joints]
        new = {place for place in range(1, len(self)) if steps[place] <= 0}
        new |= {place for window in windows for place in window if jump <= steps[place] < math.inf}
        others = {place for window in windows if new.isdisjoint(window) for place in window}
        for place in sorted(new | others):
            if self._begins_anew(place, new) if place in new else _goes_on(place, steps, others):
                continue
            for column in (self.pts, self.dts, self.keyframes, self.discards, self.pictures, self.packets or []):
                del column[place:]
            self.damage, self.ends_early = self.damage or "packets are missing at a joint", True
            return

    def _begins_anew(self, place: int, new: set[int]) -> bool:
        """Whether no picture of the part that begins here is shown before its first one, a keyframe."""
        later = range(place + 1, min(place + _MOST_REORDERED + 1, len(self)))
        part = [place, *takewhile(lambda other: other not in new, later)]
        known = [self.pts[other] for other in part if self.pts[other] is not None]
        return self.keyframes[place] and bool(known) and min(known) == self.pts[place]

    def finish(self, decoded: int) -> None:
        """Everything was decoded, and gave so many frames: a malformed packet that gave none is damage."""
        if self.malformed and decoded < self.num_frames:
            self.damage = self.damage or "a packet is damaged"


class Run(NamedTuple):
    """Packets to decode without a break: places first to last, and those between that can be left out."""

    first: int
    last: int
    left_out: frozenset[int]


def plan(table: PacketTable, wanted: Iterable[int]) -> list[Run]:
    """Runs of packets that give the pictures at the wanted places."""
    starts = _starts(table)
    top_layer = max(picture.layer for picture in table.pictures)
    spans: list[list[int]] = []
    for place in sorted(wanted):
        first = next(start for start in reversed(starts) if start <= place and table.pts[start] <= table.pts[place])
        while spans and first <= spans[-1][1] + 1:
            first = min(first, spans.pop()[0])
        spans.append([first, place])
    keep = set(wanted)

    def needless(place: int) -> bool:
        picture = table.pictures[place]
        return place not in keep and not (picture.needed or picture.parameters or picture.layer < top_layer)

    return [Run(first, last, frozenset(filter(needless, range(first, last)))) for first, last in spans]


def doubt(table: PacketTable, codec: str, delay: int) -> str | None:
    """Why the number of frames, or their order, may not be what the packets say; None if it is.

    Args:
        codec: FFmpeg's name.
        delay: pictures that the decoder holds back, at most.
    """
    if not table.num_frames:
        return "no packet is shown"
    if None in table.pts or len(set(table.pts)) < len(table):
        return "timestamps are missing or repeated"
    if not table.pictures[0].start or min(table.pts) < table.pts[0]:
        return "it begins in the middle of a group of pictures"
    by_time = sorted(range(len(table)), key=table.pts.__getitem__)
    orders = [table.pictures[place].order or (0, place) for place in by_time]
    if any(earlier >= later for earlier, later in zip(orders, orders[1:])):
        return "the container's times of presentation are not the stream's"  # H.264 in AVI
    if codec in _REORDERED and _reordering(table.pts) > delay:
        return "the decoder may lose pictures that come late"
    if codec in ("hevc", "mpeg4") and _has_gap(table.pts):  # H.264's packets tell by their numbers
        return "packets may be missing between two timestamps"
    return None


def _starts(table: PacketTable) -> list[int]:
    """Places where decoding can begin. Where parameter sets travel in packets, only one that has all kinds will do."""
    kinds = 0
    for picture in table.pictures[1:]:
        kinds |= picture.parameters
    return [
        place
        for place, picture in enumerate(table.pictures)
        if not place or picture.start and picture.parameters & kinds == kinds
    ]


def _reordering(pts: list[int]) -> int:
    """The most pictures that precede one in the file and follow it in presentation."""
    most, later = 0, []  # later: times of pictures that have come and may still be overtaken
    for time in pts:
        later = [other for other in later if other > time]
        most = max(most, len(later))
        if most > _MOST_REORDERED:
            break
        later.append(time)
    return most


def _goes_on(place: int, steps: list[float], uncertain: set[int]) -> bool:
    """Whether the step of decoding to this place is as long as those around it, of which the certain ones count."""
    around = range(max(place - _AROUND, 1), min(place + _AROUND + 1, len(steps)))
    known = [other for other in around if other != place and 0 < steps[other] < math.inf]
    certain = [other for other in known if other not in uncertain] or known
    return steps[place] <= 1.5 * max((steps[other] for other in certain), default=0)


def _has_gap(pts: list[int]) -> bool:
    """Whether two neighbouring pictures lie further apart than pictures of this file do."""
    times = sorted(pts)
    steps = sorted(later - earlier for earlier, later in zip(times, times[1:]))
    return bool(steps) and steps[-1] > 1.5 * steps[len(steps) // 2]
