"""Two evaluations of one list, video by video, and several evaluations in the mean."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from video_zoo.engine.evaluation import NATURAL
from video_zoo.engine.evaluation_files import check_own_folder, json_bytes
from video_zoo.engine.stored_evaluation import StoredEvaluation, read_evaluation
from video_zoo.metrics.statistics import mcnemar, paired_difference
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_folder
from video_zoo.utils.texts import one_line

FOLDER, JSON, PAGE = "compare", "compare.json", "compare.html"  # of a comparison, in SAVE_DIR
_SHOWN = 10  # classes of each kind in the terminal, at most


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
