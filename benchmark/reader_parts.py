"""Our reader alone: where its time goes, its processes, its memory, long lists and long videos."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any, Callable
from unittest import mock

import av
import numpy as np
from clips import KINDS, NUM_FRAMES, Kind, clip_file, long_file
from harness import memory_mb, print_table, spread
from PIL import Image

from video_zoo.configs.schema import Config, TestSection
from video_zoo.datareader import open_reader
from video_zoo.datareader.decode import decode_video
from video_zoo.datareader.reader import VideoReader
from video_zoo.datareader.rgb import ToRGB
from video_zoo.datareader.sampling import segment_indices
from video_zoo.datareader.transforms import ClipTransform, EvalTransform, Size
from video_zoo.datareader.workers import WorkerPool
from video_zoo.utils.runtime import usable_cores

SEG_NUM, SHORT_SIZE, TARGET_SIZE = 8, 256, 224
TINY, TINY_FRAMES = Kind(96, 64, 12), 30
LIST_LINES = 240_000
WORKERS_CLIPS = 128  # of one pass, when workers are compared
_SMALL = {"short_size": 64, "target_size": 56}


def open_list(folder: str, lines: Iterable[str], **keys: Any) -> VideoReader:
    """TSM's reader of a list, in test mode."""
    path = Path(folder) / "test.list"
    path.write_text("".join(f"{line}\n" for line in lines))
    return open_reader("test", Config(TEST=TestSection(filelist=str(path), **keys)))


def evaluation(kind: Kind, fast: bool = False) -> ClipTransform:
    """What evaluation does to each frame."""
    return EvalTransform(SHORT_SIZE, TARGET_SIZE, keep_aspect=False, fast=fast).draw(Size(kind.width, kind.height))


# ---- where the time goes


def part_split(args: argparse.Namespace) -> None:
    """The steps of reading a clip, and what scaling only the crop saves."""
    steps, crops, transfer = [], [], transfer_ms()
    for kind in args.kinds:
        path = clip_file(args.folder, kind)
        found = [split_ms(path, kind) for _ in range(args.repeats + 1)][1:]  # the first warms up
        medians = [median(each[step] for each in found) for step in found[0]] + [transfer]
        steps.append((kind, *medians, sum(medians)))
        *times, levels, share = crop_figures(path, kind, args.repeats)
        crops.append((kind, *times, levels, f"{share:.5f}"))
    header = "clips | demux | decode | convert | resize | transfer | sum"
    print_table("Where our time goes, ms a clip (one thread)", header, steps)
    header = "clips | all pixels, then crop | default | fast_crop | differs by at most | share of values"
    print_table(f"Scaling and cropping {SEG_NUM} frames, ms (fast_crop against the default)", header, crops)


def choose(num_frames: int) -> list[int]:
    """The frames of a clip."""
    return segment_indices(num_frames, SEG_NUM)


def elapsed_ms(function: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start)


def split_ms(path: Path, kind: Kind) -> dict[str, float]:
    """Milliseconds of FFmpeg's demuxing, of RGB and of scaling with the crop, each alone; decoding is what is left of
    reading the whole clip."""
    transform, resized, wanted = evaluation(kind), [], choose(NUM_FRAMES)

    def keep(frame: np.ndarray) -> None:
        resized.append(elapsed_ms(lambda: transform(frame)))

    whole = elapsed_ms(lambda: decode_video(path, choose, keep))
    with av.open(str(path)) as container:
        demux = elapsed_ms(lambda: [*container.demux(video=0)])
    with av.open(str(path)) as container:
        frames = [frame for number, frame in enumerate(container.decode(video=0)) if number in wanted]
        convert = elapsed_ms(lambda: [*map(ToRGB(), frames)])
    left = whole - demux - convert - sum(resized)
    return {"demux": demux, "decode": left, "convert": convert, "resize": sum(resized)}


def transfer_ms(clips: int = 128) -> float:
    """Milliseconds from a clip in a reader process to its place in the batch: two copies, and the pipes."""
    shape = (SEG_NUM, 3, TARGET_SIZE, TARGET_SIZE)
    batch = np.empty((clips, *shape), np.uint8)
    pool = WorkerPool(partial(_fill, np.ones(shape, np.uint8)), 1, ahead=1, shape=shape)
    try:
        list(pool.map([(0,)]))  # starts the process
        times = [time.perf_counter()]
        for number, done in enumerate(pool.map((number,) for number in range(clips))):
            batch[number] = done.array
            times.append(time.perf_counter())
        return 1000 * median(end - start for start, end in zip(times, times[1:]))
    finally:
        pool.close()


def _fill(clip: np.ndarray, number: int, array: np.ndarray) -> None:
    array[:] = clip


def crop_figures(path: Path, kind: Kind, repeats: int) -> tuple[float, float, float, int, float]:
    """Scaling and cropping a clip's frames: milliseconds of scaling everything, of the exact default and of fast_crop;
    then the most levels by which fast_crop differs, and the share of values that do."""
    frames, exact = decode_video(path, choose).frames, evaluation(kind)
    (step,) = exact.steps
    left, top, width, height = map(int, step.crop)
    corners = (left, top, left + width, top + height)

    def scale_all(frame: np.ndarray) -> np.ndarray:
        image = Image.fromarray(frame).resize(step.size, Image.Resampling.BILINEAR)
        return np.asarray(image.crop(corners)).transpose(2, 0, 1)

    pixels, times = [], []
    for way in (scale_all, exact, evaluation(kind, fast=True)):
        times.append(median(elapsed_ms(lambda way=way: [*map(way, frames)]) for _ in range(repeats + 1)))
        pixels.append(np.stack([*map(way, frames)]).astype(int))
    if not np.array_equal(pixels[0], pixels[1]):
        raise AssertionError("the default is not exact")
    off = np.abs(pixels[0] - pixels[2])
    return (*times, int(off.max()), float((off > 0).mean()))


# ---- the reader as a whole


def part_workers(args: argparse.Namespace) -> None:
    """Clips a second with one reader process, two and all cores, in turn."""
    lines = [f"{clip_file(args.folder, KINDS[0])} 0"] * WORKERS_CLIPS
    counts = sorted({1, min(2, usable_cores()), usable_cores()})
    rates: dict[int, list[float]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as folder:
        readers = {count: open_list(folder, lines, num_reader_threads=count) for count in counts}
        for turn in range(args.repeats + 1):
            for count in counts if turn % 2 else reversed(counts):
                start = time.perf_counter()
                clips = sum(len(batch.ids) for batch in readers[count])
                if turn:  # the first starts the processes
                    rates[count].append(clips / (time.perf_counter() - start))
        for reader in readers.values():
            reader.close()
    rows = [(count, median(rates[count]), spread([*map(truediv, rates[count], rates[1])])) for count in counts]
    title = f"Reader processes: TSM, test, {TARGET_SIZE} px, batches of 16, {KINDS[0]} (bar: two 1.8)"
    print_table(title, "processes | clips/s | x one", rows)


def part_memory(args: argparse.Namespace) -> None:
    """Memory while clips are read in a row by one reader process."""
    lines = [f"{clip_file(args.folder, TINY, TINY_FRAMES)} 0"] * args.clips
    marks, rows, clips = {args.clips // 10, args.clips // 2, args.clips}, [], 0
    keys = {**_SMALL, "batch_size": 10, "num_reader_threads": 1}
    with tempfile.TemporaryDirectory() as folder, open_list(folder, lines, **keys) as reader:
        start = time.perf_counter()
        for batch in reader:
            before, clips = clips, clips + len(batch.ids)
            if any(before < mark <= clips for mark in marks):
                rows.append((clips, memory_mb("VmRSS"), _workers_mb(), time.perf_counter() - start))
    title = f"Memory over {args.clips} clips in a row ({TINY}, {TINY_FRAMES} frames)"
    print_table(title, "clips | main process, MB | reader process, MB | seconds", rows)


def part_list(args: argparse.Namespace) -> None:
    """What a list of Kinetics-400's size costs, in a fresh process each time."""
    path, rows = clip_file(args.folder, TINY, TINY_FRAMES), []
    for workers in (1, 12):
        costs = []
        for lines in (1000, LIST_LINES):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                costs.append(fresh.submit(list_cost, path, lines, workers).result())
        (_, _, few_mb), (seconds, main_mb, workers_mb) = costs
        rows.append((workers, seconds, main_mb, workers_mb / workers, max(workers_mb - few_mb, 0.0)))
    header = "reader processes | seconds (bar: 3) | added to the main process, MB (bar: 200)"
    header = f"{header} | each reader process, MB | all of them, more than with 1,000 lines, MB"
    print_table(f"A list of {LIST_LINES:,} lines", header, rows)


def list_cost(clip: Path, lines: int, workers: int) -> tuple[float, float, float]:
    """Seconds until the reader is ready, the MB it adds here, and the MB of all its processes after 32 batches."""
    names = (f"kinetics/train_256/playing_the_clarinet/{each:011d}_000012_000022.mp4 17" for each in range(1000, lines))
    keys = {**_SMALL, "num_reader_threads": workers}
    cores = mock.patch("os.sched_getaffinity", lambda pid: set(range(workers)))  # readers are at most one a core
    with tempfile.TemporaryDirectory() as folder, cores:
        open_list(folder, [f"{clip} 0"] * 16, **keys)  # what is loaded on first use
        before_mb, start = memory_mb("VmRSS"), time.perf_counter()
        with open_list(folder, [*[f"{clip} 0"] * 1000, *names], **keys) as reader:
            seconds, main_mb = time.perf_counter() - start, memory_mb("VmRSS") - before_mb
            batches = iter(reader)
            for _ in range(32):
                next(batches)
            return seconds, main_mb, _workers_mb()


def part_long(args: argparse.Namespace) -> None:
    """A clip of a two-hour 4K file."""
    path = long_file(args.folder)
    with tempfile.TemporaryDirectory() as folder, open_list(folder, [f"{path} 0"], num_reader_threads=1) as reader:
        start = time.perf_counter()
        clips = sum(len(batch.ids) for batch in reader)
        seconds, peak_mb = time.perf_counter() - start, _workers_mb("VmHWM")
    header = "file, MB | clips read | seconds | reader process at most, MB (bar: 1,000)"
    print_table("Two hours of 3840x2160", header, [(path.stat().st_size / 1e6, clips, seconds, peak_mb)])


def _workers_mb(what: str = "VmRSS") -> float:
    """Of all reader processes."""
    return sum(memory_mb(what, child.pid) for child in multiprocessing.active_children())
