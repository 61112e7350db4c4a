"""What test.py finds out: the logits of each video of a list, whatever computed them and in how many processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

NATURAL = "natural"
ORDERS = (NATURAL, "reverse", "shuffle")  # of a clip's frames


@dataclass(frozen=True)
class Evaluation:
    """The results of one pass over a labelled list, each video exactly once.

    Args:
        ids: of the videos that were read, as their list names them, in its order.
        labels: int64 (n,), each of a class.
        logits: order of the frames -> float32 (n, num_classes), the mean over a video's views; their softmax is its
            probabilities. "natural" is always there.
        failures: the videos that could not be read, and why.
        names: of the classes, by index.
        facts: how they were computed, as eval.json has it.
    """

    ids: list[str]
    labels: np.ndarray
    logits: Mapping[str, np.ndarray]
    failures: list[tuple[str, str]]
    names: list[str]
    facts: Mapping[str, Any]
