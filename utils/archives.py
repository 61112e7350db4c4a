"""Archives of weights, read within limits: whatever a .tar.gz says of itself, it takes no more memory or disk than
those."""

from __future__ import annotations

import importlib
import os
import tarfile
from collections.abc import Iterator
from typing import IO

from video_zoo.utils.open_files import open_regular

MOST_FILE_BYTES = 1 << 30  # of one file: a layer of 2,048 features and 131,072 classes
MOST_BYTES = 8 << 30  # of all that is in an archive
MOST_MEMBERS = 20_000
# Weights hardly shrink when they are compressed, so an archive that grows more than this is none of weights.
_MOST_GROWTH = 20
_FREE_BYTES = 256 << 20  # that any archive may hold
_CHUNK = 1 << 20
_MODULES = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "lzma"}  # by the first bytes


class DamagedArchive(ValueError):
    """It is no archive, is cut off or changed, or is larger than an archive of weights can be."""


def read_members(path: str | os.PathLike) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """The members of a .tar, .tar.gz, .tar.bz2 or .tar.xz in their order, with the content of each regular file.

    The compressed stream is read to its end, where its checksum is.

    Raises:
        DamagedArchive: as it says, at the member where it shows. Sparse files are refused.
        OSError: the file cannot be read, or is no regular one.
    """
    with open_regular(path, MOST_BYTES) as packed:
        size = os.fstat(packed.fileno()).st_size
        start = packed.read(6)
        packed.seek(0)
        module = next((module for magic, module in _MODULES.items() if start.startswith(magic)), None)
        most = min(MOST_BYTES, max(_FREE_BYTES, _MOST_GROWTH * size)) if module else MOST_BYTES
        try:
            stream = _Bounded(importlib.import_module(module).open(packed) if module else packed, most)
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for number, member in enumerate(archive):
                    if number >= MOST_MEMBERS:
                        raise DamagedArchive(f"it holds more than {MOST_MEMBERS:,} files")
                    if member.issparse():
                        raise DamagedArchive(f"{member.name!r} is stored as a sparse file: pack it without --sparse")
                    if member.isfile() and member.size > MOST_FILE_BYTES:
                        raise DamagedArchive(f"{member.name!r} is larger than {MOST_FILE_BYTES:,} bytes")
                    yield member, archive.extractfile(member).read() if member.isfile() else None
            while stream.read(_CHUNK):
                pass
        except Exception as error:  # a damaged one raises almost anything
            if isinstance(error, DamagedArchive) or getattr(error, "errno", None):
                raise
            raise DamagedArchive(str(error)) from error


class _Bounded:
    """What tarfile needs of an open file, in which it gets no further than so many bytes."""

    def __init__(self, file: IO[bytes], most_bytes: int):
        self._file, self._most = file, most_bytes

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int) -> int:
        self._check(offset)
        return self._file.seek(offset)

    def read(self, size: int) -> bytes:
        """In pieces, so that no more memory is taken than there are bytes."""
        pieces = []
        while size > 0 and (piece := self._file.read(min(size, _CHUNK))):
            self._check(self._file.tell())
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _check(self, offset: int) -> None:
        if offset > self._most:
            raise DamagedArchive(f"its content is larger than {self._most:,} bytes, which is no archive of weights")
