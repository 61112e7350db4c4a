"""The zoo: one import and one line a model."""

from __future__ import annotations

from configs.schema import Config
from models.tsm import TSM
from models.tsn import TSN
from utils.registry import Registry

MODELS: Registry[type[TSN]] = Registry("model")
MODELS.add("TSM", TSM)
MODELS.add("TSN", TSN)


def get_model(name: str, config: Config, mode: str) -> TSN:
    """Builds the network `name` for a mode ("train", "valid", "test", "infer"), with fresh weights.

    The network takes clips (N, seg_num, 3 * seglen, H, W), uint8, and gives logits (N, num_classes).
    """
    channels_last = mode == "train" and config.TRAIN.channels_last
    return MODELS.get(name).from_config(config.MODEL, config.seg_num(mode), channels_last)
