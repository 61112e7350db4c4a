"""What several tests share: videos and pickles made on the spot, small configs, and the log's lines."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import struct
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import repeat
from pathlib import Path
from typing import Any, Callable

import av
import cv2
import numpy as np

from video_zoo.configs.schema import Config, InferSection, ModelSection, TestSection, TrainSection, ValidSection
from video_zoo.datareader.video_writer import VideoWriter

# Quarter turns and mirrors: of (x, y) -> (a x + c y, b x + d y), the numbers a, b, c, d
MATRICES = [
    *((a, 0, 0, d) for a in (-1, 1) for d in (-1, 1)),
    *((0, b, c, 0) for b in (-1, 1) for c in (-1, 1)),
]
# Files that name a.ts beside them, which FFmpeg would open
LISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.ts\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile a.ts\n",
}
PLANTS = ("link", "dangling link", "hard link", "pipe")
SECTIONS = {"train": TrainSection, "valid": ValidSection, "test": TestSection, "infer": InferSection}


def plant(kind: str, place: Path, victim: Path) -> None:
    """Puts one of PLANTS where a file is about to be written: what would change `victim`, or "new" beside it."""
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "hard link":
        os.link(victim, place)
    else:
        place.symlink_to(victim.with_name("new") if kind == "dangling link" else victim)


def noise(num_frames: int, height: int = 16, width: int = 20, seed: int = 0) -> np.ndarray:
    """Random frames, uint8 RGB (num_frames, height, width, 3), blurred a little, so that a codec can follow."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    return np.stack([cv2.blur(frame, (3, 3)) for frame in frames])


def levels(num_frames: int, height: int = 16, width: int = 20, first: int = 0) -> np.ndarray:
    """Frames of one grey level each: first, first + 1 ..."""
    values = np.arange(first, first + num_frames, dtype=np.uint8)
    return np.broadcast_to(values[:, None, None, None], (num_frames, height, width, 3)).copy()


def moving(num_frames: int, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """A disc over a texture that glides by, with noise, and a cut now and then: frames that need each other."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(
        0, 256, (height // 4 + num_frames // 8 + 1, (width + num_frames) // 4 + 1, 3), dtype=np.uint8
    )
    texture = cv2.resize(texture, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    frames = []
    for t in range(num_frames):
        frame = texture[t // 2 : t // 2 + height, t : t + width].copy()
        centre = int(width / 2 + width / 3 * np.cos(t / 5)), int(height / 2 + height / 3 * np.sin(t / 4))
        cv2.circle(frame, centre, height // 6, (5 * t % 256, 40, 200), -1)
        frame = cv2.add(frame, rng.integers(0, 20, frame.shape, dtype=np.uint8))
        frames.append(255 - frame if t % 37 == 36 else frame)
    return np.stack(frames)


def make_video(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    file_format: str | None = None,
    codec_options: dict[str, str] | None = None,
    file_options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    times_ms: Sequence[int] | None = None,
    set_up: Callable[[Any], None] = lambda stream: None,
) -> Path:
    """Encodes uint8 RGB (T, H, W, 3) frames; the path's extension says the format, unless `file_format` does.

    Without `times_ms` there are 25 a second. `set_up` may change the stream before the first frame.
    """
    form = {"codec": codec, "options": codec_options, "pix_fmt": pix_fmt}
    container = {"file_format": file_format, "file_options": file_options}
    time_base = None if times_ms is None else Fraction(1, 1000)
    with VideoWriter(path, frames.shape[1:3], 25, time_base=time_base, **form, **container) as writer:
        set_up(writer.stream)
        for frame, time_ms in zip(frames, repeat(None) if times_ms is None else map(int, times_ms)):
            writer.add_pixels(frame, time_ms)
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Writes into an MP4 file of one stream that a pixel (x, y) is shown at (a x + c y, b x + d y)."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    values = [value << 16 for value in (a, b, 0, c, d, 0, 0, 0)]
    content[place : place + 32] = struct.pack(">8i", *values)
    path.write_bytes(content)
    return path


def remux(
    source: Path,
    path: Path,
    change: Callable[[int, av.Packet], bool | bytes | None] = lambda number, packet: None,
    file_options: dict[str, str] | None = None,
) -> Path:
    """Copies the packets of a video to another file; `change` may alter the times of each, drops it by returning
    False, and gives it other content by returning bytes."""
    with av.open(str(source)) as old, av.open(str(path), "w", options=file_options or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.dts is None or (content := change(number, packet)) is False:
                continue
            if isinstance(content, bytes):
                other = av.Packet(content)
                for name in ("pts", "dts", "duration", "time_base", "is_keyframe"):
                    setattr(other, name, getattr(packet, name))
                packet = other
            packet.stream = stream
            new.mux(packet)
    return path


def zero_packets(path: Path, places: Iterable[int], bytes_each: int) -> bytes:
    """The content of a video file, with zeros where these packets begin: no decoder overlooks that."""
    with av.open(str(path)) as container:
        begins = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for place in places:
        content[begins[place] : begins[place] + bytes_each] = bytes(bytes_each)
    return bytes(content)


def make_audio(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for _ in range(10):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate = 44100
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decode_all(path: Path) -> np.ndarray:
    """Every frame as OpenCV decodes it, uint8 RGB (T, H, W, 3)."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        ok, image = capture.read()
        if not ok:
            capture.release()
            return np.stack(frames)
        frames.append(image[:, :, ::-1])


def encode_images(frames: np.ndarray, extension: str = ".png") -> list[bytes]:
    """Each RGB frame as the bytes of an image file; PNG keeps every level."""
    return [cv2.imencode(extension, np.ascontiguousarray(frame[:, :, ::-1]))[1].tobytes() for frame in frames]


def make_pickle(path: Path, frames: np.ndarray, label: int, video_id: str | None = None) -> Path:
    """v1.5's pickle of a video, with PNG instead of JPEG."""
    path.write_bytes(pickle.dumps((video_id or path.stem, label, encode_images(frames)), protocol=2))
    return path


def make_list(path: Path, lines: Sequence[str]) -> str:
    """A list file; returns its path as a config has it."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def make_config(mode: str, filelist: str, model: dict | None = None, seed: int = 0, **keys: object) -> Config:
    """A config of small clips (16 px, 2 segments, 4 classes) for one mode, read in this process."""
    keys = {"short_size": 16, "target_size": 16, "batch_size": 2, "num_reader_threads": 0, **keys}
    sections = {"TRAIN": TrainSection(seed=seed)}
    if mode == "train":
        keys["seed"] = seed
    sections[mode.upper()] = SECTIONS[mode](filelist=filelist, **keys)
    return Config(MODEL=ModelSection(**{"num_classes": 4, "seg_num": 2, **(model or {})}), **sections)


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """The log's lines while the block runs, as they come."""
    lines: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger("zoo")
    handler.emit = lambda record: lines.append(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
