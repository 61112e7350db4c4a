"""The weights that a training starts from."""

from __future__ import annotations

from dataclasses import replace

from video_zoo.configs.schema import Config
from video_zoo.models import MODELS
from video_zoo.models.network import VideoNetwork
from video_zoo.models.pretrained import load_weights
from video_zoo.utils.log import logger


def load_start_weights(network: VideoNetwork, settings: Config) -> None:
    """Sets all weights but the last layer's as TRAIN.pretrain says: released ones by name, none, or a path.

    Raises InputError: as load_weights, ModelSpec.released and Weights.fetch.
    """
    choice = settings.TRAIN.pretrain or "imagenet"
    if choice.lower() == "none":
        logger.info("training from scratch")
        return
    path, spec = choice, MODELS.get(settings.MODEL.name)
    if choice.lower() in {"imagenet", "kinetics", *spec.weights}:
        released = spec.released(choice.lower(), "--pretrain")
        needed = set(network.image_names().values())
        path = replace(released, num_classes=None).fetch(settings.MODEL, "--pretrain", needed)  # no last layer
    load_weights(network, path, skip=network.last_layer, inflate=True)
    logger.info("the last layer starts fresh, for %d classes", settings.MODEL.num_classes)
