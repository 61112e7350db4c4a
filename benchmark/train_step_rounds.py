"""The rounds of train_step.py: every method of a cell in a process of its own, one turn each a round."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmark import train_step_sides
from benchmark.processes import Peer
from benchmark.reader_clips import KINDS, clip_file
from benchmark.train_step_sides import Cell, reader_config
from video_zoo.datareader import open_reader
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger
from video_zoo.utils.runtime import usable_cores

ALLOWED = 1e-4  # between the logits of the two frameworks


class Method(NamedTuple):
    """Who trains what."""

    side: str
    model: str
    static: bool = False

    def __str__(self) -> str:
        title = f"{'Paddle' if self.side == 'paddle' else 'PyTorch'} {self.model}"
        return f"{title}, to_static" if self.static else title


@dataclass
class Figures:
    """What was measured of a method: milliseconds a round, the reader's, peak memory; or why nothing was."""

    turns: list[dict[str, float]] = field(default_factory=list)
    fed: dict[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0
    note: str = ""
    error: str = ""

    def ms(self, part: str) -> float:
        return median(turn[part] for turn in self.turns)


Found = dict[Method, Figures]


start_side = partial(Peer, train_step_sides.__file__)  # the side, its interpreter


def check(cell: Cell, ours: Peer, peer: Peer, folder: Path) -> str:
    """Compares what the two networks say in eval mode, on the CPU, with the same weights. Raises InputError."""
    path = str(folder / "said.npz")
    for found in (ours.do("say", cell=cell, path=path), peer.do("differ", cell=cell, path=path)):
        if "error" in found:
            raise InputError(f"the networks cannot be compared: {found['error']}")
    text = (
        f"{cell.model}-{cell.num_layers}, {cell.batch} clips of {cell.segments}x{cell.size}, eval: PyTorch's logits"
        " differ from ours by"
        f" at most {found['difference']:.1e} (allowed: {ALLOWED}; the largest is {found['largest']:.1f})"
    )
    if not found["difference"] <= ALLOWED:
        raise InputError(text)
    return text


def describe(cell: Cell) -> str:
    """A cell, as titles name it."""
    width = f" of base width {cell.base_width}" if cell.base_width != 64 else ""
    form = ", channels-last" if cell.channels_last else ""
    return f"ResNet-{cell.num_layers}{width}, {cell.batch} x {cell.segments} x {cell.size} px, amp {cell.amp}{form}"


def compare(cell: Cell, args: argparse.Namespace, on_gpu: bool, missing: str) -> Found:
    """Every method's figures for a cell."""
    methods = [Method("paddle", model) for model in args.models]
    methods += [Method("paddle", args.models[0], True)] if "to_static" in args.parts else []
    methods += [Method("torch", model) for model in args.models]
    found: Found = {method: Figures() for method in methods}
    with contextlib.ExitStack() as stack:
        peers: dict[Method, Peer] = {}
        for method in methods:
            logger.info("%s, %s: warming up", describe(cell), method)
            if method.side == "torch" and missing:
                found[method].error = missing
                continue
            peer = start(method, cell, args, found[method])
            if peer is not None:
                peers[method] = stack.enter_context(contextlib.closing(peer))
        for turn in range(args.rounds):
            logger.info("%s: round %d of %d", describe(cell), turn + 1, args.rounds)
            for method in [*methods[turn % len(methods) :], *methods[: turn % len(methods)]]:
                if not found[method].error:
                    note(found[method], peers[method].do("turn", steps=args.steps, split="split" in args.parts))
        for method, peer in peers.items():
            found[method].peak_mb = peer.do("peak").get("mb", 0)
            if "reader" in args.parts and method.side == "paddle" and not method.static and not found[method].error:
                feed(cell, peer, found[method], Path(args.folder), on_gpu)
    return found


def start(method: Method, cell: Cell, args: argparse.Namespace, figures: Figures) -> Peer | None:
    """A process that is ready for its turns: of PyTorch, in the memory format whose steps were quicker."""
    own = replace(cell, model=method.model, static=method.static)
    if method.side == "paddle":
        candidates = [(start_side("paddle", sys.executable), own, "")]
    else:
        formats = ((False, "channels first"), (True, "channels-last"))
        candidates = [
            (start_side("torch", args.torch_python), replace(own, channels_last=last), name) for last, name in formats
        ]
    built = [(peer.do("build", cell=each, warmup=args.warmup), peer, name) for peer, each, name in candidates]
    answer, ready, figures.note = min(built, key=lambda each: each[0].get("ms", float("inf")))
    for _, peer, _ in built:
        if peer is not ready or "error" in answer:
            peer.close()
    figures.error = answer.get("error", "")
    return None if figures.error else ready


def note(figures: Figures, answer: dict) -> None:
    """Keeps what a turn gave."""
    if "error" in answer:
        figures.error = answer["error"]
    else:
        figures.turns.append(answer)


def feed(cell: Cell, peer: Peer, figures: Figures, folder: Path, on_gpu: bool) -> None:
    """Steps on our reader's batches; a batch or three come before those that count, and three after them."""
    steps, warmup = (20, 3) if on_gpu else (1 if figures.ms("step") > 2000 else 5, 1)
    with tempfile.TemporaryDirectory() as lists:
        path = clip_list(folder, Path(lists), (warmup + steps + 3) * cell.batch)
        figures.fed = peer.do("feed", filelist=path, steps=steps, warmup=warmup)


@cache
def reader_rate(cell: Cell, folder: Path) -> float:
    """Clips a second that the reader gives when nothing else runs."""
    counted = max(4 * cell.batch, 32 * usable_cores())
    with tempfile.TemporaryDirectory() as lists:
        path = clip_list(folder, Path(lists), cell.batch + counted)
        transform = "multi_scale_crop" if cell.model == "TSM" else "random_crop"
        with open_reader("train", reader_config(cell, path), transform) as reader:
            batches = iter(reader)
            next(batches)  # starts the processes
            start = time.perf_counter()
            clips = sum(len(batch.labels) for batch in batches)
            return clips / (time.perf_counter() - start)


def clip_list(folder: Path, lists: Path, lines: int) -> str:
    path = lists / "train.list"
    path.write_text(f"{clip_file(folder, KINDS[0]).resolve()} 0\n" * lines)
    return str(path)
