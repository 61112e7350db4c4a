"""VisualDL's confusion matrix and curves of an evaluation: `visualdl --logdir SAVE_DIR/visualdl`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from visualdl.component.base_component import image, meta_data, pr_curve_raw, roc_curve_raw
from visualdl.proto.record_pb2 import Record
from visualdl.writer.record_writer import RecordWriter

from video_zoo.engine.evaluation_files import Summary, check_own_folder
from video_zoo.metrics.statistics import class_accuracy
from video_zoo.utils.files import atomic_folder, check_no_link
from video_zoo.utils.texts import one_line

_FILE = "vdlrecords.eval.log"
_THRESHOLDS = 127  # of a curve; VisualDL has no more
_CLASSES = 10  # with curves of their own
_SIDE = 800  # px of the confusion matrix, at most
_COLORS = np.array([[255, 255, 255], [8, 48, 107]], np.float64)  # RGB of 0 and of 1


def curves_to_board(folder: Path, summary: Summary, names: Sequence[str]) -> None:
    """Writes FOLDER/visualdl/eval, a run of its own beside the curves of a training, in place of an earlier one.

    All classes together make one precision-recall and one ROC curve (micro-averaged: each video and class counts as
    one decision), and so does each of the 10 least accurate classes. VisualDL's add_pr_curve and add_roc_curve are not
    called: they need an old NumPy, and their true positive rate is divided by the number of negatives.

    Args:
        names: of the classes.

    Raises InputError if the folder cannot be written.
    """
    board = Path(folder) / "visualdl"
    check_no_link(board)
    check_own_folder(board / "eval", [_FILE])
    now = {"step": 0, "walltime": round(1000 * time.time())}
    with atomic_folder(board / "eval") as target, (target / _FILE).open("wb") as file:
        writer = RecordWriter(file)

        def add(record: Record) -> None:
            writer.write(record.SerializeToString())

        add(meta_data(display_name="", **now))
        add(image("confusion_matrix", draw_confusion(summary.confusion), **now))
        for name, right, wrong in _curves(summary, names):
            tag = name.replace("%", " percent")  # VisualDL takes a % for an escape, and has one kind of curve a tag
            counts = {"tp": right, "fp": wrong, "tn": wrong[0] - wrong, "fn": right[0] - right}
            shares = {"tpr": right / max(right[0], 1), "fpr": wrong / max(wrong[0], 1)}
            common = {**now, **_lists(counts)}
            precision = (right / np.maximum(right + wrong, 1)).tolist()
            add(pr_curve_raw(f"pr/{tag}", precision=precision, recall=shares["tpr"].tolist(), **common))
            add(roc_curve_raw(f"roc/{tag}", **_lists(shares), **common))


def draw_confusion(confusion: np.ndarray) -> np.ndarray:
    """A picture of a confusion matrix, uint8 RGB (side, side, 3): white for a cell without videos, and
    the darker the larger the square root of its share of the row's videos is, which shows rare confusions, too. side:
    800 px, or the most that gives each class as many whole pixels."""
    classes = len(confusion)
    shares = np.sqrt(confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1))
    side = classes * (_SIDE // classes) or _SIDE
    way = cv2.INTER_NEAREST if side >= classes else cv2.INTER_AREA
    shares = cv2.resize(shares, (side, side), interpolation=way)[..., None]
    return np.round(_COLORS[0] + shares * (_COLORS[1] - _COLORS[0])).astype(np.uint8)


def _lists(arrays: Mapping[str, np.ndarray]) -> dict[str, list]:
    return {key: value.tolist() for key, value in arrays.items()}


def _curves(summary: Summary, names: Sequence[str]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Curves by name: how many decisions for a class at each threshold are right, and how many wrong, (thresholds,)."""
    rights, wrongs = (np.zeros((len(names), _THRESHOLDS), np.int64) for _ in range(2))
    for index in range(len(names)):
        steps = (summary.probabilities[:, index] * (_THRESHOLDS - 1)).astype(np.int64)
        own = summary.labels == index
        for counts, which in ((rights, own), (wrongs, ~own)):
            counts[index] = np.bincount(steps[which], minlength=_THRESHOLDS)[::-1].cumsum()[::-1]
    accuracy = class_accuracy(summary.confusion)
    seen = np.flatnonzero(~np.isnan(accuracy))
    worst = seen[np.argsort(accuracy[seen], kind="stable")][:_CLASSES].tolist()
    all_classes = [("all classes", rights.sum(axis=0), wrongs.sum(axis=0))]
    return all_classes + [(f"{index} {one_line(names[index])}", rights[index], wrongs[index]) for index in worst]
