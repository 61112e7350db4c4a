"""Encodes the videos of a list anew, for fast reading: small, with many keyframes, without sound.

    python dataset/prepare_videos.py dataset/kinetics/train.list kinetics_256

writes kinetics_256/CLASS/NAME.mp4 and kinetics_256/train.list, with the same labels in the same order.
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import argparse
import collections
import contextlib
import os
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from video_zoo.datareader.decode import VideoError, decode_video
from video_zoo.datareader.sampling import segment_indices
from video_zoo.datareader.timeline import describe_jumps
from video_zoo.dataset.video_encode import Form, Outcome, prepare
from video_zoo.dataset.video_lists import Entry, add_work_flags, read_any_list, same_file, work
from video_zoo.utils import cli, stop
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file, fit_name, make_folder, scratch_folder
from video_zoo.utils.log import logger, set_up_logging

HELP = """
H.264, yuv420p, constant quality, in mp4 with the header in front; frames upright, at their times, none left out or
added. The ffmpeg program is not needed. A video appears when it is complete and has been decoded once; a stopped run
goes on where it was when the same command is given again. A source that has changed, or another --short_size, --gop or
--crf, is encoded anew. Sources are never touched.

The folders below the videos' common one (or --source_dir) are the same below OUT_DIR. A relative OUT_DIR makes
relative paths in the new list if the command runs in the repository's root, as train.py does; otherwise they are
absolute.

A video that cannot be read is named, and left out of the new list; of a damaged one the frames before the damage are
kept, and it is named, too: both also in OUT_DIR/LIST.problems.txt. Lines need no label.
"""
REPOSITORY = Path(__file__).resolve().parents[1]
MEASURED, REPEATS, CLIP_FRAMES = 5, 3, 8  # videos whose reading is timed, how often, and the frames of a clip


def targets(entries: Iterable[Entry], out_dir: str, source_dir: str | None) -> dict[str, str]:
    """Entry.real -> the file to write: the same folders, and a name that no other has, also where case is ignored.

    Raises InputError if a source would be overwritten, or lies outside `source_dir`.
    """
    by_real: dict[str, Entry] = {}
    for entry in entries:
        if not entry.problem:
            by_real.setdefault(entry.real, entry)
    if not by_real:
        raise InputError("no line of the list can be used")
    root = os.path.abspath(source_dir or os.path.commonpath([os.path.dirname(e.file) for e in by_real.values()]))
    places, taken = {}, set()
    for real, entry in by_real.items():
        name = os.path.relpath(entry.file, root)
        if name.split(os.sep)[0] == os.pardir:
            raise InputError(f"line {entry.line}: {entry.file} is not below --source_dir {source_dir}")
        below, stem = os.path.split(name[:-4] if name.lower().endswith(".mp4") else name)
        number, name = 1, os.path.join(below, fit_name(stem, ".mp4"))
        while name.casefold() in taken:
            number += 1
            name = os.path.join(below, fit_name(stem, f"_{number}.mp4"))
        taken.add(name.casefold())
        places[real] = os.path.join(os.path.abspath(out_dir), name)
        if os.path.realpath(places[real]) in by_real:
            raise InputError(f"{places[real]} is a video of the list and is not overwritten; choose another OUT_DIR")
    return places


class Gain:
    """How much faster the first few outputs are read than their sources."""

    def __init__(self) -> None:
        self.before: list[float] = []  # ms
        self.after: list[float] = []

    def measure(self, source: str, target: str) -> None:
        """Reads a test clip from both, in turn; says what came out when it has been done for a few videos."""
        pairs = [(_reading_ms(source), _reading_ms(target)) for _ in range(REPEATS)]
        for column, values in zip((self.before, self.after), zip(*pairs)):
            column.append(min(values))
        if len(self.before) == MEASURED:
            logger.info("%s", self)

    def __str__(self) -> str:
        before, after = (sum(column) / len(column) for column in (self.before, self.after))
        return (
            f"reading a clip of {CLIP_FRAMES} frames: {before:.1f} ms before, {after:.1f} ms after,"
            f" {before / after:.1f} times as fast (mean of {len(self.before)} videos, one process)"
        )


def _reading_ms(path: str) -> float:
    start = time.perf_counter()
    decode_video(Path(path), partial(segment_indices, seg_num=CLIP_FRAMES))
    return 1000 * (time.perf_counter() - start)


def encode_all(places: dict[str, str], form: Form, flags: argparse.Namespace) -> dict[str, Outcome | VideoError]:
    """Source -> what came of it. Half-written files lie in a folder that goes when this ends."""
    outcomes, gain = {}, Gain()
    with contextlib.ExitStack() as stack:
        folder = make_folder(flags.out_dir)
        scratch = stack.enter_context(scratch_folder(folder))
        tasks = [
            (source, target, os.path.join(os.path.abspath(scratch), f"{number}.mp4"), form)
            for number, (source, target) in enumerate(places.items())
        ]
        results = stack.enter_context(contextlib.closing(work(prepare, tasks, flags.workers, flags.timeout_s)))
        for (source, target, *_), outcome in results:
            outcomes[source] = outcome
            if isinstance(outcome, VideoError):
                logger.warning("left out: %s: %s", source, outcome)
            elif outcome.damage:
                logger.warning("damaged, the frames before the damage are kept: %s: %s", source, outcome.damage)
            elif len(gain.before) < MEASURED:
                with contextlib.suppress(VideoError):  # removed a moment ago
                    gain.measure(source, target)
            if isinstance(outcome, Outcome) and outcome.jumps:
                logger.warning("%s: %s", source, describe_jumps(outcome.jumps))
    if 0 < len(gain.before) < MEASURED:
        logger.info("%s", gain)
    return outcomes


def write_list(path: str, entries: list[Entry], places: dict[str, str], out_dir: str) -> int:
    """The new list: the lines of `entries` whose source is in `places`; returns how many."""
    prefix = out_dir if os.path.samefile(os.curdir, REPOSITORY) else os.path.abspath(out_dir)
    lines = 0
    with atomic_file(path) as file:
        for entry in entries:
            if not entry.problem and entry.real in places:
                name = os.path.relpath(places[entry.real], os.path.abspath(out_dir))
                label = "" if entry.label is None else f" {entry.label}"
                file.write(f"{os.path.join(prefix, name)}{label}\n")
                lines += 1
    return lines


def write_problems(path: Path, entries: list[Entry], outcomes: dict[str, Outcome | VideoError]) -> None:
    """A line for each video that is not whole; no file if there is none."""
    rows = []
    for entry in entries:
        outcome = VideoError(entry.problem) if entry.problem else outcomes[entry.real]
        if isinstance(outcome, VideoError):
            rows.append(f"left out\tline {entry.line}\t{entry.path}\t{outcome}\n")
        elif outcome.damage:
            rows.append(f"damaged\tline {entry.line}\t{entry.path}\t{outcome.damage}\n")
    if rows:
        with atomic_file(path) as file:
            file.writelines(rows)
        print(f"{path}: {len(rows)} lines")
    else:
        path.unlink(missing_ok=True)


def summarize(outcomes: dict[str, Outcome | VideoError]) -> None:
    """Prints the counts, and the bytes before and after."""
    whole = [outcome for outcome in outcomes.values() if isinstance(outcome, Outcome)]
    counts = collections.Counter("kept from before" if outcome.kept else "written" for outcome in whole)
    if whole and not counts["written"]:
        print("nothing was left to do: all videos that can be read are there")
    before, after = sum(o.bytes_before for o in whole), sum(o.bytes_after for o in whole)
    print(
        f"{counts['written']} videos written, {counts['kept from before']} were there before,"
        f" {sum(o.damage is not None for o in whole)} of them damaged; {len(outcomes) - len(whole)} left out\n"
        f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB after" + (f" ({after / before:.0%})" if before else "")
    )
    if after > before:
        print("the sources were compressed more; a higher --crf makes smaller files, and a larger --gop too")


def main() -> None:
    flags = _parse_flags()
    set_up_logging()
    entries, _ = read_any_list(flags.list)
    new_list = flags.new_list or os.path.join(flags.out_dir, os.path.basename(flags.list))
    if same_file(new_list, flags.list):
        raise InputError(f"the new list would overwrite {flags.list}; --new_list names another")
    places = targets(entries, flags.out_dir, flags.source_dir)
    form = Form(flags.short_size, flags.gop, flags.crf)
    for entry in entries:
        if entry.problem:
            logger.warning("left out: line %d: %s: %s", entry.line, entry.path, entry.problem)
    logger.info("%d lines, %d videos, %d at a time", len(entries), len(places), max(flags.workers, 1))
    stop.say_when_stopped(f"What is done is kept; to go on: {cli.command_again()}")
    outcomes = encode_all(places, form, flags)
    stop.say_when_stopped(None)
    good = {source: places[source] for source, outcome in outcomes.items() if isinstance(outcome, Outcome)}
    summarize(outcomes)
    write_problems(Path(flags.out_dir, fit_name(Path(flags.list).stem, ".problems.txt")), entries, outcomes)
    if not good:
        raise InputError(f"no video of {flags.list} could be read")
    print(f"{new_list}: {write_list(new_list, entries, good, flags.out_dir)} lines")


def _parse_flags() -> argparse.Namespace:
    parser = cli.Parser(description=__doc__, epilog=HELP)
    add, path = parser.add_argument, cli.optional_path
    add("list", metavar="LIST", type=cli.path, help="the videos, `path label` or `path` a line")
    add("out_dir", metavar="OUT_DIR", type=cli.path, help="where the new videos go")
    add("--new_list", type=path, metavar="FILE", help="the new list (OUT_DIR/LIST)")
    add("--source_dir", type=path, metavar="DIR", help="the folder that OUT_DIR mirrors (the videos' common folder)")
    add("--short_size", type=_even, default=256, metavar="PX", help="the shorter side; nothing is enlarged (256)")
    add("--gop", type=cli.positive_int, default=12, metavar="N", help="frames from one keyframe to the next (12)")
    add("--crf", type=cli.at_most(cli.count, 51), default=20, metavar="N", help="quality, 0 to 51, less is better (20)")
    add_work_flags(parser, timeout_s=0)
    return parser.parse_args()


def _even(text: str) -> int:
    if (number := cli.positive_int(text)) % 2:
        raise argparse.ArgumentTypeError(f"{text} is odd, and H.264's colours need an even number")
    return number


if __name__ == "__main__":
    cli.run(main)
