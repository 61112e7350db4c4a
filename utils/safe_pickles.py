"""Pickles as data: what is in them is read, and no code that they name is run."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import re
from typing import Any, ClassVar

import numpy as np

from video_zoo.utils.archives import MOST_BYTES
from video_zoo.utils.errors import InputError
from video_zoo.utils.open_files import read_regular

# An opcode of one byte may make an object of 200, and an index of the memo makes room for all that are lower.
_MOST_OPCODES = 1_000_000
_ARGUMENT_SIZES = {ord(opcode.code): opcode.arg.n if opcode.arg else 0 for opcode in pickletools.opcodes}
_LENGTH_SIZES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_TWO_LINES = (pickle.GLOBAL[0], pickle.INST[0])
_PUT, _LONG_PUT, _STOP = pickle.PUT[0], pickle.LONG_BINPUT[0], pickle.STOP[0]


class DataUnpickler(pickle.Unpickler):
    """Takes tuples, lists, dicts, text, bytes and numbers alone; a name of code is an UnpicklingError.

    Attributes:
        stand_ins: (module, name) in a pickle -> what is called in its place.

    Args:
        data: the pickle. It takes no more memory than in proportion to its size, whatever sizes it claims.
        encoding: of the text of Python 2, as for pickle.loads.

    Raises UnpicklingError or ValueError if it is cut off, or is no pickle of plain data of a sensible size.
    """

    stand_ins: ClassVar[dict[tuple[str, str], Any]] = {}

    def __init__(self, data: bytes, encoding: str):
        _check_sizes(data)
        super().__init__(io.BytesIO(data), encoding=encoding)
        self._bytes_left = len(data)  # text is as long in the pickle as its bytes, unless it is taken more than once

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in protocol 2
            return self._encode_latin1
        if (module, name) in self.stand_ins:
            return self.stand_ins[module, name]
        raise pickle.UnpicklingError(f"it names code, {module}.{name}, which is never run")

    def _encode_latin1(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"bytes encoded as {encoding}")
        self._bytes_left -= len(text)
        if self._bytes_left < 0:
            raise pickle.UnpicklingError("it repeats its content, to more than its own size")
        return text.encode("latin1")


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a `.pdparams` file: a pickle of a dict, as `paddle.save` writes a network's state_dict.

    Returns: name -> array of numbers. Paddle's own notes, whose names end in @@, are left out.

    Raises:
        InputError: the file cannot be read, is damaged, or is a pickle of something else.
    """
    try:
        data = read_regular(path, MOST_BYTES)
        content = _ArrayUnpickler(data, encoding="latin1").load()
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
            raise ValueError("it holds no names")
        arrays = {name: value for name, value in content.items() if not name.endswith("@@")}
        for name, value in arrays.items():
            if not isinstance(value, _Array) or value.state is None:
                raise ValueError(f"{name} is no array")
        if sum(len(value.state[-1]) for value in arrays.values()) > len(data):
            raise ValueError("it repeats its content, to more than its own size")
        return {name: value.values() for name, value in arrays.items()}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError(f"{path} is no .pdparams file of a network's weights, or is damaged: {error}") from error


class _DType:
    """Stands in for numpy.dtype: its code, then its byte order."""

    def __init__(self, code: str, *_: Any):
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype:
        if not re.fullmatch("[fiu][1248]", self.code) or self.order not in ("<", ">", "|", "="):
            raise ValueError(f"an array of {self.code!r}, which are no numbers")
        return np.dtype(self.order + self.code)


class _Array:
    """Stands in for numpy.ndarray, whose own way of being unpickled trusts the file."""

    state: tuple | None = None

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def values(self) -> np.ndarray:
        _, shape, kind, is_fortran, data = self.state
        data = data.encode("latin1") if isinstance(data, str) else data  # of a Python 2
        return np.frombuffer(data, kind.dtype()).reshape(shape, order="F" if is_fortran else "C")


def _empty_array(*_: Any) -> _Array:
    """Stands in for numpy's _reconstruct."""
    return _Array()


class _ArrayUnpickler(DataUnpickler):
    stand_ins: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _DType,
        ("numpy.core.multiarray", "_reconstruct"): _empty_array,
        ("numpy._core.multiarray", "_reconstruct"): _empty_array,  # since numpy 2
    }


def _check_sizes(data: bytes) -> None:
    """Reads the opcodes alone, before Python's unpickler makes room for what they claim.

    Raises UnpicklingError, or ValueError where a line does not end.
    """
    offset = 0
    try:
        for _ in range(_MOST_OPCODES):
            code, start = data[offset], offset + 1
            size = _ARGUMENT_SIZES[code]
            if size >= 0:
                offset = start + size
                index = int.from_bytes(data[start:offset], "little") if code == _LONG_PUT else 0
            elif size == pickletools.UP_TO_NEWLINE:
                offset = data.index(b"\n", start) + 1
                index = int(data[start : offset - 1]) if code == _PUT else 0
                if code in _TWO_LINES:
                    offset = data.index(b"\n", offset) + 1
            else:
                values = start + _LENGTH_SIZES[size]
                offset = values + int.from_bytes(data[start:values], "little")
                continue
            if index >= _MOST_OPCODES:
                raise pickle.UnpicklingError(f"it numbers an object {index:,}")
            if code == _STOP:
                return
    except IndexError:
        raise pickle.UnpicklingError("it is cut off") from None
    except KeyError:
        raise pickle.UnpicklingError(f"{code} is no opcode") from None
    raise pickle.UnpicklingError(f"it has more than {_MOST_OPCODES:,} parts")
