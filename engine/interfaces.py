"""What the loops need of the objects they are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np


class Batch(Protocol):
    """clips: uint8 (n, T, C, H, W). labels: int64 (n,), -1 for none. ids: one a clip. global_batch_size: clips of
    the batch in all ranks together, also those that are missing. spans: seconds, from and to, of each clip; empty:
    whole videos."""

    clips: np.ndarray
    labels: np.ndarray
    ids: list[str]
    global_batch_size: int
    spans: Sequence[tuple[float, float]]


class Reader(Protocol):
    """One pass over it reads every video once; `epoch` decides the order and the random draws."""

    epoch: int

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int:
        """Videos in the list."""


class TrainReader(Reader, Protocol):
    """A reader that a training can begin in the middle of a pass, at batch `first_batch`. `failures` are the videos of
    the last pass that could not be read, `damaged` those that were used in part."""

    first_batch: int
    batch_size: int
    batches: int
    failures: list
    damaged: list

    def check_failures(self) -> None:
        """Raises InputError if they are too many."""


class Scores(Protocol):
    """Means over a batch or a pass; as text, the log line's."""

    loss: float
    top1: float
    top5: float
    samples: int


class Metrics(Protocol):
    """Counts samples. Counts are sums over samples, float64 (k,), so that those of batches and ranks can be added."""

    def reset(self) -> None: ...

    def counts(self, losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> np.ndarray: ...

    def add(self, counts: np.ndarray) -> Scores: ...

    def totals(self) -> np.ndarray: ...

    def scores(self) -> Scores: ...
