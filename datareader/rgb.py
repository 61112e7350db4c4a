"""Decoded frames -> RGB, as v1.5 did it, and upright."""

from __future__ import annotations

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

# FFmpeg converts these without scaling the chroma if their height is even, and then it does not matter where it lies.
_DIRECT = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p"}
_STRIPE = 128  # rows that become RGB at once, in place: making another array of a large frame takes 10 times as long


class ToRGB:
    """Frames of one video -> uint8 RGB (H, W, 3), upright.

    A second video takes another one: PyAV 15 goes on with the first one's colours. The conversion is v1.5's
    (OpenCV 4.2), equal to the bit for 8-bit video: the matrix of ITU-R BT.601 whatever the file says of its colours,
    chroma by bicubic interpolation, and interlaced frames like any other. It goes by way of BGR, as OpenCV's, where
    FFmpeg rounds differently on the way to RGB: some formats, and odd heights. (H.264 in 4:2:2 of odd height is an
    exception: its last two rows are up to 2 levels off.) OpenCV 4.13 and newer differ where a file says that it is
    interlaced, of another matrix, or (odd heights, more than 8 bits) where its chroma lies.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._options = {"threads": 1} if int(av.__version__.split(".")[0]) > 16 else {}

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        is_rgb = frame.format.is_rgb
        direct = frame.format.name in _DIRECT and frame.height % 2 == 0 and not frame.interlaced_frame
        pixels = self._reformatter.reformat(
            frame if direct else plain(frame),
            format="rgb24" if is_rgb or direct else "bgr24",  # of BGR the decoder's own picture would come back
            src_colorspace="ITU601",
            dst_colorspace="ITU601",
            interpolation="BICUBIC",
            **self._options,
        ).to_ndarray()
        for first in range(0, 0 if is_rgb or direct else len(pixels), _STRIPE):
            stripe = pixels[first : first + _STRIPE]
            cv2.cvtColor(stripe, cv2.COLOR_BGR2RGB, stripe)
        return np.ascontiguousarray(upright(pixels, frame))


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


def plain(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame without its marks: the interlaced one, with which FFmpeg scales and converts the two fields apart, and
    the one of where its chroma lies, which FFmpeg heeds since version 8."""
    if frame.format.is_rgb or frame.format.has_palette:
        return frame  # it has no chroma
    copy = av.VideoFrame(frame.width, frame.height, frame.format.name)
    for source, target in zip(frame.planes, copy.planes):
        rows, places = (np.frombuffer(plane, np.uint8).reshape(plane.height, -1) for plane in (source, target))
        if source.line_size < 0:  # the last row comes first in memory
            rows = rows[::-1]
        length = min(rows.shape[1], places.shape[1])  # the decoder's rows may be longer
        places[:, :length] = rows[:, :length]
    copy.color_range = frame.color_range
    return copy
