"""H.264 (ITU-T H.264 2021)."""

from __future__ import annotations

from typing import NamedTuple

from video_zoo.datareader.codecs.bits import Bits, PictureOrder, byte_at, starts_with_code, units
from video_zoo.datareader.codecs.picture import Malformed, Picture, Unclear

_SEQUENCE, _PICTURE = 1, 2  # kinds of parameter sets
_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)


class Sequence(NamedTuple):
    """What is used of a sequence parameter set (7.3.2.1.1). order_bits: 0 if pictures are shown as they are sent."""

    frame_num_bits: int
    order_bits: int

    @classmethod
    def read(cls, unit: bytes) -> Sequence:
        """Raises Unclear for interlaced coding, separate colour planes, or numbers that may have gaps."""
        bits = Bits(unit[4:])
        bits.golomb()  # seq_parameter_set_id
        if byte_at(unit, 1) in _HIGH_PROFILES:
            _skip_high_profile(bits)
        frame_num_bits = bits.golomb() + 4
        order_type = bits.golomb()
        if order_type == 1:
            raise Unclear("a rare order of pictures")
        order_bits = bits.golomb() + 4 if order_type == 0 else 0
        bits.golomb()  # max_num_ref_frames
        if bits.take(1):
            raise Unclear("numbers that may have gaps")
        bits.golomb(), bits.golomb()  # width and height
        if not bits.take(1):
            raise Unclear("interlaced coding")
        if max(frame_num_bits, order_bits) > 16:
            raise Malformed("numbers of no possible size")
        return cls(frame_num_bits, order_bits)


class H264:
    """Packets of one stream, from its first on: a missing reference picture shows in the pictures' numbers.

    Raises Unclear: the stream's parameters, see Sequence.
    """

    def __init__(self, extradata: bytes):
        self._length_size = 0
        self._sequence: Sequence | None = None
        self._last_reference = 0
        self._order = PictureOrder()
        if starts_with_code(extradata):
            records = [extradata[unit:] for unit in units(extradata, 0)]
        else:  # avcC, ISO/IEC 14496-15 5.3.3
            self._length_size = (byte_at(extradata, 4) & 3) + 1
            if byte_at(extradata, 5) & 31 > 1:
                raise Unclear("several sequence parameter sets")
            records = [extradata[8 : 8 + int.from_bytes(extradata[6:8], "big")]]
        for record in records:
            if record[:1] and record[0] & 31 == 7:
                self._add_sequence(record)

    def __call__(self, packet: bytes) -> Picture:
        first, pictures, needed, start, parameters = None, 0, False, True, 0
        for unit in units(packet, self._length_size):
            kind = packet[unit] & 31
            if kind in (1, 5):  # a slice; of an instant refresh (IDR)
                first = unit if first is None else first
                pictures += byte_at(packet, unit + 1) >> 7  # first_mb_in_slice is 0: one bit
                needed |= packet[unit] & 0x60 > 0  # nal_ref_idc
                start &= kind == 5
            elif kind in (2, 3, 4):
                raise Unclear("data partitioning")
            elif kind == 7:
                parameters |= _SEQUENCE
                self._add_sequence(packet[unit : unit + 512])
            elif kind == 8:
                parameters |= _PICTURE
        if pictures != 1:
            raise Unclear("not one picture in a packet")
        order = self._number(packet[first : first + 24], start, needed)
        return Picture(start, needed, order, 0, parameters)

    def _add_sequence(self, unit: bytes) -> None:
        sequence = Sequence.read(unit)
        if self._sequence not in (None, sequence):
            raise Unclear("sequence parameters that differ")
        self._sequence = sequence

    def _number(self, unit: bytes, start: bool, needed: bool) -> tuple[int, int] | None:
        """The picture's order; its frame_num must be one more than the last reference picture's (7.3.3, 7.4.3)."""
        if self._sequence is None:
            raise Unclear("no sequence parameters")
        bits = Bits(unit[1:])
        for _ in range(3):  # first_mb_in_slice, slice_type, pic_parameter_set_id
            bits.golomb()
        number = bits.take(self._sequence.frame_num_bits)
        if number != (0 if start else (self._last_reference + 1) % (1 << self._sequence.frame_num_bits)):
            raise Unclear("a reference picture is missing")
        if needed:
            self._last_reference = number
        if not self._sequence.order_bits:
            return None
        if start:
            bits.golomb()  # idr_pic_id
            self._order.restart()
        return self._order.next(bits.take(self._sequence.order_bits), self._sequence.order_bits, needed)


def _skip_high_profile(bits: Bits) -> None:
    chroma = bits.golomb()
    if chroma == 3 and bits.take(1):
        raise Unclear("separate colour planes")
    bits.golomb(), bits.golomb(), bits.take(1)  # bit depths, lossless bypass
    if bits.take(1):  # scaling matrices
        for index in range(12 if chroma == 3 else 8):
            if bits.take(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)


def _skip_scaling_list(bits: Bits, size: int) -> None:
    scale = 8
    for _ in range(size):
        code = bits.golomb()
        scale = (scale + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        if not scale:
            return
