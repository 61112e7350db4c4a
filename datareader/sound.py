"""The sound of a video file, copied as it is beside pictures that are encoded anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from video_zoo.datareader.video_file import open_container, packets_of

_FIT_MP4 = frozenset(("aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"))  # codecs, as FFmpeg names them


class Sound:
    """The first sound of a video file, on its way into an mp4 in the making. A context manager.

    Args:
        source: the video file.
        target: the container to be written, of which nothing is written yet.
        begin_s: when its first picture is shown, by the file's clock. What sounds before is left out, and times count
            from there.

    Attributes: lost: why it is missing, or ends early; None: nothing is missing, or there is none.

    Raises av.FFmpegError, OSError or ValueError: the file cannot be opened.
    """

    def __init__(self, source: Path, target: Any, begin_s: float):
        self.lost: str | None = None
        self._target, self._begin_s = target, begin_s
        self._container = open_container(source)
        streams = [stream for stream in self._container.streams.audio if stream.codec_context is not None]
        self._next: tuple[float, av.Packet] | None = None
        if not streams:
            return
        name = streams[0].codec_context.codec.canonical_name  # its decoder's name may be another
        if name not in _FIT_MP4:
            self.lost = f"an mp4 takes no {name}"
            return
        self._stream = target.add_stream_from_template(streams[0])
        self._packets = self._read(streams[0])
        self._next = next(self._packets, None)

    def __enter__(self) -> Sound:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def copy_until(self, time_s: float) -> None:
        """Writes what sounds up to a time, in seconds from the first picture."""
        while self._next is not None and self._next[0] <= time_s:
            try:
                self._target.mux(self._next[1])
            except (av.InvalidDataError, av.ArgumentError) as error:
                self.end(error.strerror)
                return
            self._next = next(self._packets, None)

    def end(self, why: str) -> None:
        """Nothing more is written."""
        if self._next is not None:
            self._next, self.lost = None, f"it ends at {self._next[0]:.1f} s: {why}"

    def _read(self, stream: Any) -> Iterator[tuple[float, av.Packet]]:
        """Each packet, its times counting from the first picture, and when it sounds in seconds."""
        begin, last = round(self._begin_s / stream.time_base), None
        try:
            for packet in packets_of(self._container, stream):
                if packet.dts is None or packet.pts is None or packet.pts < begin:
                    continue
                packet.pts, packet.dts = packet.pts - begin, packet.dts - begin
                if last is None or packet.dts > last:  # a file in which times stand still would be refused
                    last, packet.stream = packet.dts, self._stream
                    yield float(packet.pts * stream.time_base), packet
        except av.FFmpegError as error:
            self.lost = f"it is damaged: {error.strerror}"
