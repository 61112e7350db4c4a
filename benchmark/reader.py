"""The video reader against its peers, and its own bounds, on clips made here.

    python benchmark/reader.py                       (--help: the parts, the kinds of clips, repeats)

Two of the peers are packages that the project does not need. They go into an environment of their own, Python 3.10 or
newer, and torchcodec also loads FFmpeg's shared libraries (Debian: libavdevice59, which brings the others):

    python -m venv ../peers
    ../peers/bin/pip install decord2==3.4.0 torch==2.13.0 torchcodec==0.13.0
    python benchmark/reader.py --peers ../peers/bin/python

PyPI's newer wheels of torchcodec need CUDA's libraries (0.17 does). A peer that is missing is left out, and the table
says why. Each method reads in a process of its own, with one thread; they take turns, so that what else runs on the
machine hits them alike. Linux only: memory is what /proc says.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import reader_ways
from clips import KINDS, NUM_FRAMES, Kind, clip_file
from harness import CLIPS, Row, Side, machine, print_table, ratio, take_turns
from reader_parts import SEG_NUM, part_list, part_long, part_memory, part_split, part_workers
from reader_ways import ELSEWHERE, WAYS

from video_zoo.datareader.sampling import segment_indices
from video_zoo.utils import cli
from video_zoo.utils.log import set_up_logging
from video_zoo.utils.runtime import usable_cores


def main() -> None:
    parser = cli.Parser(description=__doc__)
    default = ["decode", "split", "workers"]
    parser.add_argument("--part", nargs="+", choices=[*PARTS, "all"], default=default, help=f"({' '.join(default)})")
    names = [Path(kind.file_name).stem for kind in KINDS]
    parser.add_argument("--kinds", nargs="+", choices=names, default=names, help="clips of decode and split (all)")
    parser.add_argument("--repeats", type=cli.positive_int, default=5, metavar="N", help="rounds (5)")
    parser.add_argument("--peers", type=cli.path, default=sys.executable, metavar="PYTHON", help="has the peers")
    help_text = "of each method, for the speed on all cores; OpenCV's takes 1.9 GB in each at 1080p (one a core)"
    parser.add_argument("--processes", type=cli.positive_int, default=usable_cores(), metavar="N", help=help_text)
    parser.add_argument("--clips", type=cli.positive_int, default=10_000, metavar="N", help="of memory (10000)")
    parser.add_argument("--folder", type=Path, default=CLIPS, metavar="DIR", help="of clips (benchmark/clips)")
    args = parser.parse_args()
    args.kinds = [kind for kind in KINDS if Path(kind.file_name).stem in args.kinds]
    set_up_logging()
    print(f"{machine()}\n", flush=True)
    for part in PARTS if "all" in args.part else args.part:
        PARTS[part](args)


def part_decode(args: argparse.Namespace) -> None:
    """Every method on every kind of clip."""
    summary = []
    for kind in args.kinds:
        rows = compare(clip_file(args.folder, kind), kind, args)
        if not summary:
            print("\n".join(f"- {row.title}: {row.side.hello['versions']}" for row in rows.values() if row.side), "\n")
        ours, peers = rows["ours"], [row for name, row in rows.items() if name != "ours" and not row.error]
        fastest = min(peers, key=lambda row: row.median("ms"))
        times = [ratio(ours, row, key) for row in (fastest, rows["v15"]) for key in ("ms", "cpu_ms")]
        summary.append((kind, ours.median("ms"), fastest.title, *times))
    header = "clips | ours, ms | fastest peer | its time / ours (bar: 1.25) | its CPU time / ours"
    header = f"{header} | v1.5's / ours (bar: 2.5) | CPU time likewise"
    print_table("Times as fast, one thread", header, summary)


def compare(path: Path, kind: Kind, args: argparse.Namespace) -> dict[str, Row]:
    """Measures every method on a clip, and prints it."""
    pythons = {name: args.peers if name in ELSEWHERE else sys.executable for name in WAYS}
    script = reader_ways.__file__
    rows = {name: Row(title, script, name, pythons[name], threads=1) for name, (title, *_) in WAYS.items()}
    first = [choose(None), choose(0)]
    with tempfile.TemporaryDirectory() as folder:
        for name, row in rows.items():
            (Path(folder) / name).mkdir()
            row.start(path=str(path), choices=first, folder=f"{folder}/{name}")
        for name, row in rows.items():
            row.note = "" if row.error else difference(Path(folder) / name, Path(folder) / "v15")
    jobs = [{"path": str(path), "choices": [first[0], choose(number)]} for number in range(args.repeats)]
    take_turns([*rows.values()], jobs)
    table = []
    for name, row in rows.items():
        if row.error:
            table.append((row.title, f"left out: {row.error}"))
            continue
        ms, both = row.median("ms"), (row.median("ms") + row.median("drawn_ms")) / 2
        rate = clips_per_second(row, pythons[name], path, args)
        cells = (ms, both, row.median("cpu_ms"), ratio(rows["ours"], row), rate, row.median("peak_mb"))
        table.append((row.title, *cells, row.note))
        row.close()
    header = f" | ms a clip | ms, test and training | CPU ms | x ours | clips/s, {args.processes} processes"
    header = f"{header} | peak MB | frames equal"
    print_table(f"{kind}, {NUM_FRAMES} frames, {path.stat().st_size / 1e6:.2f} MB", header, table)
    return rows


def choose(seed: int | None) -> list[int]:
    """Frame numbers of a clip: the segments' middles, or, with a seed, places drawn as in training."""
    return segment_indices(NUM_FRAMES, SEG_NUM, rng=None if seed is None else np.random.default_rng(seed))


def difference(folder: Path, reference: Path) -> str:
    """How far the frames of both choices are from those of v1.5's way."""
    for file in sorted(reference.iterdir()):
        frames, expected = np.load(folder / file.name), np.load(file)
        if frames.shape != expected.shape:
            return f"no, their shape is {frames.shape}"
        levels = np.abs(frames.astype(np.int16) - expected)
        if levels.any():
            return f"no, up to {levels.max()} levels, {levels.mean():.2f} on average"
    return "yes"


def clips_per_second(row: Row, python: str, path: Path, args: argparse.Namespace) -> float:
    """When as many processes as are asked for read at the same time; the median of the rounds."""
    crew = [row.side, *(Side(row.script, row.name, python, threads=1) for _ in range(args.processes - 1))]
    count, rates = max(2, round(500 / row.median("ms"))), []  # half a second or longer
    for _ in range(args.repeats + 1):
        start = time.perf_counter()
        for side in crew:
            side.send("repeat", path=str(path), numbers=choose(None), count=count)
        for side in crew:
            side.receive()
        rates.append(count * len(crew) / (time.perf_counter() - start))
    for side in crew[1:]:
        side.close()
    return median(rates[1:])  # the first warms up


PARTS = {
    "decode": part_decode,
    "split": part_split,
    "workers": part_workers,
    "memory": part_memory,
    "list": part_list,
    "long": part_long,
}

if __name__ == "__main__":
    cli.run(main)
