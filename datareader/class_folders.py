"""Training and validation lists of a folder that has one sub-folder of videos a class: FOLDER/CLASS/video.mp4."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import itertools
import os
import re
from pathlib import Path
from typing import NamedTuple

from video_zoo.datareader.labels import write_class_names
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file
from video_zoo.utils.log import heartbeat
from video_zoo.utils.texts import read_lines

_CONTAINERS = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv"
VIDEO_EXTENSIONS = frozenset(f".{name}" for name in _CONTAINERS.split())
_PART = re.compile(r"(train|training|val|valid|validation|test|testing|eval)([_-]?\d\w*)?", re.IGNORECASE)
UNFIT = re.compile("[\r\n\ud800-\udfff]")  # surrogates: a name on disk that is not UTF-8


class Lists(NamedTuple):
    """The paths of the files written; `valid` is None if there is no validation."""

    train: str
    valid: str | None
    labels: str


class ClassFolders(NamedTuple):
    """The videos of a folder of class folders, split for training and validation.

    Args:
        names: the classes, sorted; the index is the label.
        train: (absolute path, label), ordered by label, then by path.
        valid: likewise; no video is in both.
        ignored: how many other files there are, by lower-case extension; ".mp4 (why)" for what looks like a video.
        without_valid: the classes of one video, which is in `train`; empty if no validation is wanted.
    """

    names: list[str]
    train: list[tuple[str, int]]
    valid: list[tuple[str, int]]
    ignored: dict[str, int]
    without_valid: list[str]

    def write(self, folder: str | os.PathLike) -> Lists:
        """Writes train.list, val.list and label.txt into `folder`; without validation, no val.list is left there.

        Raises InputError if a class name does not fit the label file, or a file cannot be written.
        """
        train, valid, labels = (os.path.join(folder, name) for name in ("train.list", "val.list", "label.txt"))
        write_class_names(labels, self.names)
        for path, videos in ((train, self.train), (valid, self.valid)):
            if videos:
                with atomic_file(path) as file:
                    file.write(_list_of(videos))
        if not self.valid:
            with contextlib.suppress(OSError):
                os.remove(valid)
        return Lists(train, valid if self.valid else None, labels)

    def are_listed_in(self, folder: str | os.PathLike) -> bool:
        """Whether `write` would change nothing in a folder with lists; True where there are none. Raises InputError."""
        train, valid = (Path(folder) / name for name in ("train.list", "val.list"))
        if not train.exists():
            return True
        old = ["\n".join(read_lines(path)) if path.exists() else "" for path in (train, valid)]
        return old == [_list_of(self.train), _list_of(self.valid)]


def split_class_folders(folder: str, valid_share: float, seed: int) -> ClassFolders:
    """Finds the videos of FOLDER/CLASS, at any depth, and splits each class by itself.

    Which videos of a class are for validation depends on the seed and on their paths below `folder` alone. Hidden
    files and folders are left out. Links are followed; a file that a class reaches twice counts once.

    Args:
        valid_share: of each class for validation, rounded, 0 <= valid_share < 1. Of two videos or more, at least one
            is for validation and one for training. 0: no validation.

    Raises InputError: `folder` is missing, a file or unreadable; it has fewer than two class folders, or an empty one;
    its sub-folders are the parts of a data set (train, val); a path does not fit a list; no class has two videos and
    valid_share > 0; valid_share is out of its range.
    """
    if not 0 <= valid_share < 1:
        raise InputError(f"a share of {valid_share} for validation; it must be 0 or more and below 1, as 0.2")
    if not os.path.isdir(folder):
        what = "is a file" if os.path.exists(folder) else "no such folder"
        raise InputError(f"{folder}: {what}; give a folder with a sub-folder of videos for each class")
    root = os.path.abspath(folder)
    _, names, files = next(os.walk(root, onerror=_cannot_read))
    ignored = collections.Counter(_ignored(file, "in no class folder") for file in files if file[0] != ".")
    videos = {name: find_videos(os.path.join(root, name), root, ignored) for name in sorted(names) if name[0] != "."}
    for path in (os.path.join(root, each) for each in itertools.chain(*videos.values())):
        if UNFIT.search(path):
            raise InputError(f"{path!r} does not fit a list, one line of UTF-8 text a video; rename it")
    _check_classes(folder, videos, any(file.endswith("(in no class folder)") for file in ignored))

    split = ClassFolders(list(videos), [], [], dict(sorted(ignored.items())), [])
    for label, (name, paths) in enumerate(videos.items()):
        count = min(max(round(valid_share * len(paths)), 1), len(paths) - 1) if valid_share else 0
        chosen = set(sorted(paths, key=lambda path: hashlib.sha256(f"{seed} {path}".encode()).digest())[:count])
        for path in paths:
            (split.valid if path in chosen else split.train).append((os.path.join(root, path), label))
        if valid_share and not count:
            split.without_valid.append(name)
    if valid_share and not split.valid:
        raise InputError(f"{folder}: one video a class leaves none for validation; add videos, or set its share to 0")
    return split


def _list_of(videos: list[tuple[str, int]]) -> str:
    return "".join(f"{video} {label}\n" for video, label in videos)


def find_videos(folder: str, root: str, ignored: collections.Counter[str]) -> list[str]:
    """The sorted paths, relative to `root`, of the videos in `folder` at any depth, with "/" on any system.

    Hidden files and folders are left out. Links are followed; a file that is reached twice counts once.

    Args:
        folder: `root`, or below it.
        ignored: other files are counted in it, by extension.

    Raises InputError: a folder cannot be read.
    """
    with heartbeat(f"looking for videos in {folder}"):
        return _find_videos(folder, root, ignored)


def _find_videos(folder: str, root: str, ignored: collections.Counter[str]) -> list[str]:
    real_root = Path(os.path.realpath(root))
    seen = set(map(str, real_root.parents))  # real paths; a link to one of them may be a loop
    if folder != root:
        seen.add(str(real_root))
    videos = []
    for place, folders, files in os.walk(folder, onerror=_cannot_read, followlinks=True):
        real_place = os.path.realpath(place)
        if real_place in seen:
            folders.clear()
            continue
        seen.add(real_place)
        below = os.path.relpath(place, root).replace(os.sep, "/")
        prefix = "" if below == os.curdir else f"{below}/"
        folders[:] = sorted(each for each in folders if each[0] != ".")
        for file in sorted(each for each in files if each[0] != "."):
            path = os.path.join(place, file)
            real = os.path.realpath(path) if os.path.islink(path) else os.path.join(real_place, file)
            if _extension(file) not in VIDEO_EXTENSIONS or not os.path.isfile(path):
                ignored[_ignored(file, "no file")] += 1
            elif real in seen:
                ignored[_ignored(file, "the same file again")] += 1
            else:
                seen.add(real)
                videos.append(prefix + file)
    return sorted(videos)


def _check_classes(folder: str, videos: dict[str, list[str]], videos_beside: bool) -> None:
    if not videos:
        what = "its videos are in no class folder" if videos_beside else "no class folders in it"
        raise InputError(f"{folder}: {what}; the form is FOLDER/CLASS/video.mp4, a sub-folder for each class")
    full = [name for name, paths in videos.items() if paths]
    deep = next((name for name in full if any(path.count("/") > 1 for path in videos[name])), None)
    if deep and all(map(_PART.fullmatch, full)):
        raise InputError(
            f"{folder}: {_some(full)} look like parts of a data set, with the class folders in them; give one of them,"
            f" as {os.path.join(folder, deep)}, or lists: --set TRAIN.filelist=LIST --set VALID.filelist=LIST"
        )
    if len(full) < len(videos):
        empty = _some([name for name, paths in videos.items() if not paths])
        extensions = ", ".join(sorted(VIDEO_EXTENSIONS))
        raise InputError(f"{folder}: no videos ({extensions}) in {empty}; add videos, or remove the folder")
    if len(full) < 2:
        hint = f"; if the classes are in it, give {os.path.join(folder, deep)}" if deep else ""
        raise InputError(f"{folder}: only one class folder, {_some(full)}; at least two are needed{hint}")


def _cannot_read(error: OSError) -> None:
    raise InputError(f"cannot read the folder {error.filename}: {error.strerror}; see its permissions") from error


def _extension(file: str) -> str:
    return os.path.splitext(file)[1].lower()


def _ignored(file: str, why: str) -> str:
    extension = _extension(file)
    return f"{extension} ({why})" if extension in VIDEO_EXTENSIONS else extension or "no extension"


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
