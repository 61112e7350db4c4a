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
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmark.reader_clips import KINDS, NUM_FRAMES, Kind, clip_file
from benchmark.reader_peers import ELSEWHERE, METHODS, Peer
from benchmark.reader_split import SEG_NUM, STEPS, crop_figures, split_ms, transfer_ms
from benchmark.reader_whole import part_list, part_long, part_memory, part_workers
from benchmark.tables import machine, print_table
from video_zoo.datareader.sampling import segment_indices
from video_zoo.utils import cli
from video_zoo.utils.log import set_up_logging
from video_zoo.utils.runtime import usable_cores


@dataclass
class Figures:
    """What was measured of one method on one kind of clip: milliseconds a clip, clips a second of all processes."""

    test_ms: list[float] = field(default_factory=list)
    train_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    equal: str = ""

    @property
    def ms(self) -> float:
        return median(self.test_ms)


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--part",
        nargs="+",
        choices=[*PARTS, "all"],
        default=["decode", "split", "workers"],
        help="what (decode split workers)",
    )
    names = [Path(kind.file_name).stem for kind in KINDS]
    parser.add_argument("--kinds", nargs="+", choices=names, default=names, help="clips of decode and split (all)")
    parser.add_argument("--repeats", type=cli.positive_int, default=5, metavar="N", help="rounds (5)")
    parser.add_argument(
        "--peers", type=cli.optional_path, default=sys.executable, metavar="PYTHON", help="has decord2, torchcodec"
    )
    parser.add_argument(
        "--processes",
        type=cli.positive_int,
        default=usable_cores(),
        metavar="N",
        help="of each method, for the speed on all cores; OpenCV's takes 1.9 GB in each at 1080p (one a core)",
    )
    parser.add_argument(
        "--clips", type=cli.positive_int, default=10_000, metavar="N", help="of the part memory (10000)"
    )
    folder = Path(__file__).parent / "clips"
    parser.add_argument("--folder", type=cli.path, default=folder, metavar="DIR", help="of clips (benchmark/clips)")
    args = parser.parse_args()
    set_up_logging()
    print(f"{machine()}\n", flush=True)
    for part in PARTS if "all" in args.part else args.part:
        PARTS[part](args)


# ---- decode: every method on every kind of clip


def part_decode(args: argparse.Namespace) -> None:
    """Ours and the peers, in turn."""
    files = {kind: clip_file(Path(args.folder), kind) for kind in _kinds(args)}
    crews, missing = _start_crews(args.peers, args.processes)
    bars = []
    try:
        for kind, path in files.items():
            figures = compare(path, crews, args.repeats, missing)
            _print_comparison(kind, path, figures, missing, args.processes)
            bars.append((kind, *_times_as_fast(figures)))
    finally:
        for peer in (peer for crew in crews.values() for peer in crew):
            peer.end()
    header = ("clips", "fastest peer", "its time / ours (bar: 1.25)", "its CPU time / ours")
    header += ("v1.5's / ours (bar: 2.5)", "CPU time likewise")
    print_table("Times as fast, one thread", header, bars)


def _kinds(args: argparse.Namespace) -> list[Kind]:
    return [kind for kind in KINDS if Path(kind.file_name).stem in args.kinds]


def _times_as_fast(figures: dict[str, Figures]) -> tuple[str, ...]:
    """Ours against the fastest peer and against v1.5's way, by the clock and in CPU time, which noise hits less."""
    ours = figures["ours"]
    fastest = min((method for method in figures if method != "ours"), key=lambda method: figures[method].ms)
    times = (ratio for method in (fastest, "v15") for ratio in _ratios(figures[method], ours))
    return (METHODS[fastest][1], *(f"{ratio:.2f}" for ratio in times))


def _ratios(peer: Figures, ours: Figures) -> tuple[float, float]:
    return peer.ms / ours.ms, median(peer.cpu_ms) / median(ours.cpu_ms)


def compare(path: Path, crews: dict[str, list[Peer]], repeats: int, missing: dict[str, str]) -> dict[str, Figures]:
    """What each method needs for the clip; a method that fails goes to `missing`."""
    figures = {method: Figures() for method in crews}
    _compare_frames(path, crews, figures, missing)
    for turn in range(repeats):
        order = list(figures)[turn % len(figures) :] + list(figures)[: turn % len(figures)]
        for method in order:
            test = crews[method][0].read(path, chosen(None))
            train = crews[method][0].read(path, chosen(turn))
            figures[method].test_ms.append(test["ms"])
            figures[method].train_ms.append(train["ms"])
            figures[method].cpu_ms.append(test["cpu_ms"])
            figures[method].peak_mb = max(figures[method].peak_mb, test["peak_mb"])
        for method in order:
            clips = max(2, round(500 / figures[method].test_ms[0]))  # half a second or longer
            figures[method].rate.append(_rate(path, crews[method], clips))
    return figures


def chosen(seed: int | None) -> list[int]:
    """Frame numbers of a clip: the segments' middles, or, with a seed, places drawn as in training."""
    return segment_indices(NUM_FRAMES, SEG_NUM, rng=None if seed is None else np.random.default_rng(seed))


def _start_crews(python: str, processes: int) -> tuple[dict[str, list[Peer]], dict[str, str]]:
    crews, missing = {}, {}
    for method in METHODS:
        peer = Peer(method, python if method in ELSEWHERE else sys.executable)
        if peer.missing:
            missing[method] = peer.missing
            peer.end()
            continue
        print(f"- {peer.title}: {peer.versions}")
        crews[method] = [peer] + [
            Peer(method, python if method in ELSEWHERE else sys.executable) for _ in range(processes - 1)
        ]
    print()
    return crews, missing


def _compare_frames(
    path: Path, crews: dict[str, list[Peer]], figures: dict[str, Figures], missing: dict[str, str]
) -> None:
    """Whether the frames are those of v1.5's way, for both choices; it also warms every process up."""
    with tempfile.TemporaryDirectory() as folder:
        for method in sorted(figures, key=lambda method: method != "v15"):
            notes = []
            for seed in (None, 0):
                saved = Path(folder) / f"{method}_{seed}.npy"
                answer = crews[method][0].read(path, chosen(seed), saved)
                if "error" in answer:
                    missing[method] = f"{path.name}: {answer['error']}"
                    del figures[method]
                    break
                reference = Path(folder) / f"v15_{seed}.npy"
                notes.append(_difference(np.load(saved), np.load(reference)) if reference.exists() else "unknown")
            else:
                figures[method].equal = max(notes, key=len)


def _difference(frames: np.ndarray, reference: np.ndarray) -> str:
    if frames.shape != reference.shape:
        return f"no, their shape is {frames.shape}"
    levels = np.abs(frames.astype(np.int16) - reference)
    return f"no, up to {levels.max()} levels, {levels.mean():.2f} on average" if levels.any() else "yes"


def _rate(path: Path, crew: list[Peer], clips: int) -> float:
    """Clips a second when all processes read at the same time."""
    start = time.perf_counter()
    for peer in crew:
        peer.send(path, chosen(None), clips)
    for peer in crew:
        peer.receive()
    return clips * len(crew) / (time.perf_counter() - start)


def _print_comparison(
    kind: Kind, path: Path, figures: dict[str, Figures], missing: dict[str, str], processes: int
) -> None:
    rows = []
    for method, (_, title, _) in METHODS.items():
        if method not in figures:
            rows.append((title, f"left out: {missing[method]}", *[""] * 6))
            continue
        found = figures[method]
        both = (found.ms + median(found.train_ms)) / 2
        times = found.ms / figures["ours"].ms
        rows.append(
            (title, f"{found.ms:.1f}", f"{both:.1f}", f"{median(found.cpu_ms):.1f}", f"{times:.2f}")
            + (f"{median(found.rate):.1f}", f"{found.peak_mb:.0f}", found.equal)
        )
    header = ("", "ms a clip", "ms, test and training", "CPU ms", "x ours", f"clips/s, {processes} processes")
    title = f"{kind}, {NUM_FRAMES} frames, {path.stat().st_size / 1e6:.2f} MB"
    print_table(title, (*header, "peak MB", "frames equal"), rows)


def part_split(args: argparse.Namespace) -> None:
    """Where our time goes, and what scaling only the crop saves."""
    files = {kind: clip_file(Path(args.folder), kind) for kind in _kinds(args)}
    found: dict[Kind, list[dict[str, float]]] = {kind: [] for kind in files}
    for _ in range(args.repeats + 1):  # the first warms up
        for kind, path in files.items():
            found[kind].append(split_ms(path, kind))
    transfer = transfer_ms()
    rows = []
    for kind in files:
        medians = [median(each[step] for each in found[kind][1:]) for step in STEPS] + [transfer]
        rows.append((kind, *(f"{ms:.1f}" for ms in medians), f"{sum(medians):.1f}"))
    print_table("Where our time goes, ms a clip (one thread)", ("clips", *STEPS, "transfer", "sum"), rows)
    rows = []
    for kind, path in files.items():
        *times, levels, share = crop_figures(path, kind, args.repeats)
        rows.append((kind, *(f"{ms:.1f}" for ms in times), levels, f"{share:.5f}"))
    header = ("clips", "all pixels, then crop", "default", "fast_crop", "differs by at most", "share of values")
    print_table(f"Scaling and cropping {SEG_NUM} frames, ms (fast_crop against the default)", header, rows)


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
