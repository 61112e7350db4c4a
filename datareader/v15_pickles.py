"""v1.5's pickled videos: a (video id, label, encoded frames) tuple, and nothing but that: no code in a file is run."""

from __future__ import annotations

from pathlib import Path

from video_zoo.datareader.decode import VideoError
from video_zoo.utils.open_files import read_regular
from video_zoo.utils.safe_pickles import DataUnpickler

_MOST_BYTES = 1 << 30
_MOST_CHARACTERS = 20  # of a number of 64 bits: a sign and 19 digits


def read_pickle(path: Path) -> tuple[str, int, list[bytes]]:
    """v1.5's pickled video: (video id, label, jpegs). Raises VideoError.

    Only tuples, lists, text, bytes and numbers are taken from the pickle; a name of code in it is an error.
    """
    try:
        video_id, label, jpegs = DataUnpickler(read_regular(path, _MOST_BYTES), encoding="bytes").load()
        if type(video_id) not in (str, bytes):
            video_id = str(_small_int(video_id, "video id"))
        if type(jpegs) not in (list, tuple) or not all(isinstance(jpeg, bytes) for jpeg in jpegs):
            raise ValueError("its frames are no encoded images")
        return video_id.decode() if isinstance(video_id, bytes) else video_id, _small_int(label, "label"), list(jpegs)
    except OSError as error:
        raise VideoError(error.strerror or str(error)) from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise VideoError(f"it is no (video id, label, frames) pickle: {error}") from error


def _small_int(value: object, name: str) -> int:
    """A number of 64 bits, which may be written as text. Raises ValueError."""
    if type(value) is not int and not (type(value) in (str, bytes) and len(value) <= _MOST_CHARACTERS):
        raise ValueError(f"its {name} is no number")
    number = int(value)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"its {name} has more than 64 bits")
    return number
