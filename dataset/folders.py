"""Where the videos of a data set are below a folder, and what is missing there, class by class."""

from __future__ import annotations

import collections
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from video_zoo.datareader.class_folders import UNFIT, VIDEO_EXTENSIONS
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import heartbeat

REPOSITORY = Path(__file__).resolve().parents[1]
_TEMPLATE = re.compile(r"([^%/]*)%(?:0[0-9]{1,2})?d([^%/]*)")


class Place(NamedTuple):
    """Where a video is.

    Args:
        path: a video file, or a folder of images.
        num_frames: of a folder of images.
        problem: why it cannot be used.
    """

    path: str
    num_frames: int | None = None
    problem: str | None = None


class Places:
    """The videos below a folder by their names: of a file without its extension, or of a folder of images.

    Args:
        folder: as the user gives it; the paths found start with it.
        template: of the images' names, with one %d, as MODEL.frame_template; None: video files are looked for.
        first: the number of a folder's first image.

    Raises InputError if `folder` is not a folder, or the template is none.
    """

    def __init__(self, folder: str, template: str | None = None, first: int = 1):
        if template and not _TEMPLATE.fullmatch(template):
            raise InputError(f"the images' names {template!r} need one %d, as in img_%05d.jpg")
        self.folder = folder = folder.rstrip(os.sep) or os.sep
        self.what = f"folders of images {template}" if template else "video files"
        self._places: dict[str, list[Place]] = collections.defaultdict(list)
        for parent, files in walk(folder, self.what):
            if template is None:
                for file in files:
                    stem, extension = os.path.splitext(file)
                    if extension.lower() in VIDEO_EXTENSIONS:
                        self._places[stem].append(Place(os.path.join(parent, file)))
            elif numbers := _numbers(files, template):
                self._places[os.path.basename(parent)].append(_frames(parent, numbers, template, first))

    def __len__(self) -> int:
        return sum(map(len, self._places.values()))

    def find(self, names: Iterable[str], class_name: str) -> Place | None:
        """Where the video of the first of the names is that is there, in a folder of its class before others."""
        for name in names:
            there = [place for place in self._places.get(name, ()) if os.path.exists(place.path)]  # no link to nowhere
            if there:
                return min(there, key=lambda place: (class_name != _parent(place.path), place.path))
        return None

    def example(self) -> str:
        """`, such as PATH` of one of them; empty if there is none."""
        return min((f", such as {places[0].path}" for places in self._places.values()), default="")


def walk(folder: str, what: str) -> Iterator[tuple[str, list[str]]]:
    """A folder and those below it, each with the names of the files in it.

    Links are followed, and each folder is visited once. A folder that cannot be read is named and left out, and so is
    what has a name that does not fit a list.

    Args:
        what: is looked for, for messages.

    Raises InputError if `folder` is not a folder.
    """
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder; it should hold the {what}")
    if UNFIT.search(folder):
        raise InputError(f"{folder!r} does not fit a list, one line of UTF-8 text a video; rename it")
    walked: set[tuple[int, int]] = set()  # folders by (device, inode): a link back up would never end
    with heartbeat(f"looking for {what} in {folder}"):
        for parent, folders, files in os.walk(folder, followlinks=True, onerror=_warn_unreadable):
            status = os.stat(parent)
            if (status.st_dev, status.st_ino) in walked:
                folders.clear()
                continue
            walked.add((status.st_dev, status.st_ino))
            for name in filter(UNFIT.search, (*folders, *files)):
                print(f"warning: skipped {os.path.join(parent, name)!r}: its name fits no list", file=sys.stderr)
            folders[:] = sorted(name for name in folders if not UNFIT.search(name))
            yield parent, [name for name in files if not UNFIT.search(name)]


def path_prefix(folder: str, list_file: str) -> str:
    """The folder as the list's paths name it: as given where that leads to it from the repository or from the list."""
    for start in (REPOSITORY, os.path.dirname(os.path.abspath(list_file))):
        place = os.path.join(start, folder)
        if os.path.isdir(place) and os.path.samefile(place, folder):
            return folder
    print(f"{folder} is reached neither from {REPOSITORY} nor from the list's folder: the paths are absolute")
    return os.path.abspath(folder)


def missing_table(classes: Iterable[str], missing: Iterable[str], source: str) -> list[str]:
    """Lines: videos in `source` ("csv"), found and missing, a class each, most missing first; then the totals.

    Args:
        classes: the class of each video; "" where it has none.
        missing: of those that are missing.
    """
    total, lacking = collections.Counter(classes), collections.Counter(missing)
    width = max(len("total"), *(len(label) for label in total))
    lines = [f"{'class':{width}}  {'in ' + source:>8}  {'found':>8}  {'missing':>8}"] if lacking else []
    for label, count in sorted(lacking.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"{label or '-':{width}}  {total[label]:8}  {total[label] - count:8}  {count:8}")
    everything, gone = sum(total.values()), sum(lacking.values())
    totals = f"{'total':{width}}  {everything:8}  {everything - gone:8}  {gone:8}"
    return [*lines, totals if lacking else "nothing is missing"] + [
        f"classes complete: {len(total) - len(lacking)} of {len(total)}"
    ]


def _parent(path: str) -> str:
    return os.path.basename(os.path.dirname(path))


def _numbers(files: Iterable[str], template: str) -> set[int]:
    """The numbers of the images that have a template's name."""
    before, after = _TEMPLATE.fullmatch(template).groups()
    digits = (file[len(before) : len(file) - len(after)] for file in files if file.startswith(before))
    numbers = (int(number) for number in digits if number.isascii() and number.isdigit() and len(number) < 10)
    there = set(files)
    return {number for number in numbers if template % number in there}


def _frames(folder: str, numbers: set[int], template: str, first: int) -> Place:
    gap = next(number for number in range(first, first + len(numbers) + 1) if number not in numbers)
    if gap == first + len(numbers):
        return Place(folder, len(numbers))
    name, last = template % gap, template % max(numbers)
    return Place(folder, len(numbers), f"{folder}: no {name}, and the images go on to {last}")


def _warn_unreadable(error: OSError) -> None:
    print(f"warning: skipped {error.filename}: {error.strerror}", file=sys.stderr)
