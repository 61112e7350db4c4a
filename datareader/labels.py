"""The label file: `NAME INDEX` lines."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from video_zoo.configs.schema import ModelSection, ReaderSection, TrainSection
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file
from video_zoo.utils.texts import read_lines

KINETICS_400 = Path(__file__).parents[1] / "dataset/kinetics/kinetics400_label.txt"


def names_of(model: ModelSection, trained: object = None) -> list[str]:
    """The names of the classes: those of MODEL.class_names or of the file that it says, or else those that a checkpoint
    tells (`trained`), or else Kinetics-400's for 400 classes, or else the numbers.

    Raises InputError if they are more or fewer than MODEL.num_classes, or a name comes twice.
    """
    fits = isinstance(trained, list) and len(trained) == model.num_classes
    if not model.class_names and fits and all(isinstance(name, str) for name in trained):
        return trained
    path = model.class_names or (KINETICS_400 if model.num_classes == 400 else None)
    if path is None:
        return [str(index) for index in range(model.num_classes)]
    if isinstance(path, tuple):
        names, path = list(path), "MODEL.class_names"
        if len(set(names)) < len(names):
            raise InputError(f"{path} has a name twice: {max(names, key=names.count)!r}")
    else:
        names = read_class_names(path)
    if len(names) != model.num_classes:
        raise InputError(f"{path} names {len(names)} classes, and MODEL.num_classes is {model.num_classes}")
    return names


def mirrored_labels(model: ModelSection, section: ReaderSection) -> dict[int, int]:
    """Label -> that of the mirrored clip, where it is another: of TRAIN.flip_labels; empty for the other sections.

    Raises InputError if a number is no class, or comes twice.
    """
    pairs = section.flip_labels or () if isinstance(section, TrainSection) else ()
    labels: dict[int, int] = {}
    for first, second in pairs:
        for label, other in ((first, second), (second, first)):
            if not 0 <= label < model.num_classes:
                raise InputError(
                    f"TRAIN.flip_labels has {label}, which is not one of the {model.num_classes} classes, 0 to"
                    f" {model.num_classes - 1} (MODEL.num_classes)"
                )
            if label in labels:
                raise InputError(f"TRAIN.flip_labels has the class {label} twice; each has one that it becomes")
            labels[label] = other
    return labels


def read_class_names(path: str | os.PathLike) -> list[str]:
    """The class names of a label file, at the index the file gives them.

    Args:
        path: UTF-8 text, `NAME INDEX` a line in any order; names may hold spaces. Blank lines are skipped.

    Raises:
        InputError: the file is missing, unreadable or empty; a line has no index; an index or a name comes twice; an
            index is left out. The message says the file and the line.
    """
    numbers: dict[int, int] = {}  # index -> line number
    names: dict[str, int] = {}  # name -> index
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        name, index = _name_and_index(line, f"{path}:{number}")
        if index in numbers:
            raise InputError(f"{path}:{number}: index {index} twice; line {numbers[index]} has it too")
        if name in names:
            raise InputError(f"{path}:{number}: class {name!r} twice; line {numbers[names[name]]} has it too")
        numbers[index], names[name] = number, index
    if not numbers:
        raise InputError(f"{path}: empty; it needs one `NAME INDEX` line a class")
    for expected, index in enumerate(sorted(numbers)):
        if index != expected:
            raise InputError(
                f"{path}:{numbers[index]}: index {index}, but no line has index {expected}; "
                "indices count up from 0 and leave none out"
            )
    return sorted(names, key=names.__getitem__)


def write_class_names(path: str | os.PathLike, names: Iterable[str]) -> None:
    """Writes a label file: names[i] gets index i.

    Raises InputError if a name is empty, comes twice or does not fit a line, or if the file cannot be written.
    """
    names = list(names)
    if not names:
        raise InputError(f"{path}: not written, there are no class names")
    for index, name in enumerate(names):
        if not name or name != name.strip() or "\n" in name or "\r" in name:
            raise InputError(f"{path}: not written, class {index} has the name {name!r}; a name is one line of text")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: not written, class {twice!r} comes twice")
    with atomic_file(path) as file:
        file.writelines(f"{name} {index}\n" for index, name in enumerate(names))


def _name_and_index(line: str, place: str) -> tuple[str, int]:
    words = line.strip().rsplit(maxsplit=1)
    if len(words) == 2 and words[1].isascii() and words[1].isdigit() and len(words[1]) < 10:
        return words[0], int(words[1])
    raise InputError(f"{place}: {line.strip()[:80]!r} is not `NAME INDEX`, as in `air drumming 1`")
