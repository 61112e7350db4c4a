"""What reviewed predictions say about a network, and about which videos they say it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from video_zoo.metrics.statistics import wilson_interval
from video_zoo.server.review_decisions import UNUSABLE, Decision
from video_zoo.server.review_results import Item, Key

BINS = 5  # of confidence, of equal width


def random_ranks(items: Sequence[Item]) -> np.ndarray:
    """The place of each item in an order that has nothing to do with its confidence, int64 (n,), and that is the same
    each time."""
    digests = [hashlib.sha256(repr(item.key).encode("utf-8", "backslashreplace")).digest() for item in items]
    ranks = np.empty(len(items), np.int64)
    ranks[sorted(range(len(items)), key=digests.__getitem__)] = np.arange(len(items))
    return ranks


class Scores:
    """The numbers of a review, whose items stay the same.

    Args:
        ranks: `random_ranks` of the items.
    """

    def __init__(self, items: Sequence[Item], ranks: np.ndarray):
        self._places = {item.key: place for place, item in enumerate(items)}
        self._predicted = np.array([item.predicted for item in items])
        self._labels = np.array([-1 if item.label is None else item.label for item in items])
        confidence = np.array([item.confidence for item in items])
        self._bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        self._by_rank = np.argsort(ranks)

    def of(self, decisions: Mapping[Key, Decision]) -> dict[str, Any]:
        """The numbers, JSON-able.

        An item that is unusable is reviewed, and counts neither as right nor as wrong. "reviewed" and "bins" are about
        the reviewed items alone, which are not like the others if the least sure ones came first. "sample" is about
        all: the items of the random order from its beginning up to the first one that is not reviewed. "bounds" are
        the least and the largest share that all items can have, whatever the others are.

        Of shares: {"right", "count", "low", "high"}, the interval Wilson's of 95%.
        """
        chosen = np.full(len(self._predicted), -1)  # a class
        done = np.zeros(len(chosen), bool)
        for key, decision in decisions.items():
            if decision is not None and key in self._places:
                done[self._places[key]] = True
                if decision != UNUSABLE:
                    chosen[self._places[key]] = decision
        usable, right = chosen >= 0, (chosen >= 0) & (chosen == self._predicted)
        waiting = ~done[self._by_rank]
        sample = self._by_rank[: waiting.argmax() if waiting.any() else len(waiting)]
        total = int(usable.sum() + (~done).sum())
        known = int(right.sum()), int(right.sum() + (~done).sum())
        return {
            "items": len(done),
            "done": int(done.sum()),
            "unusable": int((done & ~usable).sum()),
            "relabelled": int((usable & (self._labels >= 0) & (chosen != self._labels)).sum()),
            "reviewed": _share(right, usable),
            "sample": _share(right[sample], usable[sample]),
            "bounds": [count / total for count in known] if total else [0.0, 1.0],
            "bins": [
                {
                    "from": each / BINS,
                    "to": (each + 1) / BINS,
                    "items": int((self._bins == each).sum()),
                    **_share(right[self._bins == each], usable[self._bins == each]),
                }
                for each in range(BINS)
            ],
        }


def _share(right: np.ndarray, usable: np.ndarray) -> dict[str, Any]:
    count, hits = int(usable.sum()), int(right.sum())
    low, high = wilson_interval(hits, count)
    return {"right": hits, "count": count, "low": low, "high": high}
