"""Whether a file ends where its container says it does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


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
