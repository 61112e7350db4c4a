"""The csv files of Kinetics: which clip of which YouTube video has which class."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from video_zoo.utils.errors import InputError
from video_zoo.utils.texts import read_lines

NO_LABEL = -1  # the label of a clip whose class is not published, as in Kinetics' test split
LABEL_FILE = "kinetics400_label.txt"
_LAST_SECOND = 10**9


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
    reader = csv.reader((line + "\n" for line in read_lines(path)), strict=True)
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


def _seconds(text: str, place: str) -> int:
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if 0 <= seconds <= _LAST_SECOND and seconds == int(seconds):
            return int(seconds)
    raise InputError(f"{place} is {text!r}, not a whole number of seconds")
