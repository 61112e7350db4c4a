"""List files: one video a line."""

from __future__ import annotations

import collections
import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from video_zoo.configs.schema import Config
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import heartbeat
from video_zoo.utils.paths import find_path, looked_in
from video_zoo.utils.texts import read_lines

_NUMBER = re.compile(r"[+-]?[0-9]+")
_ENDS_IN_NUMBER = re.compile(r"\s[+-]?[0-9]+$")
_UNTIDY = re.compile(r"//|(^|/)\./|/\.?$")
_DIGITS = 18  # of a number, at most: it fits into 64 bits
_MOST_FRAMES = 10**9  # of a folder
_MANY = 16  # questions about a folder after which it is listed


class Video(NamedTuple):
    """A line of a list: the path as written, the label (None if the line has none), the line's number from 1, and for
    a folder of images how many there are."""

    path: str
    label: int | None
    line: int
    num_frames: int | None = None


def read_video_list(
    list_path: str | None, *, num_classes: int, labelled: bool, key: str, frame_folders: bool = False
) -> list[Video]:
    """Reads `path label` lines, or `path` lines; for folders of images, `folder num_frames label` or without label.

    A path may hold spaces; the numbers are the last words of the line.

    Args:
        num_classes: labels are below it.
        labelled: a line without a label is an error; otherwise a label may be missing.
        key: the config key that names the list, for messages.

    Raises InputError: no such file, an empty one, or a line that is wrong, with its number.
    """
    if not list_path:
        raise InputError(f"no list of videos: set {key}.{_without_list(key)}")
    parse, numbered = _parse_frame_folder if frame_folders else _parse, NumberedNames(list_path)
    videos = []
    with heartbeat(f"reading the list {list_path}"):
        for number, line in enumerate(_read_lines(list_path, key), 1):
            if line := line.strip():
                try:
                    video = parse(line, number, labelled, numbered)
                    if labelled:
                        check_label(video.label, num_classes)
                except ValueError as error:
                    raise InputError(f"{list_path}, line {number}: {error}") from None
                videos.append(video)
    if not videos:
        raise InputError(f"the list {list_path} ({key}) is empty")
    return videos


def _read_lines(list_path: str, key: str) -> list[str]:
    try:
        return read_lines(list_path, f"the list {list_path} ({key})")
    except InputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise InputError(
            f"no list {list_path} ({key}){looked_in(list_path)}. A list has `path label` lines; docs/data.md shows"
            f" how to make one, and --set {key}=PATH names another.{_without_list(key)}"
        ) from None


def _without_list(key: str) -> str:
    """What infer.py and export.py take in place of a list."""
    return " Videos need no list with --input=WHAT: files, folders or globs" if key == "INFER.filelist" else ""


def read_mode_list(settings: Config, mode: str) -> list[Video]:
    """The list that a config names for a mode: without labels in infer mode. Raises InputError as read_video_list."""
    model = settings.MODEL
    return read_video_list(
        settings.reader(mode).filelist,
        num_classes=model.num_classes,
        labelled=mode != "infer" and model.format != "pkl",
        key=f"{mode.upper()}.filelist",
        frame_folders=model.format == "frames",
    )


def listed_videos(list_path: str | None, num_classes: int, key: str) -> list[Video]:
    """The video files of a list, labels or not, with paths as they are found. Raises InputError as read_video_list."""
    videos = read_video_list(list_path, num_classes=num_classes, labelled=False, key=key)
    folder = str(Path(list_path).resolve().parent)
    with heartbeat(f"looking for the videos of {list_path}"):
        found = [video._replace(path=tidy(locate(video.path, folder))) for video in videos]
    check_some_are_there(videos, list_path)
    return found


def check_some_are_there(videos: Sequence[Video], list_path: str) -> None:
    """Raises InputError if nothing that a list names is there: it was made for other folders."""
    folder = os.path.dirname(os.path.realpath(list_path))
    with heartbeat(f"looking for the videos of {list_path}"):
        if any(os.path.exists(locate(video.path, folder)) for video in videos):
            return
    first = videos[0]
    raise InputError(
        f"no video of the list {list_path} can be found, of {len(videos)}; the first is {first.path} in line"
        f" {first.line}{looked_in(first.path, folder)}"
    )


def resolve(path: str, list_folder: Path) -> Path:
    """The file a line means, as `find_path` finds it; if it is nowhere, relative to the list's folder."""
    return Path(locate(path, list_folder))


def locate(path: str, list_folder: str | os.PathLike) -> str:
    """`resolve`, as text, which is quicker for long lists."""
    return find_path(path, list_folder) or os.path.join(list_folder, path)


def tidy(path: str) -> str:
    """As pathlib writes it."""
    return str(Path(path)) if _UNTIDY.search(path) else path


class NumberedNames:
    """Which files and folders that a list may mean have a name that ends in a space and a number.

    A folder that is asked for often is listed, once, instead of looking for each name.
    """

    def __init__(self, list_path: str | os.PathLike):
        self.list_folder = os.path.dirname(os.path.realpath(list_path))
        self._asked: collections.Counter[str] = collections.Counter()  # folder -> questions
        self._names: dict[str, frozenset[str]] = {}  # folder -> such names in it, case-folded

    def has(self, path: str) -> bool:
        """Whether there is something of that name, as `locate` looks for it."""
        name = path.rpartition("/")[2]
        folder = path[: len(path) - len(name)]
        names = self._names.get(folder)
        if names is None:
            self._asked[folder] += 1
            if self._asked[folder] == _MANY:
                with contextlib.suppress(OSError, ValueError):  # it cannot be listed
                    names = self._names[folder] = self._list(folder)
        if names is not None and name.casefold() not in names:
            return False
        return os.path.exists(locate(path, self.list_folder))

    def _list(self, folder: str) -> frozenset[str]:
        names: list[str] = []
        for place in {folder or os.curdir, os.path.join(self.list_folder, folder)}:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                names += os.listdir(place)
        return frozenset(name.casefold() for name in names if _ENDS_IN_NUMBER.search(name))


def label_of(word: str) -> int | None:
    """The number that the last word of a line gives; None if it is none.

    Raises ValueError if it is too large for any.
    """
    if not _NUMBER.fullmatch(word):
        return None
    if len(word) > _DIGITS:
        raise ValueError(f"label {word} is too large for a label")
    return int(word)


def check_label(label: int, num_classes: int) -> None:
    """Raises ValueError for a label that is no class."""
    if not 0 <= label < num_classes:
        hint = "; do its labels count from 1?" if label == num_classes else ""
        raise ValueError(
            f"label {label} is not one of the {num_classes} classes, 0 to {num_classes - 1} (MODEL.num_classes){hint}"
        )


def _parse(line: str, number: int, labelled: bool, numbered: NumberedNames) -> Video:
    path, *words = line.rsplit(None, 1)
    if not words or not _NUMBER.fullmatch(words[0]):
        if labelled:
            raise ValueError(f"{line!r} has no label; a line is `path label`, the label a number")
        return Video(line, None, number)
    if labelled:
        return Video(path, label_of(words[0]), number)
    if numbered.has(line):
        return Video(line, None, number)
    return Video(path, _unread_label(words[0]), number)


def _unread_label(word: str) -> int | None:
    """A label that nobody looks at."""
    with contextlib.suppress(ValueError):
        return label_of(word)
    return None


def _parse_frame_folder(line: str, number: int, labelled: bool, numbered: NumberedNames) -> Video:
    counts = (2,) if labelled else (2, 1)  # of the numbers behind the folder
    readings = [Video(*words, number, frames) for *words, frames in _readings(line, counts)]
    if labelled:
        readings = [video for video in readings if video.label is not None]
    if not readings:
        form = "folder num_frames label" if labelled else "folder num_frames"
        raise ValueError(f"{line!r} is not `{form}` (MODEL.format is frames)")
    video = readings[0]
    if len(readings) > 1 and numbered.has(readings[1].path):  # a folder's name may end in a number
        there = (each for each in readings if os.path.isdir(locate(each.path, numbered.list_folder)))
        video = next(there, video)
    if not 1 <= video.num_frames <= _MOST_FRAMES:
        raise ValueError(f"{line!r} gives the folder {video.num_frames} frames")
    return video


def _readings(line: str, counts: tuple[int, ...]) -> Iterator[tuple[str, int | None, int]]:
    """(folder, label, num_frames) as the last words of a line may be meant."""
    for count in counts:
        folder, *words = line.rsplit(None, count)
        if len(words) == count and all(map(_NUMBER.fullmatch, words)) and len(words[0]) <= _DIGITS:
            yield folder, _unread_label(words[1]) if count == 2 else None, int(words[0])
