"""UCF101: classInd.txt, trainlist01.txt to testlist03.txt.

Soomro, Zamir, Shah: UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild, 2012, arXiv:1212.0402
"""

from __future__ import annotations

import re
from pathlib import Path

from video_zoo.dataset.official.annotations import DataSet, Entry, Official, find_file, find_optional, numbered_lines
from video_zoo.utils.errors import InputError

_ORIGIN = "unpack UCF101TrainTestSplits-RecognitionTask.zip and give its folder ucfTrainTestlist"
_CLASS = re.compile(r"(\d{1,6})\s+(\S+)")
_VIDEO = re.compile(r"([^/\s]+)/(\S+)\.avi(?:\s+(\d{1,6}))?")


def read(folder: Path) -> Official:
    """The classes, whose numbers in the files count from 1, and the lists of the three splits."""
    path = find_file(folder, "classInd.txt", origin=_ORIGIN)
    names = _class_names(path)
    # The class is HandstandPushups and its files v_HandStandPushups_*; copies of the data set have either S in either.
    known = {name.casefold(): label for label, name in enumerate(names)}
    lists = {}
    for split in (1, 2, 3):
        for part in ("train", "test"):
            if source := find_optional(folder, f"{part}list{split:02}.txt"):
                lists[f"{part}{split}"] = [_entry(line, place, known, names) for place, line in numbered_lines(source)]
    if not lists:
        find_file(folder, "trainlist01.txt", "testlist01.txt", origin=_ORIGIN)
    return Official(names, lists)


def _class_names(path: Path) -> list[str]:
    numbers: dict[int, str] = {}
    for place, line in numbered_lines(path):
        match = _CLASS.fullmatch(line)
        if not match or int(match[1]) in numbers or match[2] in numbers.values():
            raise InputError(f"{place}: {line[:80]!r} is no class that is new, as in `12 Billiards`")
        numbers[int(match[1])] = match[2]
    if set(numbers) != set(range(1, len(numbers) + 1)):
        raise InputError(f"{path}: its {len(numbers)} classes are not numbered from 1 to {len(numbers)}")
    return [numbers[number] for number in sorted(numbers)]


def _entry(line: str, place: str, known: dict[str, int], names: list[str]) -> Entry:
    match = _VIDEO.fullmatch(line)
    if not match:
        raise InputError(f"{place}: {line[:80]!r} is no video, as in `Biking/v_Biking_g08_c01.avi 11`")
    label = known.get(match[1].casefold())
    if label is None:
        raise InputError(f"{place}: the folder {match[1]} is no class of classInd.txt")
    if match[3] and int(match[3]) != label + 1:
        raise InputError(
            f"{place}: the number {match[3]} is not that of {names[label]}, {label + 1} in classInd.txt; both files"
            " must be of one release"
        )
    spellings = (match[2], match[2].replace("HandStand", "Handstand"), match[2].replace("Handstand", "HandStand"))
    return Entry(tuple(dict.fromkeys(spellings)), label, place)


DATA_SET = DataSet("ucf101.txt", read)
