"""What the loops need of the objects they are given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np


class Batch(Protocol):
    """clips: uint8 (n, T, C, H, W). labels: int64 (n,), -1 for none. ids: one a clip."""

    clips: np.ndarray
    labels: np.ndarray
    ids: list[str]


class Reader(Protocol):
    """One pass over it reads every video once; `epoch` decides the order and the random draws."""

    epoch: int

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int:
        """Videos in the list."""


class Scores(Protocol):
    """Means over a batch or a pass; as text, the log line's."""

    loss: float
    top1: float
    top5: float
    samples: int


class Metrics(Protocol):
    """Counts samples."""

    def reset(self) -> None: ...

    def update(self, losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> Scores: ...

    def scores(self) -> Scores: ...
