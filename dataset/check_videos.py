"""Finds the videos of a list that are missing, unreadable, damaged, too short or mislabelled, and writes a clean list.

    python dataset/check_videos.py dataset/kinetics/train.list --labels dataset/kinetics/kinetics400_label.txt

writes, beside the list, train.clean.list, train.report.csv (a row a line) and train.report.svg (histograms).
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import argparse
import collections
import csv
import os
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.labels import read_class_names
from video_zoo.datareader.video_list import check_label, resolve
from video_zoo.dataset.video_lists import Entry, add_work_flags, read_any_list, work
from video_zoo.dataset.video_probe import VideoFacts, examine
from video_zoo.dataset.video_statistics import COLOURS, statistics_table, table, write_picture
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file, fit_name, make_folder
from video_zoo.utils.log import logger, set_up_logging
from video_zoo.utils.texts import cell

HELP = """
A line is `path label`; a relative path starts at the current folder or at the list's. Status of a line, the first that
fits:
  bad line     no label, a label that is no number or no class, no UTF-8
  missing      there is no such file
  empty        a file of no bytes
  unreadable   no video, or not one whole frame in it, or it takes longer than --timeout_s
  damaged      cut off, or a frame cannot be decoded
  too short    fewer frames than --seg_num
  mislabelled  the video's folder has the name of another class (--labels), or another line gives it another label
  duplicate    an earlier line has the same video with the same label
  ok           the clean list has these alone, with --keep_damaged also damaged ones of --seg_num whole frames or more

A file that was joined from others is not damaged by that: the report's column "discontinuity" says whether its MPEG-TS
continuity counter jumps, its clock, or both. All of its frames are read, and its times go on behind the joint.

Exit code: 0 if every line is ok, 1 otherwise.
"""
COLUMNS = (
    *("line", "path", "label", "status", "reason", "codec", "width", "height", "frames", "fps", "duration_s"),
    *("gop_max", "audio", "bytes", "discontinuity"),
)
TOLD = 50  # problems that are printed; the report has all
LARGE_SIDE_PX, LONG_GOP = 320, 32  # beyond these, reading gains from prepare_videos.py


class Row(NamedTuple):
    """A line of the list, and what is wrong with it: (status, reason), the one that counts first."""

    entry: Entry
    problems: list[tuple[str, str]]
    facts: VideoFacts

    @property
    def status(self) -> str:
        return self.problems[0][0] if self.problems else "ok"

    @property
    def reason(self) -> str:
        return "; ".join(reason for _, reason in self.problems)


class Labels:
    """What is known of the labels.

    Args:
        num_classes: None if nobody knows.
        names: of the classes, or none.
        from_one: the list counts them from 1.
    """

    def __init__(self, num_classes: int | None, names: list[str], from_one: bool):
        if names and num_classes not in (None, len(names)):
            raise InputError(f"--num_classes is {num_classes}, but the label file has {len(names)} classes")
        self.num_classes = len(names) if names else num_classes
        self.from_one = from_one
        self._names = names
        folders = collections.Counter(map(_folder_name, names))
        self._by_folder = {_folder_name(n): i for i, n in enumerate(names) if folders[_folder_name(n)] == 1}

    def judge(self, entry: Entry) -> Entry:
        """The entry with the label that is meant, and with what is wrong with it."""
        if entry.problem:
            return entry
        if entry.label is None:
            return entry._replace(problem=_why_no_label(entry))
        entry = entry._replace(label=entry.label - self.from_one)
        try:
            if self.num_classes is not None:
                check_label(entry.label, self.num_classes)
            elif entry.label < 0:
                raise ValueError(f"label {entry.label} is below 0")
        except ValueError as error:
            return entry._replace(problem=str(error).replace(" (MODEL.num_classes)", ""))
        return entry

    def of_folder(self, entry: Entry) -> int | None:
        """The class whose name the video's folder has."""
        return self._by_folder.get(_folder_name(os.path.basename(os.path.dirname(entry.file))))

    def name(self, label: int) -> str:
        return f"{label} ({self._names[label]})" if self._names else str(label)

    def count_from_one(self, entries: Iterable[Entry]) -> str | None:
        """What to say if the labels seem to count from 1."""
        labels = [entry.label for entry in entries if entry.label is not None]
        if self.from_one or not labels or min(labels) < 1:
            return None
        remedy = "--from_one reads them so, and writes labels from 0 to the clean list"
        if max(labels) == self.num_classes:
            return f"the labels count from 1: none is 0, the highest is {max(labels)}, the number of classes; {remedy}"
        if self.num_classes is None and min(labels) == 1:
            return f"the labels perhaps count from 1: none is 0 (1 to {max(labels)}); if they do, {remedy}"
        return None


def judge_all(entries: list[Entry], facts: dict[str, VideoFacts], labels: Labels, seg_num: int) -> list[Row]:
    """A row a line.

    Args:
        facts: Entry.real -> what is known of the file, for all entries without a problem.
    """
    same: dict[str, dict[int, Entry]] = collections.defaultdict(dict)  # Entry.real -> label -> its first line
    for entry in entries:
        if not entry.problem:
            same[entry.real].setdefault(entry.label, entry)
    rows = []
    for entry in entries:
        if entry.problem:
            rows.append(Row(entry, [("bad line", entry.problem)], VideoFacts()))
        else:
            about = facts[entry.real]
            problems = _of_the_file(about, seg_num) + _of_the_line(entry, same[entry.real], labels)
            rows.append(Row(entry, problems, about))
    return rows


def _of_the_file(facts: VideoFacts, seg_num: int) -> list[tuple[str, str]]:
    problems = [] if facts.status == "ok" else [(facts.status, facts.reason)]
    if facts.frames is not None and facts.frames < seg_num:
        problems.append(("too short", f"it has {facts.frames} whole frames, and a clip needs {seg_num} (--seg_num)"))
    return problems


def _of_the_line(entry: Entry, same: dict[int, Entry], labels: Labels) -> list[tuple[str, str]]:
    problems, folder = [], labels.of_folder(entry)
    if folder not in (None, entry.label):
        problems.append(
            ("mislabelled", f"label {labels.name(entry.label)}, but in the folder of {labels.name(folder)}")
        )
    other = next((other for label, other in same.items() if label != entry.label), None)
    if other and folder != entry.label:  # a line that the folder confirms is not in doubt
        problems.append(("mislabelled", f"line {other.line} gives the same video label {labels.name(other.label)}"))
    first = same[entry.label]
    if first is not entry:
        problems.append(("duplicate", f"line {first.line} has the same video"))
    return problems


def write_report(path: str, rows: list[Row]) -> None:
    """The csv: a row a line of the list; what a spreadsheet would take for a formula has an apostrophe in front."""
    with atomic_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            facts = row.facts
            audio = None if facts.audio is None else "yes" if facts.audio else "no"
            said = (row.entry.label, row.status, cell(row.reason))
            measures = (facts.codec, facts.width, facts.height, facts.frames, _rounded(facts.fps))
            writer.writerow(
                (row.entry.line, cell(row.entry.path), *said, *measures)
                + (_rounded(facts.duration_s), facts.gop_max, audio, facts.bytes, facts.discontinuity)
            )


def write_clean_list(path: str, rows: list[Row], keep_damaged: bool) -> int:
    """The lines that are good, in the list's order; returns how many."""
    folder, lines = Path(path).resolve().parent, []
    allowed = {"damaged"} if keep_damaged else set()
    for row in rows:
        if {status for status, _ in row.problems} <= allowed:
            entry = row.entry
            place = entry.path if os.path.abspath(resolve(entry.path, folder)) == entry.file else entry.file
            lines.append(f"{place} {entry.label}\n")
    with atomic_file(path) as file:
        file.writelines(lines)
    return len(lines)


def outputs(flags: argparse.Namespace) -> tuple[str, str, str]:
    """The clean list, the report and the picture. Raises InputError if they cannot be written there."""
    folder, stem = os.path.split(os.path.splitext(flags.list)[0])
    usual = (os.path.join(folder, fit_name(stem, end)) for end in (".clean.list", ".report.csv", ".report.svg"))
    places = tuple(given or each for given, each in zip((flags.clean_list, flags.report, flags.picture), usual))
    if len({os.path.realpath(place) for place in (flags.list, *places)}) < 4:
        raise InputError(f"{flags.list} and the three results need four names: --clean_list, --report, --picture")
    for place in places:
        make_folder(os.path.dirname(os.path.abspath(place)))
        if os.path.isdir(place):
            raise InputError(f"{place} is a folder; --clean_list, --report and --picture take names of files")
    return places


def main() -> None:
    flags = _parse_flags()
    set_up_logging()
    names = read_class_names(flags.labels) if flags.labels else []
    labels = Labels(flags.num_classes, names, flags.from_one)
    entries, untidy = read_any_list(flags.list)
    places = outputs(flags)
    for what, lines in untidy.items():
        logger.info("%s: %s in %s; not so in the clean list", flags.list, what, _lines(lines))
    if hint := labels.count_from_one(entries):
        logger.warning("%s: %s", flags.list, hint)
    entries = [labels.judge(entry) for entry in entries]
    files = list(dict.fromkeys(entry.real for entry in entries if not entry.problem))
    logger.info("%d lines, %d videos, %d at a time", len(entries), len(files), max(flags.workers, 1))
    tasks = [(file, flags.seg_num, flags.quick) for file in files]
    facts = {}
    for (file, *_), result in work(examine, tasks, flags.workers, flags.timeout_s):
        facts[file] = VideoFacts("unreadable", str(result)) if isinstance(result, VideoError) else result
    rows = judge_all(entries, facts, labels, flags.seg_num)
    write_report(places[1], rows)
    kept = write_clean_list(places[0], rows, flags.keep_damaged)
    summarize(flags.list, rows, places[2])
    print(f"{places[0]}: {kept} lines\n{places[1]}: {len(rows)} rows\n{places[2]}: the picture", flush=True)
    wrong = sum(row.status != "ok" for row in rows)
    if wrong:
        raise InputError(f"{wrong} of {len(rows)} lines of {flags.list} are not ok; {places[1]} says why")


def summarize(list_file: str, rows: list[Row], picture: str) -> None:
    """Prints the problems and the tables, and draws the picture."""
    wrong = [row for row in rows if row.problems]
    for row in wrong[:TOLD]:
        print(f"{list_file}, line {row.entry.line}: {row.status}: {row.entry.path}: {row.reason}")
    if len(wrong) > TOLD:
        print(f"... and {len(wrong) - TOLD} more, in the report")
    seen = collections.Counter(row.status for row in rows)
    counts = {status: seen[status] for status in COLOURS if seen[status]}
    print("\n".join(table(("status", "lines"), [*((s, f"{n}") for s, n in counts.items()), ("all", f"{len(rows)}")])))
    known = list({row.entry.real: row.facts for row in rows if row.facts.frames}.values())
    columns = {
        "short side (px)": [min(facts.width, facts.height) for facts in known],
        "longest GOP (frames)": [facts.gop_max for facts in known if facts.gop_max],
        "duration (s)": [facts.duration_s for facts in known if facts.duration_s],
    }
    print("\n".join(statistics_table({**columns, "frames/s": [facts.fps for facts in known if facts.fps]})))
    write_picture(picture, f"{os.path.basename(list_file)}: {len(rows):,} lines", counts, columns)
    if jumping := sum(row.facts.discontinuity is not None for row in rows):
        print(f"lines whose video has a discontinuity, which is no damage: {jumping} (the report says of what)")
    side, gop, _ = (statistics.median(values) if values else 0 for values in columns.values())
    if side > LARGE_SIDE_PX or gop > LONG_GOP:
        print(
            f"reading would gain from smaller videos with more keyframes: python dataset/prepare_videos.py {list_file}"
            " OUT_DIR"
        )


def _parse_flags() -> argparse.Namespace:
    parser = cli.Parser(description=__doc__, epilog=HELP)
    add, path = parser.add_argument, cli.optional_path
    add("list", metavar="LIST", type=cli.path, help="the list to check")
    add("--clean_list", type=path, metavar="FILE", help="the lines that are ok (LIST without extension, .clean.list)")
    add("--report", type=path, metavar="FILE", help="all lines, csv (likewise, .report.csv)")
    add("--picture", type=path, metavar="FILE", help="histograms (likewise, .report.svg)")
    add("--num_classes", type=cli.positive_int, metavar="N", help="labels are below it (left out: not checked)")
    add("--labels", type=path, metavar="FILE", help="the label file; it says the number of classes and their names")
    add("--from_one", action="store_true", help="the list counts labels from 1; the clean list has them from 0")
    add("--seg_num", type=cli.at_most(cli.positive_int, 10_000), default=8, metavar="N", help="frames of a clip (8)")
    add("--quick", action="store_true", help="read every packet, but decode only the frames of a test clip")
    add("--keep_damaged", action="store_true", help="the clean list keeps damaged videos of seg_num frames or more")
    add_work_flags(parser, timeout_s=60)
    return parser.parse_args()


def _folder_name(name: str) -> str:
    return name.replace(" ", "_")


def _why_no_label(entry: Entry) -> str:
    words = entry.path.rsplit(None, 1)
    if len(words) == 2 and not os.path.exists(entry.file) and "." in words[0]:
        return f"the label {words[1]!r} is no whole number"
    return "no label; a line is `path label`"


def _lines(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f"line{'s' * (len(numbers) > 1)} {shown}{f' and {len(numbers) - 5} more' if len(numbers) > 5 else ''}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


if __name__ == "__main__":
    cli.run(main)
