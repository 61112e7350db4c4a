"""The zoo: one import and one line a model."""

from __future__ import annotations

import os
from typing import Any

from video_zoo.configs.schema import Config
from video_zoo.models.pretrained import load_weights
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN
from video_zoo.utils.registry import Registry

MODELS: Registry[type[TSN]] = Registry("model")
MODELS.add("TSM", TSM)
MODELS.add("TSN", TSN)


def get_model(name: str, config: Config, mode: str) -> TSN:
    """Builds the network `name` for a mode ("train", "valid", "test", "infer"), with fresh weights.

    The network takes clips (N, seg_num, 3 * seglen, H, W), uint8, and gives logits (N, num_classes).
    """
    channels_last = mode == "train" and config.TRAIN.channels_last
    return MODELS.get(name).from_config(config.MODEL, config.seg_num(mode), channels_last)


def get_trained(name: str, config: Config, mode: str, weights: str | os.PathLike | None) -> tuple[TSN, dict[str, Any]]:
    """The network `name` with weights (None: the released ones), and what its checkpoint says (checkpoint.json).

    Raises InputError: as load_weights and Weights.fetch.
    """
    network = get_model(name, config, mode)
    path = weights or network.released.fetch(config.MODEL, "--weights", set(network.variables()))
    return network, load_weights(network, path, config=config.MODEL, complete=True).info()
