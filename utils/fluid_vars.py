"""Paddle 1.x's variable files: one file a variable, in a folder, as `fluid.io.save_vars` writes them.

Our checkpoints are such folders with one file more, checkpoint.json, which Paddle 1.x does not look at.

Bytes, little endian: u32 version 0; u64 number of LoD levels, then each as u64 size and that many bytes; u32 tensor
version 0; i32 size of a TensorDesc; the TensorDesc, a protobuf message {1: data type, 2: repeated int64 dims}; values.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from video_zoo.utils.archives import MOST_FILE_BYTES, DamagedArchive, read_members
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import whole_folder
from video_zoo.utils.json_files import (
    check_fields,
    is_count,
    is_mapping,
    is_number,
    is_text,
    list_of,
    mapping_of,
    none_or,
    parse_json,
)
from video_zoo.utils.open_files import read_regular

INFO_FILE = "checkpoint.json"
_CHECKSUMS, _FORMAT, _OWN_CHECKSUM = "sha256", "format", "own_sha256"  # names in checkpoint.json
_OWN = frozenset((_CHECKSUMS, _FORMAT, _OWN_CHECKSUM))
_FIELDS = {  # of checkpoint.json; engine/checkpoint.py says what they mean
    **dict.fromkeys(("epoch", "iteration", "global_step"), is_count),
    **dict.fromkeys(("best_*", "saved_s"), is_number),
    **dict.fromkeys(("model", "training", "list", "valid_list"), none_or(is_text)),
    **dict.fromkeys(("MODEL", "TRAIN", "VALID", "TEST", "INFER", "ONLINE"), is_mapping),
    "totals": list_of(is_number),
    "classes": none_or(list_of(is_text)),
    "loss_scale": mapping_of(lambda value: isinstance(value, bool) or is_number(value) or list_of(is_number)(value)),
    _CHECKSUMS: mapping_of(lambda value: is_text(value) and bool(re.fullmatch("[0-9a-f]{64}", value))),
    _FORMAT: lambda value: value == 2,
}
_REPLACING_S = 0.05  # more than a folder is without its name while it is replaced

_TYPES = {2: np.dtype("<i4"), 3: np.dtype("<i8"), 5: np.dtype("<f4"), 6: np.dtype("<f8")}
_CODES = {dtype: code for code, dtype in _TYPES.items()}
_WIRE_VARINT, _WIRE_BYTES = 0, 2
_MAX_DIMS = 9  # Paddle's
_MAX_DESC_BYTES = 1024  # of a TensorDesc; 9 dims take 100


def encode(array: np.ndarray) -> bytes:
    """The bytes of a variable file. The array is int32, int64, float32 or float64."""
    array = np.asarray(array, order="C")
    desc = b"\x08" + _varint(_CODES[array.dtype.newbyteorder("<")])
    desc += b"".join(b"\x10" + _varint(size) for size in array.shape)
    return struct.pack("<IQIi", 0, 0, 0, len(desc)) + desc + array.astype(array.dtype.newbyteorder("<")).tobytes()


def decode(data: bytes, name: str) -> np.ndarray:
    """The array of a variable file's bytes.

    Raises InputError that says `name` if the bytes are no variable, or are too few or too many.
    """
    try:
        version, levels = struct.unpack_from("<IQ", data, 0)
        offset = 12
        for _ in range(min(levels, 16)):
            offset += 8 + struct.unpack_from("<Q", data, offset)[0]
        tensor_version, desc_size = struct.unpack_from("<Ii", data, offset)
        offset += 8
        if version or tensor_version or levels > 16 or not 0 < desc_size <= min(len(data) - offset, _MAX_DESC_BYTES):
            raise ValueError("is no Paddle variable file")
        dtype, shape = _parse_desc(data[offset : offset + desc_size])
    except (struct.error, IndexError, ValueError, KeyError, OverflowError):
        raise InputError(f"{name} is no Paddle variable file, or is cut off") from None
    offset += desc_size
    expected, got = dtype.itemsize * math.prod(shape), len(data) - offset
    if expected != got:
        raise InputError(
            f"{name} is damaged: {got:,} bytes of values, and its shape {list(shape)} asks for {expected:,}"
        )
    try:
        return np.frombuffer(data, dtype, offset=offset).reshape(shape)
    except ValueError as error:  # one of absurd dims is 0
        raise InputError(f"{name} is damaged: {error}") from None


def write_folder(folder: Path, variables: Mapping[str, np.ndarray], info: Mapping[str, Any] | None = None) -> None:
    """Writes each variable to the file of its name, and `info`, which must be JSON, to checkpoint.json, with the
    SHA-256 of each file."""
    checksums = {}
    for name, array in variables.items():
        data = encode(array)
        (folder / name).write_bytes(data)
        if info is not None:
            checksums[name] = hashlib.sha256(data).hexdigest()
    if info is not None:
        (folder / INFO_FILE).write_text(format_info(info, checksums), encoding="utf-8")


def format_info(info: Mapping[str, Any], checksums: Mapping[str, str]) -> str:
    """The text of checkpoint.json, with a SHA-256 of what it says. `info` must be JSON; `checksums` has the SHA-256 of
    each file beside it."""
    said = json.loads(json.dumps({**info, _FORMAT: 2, _CHECKSUMS: dict(checksums)}))  # as it will be read
    said.pop(_OWN_CHECKSUM, None)  # of an earlier text
    return json.dumps({**said, _OWN_CHECKSUM: _checksum_of(said)}, indent=1) + "\n"


def _checksum_of(said: Mapping[str, Any]) -> str:
    """The SHA-256 of what checkpoint.json says but for that itself, in whatever order and layout it is written."""
    rest = {name: value for name, value in said.items() if name != _OWN_CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


class VariableStore:
    """The files of a folder, or of a `.tar.gz` of it, by name; each is decoded when asked for.

    Nothing of an archive is unpacked to disk, and only its regular files are read. Where checkpoint.json has the
    SHA-256 of the files, one that is missing or has another is an error when it is asked for.

    Raises:
        InputError: `path` does not exist, is neither, or the archive is damaged.
    """

    def __init__(self, path: str | os.PathLike):
        self.path, place = Path(path), whole_folder(path)
        self._checksums: dict[str, str] | None = None
        if place.is_dir():
            self._files: dict[str, Path | bytes] = {file.name: file for file in place.iterdir() if file.is_file()}
        elif self.path.is_file():
            self._files = _read_archive(self.path)
        else:
            raise InputError(f"no weights at {path}: give a folder with one file a variable, or a .tar.gz of it")

    def names(self) -> set[str]:
        """The names of all files that are there, or that checkpoint.json has a SHA-256 of."""
        return self._files.keys() | self.checksums().keys()

    def checksums(self) -> dict[str, str]:
        """Name -> SHA-256 of the files, as checkpoint.json says; {} where it does not. Raises InputError."""
        if self._checksums is None:
            self._checksums = self._parse_info().get(_CHECKSUMS, {})
        return self._checksums

    def raw(self, name: str) -> bytes:
        """The bytes of a file. Raises InputError if they are not those that were written."""
        data, checksum = self._bytes_of(name), self.checksums().get(name)
        if checksum is not None and hashlib.sha256(data).hexdigest() != checksum:
            raise InputError(
                f"{self.path / name} is damaged: {INFO_FILE} has another SHA-256 of it. Copy the checkpoint again, or"
                " take another one; if a training has just replaced it, try again"
            )
        return data

    def _bytes_of(self, name: str) -> bytes:
        if name not in self._files and name in self.checksums():
            raise InputError(f"{self.path / name} is missing, and {INFO_FILE} says that it was there: copy it again")
        file = self._files[name]
        try:
            return file if isinstance(file, bytes) else self._read_file(file)
        except OSError as error:
            raise InputError(f"cannot read {self.path / name}: {error.strerror or error}") from error

    def _read_file(self, file: Path) -> bytes:
        try:
            return read_regular(file, MOST_FILE_BYTES)
        except FileNotFoundError:  # the folder was being replaced: the new one is there now, or soon
            time.sleep(_REPLACING_S)
            return read_regular(whole_folder(self.path) / file.name, MOST_FILE_BYTES)

    def read(self, name: str) -> np.ndarray:
        """The variable in that file. Raises InputError if it is none."""
        return decode(self.raw(name), str(self.path / name))

    def info(self) -> dict[str, Any]:
        """What checkpoint.json says beside the checksums; {} where there is none, as in v1.5's folders.

        Raises InputError if it is no JSON, a field is of another type or out of range, or it was changed since.
        """
        return {name: value for name, value in self._parse_info().items() if name not in _OWN}

    def _parse_info(self) -> dict[str, Any]:
        if INFO_FILE not in self._files:
            return {}
        data = self._bytes_of(INFO_FILE)
        try:
            said = check_fields(parse_json(data), _FIELDS)
            # Those of format 1 have none; each of the two names tells that it should be there if the other is damaged.
            if said.keys() & {_FORMAT, _OWN_CHECKSUM} and said.get(_OWN_CHECKSUM) != _checksum_of(said):
                raise ValueError("it is not what was written")
            return said
        except ValueError as error:
            raise InputError(
                f"{self.path / INFO_FILE} is damaged: {error}; without it, the folder is taken for v1.5's weights"
            ) from None

    def sha256(self) -> str:
        """Of the names and bytes of all variables: the same for a folder and for an archive of it."""
        digest = hashlib.sha256()
        for name in sorted(self.names()):
            data = self.raw(name)
            digest.update(f"{name} {len(data)}\n".encode("utf-8", "surrogateescape") + data)
        return digest.hexdigest()


def fingerprint(path: str | os.PathLike | None) -> str:
    """A hash of the names, sizes and times of a folder's or an archive's files; "" for None."""
    if path is None:
        return ""
    place = whole_folder(path)
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    stats = [(file.name, file.stat()) for file in files]
    said = "".join(f"{name} {stat.st_size} {stat.st_mtime_ns}\n" for name, stat in stats)
    return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _read_archive(path: Path) -> dict[str, bytes]:
    files = {}
    try:
        for member, data in read_members(path):
            name = Path(member.name).name
            if data is not None and name in files:
                raise InputError(f"{path} holds several folders of weights ({name} twice): pack one of them")
            if data is not None:
                files[name] = data
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except DamagedArchive as error:
        raise InputError(f"{path} is no .tar.gz of a weights folder, or is damaged: {error}") from error
    return files


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[offset]
        if shift > 63:
            raise ValueError("a varint of more than 10 bytes")
        value |= (byte & 0x7F) << shift
        offset += 1
        shift += 7
        if byte < 0x80:
            return value, offset


def _parse_desc(desc: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    """Data type and dims of a TensorDesc; the dims are packed into one field or not."""
    offset, code, dims = 0, None, []
    while offset < len(desc):
        tag, offset = _read_varint(desc, offset)
        value, offset = _read_varint(desc, offset)  # the value itself, or the size of a packed field
        if tag == (1 << 3 | _WIRE_VARINT):
            code = value
        elif tag == (2 << 3 | _WIRE_VARINT):
            dims.append(value)
        elif tag == (2 << 3 | _WIRE_BYTES):
            end = offset + value
            while offset < end:
                size, offset = _read_varint(desc, offset)
                dims.append(size)
        else:
            raise ValueError("an unknown field")
    if len(dims) > _MAX_DIMS:
        raise ValueError("too many dims")
    return _TYPES[code], tuple(dims)
