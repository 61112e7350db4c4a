"""MPEG-4 part 2, DivX's and Xvid's (ISO/IEC 14496-2)."""

from __future__ import annotations

from video_zoo.datareader.codecs.bits import Bits
from video_zoo.datareader.codecs.picture import Picture, Unclear

_PICTURE_START = b"\0\0\1\xb6"  # vop_start_code


class Mpeg4:
    """Packets of one stream, from its first on. Raises Unclear: the stream's parameters."""

    def __init__(self, extradata: bytes):
        self._known = self._read_layer(extradata)
        self._anchors = self._between = 0

    def __call__(self, packet: bytes) -> Picture:
        position = packet.find(_PICTURE_START)
        if position < 0 or packet.find(_PICTURE_START, position + 4) >= 0:
            raise Unclear("not one picture in a packet")
        if len(packet) - position < 16:  # perhaps "not coded", which gives no frame
            raise Unclear("a picture of a few bytes")
        parameters = self._read_layer(packet[:position])
        self._known |= parameters
        if not self._known:
            raise Unclear("no layer header")
        kind = packet[position + 4] >> 6  # vop_coding_type: I, P, B, S
        return Picture(kind == 0, kind != 2, self._number(kind == 2), 0, int(parameters))

    def _number(self, between: bool) -> tuple[int, int]:
        """A B-picture is shown before the anchor that was sent last, and after the one before that."""
        if between:
            self._between += 1
            return self._anchors - 1, self._between
        self._anchors += 1
        self._between = 0
        return self._anchors, 0

    @staticmethod
    def _read_layer(data: bytes) -> bool:
        """Whether there is a layer header (6.2.3). Raises Unclear for one that is interlaced or no rectangle."""
        position = data.find(b"\0\0\1")
        while position >= 0 and not 0x20 <= (data[position + 3 : position + 4] or b"\0")[0] <= 0x2F:
            position = data.find(b"\0\0\1", position + 3)
        if position < 0:
            return False
        bits = Bits(data[position + 4 : position + 64], escaped=False)
        bits.take(9)  # random_accessible_vol, video_object_type_indication
        if bits.take(1):
            bits.take(7)  # version and priority
        if bits.take(4) == 15:
            bits.take(16)  # the shape of a pixel
        if bits.take(1):  # vol_control_parameters
            bits.take(3)
            if bits.take(1):
                bits.take(79)  # vbv_parameters
        if bits.take(2):
            raise Unclear("pictures that are no rectangles")
        bits.take(1)
        resolution = bits.take(16)
        bits.take(1)
        if bits.take(1):  # fixed_vop_rate
            bits.take(max((resolution - 1).bit_length(), 1))
        bits.take(1 + 13 + 1 + 13 + 1)  # width and height
        if bits.take(1):
            raise Unclear("interlaced coding")
        return True
