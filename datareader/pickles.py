"""v1.5's pickled videos: a (video id, label, encoded frames) tuple, and nothing but that: no code in a file is run."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from datareader.decode import VideoError


def read_pickle(path: Path) -> tuple[str, int, list[bytes]]:
    """v1.5's pickled video: (video id, label, jpegs). Raises VideoError.

    Only tuples, lists, text, bytes and numbers are taken from the pickle; a name of code in it is an error.
    """
    try:
        video_id, label, jpegs = _DataUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        video_id = video_id.decode() if isinstance(video_id, bytes) else str(video_id)
        if not all(isinstance(jpeg, bytes) for jpeg in jpegs):
            raise ValueError("its frames are no encoded images")
        return video_id, int(label), list(jpegs)
    except OSError as error:
        raise VideoError(error.strerror or str(error)) from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise VideoError(f"it is no (video id, label, frames) pickle: {error}") from error


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in protocol 2
            return _latin1
        raise pickle.UnpicklingError(f"it names code, {module}.{name}, which is never run")


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding}")
    return text.encode("latin1")
