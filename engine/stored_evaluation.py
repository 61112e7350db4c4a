"""An evaluation as its folder has it: what other evaluations are compared with."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from video_zoo.engine.evaluation import NATURAL, what_decides_digits
from video_zoo.engine.evaluation_files import EVAL, FORMAT, PREDICTIONS, Score, headline_of
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import whole_folder
from video_zoo.utils.json_files import (
    check_fields,
    is_count,
    is_mapping,
    is_number,
    is_text,
    list_of,
    mapping_of,
    none_or,
    parse_json,
)
from video_zoo.utils.open_files import read_regular
from video_zoo.utils.texts import cell, read_text

_JSON_BYTES = 1 << 24
_CSV_BYTES = 1 << 28  # lines have some 150
_COLUMNS = ("video", "label", "predicted", "probability", "rank")


@dataclass(frozen=True, eq=False)
class StoredEvaluation:
    """Args:
    folder: where it is.
    facts: how it was computed, as eval.json has it: model, protocol, weights, list, engine ...
    names: of the classes, by index.
    scores: order of the frames -> name -> score, as `Summary` has them.
    failures: the videos that could not be read, and why.
    classes_seen: how many classes the videos that were read are of.
    ids: of the videos that were read, in the order of their list.
    labels, predicted, ranks: int64 (n,), of the natural order; rank 1 is right.
    confidence: float64 (n,), the probabilities of `predicted`.
    """

    folder: Path
    facts: Mapping[str, Any]
    names: list[str]
    scores: dict[str, dict[str, Score]]
    failures: list[tuple[str, str]]
    classes_seen: int
    ids: list[str]
    labels: np.ndarray
    predicted: np.ndarray
    ranks: np.ndarray
    confidence: np.ndarray

    @property
    def num_videos(self) -> int:
        """How many the list has."""
        return len(self.ids) + len(self.failures)

    @property
    def headline(self) -> str:
        """top-1, and what it was measured on, as `headline_of` has it."""
        top1 = self.scores[NATURAL]["top1"].value
        return headline_of(top1, len(self.ids), self.num_videos, self.classes_seen, len(self.names))


def is_finished(folder: Path, facts: Mapping[str, Any], orders: Sequence[str]) -> bool:
    """Whether the evaluation in a folder was computed as `facts` say, and has these orders of the frames."""
    try:
        stored = read_evaluation(folder)
    except InputError:
        return False
    now = json.loads(json.dumps(what_decides_digits(facts)))
    before = {key: stored.facts.get(key) for key in now}
    try:
        return what_decides_digits(before) == now and set(orders) == set(stored.scores)
    except (KeyError, TypeError, AttributeError):  # another version's
        return False


def read_evaluation(folder: str | os.PathLike) -> StoredEvaluation:
    """Reads eval.json and predictions.csv of a folder that `write_evaluation` made.

    Raises InputError: there is none, it is damaged, or another version of the format.
    """
    folder = Path(folder)
    place = whole_folder(folder)
    if not (place / EVAL).exists():
        raise InputError(f"{folder} has no {EVAL}: name the folder SAVE_DIR/eval of a run of test.py")
    try:
        document = _read_json(place / EVAL)
        rows = _read_rows(place / PREDICTIONS, len(document["classes"]["names"]))
        _check_counts(document, rows)
    except OSError as error:
        raise InputError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"{folder} is damaged: {error}; run test.py again") from error
    return StoredEvaluation(
        folder=folder,
        facts=document,
        names=document["classes"]["names"],
        scores={
            order: {name: _score(each) for name, each in scores.items()} for order, scores in document["scores"].items()
        },
        failures=[(each["video"], each["reason"]) for each in document["videos"]["failed"]],
        classes_seen=document["classes"]["seen"],
        ids=rows["video"],
        **{name: np.array(rows[key], np.int64) for name, key in (("labels", "label"), ("ranks", "rank"))},
        predicted=np.array(rows["predicted"], np.int64),
        confidence=np.array(rows["probability"], np.float64),
    )


def _is_score(value: Any) -> bool:
    return is_mapping(value) and set(value) == {"value", "low", "high"} and all(map(none_or(is_number), value.values()))


def _is_scores(value: Any) -> bool:
    return mapping_of(_is_score)(value) and {"top1", "top5", "mean_class_accuracy", "loss"} <= set(value)


def _is_failure(value: Any) -> bool:
    return is_mapping(value) and is_text(value.get("video")) and is_text(value.get("reason"))


_FIELDS = {
    "scores": lambda value: mapping_of(_is_scores)(value) and NATURAL in value,
    "model": is_text,
    "videos": lambda value: is_mapping(value) and list_of(_is_failure)(value.get("failed")),
    "classes": lambda value: (
        is_mapping(value) and list_of(is_text)(value.get("names")) and is_count(value.get("seen")) and value["names"]
    ),
    "protocol": is_mapping,
    "weights": is_mapping,
    "list": lambda value: is_mapping(value) and is_text(value.get("fingerprint")),
    "engine": is_mapping,
}


def _read_json(path: Path) -> dict[str, Any]:
    """What eval.json says. Raises InputError: another format; OSError; ValueError."""
    document = check_fields(parse_json(read_regular(path, _JSON_BYTES)), {"format": is_count}, needed=["format"])
    if document["format"] != FORMAT:
        raise InputError(
            f"{path} has format {document['format']}, and this version reads {FORMAT}: run this version's test.py again"
        )
    return check_fields(document, _FIELDS, needed=_FIELDS)


def _read_rows(path: Path, classes: int) -> dict[str, list[Any]]:
    """The columns of predictions.csv that are needed. Raises InputError; ValueError."""
    lines = csv.reader(io.StringIO(read_text(path, most=_CSV_BYTES), newline=""))
    head = next(lines, [])
    if not set(_COLUMNS) <= set(head):
        raise ValueError(f"the first line of {PREDICTIONS} does not name {', '.join(_COLUMNS)}")
    places, columns = [head.index(name) for name in _COLUMNS], {name: [] for name in _COLUMNS}
    for line in lines:
        try:
            video, label, predicted, probability, rank = (line[place] for place in places)
            row = _plain(video), int(label), int(predicted), float(probability), int(rank)
            if not (0 <= row[1] < classes and 0 <= row[2] < classes and 0 <= row[3] <= 1 and 1 <= row[4] <= classes):
                raise ValueError
            if (row[1] == row[2]) != (row[4] == 1):
                raise ValueError
        except (ValueError, IndexError):
            raise ValueError(f"line {lines.line_num} of {PREDICTIONS} is no prediction") from None
        for name, value in zip(_COLUMNS, row):
            columns[name].append(value)
    return columns


def _check_counts(document: Mapping[str, Any], rows: Mapping[str, list[Any]]) -> None:
    """Raises ValueError if eval.json does not speak of these predictions."""
    count, videos, top1 = len(rows["rank"]), document["videos"], document["scores"][NATURAL]["top1"]["value"]
    if not count or videos.get("read") != count or videos.get("listed") != count + len(videos["failed"]):
        raise ValueError(f"{PREDICTIONS} has {count:,} videos, and {EVAL} says otherwise")
    if top1 is None or not math.isclose(top1, rows["rank"].count(1) / count, abs_tol=1e-9):
        raise ValueError(f"{PREDICTIONS} has another top-1 accuracy than {EVAL} says")


def _plain(video: str) -> str:
    """What `texts.cell` made this of."""
    return video[1:] if video.startswith("'") and cell(video[1:]) == video else video


def _score(numbers: Mapping[str, float | None]) -> Score:
    return Score(**{name: math.nan if value is None else float(value) for name, value in numbers.items()})
