"""The reader as a whole: its processes, its memory, long lists and long videos."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from benchmark.reader_clips import KINDS, Kind, clip_file, long_file
from benchmark.reader_peers import memory_mb
from benchmark.reader_split import TARGET_SIZE
from benchmark.tables import print_table
from video_zoo.configs.schema import Config, TestSection
from video_zoo.datareader import open_reader, reader
from video_zoo.datareader.reader import VideoReader
from video_zoo.utils.runtime import usable_cores

TINY, TINY_FRAMES = Kind(96, 64, 12), 30
LIST_LINES = 240_000
WORKERS_CLIPS = 128  # of one pass, when workers are compared


def open_list(folder: Path, lines: Iterable[str], **keys: Any) -> VideoReader:
    """TSM's reader of a list, in test mode."""
    path = folder / "test.list"
    path.write_text("".join(f"{line}\n" for line in lines))
    return open_reader("test", Config(TEST=TestSection(filelist=str(path), **keys)))


def part_workers(args: argparse.Namespace) -> None:
    """Clips a second with one reader process, two and all cores, in turn."""
    path = clip_file(Path(args.folder), KINDS[0]).resolve()
    counts = sorted({1, min(2, usable_cores()), usable_cores()})
    rates: dict[int, list[float]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as folder:
        readers = {
            count: open_list(Path(folder), [f"{path} 0"] * WORKERS_CLIPS, num_reader_threads=count) for count in counts
        }
        for turn in range(args.repeats + 1):
            for count in counts if turn % 2 else reversed(counts):
                start = time.perf_counter()
                clips = sum(len(batch.ids) for batch in readers[count])
                if turn:  # the first starts the processes
                    rates[count].append(clips / (time.perf_counter() - start))
        for reader in readers.values():
            reader.close()
    rows = []
    for count in counts:
        times = median(rate / one for rate, one in zip(rates[count], rates[1]))
        rows.append((count, f"{median(rates[count]):.1f}", f"{times:.2f}"))
    title = f"Reader processes: TSM, test, {TARGET_SIZE} px, batches of 16, {KINDS[0]} (bar: two 1.8)"
    print_table(title, ("processes", "clips/s", "x one"), rows)


def part_memory(args: argparse.Namespace) -> None:
    """Memory while clips are read in a row by one reader process."""
    path = clip_file(Path(args.folder), TINY, TINY_FRAMES).resolve()
    marks, rows, clips = {args.clips // 10, args.clips // 2, args.clips}, [], 0
    keys = {"short_size": 64, "target_size": 56, "batch_size": 10, "num_reader_threads": 1}
    with (
        tempfile.TemporaryDirectory() as folder,
        open_list(Path(folder), [f"{path} 0"] * args.clips, **keys) as reader,
    ):
        start = time.perf_counter()
        for batch in reader:
            before, clips = clips, clips + len(batch.ids)
            if any(before < mark <= clips for mark in marks):
                workers = "".join(f"{memory_mb('VmRSS', child.pid):.1f}" for child in multiprocessing.active_children())
                rows.append((clips, f"{memory_mb('VmRSS'):.1f}", workers, f"{time.perf_counter() - start:.0f}"))
    title = f"Memory over {args.clips} clips in a row ({TINY}, {TINY_FRAMES} frames)"
    print_table(title, ("clips", "main process, MB", "reader process, MB", "seconds"), rows)


def part_list(args: argparse.Namespace) -> None:
    """What a list of Kinetics-400's size costs, in a fresh process each time."""
    path = clip_file(Path(args.folder), TINY, TINY_FRAMES).resolve()
    rows = []
    for workers in (1, 12):
        costs = []
        for lines in (1000, LIST_LINES):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                costs.append(fresh.submit(list_cost, path, lines, workers).result())
        (_, _, few_mb), (seconds, main_mb, workers_mb) = costs
        cells = (
            f"{seconds:.2f}",
            f"{main_mb:.0f}",
            f"{workers_mb / workers:.0f}",
            f"{max(workers_mb - few_mb, 0):.0f}",
        )
        rows.append((workers, *cells))
    header = ("reader processes", "seconds (bar: 3)", "added to the main process, MB (bar: 200)")
    header += ("each reader process, MB", "all of them, more than with 1,000 lines, MB")
    print_table(f"A list of {LIST_LINES:,} lines", header, rows)


def list_cost(clip: Path, lines: int, workers: int) -> tuple[float, float, float]:
    """Seconds until the reader is ready, the MB it adds here, and the MB of all its processes after 32 batches."""
    names = (
        f"kinetics/train_256/playing_the_clarinet/{number:011d}_000012_000022.mp4" for number in range(1000, lines)
    )
    keys = {"short_size": 64, "target_size": 56, "num_reader_threads": workers}
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(reader, "usable_cores", lambda: workers):
        open_list(Path(folder), [f"{clip} 0"] * 16, **keys)  # what is loaded on first use
        text = [f"{clip} 0"] * 1000 + [f"{name} 17" for name in names]
        (Path(folder) / "test.list").write_text("\n".join(text))
        config = Config(TEST=TestSection(filelist=str(Path(folder) / "test.list"), **keys))
        del text
        before_mb, start = memory_mb("VmRSS"), time.perf_counter()
        opened = open_reader("test", config)
        seconds, main_mb = time.perf_counter() - start, memory_mb("VmRSS") - before_mb
        with opened:
            batches = iter(opened)
            for _ in range(32):
                next(batches)
            return seconds, main_mb, sum(memory_mb("VmRSS", child.pid) for child in multiprocessing.active_children())


def part_long(args: argparse.Namespace) -> None:
    """A clip of a two-hour 4K file."""
    path = long_file(Path(args.folder)).resolve()
    with (
        tempfile.TemporaryDirectory() as folder,
        open_list(Path(folder), [f"{path} 0"], num_reader_threads=1) as reader,
    ):
        start = time.perf_counter()
        clips = sum(len(batch.ids) for batch in reader)
        seconds = time.perf_counter() - start
        peaks = [memory_mb("VmHWM", child.pid) for child in multiprocessing.active_children()]
    header = ("file, MB", "clips read", "seconds", "reader process at most, MB (bar: 1,000)")
    row = (f"{path.stat().st_size / 1e6:.0f}", clips, f"{seconds:.1f}", f"{max(peaks):.0f}")
    print_table("Two hours of 3840x2160", header, [row])
