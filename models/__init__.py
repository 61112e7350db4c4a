"""The zoo: a record a model. Nothing here imports Paddle before a network is built."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from video_zoo.configs.schema import Config
from video_zoo.models.backbones import BackboneSection
from video_zoo.models.clip_models import CLIP_MODELS
from video_zoo.models.pretrained import Weights, load_weights
from video_zoo.models.spec import ModelSpec
from video_zoo.utils.config import key
from video_zoo.utils.registry import Registry

if TYPE_CHECKING:
    from video_zoo.models.network import VideoNetwork
    from video_zoo.utils.fluid_vars import VariableStore


@dataclass(frozen=True)
class TSMSection(BackboneSection):
    """The MODEL section of a TSM."""

    name: str = key("TSM", "the model the file is for")
    shift: str = key("bi", "bi: past and future; uni: past alone, for live video", choices=("bi", "uni"), fixed=True)
    non_local: bool = key(False, "non-local blocks between those of the ResNet (Wang et al., CVPR 2018)", fixed=True)
    dropout: Optional[float] = key(None, "before the last layer; unset: 0.5", low=0, high=0.99)


@dataclass(frozen=True)
class TSNSection(BackboneSection):
    """The MODEL section of a TSN."""

    name: str = key("TSN", "the model the file is for")
    dropout: Optional[float] = key(None, "before the last layer; unset: 0", low=0, high=0.99)


_RESNET_50 = {"backbone": "resnet", "num_layers": 50, "base_width": 64}
_IMAGENET = Weights("ResNet50_pretrained", "ImageNet", _RESNET_50, num_classes=None)
_TSM_KINETICS = Weights("tsm_kinetics", "Kinetics-400", {**_RESNET_50, "non_local": False}, num_classes=400, top1=0.70)
_TSN_KINETICS = Weights("tsn_kinetics", "Kinetics-400", _RESNET_50, num_classes=400, top1=0.67)

MODELS: Registry[ModelSpec] = Registry("model")
for _spec in (
    ModelSpec(
        name="TSM",
        network="video_zoo.models.tsm:TSM",
        config=TSMSection,
        paper="Lin, Gan, Han: Temporal Shift Module for Efficient Video Understanding, ICCV 2019, arXiv:1811.08383",
        train_transform="multi_scale_crop",
        eval_transform="center_crop",
        weights={"kinetics": _TSM_KINETICS, "imagenet": _IMAGENET},
    ),
    ModelSpec(
        name="TSN",
        network="video_zoo.models.tsn:TSN",
        config=TSNSection,
        paper="Wang et al.: Temporal Segment Networks, ECCV 2016, arXiv:1608.00859",
        train_transform="random_crop",
        eval_transform="center_crop",
        weights={"kinetics": _TSN_KINETICS, "imagenet": _IMAGENET},
    ),
    *CLIP_MODELS,
):
    MODELS.add(_spec.name, _spec)


def build_network(settings: Config, mode: str) -> VideoNetwork:
    """The network of settings.MODEL for a mode ("train", "valid", "test", "infer"), with fresh weights.

    Raises InputError if it does not take the clips of that mode; of "train", those of "valid", too.
    """
    channels_last = mode == "train" and settings.TRAIN.channels_last
    spec = MODELS.get(settings.MODEL.name)
    if spec.clips:
        for each in ("train", "valid") if mode == "train" and settings.VALID.filelist else (mode,):
            spec.clips.check(spec.name, settings, each)
    network = spec.network_class()
    return network.from_config(settings.MODEL, settings.seg_num(mode), channels_last)


def clip_cost(settings: Config) -> int:
    """The multiply-adds of settings.MODEL's network for a clip of test.py; imports Paddle."""
    from video_zoo.utils import paddle_env  # noqa: F401  comes before Paddle

    from video_zoo.models.cost import multiply_adds  # isort: skip

    return multiply_adds(build_network(settings, "test"), settings.clip_shape("test"))


def load_trained(settings: Config, mode: str, weights: str | os.PathLike | None) -> tuple[VideoNetwork, VariableStore]:
    """The network of settings.MODEL with weights (None: the released ones), and where they are from.

    Raises InputError: as load_weights and Weights.fetch.
    """
    network = build_network(settings, mode)
    if not weights:
        released = MODELS.get(settings.MODEL.name).released("kinetics", "--weights")
        weights = released.fetch(settings.MODEL, "--weights", set(network.variables()))
    return network, load_weights(network, weights, config=settings.MODEL, complete=True)
