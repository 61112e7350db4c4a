"""Pickles as data: what is in them is read, and no code that they name is run."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from video_zoo.utils.errors import InputError


class DataUnpickler(pickle.Unpickler):
    """Takes tuples, lists, dicts, text, bytes and numbers alone; a name of code is an UnpicklingError.

    Attributes:
        stand_ins: (module, name) in a pickle -> what is called in its place.
    """

    stand_ins: ClassVar[dict[tuple[str, str], Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in protocol 2
            return _latin1
        if (module, name) in self.stand_ins:
            return self.stand_ins[module, name]
        raise pickle.UnpicklingError(f"it names code, {module}.{name}, which is never run")


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a `.pdparams` file: a pickle of a dict, as `paddle.save` writes a network's state_dict.

    Returns: name -> array of numbers. Paddle's own notes, whose names end in @@, are left out.

    Raises:
        InputError: the file cannot be read, is damaged, or is a pickle of something else.
    """
    try:
        with Path(path).open("rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
            raise ValueError("it holds no names")
        arrays = {name: value for name, value in content.items() if not name.endswith("@@")}
        for name, value in arrays.items():
            if not isinstance(value, _Array) or value.values is None:
                raise ValueError(f"{name} is no array")
        return {name: value.values for name, value in arrays.items()}
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

    values: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, is_fortran, data = state
        data = data.encode("latin1") if isinstance(data, str) else data  # of a Python 2
        self.values = np.frombuffer(data, kind.dtype()).reshape(shape, order="F" if is_fortran else "C")


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


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding}")
    return text.encode("latin1")
