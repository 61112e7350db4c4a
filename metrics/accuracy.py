"""Top-1 and top-5 accuracy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from video_zoo.metrics.metric import Metric

_KS = (1, 5)


class TopK(Metric):
    """The share of samples, from 0 to 1, whose class is among the k first; with k classes or fewer, all are."""

    size = len(_KS)
    more_is_better = {f"top{k}": True for k in _KS}
    in_percent = tuple(more_is_better)

    def update(self, losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """How many samples are right for each k, (2,)."""
        ranks = label_ranks(logits, labels)
        return np.array([(ranks < k).sum() for k in _KS], np.float64)

    def compute(self, state: np.ndarray, samples: int) -> dict[str, float]:
        """{"top1": share, "top5": share}."""
        return {f"top{k}": right / samples for k, right in zip(_KS, state.tolist())}

    def describe(self, values: Mapping[str, float]) -> str:
        """As v1.5 logs them, in percent."""
        return ", ".join(f"top{k}_acc: {100 * values[f'top{k}']:.2f}" for k in _KS)


def label_ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the right one, (n,); of equal logits the lower class comes first, NaN comes last."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)  # (n, 1)
    classes = np.arange(logits.shape[1])
    after = (logits < own) | ((logits == own) & (classes >= labels[:, None]))
    after |= np.isnan(logits) & ~np.isnan(own)
    return (~after).sum(axis=1)
