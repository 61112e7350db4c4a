"""The weights and clips of the golden files, as functions of names and seeds, and v1.5's variable files, written anew
from their description. Nothing of the project is used."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The golden files' weight of that name: float32, drawn from a generator that the name seeds."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    uniform_ranges = {"_variance": (0.5, 1.5), "_scale": (0.2, 0.4) if "branch2c" in name else (0.8, 1.2)}
    for ending, (low, high) in uniform_ranges.items():
        if name.endswith(ending):
            return rng.uniform(low, high, shape).astype("float32")
    if name.endswith(("_mean", "_offset")) or (name.startswith("fc") and len(shape) == 1):
        deviation = 0.1
    elif name.startswith("fc"):
        deviation = 0.01
    else:
        deviation = np.sqrt(2.0 / np.prod(shape[1:]))
    return rng.normal(0.0, deviation, shape).astype("float32")


def clip_batch(n: int, seg_num: int, size: int, seed: int) -> np.ndarray:
    """The golden files' clips, float32 (n, seg_num, 3, size, size): waves that move, so that order matters."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:size, :size] / float(size)
    clips = np.empty((n, seg_num, 3, size, size), "float32")
    for clip in clips:
        frequency, phase = rng.uniform(1, 6, (3, 2)), rng.uniform(0, 6.28, 3)
        speed, noise = rng.uniform(-1.5, 1.5, 3), rng.normal(0, 0.3, (3, size, size))
        for time in range(seg_num):
            for channel in range(3):
                wave = 6.28 * (frequency[channel, 0] * x + frequency[channel, 1] * y)
                clip[time, channel] = np.sin(wave + phase[channel] + speed[channel] * time) + noise[channel]
    return clips


def variable_file(array: np.ndarray) -> bytes:
    """A float32 variable as Paddle 1.x writes it: the dims not packed."""
    desc = bytes([1 << 3, 5])
    for size in array.shape:
        desc += bytes([2 << 3])
        while size >= 128:
            desc += bytes([size % 128 + 128])
            size //= 128
        desc += bytes([size])
    return (
        struct.pack("<I", 0)
        + struct.pack("<Q", 0)
        + struct.pack("<I", 0)
        + struct.pack("<i", len(desc))
        + desc
        + array.tobytes()
    )
