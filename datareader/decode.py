"""Frames out of video files and out of v1.5's pickles, and nothing but frames: no code in a file is run."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np

Choose = Callable[[int], Sequence[int]]  # number of frames in the video -> the numbers of the frames wanted


class VideoError(Exception):
    """A video that cannot be read; the message says why."""


def decode_video(path: Path, choose: Choose) -> list[np.ndarray]:
    """The chosen frames of a video, as uint8 RGB (H, W, 3), in the order they were chosen.

    Only the chosen frames are converted and kept, so memory does not grow with the video. The container's frame count
    is often wrong: the frames are decoded to the end, and chosen again if there were more or fewer.

    Raises VideoError: not there, no video, or not one whole frame.
    """
    _check_file(path)
    capture = _open(path)
    count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 1)
    for _ in range(2):
        indices = choose(count)
        frames, decoded = _decode(capture, set(indices))
        if decoded == 0:
            raise VideoError("not one frame can be decoded")
        if decoded == count:
            return [frames[index] for index in indices]
        count, capture = decoded, _open(path)
    raise VideoError(f"its number of frames changes from one decoding to the next ({count})")


def decode_jpegs(jpegs: Sequence[bytes], choose: Choose) -> list[np.ndarray]:
    """The chosen ones of a list of encoded images, as uint8 RGB (H, W, 3). Raises VideoError."""
    if not jpegs:
        raise VideoError("it holds no frames")
    frames = []
    for index in choose(len(jpegs)):
        try:
            image = cv2.imdecode(np.frombuffer(jpegs[index], np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:  # no bytes, or more pixels than OpenCV takes
            image = None
        if image is None:
            raise VideoError(f"frame {index} is no image")
        frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return frames


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


def _check_file(path: Path) -> None:
    try:
        if not path.is_file():
            raise VideoError("there is no such file")
        if path.stat().st_size == 0:
            raise VideoError("the file is empty")
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise VideoError(error.strerror or str(error)) from error


def _open(path: Path) -> cv2.VideoCapture:
    # FFmpeg takes what comes before a colon for a protocol, unless a slash comes first.
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise VideoError("it is no video, or its header is damaged")
    return capture


def _decode(capture: cv2.VideoCapture, wanted: set[int]) -> tuple[dict[int, np.ndarray], int]:
    """The wanted frames by number, and how many frames there are; the capture is used up."""
    frames, number = {}, 0
    while capture.grab():
        if number in wanted:
            ok, image = capture.retrieve()
            if not ok:
                raise VideoError(f"frame {number} cannot be decoded")
            frames[number] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        number += 1
    capture.release()
    return frames, number
