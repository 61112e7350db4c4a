"""Where the time of our reader goes: its steps, timed from outside."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Callable
from unittest import mock

import numpy as np
from PIL import Image

from benchmark.reader_clips import Kind
from video_zoo.datareader import decode
from video_zoo.datareader.batches import BatchBuilder, Sample
from video_zoo.datareader.rgb import ToRGB
from video_zoo.datareader.sampling import segment_indices
from video_zoo.datareader.selective import PacketVideo
from video_zoo.datareader.transforms import EvalTransform, Size, scale_and_crop
from video_zoo.datareader.workers import WorkerPool

SEG_NUM, SHORT_SIZE, TARGET_SIZE = 8, 256, 224
STEPS = ("demux", "decode", "convert", "resize")


class Stopwatch:
    """Seconds spent in functions, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, name: str, function: Callable) -> Callable:
        def timed(*args: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

        return timed


def split_ms(path: Path, kind: Kind) -> dict[str, float]:
    """Milliseconds of finding the packets, decoding, RGB, and scaling with the crop."""
    watch = Stopwatch()
    transform = EvalTransform(SHORT_SIZE, TARGET_SIZE, keep_aspect=False).draw(Size(kind.width, kind.height))
    steps = {"PacketVideo": watch.wrap("demux", PacketVideo), "ToRGB": lambda: watch.wrap("convert", ToRGB())}
    with mock.patch.multiple(decode, **steps):
        read = watch.wrap("all", decode.decode_video)
        read(path, lambda num_frames: segment_indices(num_frames, SEG_NUM), watch.wrap("resize", transform))
    seconds = watch.seconds
    seconds["decode"] = seconds.pop("all") - sum(seconds.values())
    return {step: 1000 * spent for step, spent in seconds.items()}


def transfer_ms(clips: int = 128) -> float:
    """Milliseconds from a clip in a reader process to its place in the batch: two copies, and the pipes."""
    shape = (SEG_NUM, 3, TARGET_SIZE, TARGET_SIZE)
    batch = BatchBuilder(clips, shape)
    pool = WorkerPool(partial(_fill, np.ones(shape, np.uint8)), 1, ahead=1, shape=shape)
    try:
        list(pool.map([(0,)]))  # starts the process
        times = [time.perf_counter()]
        for done in pool.map((number,) for number in range(clips)):
            batch.add(Sample("", 0), done.array)
            times.append(time.perf_counter())
        return 1000 * median(end - start for start, end in zip(times, times[1:]))
    finally:
        pool.close()


def crop_figures(path: Path, kind: Kind, repeats: int) -> tuple[float, float, float, int, float]:
    """Scaling and cropping a clip's frames: milliseconds of scaling everything, of the exact default and of fast_crop;
    then the most levels by which fast_crop differs, and the share of values that do."""
    frames = decode.decode_video(path, lambda num_frames: segment_indices(num_frames, SEG_NUM)).frames
    images = [Image.fromarray(frame) for frame in frames]
    (step,) = EvalTransform(SHORT_SIZE, TARGET_SIZE, keep_aspect=False).draw(Size(kind.width, kind.height)).steps
    left, top, width, height = map(int, step.crop)
    corners = (left, top, left + width, top + height)
    ways = (
        lambda image: image.resize(step.size, Image.Resampling.BILINEAR).crop(corners),
        lambda image: scale_and_crop(image, step),
        lambda image: scale_and_crop(image, step, fast=True),
    )
    times: list[list[float]] = [[], [], []]
    for _ in range(repeats + 1):
        for way, spent in zip(ways, times):
            start = time.perf_counter()
            pixels = [np.asarray(way(image)) for image in images]
            spent.append(1000 * (time.perf_counter() - start))
    exact = np.stack([np.asarray(ways[0](image)) for image in images]).astype(int)
    if not np.array_equal(exact, [np.asarray(ways[1](image)) for image in images]):
        raise AssertionError("the default is not exact")
    difference = np.abs(exact - np.stack(pixels))
    return (*(median(spent[1:]) for spent in times), int(difference.max()), float((difference > 0).mean()))


def _fill(clip: np.ndarray, number: int, array: np.ndarray) -> None:
    array[:] = clip
