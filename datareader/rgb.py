"""Decoded frames -> RGB, as v1.5 did it, and upright."""

from __future__ import annotations

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter


class ToRGB:
    """Frames of one video -> uint8 RGB (H, W, 3), upright.

    A second video takes another one: PyAV 15 goes on with the first one's colours. The conversion is that of v1.5's
    OpenCV, equal to the bit: the matrix of ITU-R BT.601 whatever the file says of its colours, chroma by bicubic
    interpolation, and interlaced frames like any other. It is made to BGR, as OpenCV's is, since FFmpeg has faster
    and less exact ways for some formats and sizes that differ between BGR and RGB.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._options = {"threads": 1} if int(av.__version__.split(".")[0]) > 16 else {}

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        bgr = self._reformatter.reformat(
            _progressive(frame),
            format="bgr24",
            src_colorspace="ITU601",
            dst_colorspace="ITU601",
            interpolation="BICUBIC",
            **self._options,
        ).to_ndarray()
        return np.ascontiguousarray(upright(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), frame))


def upright(pixels: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """A view of a frame's pixels (H, W, ...) that is turned and mirrored as the frame's display matrix says.

    Of the matrix (ISO/IEC 14496-12, 6.2.2) the nearest quarter turn counts.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).tolist()  # x' = a x + c y, y' = b x + d y
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def is_turned(frame: av.VideoFrame) -> bool:
    """Whether the upright frame is as wide as the decoded one is high."""
    return upright(np.empty((1, 2)), frame).shape == (2, 1)


def _progressive(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame without its interlaced mark, which makes FFmpeg convert the two fields apart."""
    if not frame.interlaced_frame:
        return frame
    plain = av.VideoFrame(frame.width, frame.height, frame.format.name)
    for source, target in zip(frame.planes, plain.planes):
        rows, places = (np.frombuffer(plane, np.uint8).reshape(plane.height, -1) for plane in (source, target))
        length = min(rows.shape[1], places.shape[1])  # the decoder's rows may be longer
        places[:, :length] = rows[:, :length]
    plain.color_range = frame.color_range
    return plain
