"""BatchNorm in training: frozen, over all ranks, and the same in all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import paddle
from paddle.nn.layer.norm import _BatchNormBase

from video_zoo.configs.schema import Config, TrainSection
from video_zoo.engine.ranks import Ranks
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger


def freeze_only_weights(settings: Config, ordered: bool) -> Config:
    """The settings with TRAIN.freeze_batch_norm off where no weights are loaded: the mean of 0 and the variance of 1
    that a new network's BatchNorms have fit no layer's values, and such a network does not learn.

    Args:
        ordered: the command line says TRAIN.freeze_batch_norm, which is obeyed.
    """
    section = settings.TRAIN
    if ordered or not section.freeze_batch_norm or (section.pretrain or "").lower() != "none":
        return settings
    logger.warning(
        "TRAIN.freeze_batch_norm is now False, and the config says True: without weights (--pretrain=none), BatchNorm"
        " has no statistics to keep. --set TRAIN.freeze_batch_norm=True on the command line keeps it frozen"
    )
    return dataclasses.replace(settings, TRAIN=dataclasses.replace(section, freeze_batch_norm=False))


def prepare_batch_norm(network: paddle.nn.Layer, section: TrainSection, ranks: Ranks) -> paddle.nn.Layer:
    """The network with its BatchNorms as TRAIN.sync_batch_norm and TRAIN.freeze_batch_norm want them.

    Raises InputError if they are to be synchronized and there is no GPU.
    """
    if section.sync_batch_norm:
        if not paddle.get_device().startswith("gpu"):
            raise InputError("TRAIN.sync_batch_norm needs GPUs: Paddle has none of it for CPUs")
        if ranks.size > 1:
            network = paddle.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if section.freeze_batch_norm:
        network.freeze_batch_norm()
        logger.info("BatchNorm is frozen: neither its statistics nor its parameters change")
    return network


def batch_norms(network: paddle.nn.Layer) -> Iterator[paddle.nn.Layer]:
    """All BatchNorm layers of a network."""
    return (layer for layer in network.sublayers() if isinstance(layer, _BatchNormBase))


def broadcast_statistics(network: paddle.nn.Layer, ranks: Ranks) -> None:
    """Sets the running statistics of all ranks to rank 0's: each has seen other clips."""
    ranks.broadcast(buffer for layer in batch_norms(network) for buffer in layer.buffers())
