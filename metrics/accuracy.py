"""Loss, top-1 and top-5 accuracy, exact over all samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LOSS_STEPS = 2.0**26  # a nat; sums below 2**27 nats are exact in float64


@dataclass(frozen=True)
class Scores:
    """Means over `samples` samples: loss in nats, top1 and top5 as shares from 0 to 1 (0 without samples)."""

    loss: float
    top1: float
    top5: float
    samples: int

    def __str__(self) -> str:
        """As v1.5 logs them, in percent."""
        return f"Loss: {self.loss:.6f}, top1_acc: {100 * self.top1:.2f}, top5_acc: {100 * self.top5:.2f}"


class KineticsMetrics:
    """Counts correct samples, so that batches of different sizes weigh what they should.

    Args:
        num_classes: with fewer than 5, every sample is right in the top 5.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.reset()

    def reset(self) -> None:
        """Forgets all samples."""
        self._totals = np.zeros(4)

    def counts(self, losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """A batch's sums, float64 (4,): loss, right in the top 1, right in the top 5, samples.

        A loss counts in steps of 2**-26 nats, so that sums are exact and no order of adding changes them.

        Args:
            losses: (n,) cross entropy of each sample, in nats.
            logits: (n, num_classes), or probabilities: only their order counts.
            labels: (n,) integers; a sample with label -1 does not count.
        """
        known = labels >= 0
        losses, ranks = losses[known].astype(np.float64), label_ranks(logits[known], labels[known])
        loss = np.round(losses * _LOSS_STEPS).sum() / _LOSS_STEPS
        return np.array([loss, (ranks < 1).sum(), (ranks < 5).sum(), known.sum()], np.float64)

    def add(self, counts: np.ndarray) -> Scores:
        """Adds the sums of a batch, which may be those of several ranks together, and gives its own scores."""
        self._totals = self._totals + counts
        return _scores(counts)

    def update(self, losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> Scores:
        """Counts a batch and gives its own scores; arguments as in `counts`."""
        return self.add(self.counts(losses, logits, labels))

    def totals(self) -> np.ndarray:
        """The sums of all samples since the last reset, as `counts` gives them."""
        return self._totals.copy()

    def scores(self) -> Scores:
        """The scores of all samples since the last reset."""
        return _scores(self._totals)


def label_ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the right one, (n,); of equal logits the lower class comes first, NaN comes last."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)  # (n, 1)
    classes = np.arange(logits.shape[1])
    after = (logits < own) | ((logits == own) & (classes >= labels[:, None]))
    after |= np.isnan(logits) & ~np.isnan(own)
    return (~after).sum(axis=1)


def _scores(counts: np.ndarray) -> Scores:
    loss, top1, top5, samples = counts.tolist()
    return Scores(*(value / samples if samples else 0.0 for value in (loss, top1, top5)), int(samples))
