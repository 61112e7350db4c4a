"""What the tools for lists of videos share: reading any list line by line, and work in many processes with progress."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple

from video_zoo.datareader.video_list import NumberedNames, locate
from video_zoo.datareader.workers import SettingNames, WorkerPool
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import Progress, heartbeat
from video_zoo.utils.paths import RealPaths
from video_zoo.utils.runtime import usable_cores
from video_zoo.utils.texts import read_bytes

_PROGRESS_EVERY_S = 5.0
MOST_PROCESSES = 1024
AHEAD = 8  # tasks under way, a process
_LINE = re.compile(r"(.*\S)(\s+)([+-]?[0-9]{1,18})", re.DOTALL)


class Entry(NamedTuple):
    """A line of a list.

    Args:
        line: its number, from 1.
        path: as written.
        label: None if there is none.
        file: the absolute path it means.
        real: the same without symbolic links: one video has one.
        problem: why the line cannot be used.
    """

    line: int
    path: str
    label: int | None
    file: str
    real: str
    problem: str | None = None


class VideoList(NamedTuple):
    """The lines of a list that are not blank, and what is untidy: what -> the numbers of the lines."""

    entries: list[Entry]
    untidy: dict[str, list[int]]


def read_any_list(list_file: str) -> VideoList:
    """Reads `path label` or `path` lines, whatever is wrong with some of them.

    Raises InputError: no such list, it cannot be read, or it is no text, or empty.
    """
    if os.path.isdir(list_file):
        raise InputError(f"cannot read the list {list_file}: it is a folder; name a list, `path label` a line")
    data = read_bytes(list_file, f"the list {list_file}")
    untidy: dict[str, list[int]] = {}
    if data.startswith(b"\xef\xbb\xbf"):
        untidy["a byte order mark"] = [1]
        data = data[3:]
    entries, numbered, real_path = [], NumberedNames(list_file), RealPaths()
    with heartbeat(f"reading the list {list_file}"):
        for number, line in enumerate(data.rstrip().splitlines(keepends=True), 1):
            for what in _untidy(line):
                untidy.setdefault(what, []).append(number)
            if line.strip():
                entries.append(_entry(line, number, numbered, real_path))
    if not entries:
        raise InputError(f"the list {list_file} is empty; it needs `path label` lines")
    return VideoList(entries, untidy)


def _entry(line: bytes, number: int, numbered: NumberedNames, real_path: RealPaths) -> Entry:
    try:
        text = line.decode().strip()
    except UnicodeDecodeError:
        text = line.decode(errors="backslashreplace").strip()
        return Entry(number, text, None, "", "", "not UTF-8 text; save the list as UTF-8")
    match = _LINE.fullmatch(text)
    path, label = (match[1], int(match[3])) if match else (text, None)
    file = os.path.abspath(locate(path, numbered.list_folder))
    if match and numbered.has(text) and not os.path.exists(file):
        path, label = text, None  # a file whose name ends in a number
        file = os.path.abspath(locate(path, numbered.list_folder))
    try:
        return Entry(number, path, label, file, real_path(file))
    except (OSError, ValueError):  # no possible name
        return Entry(number, path, label, file, file)


def _untidy(line: bytes) -> Iterator[str]:
    text = line.rstrip(b"\r\n")
    if line.endswith(b"\r\n"):
        yield "Windows line ends (CRLF)"
    elif line.endswith(b"\r"):
        yield "line ends of old Macs (CR)"
    path, *words = text.rsplit(None, 1) or [b""]
    gap = text[len(path) : len(text) - len(words[0])] if words else b""
    if not text.strip():
        yield "blank"
    elif text != text.strip():
        yield "spaces around the line"
    elif gap.endswith(b"\t"):
        yield "a tab before the label"
    elif len(gap) > 1:
        yield "several spaces before the label"


def same_file(first: str, second: str) -> bool:
    """Whether two paths mean one file, also where it is not there yet."""
    return os.path.realpath(first) == os.path.realpath(second)


def add_work_flags(parser: cli.Parser, timeout_s: float) -> None:
    """--workers and --timeout_s."""
    parser.add_argument(
        "--workers",
        type=cli.at_most(cli.count, MOST_PROCESSES),
        default=usable_cores(),
        metavar="N",
        help="videos at a time, a process each (the number of cores); 0: in this process, without a time limit",
    )
    parser.add_argument(
        "--timeout_s",
        type=cli.seconds,
        default=timeout_s,
        metavar="SECONDS",
        help=f"a video that takes longer is given up; 0: never ({timeout_s:g})",
    )


def work(
    read: Callable[..., Any], tasks: Sequence[tuple], workers: int, timeout_s: float
) -> Iterator[tuple[tuple, Any]]:
    """(task, what `read` returned or the VideoError it raised), in order, with a line of progress every few seconds.

    All processes have ended when this has, however it ends.
    """
    progress, said = Progress(len(tasks)), time.monotonic()
    ahead, settings = AHEAD * max(workers, 1), SettingNames("--workers=0", "--timeout_s")
    pool = WorkerPool(read, min(workers, len(tasks)), ahead, timeout_s=timeout_s, settings=settings)
    try:
        for done in pool.map(tasks):
            yield done.task, done.result
            progress.add(1)
            if due := progress.is_done or time.monotonic() - said > _PROGRESS_EVERY_S:
                said = time.monotonic()
            progress.say(f"{progress.done}/{progress.total} videos", due=due)
    finally:
        pool.close()
