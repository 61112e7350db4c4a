"""Two evaluations of one list, video by video, and several evaluations in the mean."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from video_zoo.engine.evaluation import NATURAL
from video_zoo.engine.evaluation_files import check_own_folder, json_bytes
from video_zoo.engine.partial_rows import flat
from video_zoo.engine.stored_evaluation import StoredEvaluation, read_evaluation
from video_zoo.metrics.statistics import mcnemar, paired_difference
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_folder
from video_zoo.utils.texts import one_line

FOLDER, JSON, PAGE = "compare", "compare.json", "compare.html"  # of a comparison, in SAVE_DIR
_SHOWN, _SHOWN_FACTS = 10, 20  # classes won, as many lost, and differences in how they were made: in the terminal
_COMPARED = ("model", "protocol", "weights", "engine", "paddle", "config")
_SHARES = {"top1": "top-1", "top5": "top-5"}


class Change(NamedTuple):
    """A video that one of two evaluations has right and the other has not.

    first, second: the classes that it was taken for. first_confidence, second_confidence: their probabilities.
    won: the second one has it right.
    """

    video: str
    label: int
    first: int
    second: int
    first_confidence: float
    second_confidence: float
    won: bool


class ClassChange(NamedTuple):
    """A class, how many videos of it both evaluations read, and how many of those each has right."""

    index: int
    videos: int
    first_right: int
    second_right: int

    @property
    def won(self) -> int:
        """By how many videos the second one is better."""
        return self.second_right - self.first_right


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two evaluations of the same list and classes. All counts are of the videos that both read.

    Args:
        first, second: what is compared: their `facts` (model, protocol, weights ...), `scores`, `headline`, `folder`.
        names: of the classes, by index.
        both, only_first, only_second, neither: how many videos are right.
        difference: top-1 of the second one less that of the first one.
        low, high: its 95% interval for paired data (Newcombe 1998, method 10; `statistics.paired_difference`).
        p: of McNemar's exact two-sided test that both are as good.
        changes: the videos that one has right and the other has not, in the list's order.
        classes: all that the videos are of, the most won first, the most lost last.
        only_read_by_first, only_read_by_second: videos that the other could not read.
        differing_facts: what was not the same, as ("protocol.clips", first's, second's).
    """

    first: StoredEvaluation
    second: StoredEvaluation
    names: list[str]
    both: int
    only_first: int
    only_second: int
    neither: int
    difference: float
    low: float
    high: float
    p: float
    changes: list[Change]
    classes: list[ClassChange]
    only_read_by_first: list[str]
    only_read_by_second: list[str]
    differing_facts: list[tuple[str, Any, Any]]

    @property
    def videos(self) -> int:
        """How many both read."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def text(self) -> str:
        """What the terminal shows: both evaluations, the difference, and the classes that changed most."""
        lines = [f"{name} {_said(each)}" for name, each in (("first: ", self.first), ("second:", self.second))]
        facts = [f"  {name}: {first} -> {second}" for name, first, second in self.differing_facts]
        lines += [one_line(fact) for fact in facts[:_SHOWN_FACTS]]
        if len(facts) > _SHOWN_FACTS:
            lines.append(f"  {len(facts) - _SHOWN_FACTS} other differences, which compare.json has")
        p = f"= {self.p:.2g}" if self.p >= 1e-300 else "< 1e-300"
        lines.append(
            f"top-1 {self.difference:+.4f} (95% interval {self.low:+.4f} to {self.high:+.4f}, McNemar's p {p}) on the"
            f" {self.videos:,} videos that both read: {self.only_second:,} won, {self.only_first:,} lost,"
            f" {self.both:,} right in both, {self.neither:,} in neither"
        )
        won = [each for each in self.classes if each.won > 0]
        lost = [each for each in reversed(self.classes) if each.won < 0]
        for what, changed in (("won", won), ("lost", lost)):
            lines.append(f"classes {what}: {len(changed):,}" + (", most of all" if len(changed) > _SHOWN else ""))
            lines += [
                f"  {each.won:+d} of {each.videos}  {one_line(self.names[each.index])}" for each in changed[:_SHOWN]
            ]
        for name, videos in (("first", self.only_read_by_first), ("second", self.only_read_by_second)):
            if videos:
                lines.append(f"videos that only the {name} could read, which do not count: {len(videos):,}")
        return "\n".join(lines)


def compare(first: StoredEvaluation, second: StoredEvaluation) -> Comparison:
    """Raises InputError: they are of different lists or classes, or no video is in both."""
    _check_lists(first, second)
    _check_classes([first, second])
    places = {key: j for j, key in enumerate(_keys(second))}
    pairs = [(i, places.pop(key)) for i, key in enumerate(_keys(first)) if key in places]
    if not pairs:
        raise InputError(f"{first.folder} and {second.folder} have no video in common that both could read")
    own, other = np.array(pairs).T
    ours, theirs = first.ranks[own] == 1, second.ranks[other] == 1
    cells = (ours & theirs, ours & ~theirs, ~ours & theirs, ~ours & ~theirs)
    counts = dict(zip(("both", "only_first", "only_second", "neither"), (int(cell.sum()) for cell in cells)))
    difference, low, high = paired_difference(**counts)
    changed, in_both = ours != theirs, set(own.tolist())
    return Comparison(
        first=first,
        second=second,
        names=first.names,
        **counts,
        difference=difference,
        low=low,
        high=high,
        p=mcnemar(counts["only_first"], counts["only_second"]),
        changes=list(_changes(first, second, own[changed], other[changed], theirs[changed])),
        classes=_classes(first.labels[own], (ours, theirs), len(first.names)),
        only_read_by_first=[video for i, video in enumerate(first.ids) if i not in in_both],
        only_read_by_second=[second.ids[place] for place in places.values()],
        differing_facts=list(_differing_facts(first.facts, second.facts)),
    )


def run_compare(first: str, second: str, save_dir: str) -> None:
    """Compares two folders of evaluations: prints what changed, and writes compare.json and compare.html to
    SAVE_DIR/compare. Raises InputError."""
    from video_zoo.engine.comparison_page import write_comparison  # here, as nothing else needs it

    folder = Path(save_dir) / FOLDER
    check_own_folder(folder, (JSON, PAGE))
    comparison = compare(read_evaluation(first), read_evaluation(second))
    print(comparison.text, flush=True)
    with atomic_folder(folder) as target:
        (target / JSON).write_bytes(json_bytes(_document(comparison)))
        write_comparison(target / PAGE, comparison)
    print(f"each video and class: {folder / PAGE} and {JSON} beside it", flush=True)


def mean_over(evaluations: Sequence[StoredEvaluation]) -> dict[str, tuple[float, float]]:
    """Name of a share -> the mean and the standard deviation (of n - 1) over evaluations on several lists.

    Raises InputError: there are less than two, two are of one list, or they differ in classes, protocol or model.
    """
    if len(evaluations) < 2:
        raise InputError("a mean needs two evaluations or more: --mean_over A/eval B/eval")
    _check_classes(evaluations)
    first, seen = evaluations[0], {}
    for each in evaluations:
        for name, ours, theirs in _differing_facts(first.facts, each.facts):
            if name == "model" or name.startswith("protocol."):
                raise InputError(
                    f"{first.folder} and {each.folder} differ in {name}, {ours} and {theirs}: they have no mean"
                )
        other = seen.setdefault(each.facts["list"]["fingerprint"], each)
        if other is not each:
            raise InputError(f"{other.folder} and {each.folder} are of the same list: a mean is over different ones")
    values = {name: [each.scores[NATURAL][name].value for each in evaluations] for name in _SHARES}
    return {name: (float(np.mean(each)), float(np.std(each, ddof=1))) for name, each in values.items()}


def run_mean(folders: Sequence[str]) -> None:
    """Prints the scores of several folders of evaluations, as of three splits, and their mean. Raises InputError."""
    evaluations = [read_evaluation(folder) for folder in folders]
    means = mean_over(evaluations)
    for each in evaluations:
        print(_said(each))
    said = ", ".join(f"{_SHARES[name]} {mean:.4f} (standard deviation {sd:.4f})" for name, (mean, sd) in means.items())
    print(f"mean of {len(evaluations)}: {said}", flush=True)


def _said(evaluation: StoredEvaluation) -> str:
    facts = evaluation.facts
    named = [facts["model"], facts["protocol"].get("name"), facts["weights"].get("name"), facts["engine"].get("name")]
    described = ", ".join(one_line(str(each)) for each in named if each)
    return f"{one_line(str(evaluation.folder))} ({described}): {evaluation.headline}"


def _check_lists(first: StoredEvaluation, second: StoredEvaluation) -> None:
    ours, theirs = first.facts["list"], second.facts["list"]
    if ours["fingerprint"] != theirs["fingerprint"]:
        raise InputError(
            f"{first.folder} is of the list {ours.get('path')}, and {second.folder} of {theirs.get('path')}, which is"
            " another one or has changed: evaluations of one list can be compared"
        )


def _check_classes(evaluations: Sequence[StoredEvaluation]) -> None:
    first = evaluations[0]
    for each in evaluations[1:]:
        if each.names != first.names:
            counts = f"{len(first.names)} and {len(each.names)}"
            pairs = enumerate(zip(first.names, each.names))
            apart = next((f"class {i} is {a!r} and {b!r}" for i, (a, b) in pairs if a != b), counts)
            raise InputError(f"{first.folder} and {each.folder} are of different classes: {apart}")


def _keys(evaluation: StoredEvaluation) -> Iterator[tuple[str, int, int]]:
    """Each video and label, and how often they have come before: a list may name a video twice. The folder that holds
    all videos is left out: the same list may name another one, where they were moved."""
    paths = [*evaluation.ids, *(video for video, _ in evaluation.failures)]
    inside = os.path.commonprefix(paths).rfind("/") + 1
    seen: Counter[tuple[str, int]] = Counter()
    for key in zip((video[inside:] for video in evaluation.ids), evaluation.labels.tolist()):
        yield (*key, seen[key])
        seen[key] += 1


def _differing_facts(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    ours, theirs = (flat({key: facts.get(key) for key in _COMPARED}) for facts in (first, second))
    for name in {**ours, **theirs}:
        if ours.get(name) != theirs.get(name):
            yield name, ours.get(name), theirs.get(name)


def _changes(
    first: StoredEvaluation, second: StoredEvaluation, own: np.ndarray, other: np.ndarray, won: np.ndarray
) -> Iterator[Change]:
    """own, other: the places of the changed videos in both. won: of each."""
    for i, j, better in zip(own.tolist(), other.tolist(), won.tolist()):
        classes = int(first.labels[i]), int(first.predicted[i]), int(second.predicted[j])
        yield Change(first.ids[i], *classes, float(first.confidence[i]), float(second.confidence[j]), better)


def _classes(labels: np.ndarray, rights: Sequence[np.ndarray], classes: int) -> list[ClassChange]:
    counts = [np.bincount(labels[which], minlength=classes).tolist() for which in (labels >= 0, *rights)]
    found = [ClassChange(*row) for row in zip(range(classes), *counts) if row[1]]
    return sorted(found, key=lambda each: -each.won)


def _document(comparison: Comparison) -> dict[str, Any]:
    """What compare.json says."""
    names = comparison.names

    def side(evaluation: StoredEvaluation, alone: list[str]) -> dict[str, Any]:
        facts = {key: evaluation.facts.get(key) for key in ("list", *_COMPARED)}
        return {"folder": str(evaluation.folder), "headline": evaluation.headline, **facts, "only_read_here": alone}

    def change(each: Change) -> dict[str, Any]:
        named = {f"{key}_name": names[getattr(each, key)] for key in ("label", "first", "second")}
        return {**each._asdict(), **named}

    return {
        "format": 1,
        "first": side(comparison.first, comparison.only_read_by_first),
        "second": side(comparison.second, comparison.only_read_by_second),
        "difference": {"value": comparison.difference, "low": comparison.low, "high": comparison.high},
        "mcnemar_p": comparison.p,
        "videos": {
            "both_read": comparison.videos,
            "both_right": comparison.both,
            "only_first_right": comparison.only_first,
            "only_second_right": comparison.only_second,
            "neither_right": comparison.neither,
        },
        "classes": [{**each._asdict(), "name": names[each.index], "won": each.won} for each in comparison.classes],
        "changes": [change(each) for each in comparison.changes],
    }
