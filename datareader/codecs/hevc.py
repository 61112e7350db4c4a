"""HEVC (ITU-T H.265 2021)."""

from __future__ import annotations

from collections.abc import Iterator

from video_zoo.datareader.codecs.bits import Bits, PictureOrder, byte_at, starts_with_code, units
from video_zoo.datareader.codecs.picture import Malformed, Picture, Unclear

_IDR, _CRA = (19, 20), 21  # kinds of units that decoding can begin at
_LEADING = range(6, 10)  # RADL and RASL


class Hevc:
    """Packets of one stream, from its first on.

    Raises Unclear: pictures that may be decoded and not shown, or a stream spliced from several.
    """

    def __init__(self, extradata: bytes):
        self._length_size = 0
        self._order_bits = self._extra_bits = self._plane_bits = None
        self._order, self._first = PictureOrder(), True
        if starts_with_code(extradata):
            records = [extradata[unit:] for unit in units(extradata, 0)]
        else:  # hvcC, ISO/IEC 14496-15 8.3.3
            self._length_size = (byte_at(extradata, 21) & 3) + 1
            records = list(_hvcc_units(extradata))
        for record in records:
            self._add_parameters(record)

    def __call__(self, packet: bytes) -> Picture:
        first, pictures, needed, parameters = 0, 0, False, 0
        for unit in units(packet, self._length_size):
            kind = packet[unit] >> 1 & 63
            if kind < 32:  # a slice segment
                if byte_at(packet, unit + 2) >> 7:  # first_slice_segment_in_pic_flag
                    first, pictures = unit, pictures + 1
                needed |= kind % 2 > 0 or kind > 14  # even below 16: a sub-layer non-reference picture
            elif kind <= 34:
                parameters |= 1 << (kind - 32)
                self._add_parameters(packet[unit : unit + 512])
            elif kind in (36, 37):
                raise Unclear("a stream of several")
        if pictures != 1:
            raise Unclear("not one picture in a packet")
        kind, layer = packet[first] >> 1 & 63, (packet[first + 1] & 7) - 1
        order = self._number(packet[first : first + 24], kind, layer == 0 and needed)
        return Picture(19 <= kind <= 21, needed, order, layer, parameters)

    def _number(self, unit: bytes, kind: int, anchor: bool) -> tuple[int, int]:
        """The picture's order (7.3.6.1, 8.3.1)."""
        if None in (self._order_bits, self._extra_bits):
            raise Unclear("no parameter sets")
        if 16 <= kind <= 18 or kind > 21:
            raise Unclear("a stream spliced from several")
        bits = Bits(unit[2:])
        bits.take(1)  # first_slice_segment_in_pic_flag
        if kind > 15 and bits.take(1) and not self._first:
            raise Unclear("pictures that are dropped unshown")  # no_output_of_prior_pics_flag
        self._first = False
        if kind in _IDR:
            self._order.restart()
            return self._order.next(0, self._order_bits, True)
        bits.golomb()  # slice_pic_parameter_set_id
        bits.take(self._extra_bits)
        bits.golomb()  # slice_type
        bits.take(self._plane_bits)
        return self._order.next(bits.take(self._order_bits), self._order_bits, anchor and kind not in _LEADING)

    def _add_parameters(self, unit: bytes) -> None:
        kind = byte_at(unit, 0) >> 1 & 63
        if kind == 33:
            found = _sequence(Bits(unit[2:]))
            if self._order_bits is not None and found != (self._order_bits, self._plane_bits):
                raise Unclear("sequence parameters that differ")
            self._order_bits, self._plane_bits = found
        elif kind == 34:
            bits = Bits(unit[2:])
            bits.golomb(), bits.golomb(), bits.take(1)  # ids, dependent_slice_segments_enabled_flag
            if bits.take(1):
                raise Unclear("pictures that may not be shown")  # output_flag_present_flag
            extra = bits.take(3)  # num_extra_slice_header_bits
            if self._extra_bits not in (None, extra):
                raise Unclear("picture parameters that differ")
            self._extra_bits = extra


def _sequence(bits: Bits) -> tuple[int, int]:
    """(bits of a picture's order, bits of a slice's colour plane) of a sequence parameter set (7.3.2.2, 7.3.3)."""
    bits.take(4)  # sps_video_parameter_set_id
    sub_layers = bits.take(3)
    bits.take(1 + 96)  # temporal_id_nesting_flag; the profile and level of all
    present = [(bits.take(1), bits.take(1)) for _ in range(sub_layers)]
    if sub_layers:
        bits.take(2 * (8 - sub_layers))
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.golomb()  # sps_seq_parameter_set_id
    plane_bits = 2 if bits.golomb() == 3 and bits.take(1) else 0
    bits.golomb(), bits.golomb()  # width, height
    if bits.take(1):  # conformance window
        for _ in range(4):
            bits.golomb()
    bits.golomb(), bits.golomb()  # bit depths
    order_bits = bits.golomb() + 4
    if order_bits > 16:
        raise Malformed("numbers of no possible size")
    return order_bits, plane_bits


def _hvcc_units(record: bytes) -> Iterator[bytes]:
    """The parameter sets of an hvcC record."""
    position = 23
    for _ in range(byte_at(record, 22)):
        count = int.from_bytes(record[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            size = int.from_bytes(record[position : position + 2], "big")
            yield record[position + 2 : position + 2 + size]
            position += 2 + size
