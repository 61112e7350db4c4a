"""List files: one video a line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from utils.errors import InputError


class Video(NamedTuple):
    """A line of a list: the path as written, the label (None if the line has none), the line's number from 1."""

    path: str
    label: int | None
    line: int


def read_video_list(list_path: str | None, *, num_classes: int, labelled: bool, key: str) -> list[Video]:
    """Reads `path label` lines, or `path` lines.

    A path may hold spaces; the label is the last word of the line.

    Args:
        num_classes: labels are below it.
        labelled: a line without a label is an error; otherwise a label may be missing.
        key: the config key that names the list, for messages.

    Raises InputError: no such file, an empty one, or a line that is wrong, with its number.
    """
    if not list_path:
        raise InputError(f"no list of videos: set {key}")
    try:
        lines = Path(list_path).read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(
            f"no list {list_path} ({key}). A list has `path label` lines; dataset/README.md shows how to make one,"
            f" and --set {key}=PATH names another."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list {list_path} ({key}): {error}") from error
    folder = Path(list_path).resolve().parent
    videos = [
        _parse(line.strip(), number, f"{list_path}, line {number}", num_classes, labelled, folder)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not videos:
        raise InputError(f"the list {list_path} ({key}) is empty")
    return videos


def resolve(path: str, list_folder: Path) -> Path:
    """The file a line means: as written, or, if that is not there, relative to the list's folder."""
    here = Path(path)
    return here if here.is_absolute() or os.path.exists(here) else list_folder / here


def _parse(line: str, number: int, place: str, num_classes: int, labelled: bool, folder: Path) -> Video:
    words = line.rsplit(None, 1)
    try:
        label = int(words[1])
    except (IndexError, ValueError):
        if labelled:
            raise InputError(f"{place}: {line!r} has no label; a line is `path label`, the label a number") from None
        return Video(line, None, number)
    if not labelled and os.path.exists(resolve(line, folder)):  # a file whose name ends in a number
        return Video(line, None, number)
    if labelled and not 0 <= label < num_classes:
        raise InputError(
            f"{place}: label {label} is not one of the {num_classes} classes, 0 to {num_classes - 1}"
            " (MODEL.num_classes)"
        )
    return Video(words[0], label, number)
