"""The numbers of an evaluation, and the folder they are kept in: eval.json, predictions.csv, per_class.csv,
confusion.csv and report.html."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

from video_zoo.engine.evaluate import log_softmax
from video_zoo.engine.evaluation import NATURAL, Evaluation
from video_zoo.metrics import statistics
from video_zoo.metrics.accuracy import label_ranks
from video_zoo.metrics.statistics import Bin, wilson_interval
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_folder, check_no_link
from video_zoo.utils.texts import cell

FORMAT = 1  # of eval.json and predictions.csv
EVAL, PREDICTIONS, PAGE = "eval.json", "predictions.csv", "report.html"
_FILES = (EVAL, PREDICTIONS, "per_class.csv", "confusion.csv", PAGE)
_BLOCK = 4096  # videos whose probabilities are computed at once


@dataclass(frozen=True)
class Score:
    """A value and its 95% interval; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What the network says of each video, with its frames in one order.

    Args:
        predicted: int64 (n,), the most probable classes.
        confidence: (n,), their probabilities.
        ranks: int64 (n,), of the right class; 1 is the most probable one.
        losses: float64 (n,), cross entropy in nats.
    """

    predicted: np.ndarray
    confidence: np.ndarray
    ranks: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True, eq=False)
class Summary:
    """The numbers of an evaluation.

    Args:
        scores: order of the frames -> "top1", "top5", "mean_class_accuracy" (shares, 0 to 1) and "loss" (nats). The
            intervals are Wilson's; of the mean class accuracy those of `statistics.mean_share_interval`, of the loss
            1.96 standard errors (`statistics.mean_interval`).
        calibration_error: expected calibration error, 0 to 1, over `bins`.
        bins: the videos by confidence, 15 of equal width.
        probabilities: float32 (n, num_classes), of the natural order, as the rest is.
        outcomes: order of the frames -> what the network says of each video.
        confusion: int64 (num_classes, num_classes); rows are the true classes.
        labels: int64 (n,), of the videos that were read.
        num_videos: in the list.
        classes_seen: how many classes the videos that were read are of.
    """

    scores: dict[str, dict[str, Score]]
    calibration_error: float
    bins: list[Bin]
    probabilities: np.ndarray
    outcomes: dict[str, Outcomes]
    confusion: np.ndarray
    labels: np.ndarray
    num_videos: int
    classes_seen: int

    @classmethod
    def of(cls, evaluation: Evaluation) -> Summary:
        """Raises InputError if no video was read, or a video's logits give no probabilities."""
        labels, classes = evaluation.labels, len(evaluation.names)
        if not len(labels):
            raise InputError(f"none of the {len(evaluation.failures)} videos of the list could be read: no accuracy")
        probabilities, outcomes, scores = np.empty((0, 0)), {}, {}
        for order, logits in evaluation.logits.items():
            found, outcomes[order] = _measure(evaluation.ids, logits, labels)
            scores[order] = _score(
                outcomes[order], statistics.confusion_matrix(labels, outcomes[order].predicted, classes)
            )
            if order == NATURAL:
                probabilities = found
        natural = outcomes[NATURAL]
        bins = statistics.calibration_bins(natural.confidence, natural.ranks == 1)
        return cls(
            scores=scores,
            calibration_error=statistics.calibration_error(bins),
            bins=bins,
            probabilities=probabilities,
            outcomes=outcomes,
            confusion=statistics.confusion_matrix(labels, natural.predicted, classes),
            labels=labels,
            num_videos=len(labels) + len(evaluation.failures),
            classes_seen=len(np.unique(labels)),
        )

    @property
    def predicted(self) -> np.ndarray:
        """int64 (n,), the most probable classes."""
        return self.outcomes[NATURAL].predicted

    @property
    def confidence(self) -> np.ndarray:
        """(n,), the probabilities of the most probable classes."""
        return self.outcomes[NATURAL].confidence

    @property
    def ranks(self) -> np.ndarray:
        """int64 (n,), of the right class; 1 is the most probable one."""
        return self.outcomes[NATURAL].ranks

    @property
    def headline(self) -> str:
        """top-1, and what it was measured on, as `headline_of` has it."""
        scores, count = self.scores[NATURAL], len(self.predicted)
        return headline_of(scores["top1"].value, count, self.num_videos, self.classes_seen, len(self.confusion))


def headline_of(top1: float, read: int, videos: int, classes_seen: int, classes: int) -> str:
    """As "top-1 0.7012 on 19,404 of 19,881 videos (477 failed), 400 of 400 classes".

    Args:
        read, videos: of the list, how many could be read, and all.
        classes_seen, classes: those that the videos that were read are of, and all.
    """
    failed = f" ({videos - read:,} failed)" if videos > read else ""
    return f"top-1 {top1:.4f} on {read:,} of {videos:,} videos{failed}, {classes_seen:,} of {classes:,} classes"


def check_place(folder: Path) -> None:
    """Raises InputError if `write_evaluation` would replace something else than an earlier evaluation: a link, a file,
    or a folder with other files in it. To be called before the work begins, too."""
    check_own_folder(folder, _FILES)


def check_own_folder(folder: Path, own: Iterable[str]) -> None:
    """Raises InputError if there is a link or a file in the folder's place, or it holds others than its `own` files."""
    check_no_link(folder)
    try:
        others = sorted({path.name for path in folder.iterdir()} - set(own)) if folder.exists() else []
    except OSError as error:
        raise InputError(f"cannot write the folder {folder}: {error.strerror or error}") from error
    if others:
        raise InputError(
            f"{folder} holds {others[0]}, and would be replaced: move that away, or name another folder by --save_dir"
        )


def write_evaluation(folder: Path, evaluation: Evaluation, clip_of: Callable[[str], np.ndarray | None]) -> Summary:
    """Writes all files of an evaluation into a folder, which an earlier one's gives way to when they are complete.

    Args:
        folder: need not be there.
        clip_of: id of a video -> the frames that the network saw of it, uint8 RGB (T, 3, H, W), or None.

    Raises InputError: as `Summary.of` and `check_place`, or the folder cannot be written.
    """
    from video_zoo.engine.evaluation_page import write_page  # here, as nothing else needs it

    summary = Summary.of(evaluation)
    check_place(folder)
    with atomic_folder(folder) as target:
        (target / EVAL).write_bytes(json_bytes(_document(evaluation, summary)))
        write_csv(target / PREDICTIONS, _predictions(evaluation, summary))
        write_csv(target / "per_class.csv", _per_class(evaluation, summary))
        write_csv(target / "confusion.csv", _confusion(evaluation.names, summary.confusion))
        write_page(target / PAGE, evaluation, summary, clip_of)
        check_place(folder)
    return summary


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Rows as UTF-8; of a name that is no text, what is none is escaped."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        csv.writer(file).writerows([cell(value) for value in row] for row in rows)


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """JSON of a document, in which null stands for what is not finite."""
    text = json.dumps(_finite(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:  # a file's name that is no text
        return json.dumps(_finite(document), indent=1, allow_nan=False).encode() + b"\n"


def _measure(ids: Sequence[str], logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, Outcomes]:
    """Probabilities, float32 (n, classes), and what follows from them. Raises InputError if they are none."""
    probabilities, losses, ranks = np.empty(logits.shape, np.float32), [], []
    for start in range(0, len(logits), _BLOCK):
        part = slice(start, start + _BLOCK)
        own_labels = labels[part]
        with np.errstate(invalid="ignore", divide="ignore"):
            own = log_softmax(logits[part])
        if np.isnan(own).any():
            video = ids[start + int(np.isnan(own).any(axis=1).argmax())]
            raise InputError(f"the logits of {video} are not finite: the weights are not sound, or no match")
        probabilities[part] = np.exp(own)
        losses.append(-np.take_along_axis(own, own_labels[:, None], axis=1)[:, 0])
        ranks.append(label_ranks(logits[part], own_labels) + 1)
    predicted = logits.argmax(axis=1)
    confidence = np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]
    return probabilities, Outcomes(predicted, confidence, np.concatenate(ranks), np.concatenate(losses))


def _score(outcomes: Outcomes, confusion: np.ndarray) -> dict[str, Score]:
    count, scores = len(outcomes.ranks), {}
    for k in (1, 5):
        right = int((outcomes.ranks <= k).sum())
        scores[f"top{k}"] = Score(right / count, *wilson_interval(right, count))
    mean = float(np.nanmean(statistics.class_accuracy(confusion)))
    ends = statistics.mean_share_interval(confusion.diagonal(), confusion.sum(axis=1))
    scores["mean_class_accuracy"] = Score(mean, *ends)
    scores["loss"] = Score(float(outcomes.losses.mean()), *statistics.mean_interval(outcomes.losses))
    return scores


def _document(evaluation: Evaluation, summary: Summary) -> dict[str, Any]:
    """What eval.json says."""
    failed = [{"video": video, "reason": reason} for video, reason in evaluation.failures]
    return {
        "format": FORMAT,
        "headline": summary.headline,
        "scores": {
            order: {name: vars(score) for name, score in scores.items()} for order, scores in summary.scores.items()
        },
        **evaluation.facts,
        "calibration_error": summary.calibration_error,
        "bins": [each._asdict() for each in summary.bins],
        "videos": {"listed": summary.num_videos, "read": len(evaluation.ids), "failed": failed},
        "classes": {"seen": summary.classes_seen, "names": list(evaluation.names)},
    }


def _predictions(evaluation: Evaluation, summary: Summary) -> Iterator[list[Any]]:
    """The rows of predictions.csv, in the order of the list."""
    names, others = evaluation.names, [order for order in summary.outcomes if order != NATURAL]
    columns = [f"{name}_{order}" for order in others for name in ("predicted", "probability", "rank")]
    head = "video,label,label_name,predicted,predicted_name,probability,rank,label_probability"
    yield head.split(",") + columns
    for i, (video, label) in enumerate(zip(evaluation.ids, evaluation.labels.tolist())):
        predicted, probability, rank = _outcome(summary.outcomes[NATURAL], i)
        own = _short(summary.probabilities[i, label])
        row = [video, label, names[label], predicted, names[predicted], probability, rank, own]
        for order in others:
            row += _outcome(summary.outcomes[order], i)
        yield row


def _outcome(outcomes: Outcomes, i: int) -> tuple[int, str, int]:
    return int(outcomes.predicted[i]), _short(outcomes.confidence[i]), int(outcomes.ranks[i])


def _per_class(evaluation: Evaluation, summary: Summary) -> Iterator[list[Any]]:
    """The rows of per_class.csv; a class without videos has neither accuracy nor interval."""
    columns = (
        "class,name,videos,right,accuracy,accuracy_low,accuracy_high,top5,taken_for,taken_for_name,taken_for_videos"
    )
    yield columns.split(",")
    names, confusion = evaluation.names, summary.confusion
    within_5 = np.bincount(evaluation.labels[summary.ranks <= 5], minlength=len(names))
    for index, name in enumerate(names):
        row = confusion[index].copy()
        videos, right, row[index] = int(row.sum()), int(row[index]), 0
        shares = (right / videos, *wilson_interval(right, videos), within_5[index] / videos) if videos else ()
        other = int(row.argmax())
        taken_for = (other, names[other], int(row[other])) if row[other] else ("", "", 0)
        yield [index, name, videos, right, *(map(_short, shares) if videos else [""] * 4), *taken_for]


def _confusion(names: Sequence[str], confusion: np.ndarray) -> Iterator[list[Any]]:
    """The rows of confusion.csv: the cells that are not 0."""
    yield ["label", "label_name", "predicted", "predicted_name", "count"]
    for label, predicted in np.argwhere(confusion).tolist():
        yield [label, names[label], predicted, names[predicted], int(confusion[label, predicted])]


def _short(value: float) -> str:
    return f"{value:.6g}"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
