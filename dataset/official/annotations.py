"""What the readers of official annotations share: what they give, and files that are what they should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from video_zoo.datareader.class_folders import UNFIT
from video_zoo.utils.errors import InputError
from video_zoo.utils.json_files import parse_json
from video_zoo.utils.registry import did_you_mean
from video_zoo.utils.texts import read_lines, read_text

NO_LABEL = -1  # of a video whose class is not published
_JSON_BYTES = 128 << 20  # of an annotation file, at most; Something-Something V2 describes 168,913 videos in one


class Entry(NamedTuple):
    """A video as the annotations name it.

    Args:
        names: of its file without the extension, or of its folder of images; the first that is there is meant.
        label: counts from 0; NO_LABEL if its class is not published.
        place: the file and the line that name it, for messages.
    """

    names: tuple[str, ...]
    label: int
    place: str


class Official(NamedTuple):
    """What official annotations say.

    Args:
        names: of the classes, in the order of the labels.
        lists: the name of a list -> its videos.
    """

    names: list[str]
    lists: dict[str, list[Entry]]


class DataSet(NamedTuple):
    """A public data set.

    Args:
        labels: the label file in dataset/labels, which has its class names.
        read: reads its annotations from a folder; takes the order of the labels, "sorted" or "file", where they have no
            official numbers. Raises InputError.
        orders: whether its labels have no official numbers.
        template: of the images' names, where it comes as folders of images.
        mirrored: classes that a mirrored video changes into each other.
    """

    labels: str
    read: Callable[..., Official]
    orders: bool = False
    template: Optional[str] = None
    mirrored: Sequence[tuple[str, str]] = ()


def find_file(folder: Path, *names: str, origin: str) -> Path:
    """The first of the files that is in a folder. Raises InputError if there is none; `origin` says where it is."""
    if found := find_optional(folder, *names):
        return found
    what = "has no" if folder.is_dir() else "is no folder with"
    raise InputError(f"{folder} {what} {' nor '.join(names)}; {origin}")


def find_optional(folder: Path, *names: str) -> Path | None:
    """The first of the files that is in a folder, or None."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(PATH:NUMBER, line) of the lines that are not blank, without spaces around them. Raises InputError as read_lines,
    or if there are none."""
    lines = [(f"{path}:{number}", line.strip()) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty")
    yield from lines


def read_json(path: Path, kind: type) -> Any:
    """The list or dict of a JSON file. Raises InputError: it cannot be read, or holds another kind, or nothing."""
    try:
        value = parse_json(read_text(path, most=_JSON_BYTES), _JSON_BYTES)
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(value, kind) or not value:
        raise InputError(
            f"{path} holds no {'list' if kind is list else 'object'} with anything in it; is it another file?"
        )
    return value


def indices(names: Sequence[str], path: Path) -> dict[str, int]:
    """Class name -> label. Raises InputError if a name comes twice, or is not one line of text."""
    for name in names:
        if not name.strip() or name != name.strip() or UNFIT.search(name):
            raise InputError(f"{path}: the class {name!r} is not one line of text")
    found = {name: label for label, name in enumerate(names)}
    if len(found) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} has the class {twice!r} twice")
    return found


def label_of(name: str, known: dict[str, int], place: str, source: Path) -> int:
    """The label of a class. Raises InputError if it is none of the known ones."""
    if name not in known:
        raise InputError(f"{place}: class {name!r} is not in {source}{did_you_mean(name, list(known))}")
    return known[name]
