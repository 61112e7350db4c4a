"""HMDB51: CLASS_test_split1.txt to CLASS_test_split3.txt of each class.

Kuehne, Jhuang, Garrote, Poggio, Serre: HMDB: A Large Video Database for Human Motion Recognition, ICCV 2011
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from video_zoo.dataset.official.annotations import DataSet, Entry, Official, find_file, indices, numbered_lines
from video_zoo.utils.errors import InputError

_ORIGIN = "unpack test_train_splits.rar and give its folder testTrainMulti_7030_splits"
_FILE = re.compile(r"(.+)_test_split([123])\.txt")
_PARTS = {"0": None, "1": "train", "2": "test"}  # 0: of no part in this split


def read(folder: Path) -> Official:
    """The classes, sorted, since they have no official numbers, and the lists of the three splits."""
    matches = filter(None, map(_FILE.fullmatch, sorted(os.listdir(folder)) if folder.is_dir() else ()))
    found = {(match[1], int(match[2])) for match in matches}
    if not found:
        find_file(folder, "brush_hair_test_split1.txt", origin=_ORIGIN)
    names = sorted({name for name, _ in found})
    indices(names, folder)
    lists: dict[str, list[Entry]] = {}
    for split in sorted({split for _, split in found}):
        for label, name in enumerate(names):
            path = find_file(folder, f"{name}_test_split{split}.txt", origin=f"the others of split {split} are there")
            for place, line in numbered_lines(path):
                *video, number = line.rsplit(None, 1)
                if number not in _PARTS or not video:
                    raise InputError(f"{place}: {line[:80]!r} is not a video and 0, 1 or 2, as in `clip.avi 1`")
                if part := _PARTS[number]:
                    entry = Entry((os.path.splitext(video[0])[0],), label, place)
                    lists.setdefault(f"{part}{split}", []).append(entry)
    if not lists:
        raise InputError(f"{folder}: none of its videos has a 1, for training, or a 2, for testing")
    return Official(names, lists)


DATA_SET = DataSet("hmdb51.txt", read)
