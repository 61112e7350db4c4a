"""VP9 (VP9 bitstream and decoding process specification 0.6: 6.2 and annex B)."""

from __future__ import annotations

from collections.abc import Iterator

from video_zoo.datareader.codecs.bits import byte_at
from video_zoo.datareader.codecs.picture import Malformed, Picture, Unclear


def vp9_picture(packet: bytes) -> Picture:
    """What a packet says. Its picture is needed: each hands on how the next is to be read. Raises Unclear."""
    frames = list(_frames(packet))
    if sum(shown for shown, _ in frames) != 1:
        raise Unclear("not one shown picture in a packet")
    return Picture(frames[0][1], True)


def _frames(packet: bytes) -> Iterator[tuple[bool, bool]]:
    """(shown, key frame) of each frame of a superframe."""
    sizes, last = [len(packet)], byte_at(packet, -1)
    if last >> 5 == 0b110:
        count, size_bytes = (last & 7) + 1, (last >> 3 & 3) + 1
        index = len(packet) - 2 - count * size_bytes
        if index >= 0 and packet[index] == last:
            places = range(index + 1, len(packet) - 1, size_bytes)
            sizes = [int.from_bytes(packet[place : place + size_bytes], "little") for place in places]
    position = 0
    for size in filter(None, sizes):
        bits = byte_at(packet, position) << 8 | (byte_at(packet, position + 1) if size > 1 else 0)
        if bits >> 14 != 0b10:
            raise Malformed("no VP9 frame")
        after_profile = bits << (5 if bits >> 12 & 3 == 3 else 4)  # profile 3 is followed by a reserved bit
        existing, inter, shown = (after_profile >> shift & 1 for shift in (15, 14, 13))
        yield (True, False) if existing else (bool(shown), not inter)
        position += size
