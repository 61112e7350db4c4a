"""Loss, top-1 and top-5 accuracy, exact over all samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
        self._loss, self._top1, self._top5, self._samples = 0.0, 0, 0, 0

    def update(self, losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> Scores:
        """Counts a batch and gives its own scores.

        Args:
            losses: (n,) cross entropy of each sample.
            logits: (n, num_classes), or probabilities: only their order counts.
            labels: (n,) integers.
        """
        ranks = label_ranks(logits, labels)
        loss, top1, top5 = float(losses.sum(dtype=np.float64)), int((ranks < 1).sum()), int((ranks < 5).sum())
        self._loss += loss
        self._top1 += top1
        self._top5 += top5
        self._samples += len(labels)
        return _scores(loss, top1, top5, len(labels))

    def scores(self) -> Scores:
        """The scores of all samples since the last reset."""
        return _scores(self._loss, self._top1, self._top5, self._samples)


def label_ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the right one, (n,); of equal logits the lower class comes first, NaN comes last."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)  # (n, 1)
    classes = np.arange(logits.shape[1])
    after = (logits < own) | ((logits == own) & (classes >= labels[:, None]))
    after |= np.isnan(logits) & ~np.isnan(own)
    return (~after).sum(axis=1)


def _scores(loss: float, top1: int, top5: int, samples: int) -> Scores:
    return Scores(*(value / samples if samples else 0.0 for value in (loss, top1, top5)), samples)
