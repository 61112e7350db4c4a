"""Decoded frames -> RGB, as v1.5 did it."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import VideoReformatter


class ToRGB:
    """Frames of one video -> uint8 RGB (H, W, 3), upright.

    A second video takes another one: PyAV 15 goes on with the first one's colours. The conversion is v1.5's
    (OpenCV 4.2), equal to the bit for 8-bit video: the matrix of ITU-R BT.601 whatever the file says of its colours,
    chroma by bicubic interpolation, and interlaced frames like any other.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._options = {"threads": 1} if int(av.__version__.split(".")[0]) > 16 else {}

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        rgb = self._reformatter.reformat(
            _progressive(frame),
            format="rgb24",
            src_colorspace="ITU601",
            dst_colorspace="ITU601",
            interpolation="BICUBIC",
            **self._options,
        ).to_ndarray()
        quarters = round(frame.rotation / 90) % 4  # counterclockwise
        return np.ascontiguousarray(np.rot90(rgb, quarters)) if quarters else rgb


def _progressive(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame without its interlaced mark, which makes FFmpeg convert the two fields apart."""
    if not frame.interlaced_frame:
        return frame
    try:
        plain = av.VideoFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name)
    except ValueError:  # a rare pixel format
        return frame
    plain.color_range = frame.color_range
    return plain
