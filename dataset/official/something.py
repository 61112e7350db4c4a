"""Something-Something V1 (csv) and V2 (JSON), whose 174 classes are templates such as "Moving something up".

Goyal et al.: The "something something" Video Database for Learning and Evaluating Visual Common Sense, ICCV 2017,
arXiv:1706.04261
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video_zoo.dataset.official.annotations import (
    NO_LABEL,
    DataSet,
    Entry,
    Official,
    find_file,
    find_optional,
    indices,
    label_of,
    numbered_lines,
    read_json,
)
from video_zoo.utils.errors import InputError

MIRRORED = (
    ("Pulling something from left to right", "Pulling something from right to left"),
    ("Pushing something from left to right", "Pushing something from right to left"),
    ("Turning the camera left while filming something", "Turning the camera right while filming something"),
)
PARTS = {"train": "train", "validation": "val", "test": "infer"}  # of the official files -> the list's name
_ORIGIN = "its labels come with the videos; give the folder that has them"


def read_csv(folder: Path, prefix: str, order: str) -> Official:
    """A data set of 20BN that comes as csv: PREFIX-labels.csv, a class a line without a number, and `ID;CLASS` lines in
    PREFIX-train.csv and PREFIX-validation.csv; `ID` in PREFIX-test.csv.

    Args:
        order: of the labels: "sorted", or "file", as the file has them.
    """
    path = find_file(folder, f"{prefix}-labels.csv", "labels.csv", origin=_ORIGIN)
    names = [line.strip('"') for _, line in numbered_lines(path)]
    names = sorted(names) if order == "sorted" else names
    known = indices(names, path)
    lists = {}
    for part, source in _sources(folder, prefix, "csv").items():
        lists[part] = [_csv_entry(line, place, part, known, path) for place, line in numbered_lines(source)]
    return Official(names, lists)


def _csv_entry(line: str, place: str, part: str, known: dict[str, int], source: Path) -> Entry:
    video, semicolon, name = line.partition(";")
    if part == "infer":
        return Entry((video.strip(),), NO_LABEL, place)
    if not semicolon or not video.strip():
        raise InputError(f"{place}: {line[:80]!r} is not `ID;CLASS`, as in `12345;Holding something`")
    return Entry((video.strip(),), label_of(name.strip().strip('"'), known, place, source), place)


def read_v1(folder: Path, order: str) -> Official:
    """V1, whose classes have no official numbers."""
    return read_csv(folder, "something-something-v1", order)


def read_v2(folder: Path) -> Official:
    """V2, whose classes have official numbers; they are those of V1's classes, sorted."""
    prefix = "something-something-v2"
    path = find_file(folder, f"{prefix}-labels.json", "labels.json", origin=_ORIGIN)
    numbers = {name: str(number) for name, number in read_json(path, dict).items()}
    names = sorted(numbers, key=lambda name: (len(numbers[name]), numbers[name]))
    if [numbers[name] for name in names] != list(map(str, range(len(names)))):
        raise InputError(f"{path}: its {len(names)} classes are not numbered from 0 to {len(names) - 1}")
    known = indices(names, path)
    lists = {}
    for part, source in _sources(folder, prefix, "json").items():
        records = enumerate(read_json(source, list), 1)
        lists[part] = [
            _json_entry(record, f"{source}, video {number}", part, known, path) for number, record in records
        ]
    return Official(names, lists)


def _json_entry(record: Any, place: str, part: str, known: dict[str, int], source: Path) -> Entry:
    video = record.get("id") if isinstance(record, dict) else None
    if type(video) not in (str, int) or not str(video):
        raise InputError(f"{place} has no id; a video is an object with id and template")
    if part == "infer":
        return Entry((str(video),), NO_LABEL, place)
    template = record.get("template")
    if not isinstance(template, str):
        raise InputError(f"{place}, id {video}, has no template, which names its class; `label` is a text of its own")
    name = template.replace("[", "").replace("]", "")
    return Entry((str(video),), label_of(name, known, place, source), place)


def _sources(folder: Path, prefix: str, extension: str) -> dict[str, Path]:
    """The name of a list -> the official file of it that is there."""
    files = {part: (f"{prefix}-{part}.{extension}", f"{part}.{extension}") for part in PARTS}
    found = {PARTS[part]: path for part, names in files.items() if (path := find_optional(folder, *names))}
    if not found:
        find_file(folder, *files["train"], origin=_ORIGIN)
    return found


V1 = DataSet("something.txt", read_v1, True, "%05d.jpg", MIRRORED)
V2 = DataSet("something.txt", read_v2, mirrored=MIRRORED)
