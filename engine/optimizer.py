"""v1.5's optimizer: Momentum SGD, L2 on everything, a piecewise constant learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import paddle


def piecewise_decay(
    learning_rate: float, decay: float, decay_epochs: Sequence[float], steps_per_epoch: int
) -> paddle.optimizer.lr.PiecewiseDecay:
    """`learning_rate`, multiplied by `decay` after each of `decay_epochs` (ascending); it steps once a batch."""
    boundaries = [epoch * steps_per_epoch for epoch in decay_epochs] or [math.inf]
    values = [learning_rate * decay**power for power in range(len(boundaries) + 1)]
    return paddle.optimizer.lr.PiecewiseDecay(boundaries, values)


def momentum(
    network: paddle.nn.Layer, schedule: paddle.optimizer.lr.LRScheduler, momentum: float, l2_weight_decay: float
) -> paddle.optimizer.Momentum:
    """Momentum on all of a network's weights; a weight's own attributes (rate, decay) come before these."""
    return paddle.optimizer.Momentum(
        schedule,
        momentum,
        parameters=network.parameters(),
        weight_decay=paddle.regularizer.L2Decay(l2_weight_decay),
    )
