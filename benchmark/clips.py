"""The clips that the benchmarks read: made once, from seeds, with x264's defaults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av
import cv2
import numpy as np

from video_zoo.utils.files import atomic_file
from video_zoo.utils.log import logger

NUM_FRAMES, FPS = 300, 30
HOURS_S = 2 * 3600


class Kind(NamedTuple):
    """Size in pixels, and the most frames from one keyframe to the next."""

    width: int
    height: int
    gop: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height} GOP {self.gop}"

    @property
    def file_name(self) -> str:
        return f"{self.width}x{self.height}_gop{self.gop}.mp4"


KINDS = (Kind(340, 256, 250), Kind(340, 256, 12), Kind(1280, 720, 250), Kind(1920, 1080, 250))


def clip_file(folder: Path, kind: Kind, num_frames: int = NUM_FRAMES) -> Path:
    """The clip of that kind, made if it is not there: moving textures, and a camera's noise."""
    path = folder / kind.file_name
    if not path.exists():
        logger.info("making %s", path.name)
        with atomic_file(path, "wb") as file:
            _encode(file, draw_frames(kind, num_frames), kind, {"g": str(kind.gop)})
    return path.resolve()


def long_file(folder: Path, seconds: int = HOURS_S) -> Path:
    """A 3840x2160 file of two hours: four seconds, encoded once, and their packets again and again."""
    path, piece, kind = folder / f"3840x2160_{seconds}s.mp4", folder / "3840x2160_piece.mp4", Kind(3840, 2160, 120)
    if not path.exists():
        logger.info("making %s", path.name)
        with atomic_file(piece, "wb") as file:
            options = {"g": str(kind.gop), "preset": "ultrafast", "crf": "35"}
            _encode(file, draw_plain_frames(kind, kind.gop), kind, options)
        with atomic_file(path, "wb") as file:
            _repeat(piece, file, seconds * FPS // kind.gop)
        piece.unlink()
    return path.resolve()


def draw_frames(kind: Kind, num_frames: int, seed: int = 0) -> Iterator[np.ndarray]:
    """uint8 RGB (H, W, 3): a textured world under a camera that drifts, turns and zooms, four textured discs that move
    on their own, and noise that is new in each frame."""
    rng = np.random.default_rng(seed)
    width, height = kind[:2]
    world = _texture(3 * width // 2, 3 * height // 2, rng)
    discs = [(_texture(height // 3, height // 3, rng), rng.uniform(0, 2 * np.pi, 2)) for _ in range(4)]
    grain = rng.normal(0, 3, (height + 64, width + 64, 1)).astype(np.float32)
    for number in range(num_frames):
        time = number / FPS
        camera = cv2.getRotationMatrix2D((0.75 * width, 0.75 * height), 3 * np.sin(time), 1 + 0.1 * np.sin(0.7 * time))
        camera[:, 2] -= (0.25 + 0.12 * np.sin(0.5 * time)) * width, (0.25 + 0.12 * np.cos(0.4 * time)) * height
        frame = cv2.warpAffine(world, camera, (width, height), borderMode=cv2.BORDER_REFLECT)
        for disc, phase in discs:
            x, y = 0.5 + 0.45 * np.sin(phase + time * np.array([0.6, 0.9]))
            _paste(frame, disc, round(x * (width - disc.shape[1])), round(y * (height - disc.shape[0])))
        down, right = rng.integers(0, 64, 2)
        noisy = frame + grain[down : down + height, right : right + width]
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def draw_plain_frames(kind: Kind, num_frames: int) -> Iterator[np.ndarray]:
    """uint8 RGB (H, W, 3): a gradient that stays and a square that moves; a few bytes a frame."""
    shade = np.linspace(0, 255, kind.width).astype(np.uint8)
    background = np.broadcast_to(shade[None, :, None], (kind.height, kind.width, 3))
    for number in range(num_frames):
        frame = background.copy()
        left = number * (kind.width - 256) // num_frames
        frame[kind.height // 2 :, left : left + 256][:256] = (200, 40, 40)
        yield frame


def _texture(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """float32 (height, width, 3) in 0 to 255, whose power falls with the frequency as that of photographs does."""
    total, cells = np.zeros((height, width, 3), np.float32), 4
    while cells < max(width, height):
        size = (cells, max(cells * height // width, 2))
        grey = rng.normal(0, 1, (size[1], size[0], 1)) + 0.4 * rng.normal(0, 1, (size[1], size[0], 3))
        total += cv2.resize(grey.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC) * 32 / cells**0.35
        cells *= 2
    return np.clip(total + 128, 0, 255)


def _paste(frame: np.ndarray, disc: np.ndarray, left: int, top: int) -> None:
    size = disc.shape[0]
    y, x = np.mgrid[:size, :size] - size // 2
    mask = (x**2 + y**2 < (size // 2) ** 2)[..., None]
    there = frame[top : top + size, left : left + size]
    there[:] = np.where(mask, disc, there)


def _encode(file: BinaryIO, frames: Iterator[np.ndarray], kind: Kind, options: dict[str, str]) -> None:
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.codec_context.thread_count = 1  # with more, files differ from run to run
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _repeat(piece: Path, file: BinaryIO, times: int) -> None:
    """Writes the packets of a file so many times, one after the other."""
    pieces = piece.with_suffix(".txt")
    pieces.write_text(f"file '{piece.name}'\n" * times)
    with av.open(str(pieces), format="concat") as joined, av.open(file, "w", format="mp4") as out:
        stream = out.add_stream_from_template(joined.streams.video[0])
        for packet in joined.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    pieces.unlink()
