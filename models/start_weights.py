"""The weights that a training starts from."""

from __future__ import annotations

import dataclasses

from video_zoo.configs.schema import Config
from video_zoo.models import pretrained
from video_zoo.utils.log import logger


def load_start_weights(network, settings: Config) -> None:
    """Sets all weights but the last layer's as TRAIN.pretrain says: imagenet, kinetics, none, or a path.

    Raises InputError: as pretrained.load_weights and Weights.fetch.
    """
    choice = settings.TRAIN.pretrain or "imagenet"
    if choice.lower() == "none":
        logger.info("training from scratch")
        return
    skip = pretrained.LAST_LAYER
    released = {
        "imagenet": pretrained.IMAGENET_RESNET50,
        "kinetics": dataclasses.replace(network.released, num_classes=None),  # the last layer is not used
    }.get(choice.lower())
    path = released.fetch(settings.MODEL, "--pretrain", set(network.variables()) - set(skip)) if released else choice
    pretrained.load_weights(network, path, skip=skip)
    logger.info("the last layer starts fresh, for %d classes", settings.MODEL.num_classes)
