"""AV1 (AV1 bitstream and decoding process specification 1.0.0 with errata 1: 5.3 to 5.9)."""

from __future__ import annotations

from video_zoo.datareader.codecs.bits import byte_at
from video_zoo.datareader.codecs.picture import Picture, Unclear


def av1_picture(packet: bytes) -> Picture:
    """What a packet says. Its picture is needed: each hands on how the next is to be read. Raises Unclear."""
    position, sequence_header, frames = 0, False, []
    while position < len(packet):
        header = packet[position]
        kind = header >> 3 & 15
        position += 2 if header & 4 else 1
        size = len(packet) - position
        if header & 2:
            size, position = _leb128(packet, position)
        payload = byte_at(packet, position) if size else 0
        if kind == 1:  # a sequence header: profile, still_picture, reduced_still_picture_header
            sequence_header = True
            if payload >> 3 & 1:
                raise Unclear("a still picture")
        elif kind in (3, 6):  # a frame header; a frame: show_existing_frame, frame_type, show_frame
            frames.append((True, False) if payload >> 7 else (bool(payload >> 4 & 1), payload >> 5 & 3 == 0))
        position += size
    if sum(shown for shown, _ in frames) != 1:
        raise Unclear("not one shown picture in a packet")
    return Picture(sequence_header and frames[0] == (True, True), True)


def _leb128(packet: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, least first, and where it ends."""
    value = shift = 0
    while True:
        byte = byte_at(packet, position)
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128 or shift > 56:
            return value, position
