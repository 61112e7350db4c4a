"""Which class a video has: the label file (`NAME INDEX` lines) and the csv files of Kinetics."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from utils.errors import InputError
from utils.files import atomic_file

NO_LABEL = -1  # the label of a clip whose class is not published, as in Kinetics' test split
LABEL_FILE = "kinetics400_label.txt"


def read_class_names(path: str | os.PathLike) -> list[str]:
    """The class names of a label file, at the index the file gives them.

    Args:
        path: UTF-8 text, `NAME INDEX` a line in any order; names may hold spaces. Blank lines are skipped.

    Raises:
        InputError: the file is missing, unreadable or empty; a line has no index; an index or a name comes twice; an
            index is left out. The message says the file and the line.
    """
    numbers: dict[int, int] = {}  # index -> line number
    names: dict[str, int] = {}  # name -> index
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        name, index = _name_and_index(line, f"{path}:{number}")
        if index in numbers:
            raise InputError(f"{path}:{number}: index {index} twice; line {numbers[index]} has it too")
        if name in names:
            raise InputError(f"{path}:{number}: class {name!r} twice; line {numbers[names[name]]} has it too")
        numbers[index], names[name] = number, index
    if not numbers:
        raise InputError(f"{path}: empty; it needs one `NAME INDEX` line a class")
    for expected, index in enumerate(sorted(numbers)):
        if index != expected:
            raise InputError(
                f"{path}:{numbers[index]}: index {index}, but no line has index {expected}; "
                "indices count up from 0 and leave none out"
            )
    return sorted(names, key=names.__getitem__)


def write_class_names(path: str | os.PathLike, names: Iterable[str]) -> None:
    """Writes a label file: names[i] gets index i.

    Raises InputError if a name is empty, comes twice or does not fit a line, or if the file cannot be written.
    """
    names = list(names)
    if not names:
        raise InputError(f"{path}: not written, there are no class names")
    for index, name in enumerate(names):
        if not name or name != name.strip() or "\n" in name or "\r" in name:
            raise InputError(f"{path}: not written, class {index} has the name {name!r}; a name is one line of text")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: not written, class {twice!r} comes twice")
    with atomic_file(path) as file:
        file.writelines(f"{name} {index}\n" for index, name in enumerate(names))


def find_label_file(given: str | None, script_folder: Path) -> Path:
    """The label file to use: `given`, or kinetics400_label.txt in the current folder, or else in `script_folder`."""
    if given:
        return Path(given)
    here = Path(LABEL_FILE)
    return here if here.is_file() else script_folder / LABEL_FILE


@dataclasses.dataclass(frozen=True)
class Clip:
    """One row of a Kinetics csv."""

    label: str  # class name; "" where the csv does not say it
    youtube_id: str
    start_s: int
    end_s: int
    split: str
    line: int  # in the csv, from 1

    @property
    def name(self) -> str:
        """ID_%06d_%06d: the clip's file name without its extension, and its video id."""
        return f"{self.youtube_id}_{self.start_s:06d}_{self.end_s:06d}"


def read_clips(path: str | os.PathLike) -> list[Clip]:
    """All rows of a Kinetics csv (label, youtube_id, time_start, time_end, split, is_cc), in its order.

    The columns `label` and `split` may be missing or empty. Raises InputError that names the file and the line.
    """
    clips = []
    for line, row in csv_rows(path, ("youtube_id", "time_start", "time_end")):
        place = f"{path}:{line}"
        if not row["youtube_id"]:
            raise InputError(f"{place}: no youtube_id")
        start_s, end_s = (_seconds(row[column], f"{place}: {column}") for column in ("time_start", "time_end"))
        clips.append(Clip(row.get("label", ""), row["youtube_id"], start_s, end_s, row.get("split", ""), line))
    if not clips:
        raise InputError(f"{path}: no rows below the header")
    return clips


def csv_rows(path: str | os.PathLike, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row of a csv with a header: its line number, and column name -> text without spaces around it.

    Raises InputError if the file cannot be read, a column of `needed` is missing, or a row is too short.
    """
    reader = csv.reader((line + "\n" for line in _lines(path)), strict=True)
    try:
        header = [column.strip().lower() for column in next(reader, [])]
        missing = [column for column in needed if column not in header]
        if missing:
            raise InputError(
                f"{path}:1: no column {' nor '.join(missing)}; the header of a Kinetics csv is "
                f"label,youtube_id,time_start,time_end,split,is_cc, this one is {','.join(header)[:200] or 'empty'}"
            )
        for cells in reader:
            row = {column: cell.strip() for column, cell in zip(header, cells)}
            if not any(row.values()):
                continue
            if any(column not in row for column in needed):
                raise InputError(f"{path}:{reader.line_num}: {len(cells)} columns, but the header has {len(header)}")
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not a csv row ({error}); is a quote left open?") from error


def _lines(path: str | os.PathLike) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def _name_and_index(line: str, place: str) -> tuple[str, int]:
    words = line.strip().rsplit(maxsplit=1)
    if len(words) == 2 and words[1].isascii() and words[1].isdigit() and len(words[1]) < 10:
        return words[0], int(words[1])
    raise InputError(f"{place}: {line.strip()[:80]!r} is not `NAME INDEX`, as in `air drumming 1`")


def _seconds(text: str, place: str) -> int:
    try:
        seconds = float(text)
        if seconds >= 0 and seconds == int(seconds):
            return int(seconds)
    except (ValueError, OverflowError):
        pass
    raise InputError(f"{place} is {text!r}, not a whole number of seconds")
