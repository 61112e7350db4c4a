"""The mean loss."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from video_zoo.metrics.metric import Metric

_STEPS = 2.0**26  # a nat; sums below 2**27 nats are exact in float64


class Loss(Metric):
    """The mean of the samples' losses, in nats.

    A loss counts in steps of 2**-26 nats, so that sums are exact and no order of adding changes them.
    """

    size = 1
    more_is_better = {"loss": False}

    def update(self, losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The sum of the losses, (1,)."""
        return np.array([np.round(losses * _STEPS).sum() / _STEPS])

    def compute(self, state: np.ndarray, samples: int) -> dict[str, float]:
        """{"loss": nats}."""
        return {"loss": float(state[0]) / samples}

    def describe(self, values: Mapping[str, float]) -> str:
        """As v1.5 logs it."""
        return f"Loss: {values['loss']:.6f}"
