"""Momentum SGD, and the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import paddle
from paddle.optimizer.lr import LambdaDecay, LRScheduler, PiecewiseDecay

from video_zoo.configs.schema import TrainSection
from video_zoo.engine.batch_norm import batch_norms
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger


def make_optimizer(
    section: TrainSection, network: paddle.nn.Layer, videos: int, steps_per_epoch: int
) -> tuple[paddle.optimizer.Momentum, LRScheduler]:
    """The optimizer and the learning rate of every step, as the TRAIN section describes them.

    Args:
        videos: in the list.
        steps_per_epoch: batches of a pass over it.

    Raises InputError if decay_epochs do not ascend.
    """
    rate = section.learning_rate
    if section.base_batch_size:
        rate *= section.batch_size / section.base_batch_size
        scaling = (rate, section.learning_rate, section.batch_size, section.base_batch_size)
        logger.info("learning rate: %g, which is %g times %d clips a step over base_batch_size %d", *scaling)
    warmup_steps = round(section.warmup_epochs * steps_per_epoch)
    if section.lr_schedule == "cosine":
        schedule = cosine_decay(rate, section.epoch * steps_per_epoch, warmup_steps)
    else:
        decay_epochs, decay_steps = piecewise_plan(section, videos)
        schedule = piecewise_decay(rate, section.learning_rate_decay, decay_epochs, decay_steps, warmup_steps)
    optimizer = momentum(
        network,
        schedule,
        section.momentum,
        section.l2_weight_decay,
        batch_norm_decay=section.batch_norm_decay,
        clip_norm=section.clip_grad_norm,
    )
    return optimizer, schedule


def piecewise_plan(section: TrainSection, videos: int) -> tuple[Sequence[float], int]:
    """v1.5's: the epochs at whose ends the rate falls, and the steps that it takes an epoch to have."""
    total = section.total_videos or videos
    if abs(total - videos) > 0.1 * videos:
        logger.warning(
            "TRAIN.total_videos is %d, and the list has %d: the learning rate will not fall at the epochs that"
            " decay_epochs says; with --set TRAIN.total_videos=%d it does",
            *(total, videos, videos),
        )
    decay_epochs = section.decay_epochs
    if decay_epochs is None:
        decay_epochs = (section.epoch / 3, section.epoch * 2 / 3)
    if list(decay_epochs) != sorted(decay_epochs):
        raise InputError(f"TRAIN.decay_epochs = {list(decay_epochs)} must ascend")
    return decay_epochs, int(total / section.batch_size + 1)


def piecewise_decay(
    learning_rate: float,
    decay: float,
    decay_epochs: Sequence[float],
    steps_per_epoch: int,
    warmup_steps: int = 0,
) -> LRScheduler:
    """v1.5's: `learning_rate`, multiplied by `decay` after each of `decay_epochs` (ascending); it steps once a batch.

    Before, it rises to that evenly over `warmup_steps`, as in `cosine_decay`.
    """
    boundaries = [epoch * steps_per_epoch for epoch in decay_epochs] or [math.inf]
    values = [learning_rate * decay**power for power in range(len(boundaries) + 1)]
    if not warmup_steps:
        return PiecewiseDecay(boundaries, values)

    def rate(step: int) -> float:
        return values[sum(step >= boundary for boundary in boundaries)] * _warmup(step, warmup_steps)

    return LambdaDecay(1.0, rate)


def cosine_decay(learning_rate: float, total_steps: int, warmup_steps: int = 0) -> LRScheduler:
    """Half a cosine from `learning_rate` to 0 at `total_steps` (Loshchilov, Hutter: SGDR, ICLR 2017, without restarts);
    before, it rises evenly over `warmup_steps` (Goyal et al., arXiv:1706.02677, section 2.2). It steps once a batch."""

    def rate(step: int) -> float:
        share = min(max(step - warmup_steps, 0) / max(total_steps - warmup_steps, 1), 1.0)
        return learning_rate * _warmup(step, warmup_steps) * (1 + math.cos(math.pi * share)) / 2

    return LambdaDecay(1.0, rate)


def momentum(
    network: paddle.nn.Layer,
    schedule: LRScheduler,
    momentum: float,
    l2_weight_decay: float,
    *,
    batch_norm_decay: float | None = None,
    clip_norm: float | None = None,
) -> paddle.optimizer.Momentum:
    """Momentum on all of a network's weights; a weight's own attributes (rate, decay) come before these.

    Args:
        l2_weight_decay: on every weight.
        batch_norm_decay: on BatchNorm's scales and offsets instead; None: the same.
        clip_norm: the gradients of all weights together are scaled down to this L2 norm at most; None: never.
    """
    if batch_norm_decay is not None:
        for layer in batch_norms(network):
            for parameter in layer.parameters(include_sublayers=False):
                parameter.regularizer = paddle.regularizer.L2Decay(batch_norm_decay)
    return paddle.optimizer.Momentum(
        schedule,
        momentum,
        parameters=network.parameters(),
        weight_decay=paddle.regularizer.L2Decay(l2_weight_decay),
        grad_clip=None if clip_norm is None else paddle.nn.ClipGradByGlobalNorm(clip_norm),
    )


def _warmup(step: int, warmup_steps: int) -> float:
    """The share of the full rate at a step, from 0: the first has one part of `warmup_steps`, the last all."""
    return min((step + 1) / warmup_steps, 1.0) if warmup_steps else 1.0
