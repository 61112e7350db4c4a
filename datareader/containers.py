"""What a container itself tells about missing parts: whether it is cut off, whether packets were lost on the way."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def is_mp4(path: Path) -> bool:
    """Whether a file begins as MP4 files do, and MOV files that are not very old; False if it cannot be read."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"
    return False


def cut_off(path: Path) -> str | None:
    """What is missing at the end of an MP4, MOV, Matroska or WebM file; None if nothing is, or it is another format."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        end = _boxes_end(file, size) if head[4:8] == b"ftyp" else _segment_end(file) if head[:4] == _EBML else size
    return f"the file is cut off: it has {size:,} bytes of {end:,}" if end > size else None


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last box of an MP4 ends (ISO/IEC 14496-12, 4.2)."""
    end = 0
    while end < size:
        file.seek(end)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:  # the length is 64 bits wide and follows the name
            length = int.from_bytes(header[8:16], "big")
        if length < 8 or not header[4:8].isalnum():  # 0: to the end of the file; else no box
            return size
        end += length
    return end


def _segment_end(file: BinaryIO) -> int:
    """Where the first segment of a Matroska file ends (RFC 8794, RFC 9559); 0 if it does not say."""
    file.seek(4)
    file.seek(_ebml_size(file) or 0, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    length = _ebml_size(file)
    return 0 if length is None else file.tell() + length


def _ebml_size(file: BinaryIO) -> int | None:
    """A length whose first byte tells, by its leading zeros, how many follow; None: unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + file.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value


def transport_packets_lost(path: Path, pid: int) -> bool:
    """Whether packets of a stream may be missing in an MPEG-TS file (ISO/IEC 13818-1, 2.4.3).

    Where recordings or segments are joined, the continuity counter jumps although nothing is lost. Such a jump comes
    between two whole PES packets: the next one starts there, and the one before has ended, which its stuffing shows, or
    the length that it may give. One without a length (as most of video) that happens to fill its last packet counts as
    lost: nothing else tells it from one that is cut off.

    Args:
        pid: the stream's number in the file.
    """
    rows = _transport_packets(path)
    if rows is None:
        return True  # it begins in the middle of a packet, or bytes are missing on the way
    head = np.array(rows[:, :6])
    of_stream = ((head[:, 1] & 31).astype(int) << 8 | head[:, 2]) == pid
    places = np.flatnonzero(of_stream & (head[:, 3] & 16 > 0))  # with a payload
    head = head[places]
    flags, counter, length, fields = head[:, 1], head[:, 3] & 15, head[:, 4].astype(int), head[:, 5]
    adapted = head[:, 3] & 32 > 0
    used = 1 + 6 * (fields >> 4 & 1) + 6 * (fields >> 3 & 1) + (fields >> 2 & 1)  # what an adaptation field holds
    stuffed = adapted & ((length == 0) | (fields & 3 == 0) & (length > used))
    begins, starts = 4 + adapted * (1 + length), flags & 0x40 > 0  # of the payload, of a PES packet
    jumps = 1 + np.flatnonzero(counter[1:] != (counter[:-1] + 1) & 15)

    def has_its_length(place: int) -> bool:
        """Whether the PES packet that ends before this place is as long as it says (2.4.3.7)."""
        first = int(np.flatnonzero(starts[:place])[-1]) if starts[:place].any() else place
        said = int.from_bytes(rows[places[first]][begins[first] :][4:6].tobytes(), "big")
        return said > 0 and (188 - begins[first:place]).sum() == 6 + said

    whole = (starts[place] and (stuffed[place - 1] or has_its_length(place)) for place in jumps)
    return not len(places) or bool((flags & 0x80).any()) or not all(whole)  # 0x80: the receiver marked an error


def _transport_packets(path: Path) -> np.ndarray | None:
    """Its packets, uint8 (n, 188), without what lies between them, nor one that is cut off at the end; None if it does
    not consist of packets."""
    data = np.memmap(path, np.uint8, "r")
    for size, before in ((188, 0), (192, 4), (204, 0)):  # M2TS has a time before each, DVB a checksum behind
        rows = data[: len(data) // size * size].reshape(-1, size)[:, before : before + 188]
        if len(rows) and (rows[:, 0] == 0x47).all():
            return rows
    return None
