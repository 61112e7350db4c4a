"""What compressed packets say of their pictures: whether decoding can begin there, and whether others need them.

Only headers are read. A packet that is not plainly one shown picture raises `Unclear`, and the whole file is decoded.
"""

from __future__ import annotations

from video_zoo.datareader.codecs.av1 import av1_picture
from video_zoo.datareader.codecs.h264 import H264
from video_zoo.datareader.codecs.hevc import Hevc
from video_zoo.datareader.codecs.mpeg4 import Mpeg4
from video_zoo.datareader.codecs.picture import Describe, Malformed, Picture, Unclear
from video_zoo.datareader.codecs.vp9 import vp9_picture

__all__ = ["Describe", "Malformed", "Picture", "Unclear", "describer"]


def describer(codec: str, extradata: bytes) -> Describe | None:
    """What describes the packets of a stream, in the order of the file; None for a codec that is not known here.

    Args:
        codec: FFmpeg's name.
        extradata: the codec's configuration record.

    Raises Unclear.
    """
    if codec in ("h264", "hevc", "mpeg4"):
        return {"h264": H264, "hevc": Hevc, "mpeg4": Mpeg4}[codec](extradata)
    return {"vp9": vp9_picture, "av1": av1_picture}.get(codec)
