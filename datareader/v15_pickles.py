"""v1.5's pickled videos: a (video id, label, encoded frames) tuple, and nothing but that: no code in a file is run."""

from __future__ import annotations

from pathlib import Path

from video_zoo.datareader.decode import VideoError
from video_zoo.utils.open_files import read_regular
from video_zoo.utils.safe_pickles import DataUnpickler

_MOST_BYTES = 1 << 30


def read_pickle(path: Path) -> tuple[str, int, list[bytes]]:
    """v1.5's pickled video: (video id, label, jpegs). Raises VideoError.

    Only tuples, lists, text, bytes and numbers are taken from the pickle; a name of code in it is an error.
    """
    try:
        video_id, label, jpegs = DataUnpickler(read_regular(path, _MOST_BYTES), encoding="bytes").load()
        video_id = video_id.decode() if isinstance(video_id, bytes) else str(video_id)
        if not all(isinstance(jpeg, bytes) for jpeg in jpegs):
            raise ValueError("its frames are no encoded images")
        if not -(1 << 63) <= int(label) < 1 << 63:
            raise ValueError("its label has more than 64 bits")
        return video_id, int(label), list(jpegs)
    except OSError as error:
        raise VideoError(error.strerror or str(error)) from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise VideoError(f"it is no (video id, label, frames) pickle: {error}") from error
