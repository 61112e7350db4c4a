"""Reading compressed headers: bytes, bits, and the units that H.264 and HEVC consist of."""

from __future__ import annotations

from collections.abc import Iterator

from video_zoo.datareader.codecs.picture import Malformed


class Bits:
    """Reads bit by bit, the highest first.

    Args:
        data: where the bits begin.
        escaped: H.264's and HEVC's bytes that keep start codes out of a unit (emulation prevention) are left out.
    """

    def __init__(self, data: bytes, escaped: bool = True):
        if escaped:
            data = data.replace(b"\0\0\3", b"\0\0")
        self._bits, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """The number in the next `count` bits."""
        self._left -= count
        if self._left < 0:
            raise Malformed("a unit that ends too early")
        return self._bits >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        """An Exp-Golomb number, ue(v): as many zeros as bits follow the first one."""
        zeros = self._left - (self._bits & ((1 << self._left) - 1)).bit_length()
        return self.take(2 * zeros + 1) - 1


def byte_at(packet: bytes, position: int) -> int:
    """Raises Malformed where the packet has ended."""
    try:
        return packet[position]
    except IndexError:
        raise Malformed("a packet that ends too early") from None


def units(packet: bytes, length_size: int) -> Iterator[int]:
    """Where the header of each unit (NAL) of a packet lies.

    Args:
        length_size: bytes of the length before each unit; 0: units begin with start codes (annex B).
    """
    position = 0
    if length_size:
        while position + length_size < len(packet):
            start = position + length_size
            position = start + int.from_bytes(packet[position:start], "big")
            if position == start or position > len(packet):
                raise Malformed("a unit of no possible length")
            yield start
        return
    while (position := packet.find(b"\0\0\1", position) + 3) > 2 and position < len(packet):
        yield position


def starts_with_code(extradata: bytes) -> bool:
    """Whether units begin with start codes."""
    return not extradata or extradata.startswith((b"\0\0\1", b"\0\0\0\1"))


class PictureOrder:
    """The order of presentation from the few bits of it that a picture carries (H.264 8.2.1.1, HEVC 8.3.1)."""

    def __init__(self) -> None:
        self._period = self._high = self._low = 0

    def restart(self) -> None:
        """The next picture counts from 0, and follows all before."""
        self._period += 1
        self._high = self._low = 0

    def next(self, low: int, bits: int, anchor: bool) -> tuple[int, int]:
        """The order of a picture whose number has `low` in its lower `bits`; `anchor`: the next ones count from it."""
        half = 1 << (bits - 1)
        high = self._high
        if self._low - low >= half:
            high += 2 * half
        elif low - self._low > half:
            high -= 2 * half
        if anchor:
            self._high, self._low = high, low
        return self._period, high + low
