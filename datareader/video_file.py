"""Opening a video with FFmpeg: the one place where a path or an address becomes a container and a stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

_LISTS = {"hls", "concat", "dash", "imf", "sdp"}  # formats that name other files
# What an address may lead to; never a file of this machine.
_PROTOCOLS = {
    "http": "http,https,httpproxy,tcp,tls,crypto",
    "rtsp": "rtsp,rtp,srtp,udp,tcp,tls,crypto",
    "rtmp": "rtmp,rtmpt,tcp,tls,crypto,http",
    "udp": "udp,rtp",
}
_PYAV = int(av.__version__.split(".")[0])


def open_container(path: Path, probe: bool = True) -> Any:
    """An open FFmpeg container that reads this file and nothing else.

    Args:
        path: an absolute path, so that FFmpeg takes no colon in it for a protocol.
        probe: whether FFmpeg decodes pictures to find out what the container does not say of its streams, as the pixel
            format. Without, it reads one packet.

    Raises av.FFmpegError, OSError or ValueError: no such file, no video, a damaged header, or a list of other files.
    """
    # PyAV 15 crashes on an FLV file with the option; there, what a list names is opened, and then not read.
    options = {"protocol_whitelist": "file"} if _PYAV > 15 else {}
    if not probe:
        options.update(skip_frame="all", probesize="32")  # bytes, the fewest that FFmpeg takes
    container = av.open(str(path), options=options, metadata_errors="replace")  # a title may be in any encoding
    if _LISTS & set(container.format.name.split(",")):
        container.close()
        raise ValueError("it is a list of other files")
    return container


def open_address(address: str, open_s: float, read_s: float) -> Any:
    """An open FFmpeg container that reads an address of the network, and no file of this machine.

    Args:
        open_s, read_s: seconds that opening and reading on may take.

    Raises av.FFmpegError or ValueError.
    """
    scheme = address.split(":")[0].lower()
    options = {"protocol_whitelist": _PROTOCOLS.get(scheme, _PROTOCOLS["http"])}
    if _PYAV < 16:
        options.clear()  # PyAV 15 crashes on FLV, which RTMP carries, with the option; FFmpeg's own rules hold then
    if scheme == "rtsp":
        options["rtsp_flags"] = "prefer_tcp"  # over UDP, frames are lost
    return av.open(address, options=options, timeout=(open_s, read_s), metadata_errors="replace")


def packets_of(container: Any, stream: Any) -> Iterator[av.Packet]:
    """The packets of a stream of an open container, and at its end an empty one, which makes the decoder give the rest.

    Where another stream begins on the way (sound in MPEG-TS or MPEG-PS), PyAV then raises an IndexError, since it also
    wants to make the decoders empty that came later.

    Raises av.FFmpegError.
    """
    with suppress(IndexError):
        yield from container.demux(stream)


def video_stream(container: Any) -> Any:
    """The first video stream that is no cover picture, wherever the cover comes; the cover, if there is nothing else.

    Raises ValueError: there is no video, or no decoder for it.
    """
    streams = list(container.streams.video)
    moving = [stream for stream in streams if Disposition.attached_pic not in stream.disposition]
    if not streams:
        raise ValueError("there is no video in it")
    stream = (moving or streams)[0]
    if stream.codec_context is None:
        raise ValueError("there is no decoder for it")
    return stream
