"""What a metric is, and the values of several of them together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger
from video_zoo.utils.registry import did_you_mean


class Metric(ABC):
    """One thing that is measured. Its state is a float64 vector that adds up over samples, batches and ranks.

    A subclass sets `size`, the length of the state, and `more_is_better`, which names the values that `compute` gives;
    those that are shares, and that the log and VisualDL show in percent, it names in `in_percent`.

    Args:
        num_classes: labels are integers from 0 to num_classes - 1.
    """

    size: int
    more_is_better: Mapping[str, bool]
    in_percent: Collection[str] = ()

    def __init__(self, num_classes: int):
        self.num_classes = num_classes

    @abstractmethod
    def update(self, losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The state of these samples alone, float64 (size,).

        Args:
            losses: (n,) cross entropy of each sample, float64, in nats.
            logits: (n, num_classes), or probabilities.
            labels: (n,) integers, each of a class.
        """

    @abstractmethod
    def compute(self, state: np.ndarray, samples: int) -> dict[str, float]:
        """The values of a state that `samples` samples (at least one) went into, by name."""

    @abstractmethod
    def describe(self, values: Mapping[str, float]) -> str:
        """The values as log lines have them."""


@dataclass(frozen=True)
class Scores:
    """The values of all metrics over `samples` samples, by name; 0 without samples. As text, the log line's."""

    values: dict[str, float]
    samples: int
    text: str

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def __str__(self) -> str:
        return self.text


class MetricSet:
    """Several metrics, and one state for all of them: float64, the metrics' own in their order, then the samples.

    Samples are counted, so that batches of different sizes weigh what they should.
    """

    def __init__(self, metrics: Sequence[Metric]):
        self._metrics = metrics
        self._ends = np.cumsum([metric.size for metric in metrics])
        self.reset()

    def reset(self) -> None:
        """Forgets all samples."""
        self._state = np.zeros(self._ends[-1] + 1)

    def measure(self, losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The state of a batch alone, which `update` takes; before that, those of several ranks may be added up.

        Args:
            losses: (n,) cross entropy of each sample, in nats.
            logits: (n, num_classes), or probabilities.
            labels: (n,) integers; a sample with label -1 does not count.
        """
        known = labels >= 0
        samples = losses[known].astype(np.float64), logits[known], labels[known]
        states = [metric.update(*samples) for metric in self._metrics]
        return np.concatenate([*states, [known.sum()]], dtype=np.float64)

    def update(self, state: np.ndarray) -> Scores:
        """Adds the state of a batch, and gives the batch's own scores."""
        self._state = self._state + state
        return self._compute(state)

    def state(self) -> np.ndarray:
        """The state of all samples since the last reset."""
        return self._state.copy()

    def restore(self, state: Sequence[float]) -> None:
        """Goes on from what `state` gave. If other metrics gave it, this begins from nothing, with a warning."""
        self.reset()
        if len(state) == len(self._state):
            self._state = np.asarray(state, np.float64)
        else:
            logger.warning("the scores so far are left out: they are of other metrics than today's")

    def compute(self) -> Scores:
        """The scores of all samples since the last reset."""
        return self._compute(self._state)

    def more_is_better(self, name: str) -> bool:
        """Whether a value is the better the larger it is. Raises InputError if no metric gives one of that name."""
        known = {key: more for metric in self._metrics for key, more in metric.more_is_better.items()}
        if name not in known:
            near = did_you_mean(name, list(known))
            raise InputError(f"VALID.best_metric: no metric named {name!r}{near} Known: {', '.join(known)}.")
        return known[name]

    def _compute(self, state: np.ndarray) -> Scores:
        samples, values, texts = int(state[-1]), {}, []
        for metric, own in zip(self._metrics, np.split(state[:-1], self._ends[:-1])):
            found = metric.compute(own, samples) if samples else dict.fromkeys(metric.more_is_better, 0.0)
            texts.append(metric.describe(found))
            values.update(found)
        return Scores(values, samples, ", ".join(texts))
