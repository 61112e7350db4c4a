"""Diving48: Diving48_vocab.json, and JSON lists of two versions, of which V2 has corrected labels.

Li, Li, Vasconcelos: RESOUND: Towards Action Recognition without Representation Bias, ECCV 2018
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video_zoo.dataset.official.annotations import (
    DataSet,
    Entry,
    Official,
    find_file,
    find_optional,
    indices,
    read_json,
)
from video_zoo.utils.errors import InputError

_ORIGIN = "the data set's page has Diving48_vocab.json, Diving48_V2_train.json and Diving48_V2_test.json"
_FILES = {
    "train": "Diving48_V2_train.json",
    "test": "Diving48_V2_test.json",
    "v1_train": "Diving48_train.json",
    "v1_test": "Diving48_test.json",
}


def read(folder: Path) -> Official:
    """The classes and the lists: train and test of V2, v1_train and v1_test of V1."""
    path = find_file(folder, "Diving48_vocab.json", origin=_ORIGIN)
    names = []
    for parts in read_json(path, list):  # take-off, somersaults, twists, position
        if not (isinstance(parts, list) and parts and all(isinstance(part, str) for part in parts)):
            raise InputError(
                f'{path}: class {len(names)} is no list of texts, as in ["Back", "15som", "05Twis", "FREE"]'
            )
        names.append("+".join(parts))
    indices(names, path)
    lists = {}
    for part, file in _FILES.items():
        if source := find_optional(folder, file):
            records = enumerate(read_json(source, list), 1)
            lists[part] = [_entry(record, f"{source}, video {number}", len(names)) for number, record in records]
    if not lists:
        find_file(folder, *_FILES.values(), origin=_ORIGIN)
    return Official(names, lists)


def _entry(record: Any, place: str, num_classes: int) -> Entry:
    name = record.get("vid_name") if isinstance(record, dict) else None
    if not isinstance(name, str) or not name:
        raise InputError(f"{place} has no vid_name")
    label = record.get("label")
    if type(label) is not int or not 0 <= label < num_classes:
        raise InputError(f"{place}, {name}: its label is none of the {num_classes} classes of Diving48_vocab.json")
    if record.get("start_frame", 0):
        raise InputError(f"{place}, {name}: start_frame is not 0; the lists here take whole files, one a dive")
    return Entry((name,), label, place)


DATA_SET = DataSet("diving48.txt", read)
