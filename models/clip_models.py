"""The records of the 3-D networks. Nothing here imports Paddle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from video_zoo.configs.schema import ModelSection
from video_zoo.models.pretrained import Weights
from video_zoo.models.spec import ClipSizes, ModelSpec
from video_zoo.utils.config import key

_MEAN = "mean of R, G, B, on the scale 0 to 1"
_STD = "standard deviation of R, G, B, likewise"
_KINETICS_MEAN, _KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # torchvision's
_FULL_WIDTH = {"width_multiplier": 1.0}


@dataclass(frozen=True)
class ClipSection(ModelSection):
    """What the MODEL sections of 3-D networks share: a clip is one segment, and its length need not be training's."""

    seg_num: int = key(1, "a clip of a 3-D network is one segment", low=1, high=1)
    seglen: int = key(16, "frames of a clip, frame_stride apart", low=1, high=10_000)
    frame_stride: int = key(2, "from one frame of a clip to the next, in frames of the video", low=1, high=1_000_000)
    width_multiplier: float = key(1.0, "the share of the published channels", low=0.01, high=8, fixed=True)


@dataclass(frozen=True)
class S3DSection(ClipSection):
    """The MODEL section of an S3D."""

    name: str = key("S3D", "the model the file is for")
    image_mean: tuple[float, float, float] = key(_KINETICS_MEAN, _MEAN, low=-10, high=10, fixed=True)
    image_std: tuple[float, float, float] = key(_KINETICS_STD, _STD, low=1e-3, high=10, fixed=True)
    gating: bool = key(False, "S3D-G: gates behind the branches of each block", fixed=True)
    dropout: Optional[float] = key(None, "before the last layer; unset: 0.2", low=0, high=0.99)


@dataclass(frozen=True)
class I3DSection(ClipSection):
    """The MODEL section of an I3D."""

    name: str = key("I3D", "the model the file is for")
    image_mean: tuple[float, float, float] = key((0.5, 0.5, 0.5), _MEAN, low=-10, high=10, fixed=True)
    image_std: tuple[float, float, float] = key((0.5, 0.5, 0.5), _STD, low=1e-3, high=10, fixed=True)
    dropout: Optional[float] = key(None, "before the last layer; unset: 0.5", low=0, high=0.99)


@dataclass(frozen=True)
class R2Plus1DSection(ClipSection):
    """The MODEL section of an R(2+1)D, R3D or MC3."""

    name: str = key("R2PLUS1D", "the model the file is for")
    image_mean: tuple[float, float, float] = key(_KINETICS_MEAN, _MEAN, low=-10, high=10, fixed=True)
    image_std: tuple[float, float, float] = key(_KINETICS_STD, _STD, low=1e-3, high=10, fixed=True)
    form: str = key(
        "r2plus1d",
        "r2plus1d: convolutions over space, then over time; r3d: over both; mc3: over both in the first stage alone",
        choices=("r2plus1d", "r3d", "mc3"),
        fixed=True,
    )
    num_layers: int = key(18, "depth of the ResNet", choices=(18, 34), fixed=True)
    dropout: Optional[float] = key(None, "before the last layer; unset: 0", low=0, high=0.99)


@dataclass(frozen=True)
class I3DResNet50Section(ClipSection):
    """The MODEL section of an I3D of a ResNet-50."""

    name: str = key("I3DRESNET50", "the model the file is for")
    seglen: int = key(32, "frames of a clip, frame_stride apart", low=1, high=10_000)
    non_local: bool = key(False, "non-local blocks between those of the ResNet (Wang et al., CVPR 2018)", fixed=True)
    dropout: Optional[float] = key(None, "before the last layer; unset: 0.5", low=0, high=0.99)


@dataclass(frozen=True)
class P3DSection(ClipSection):
    """The MODEL section of a P3D."""

    name: str = key("P3D", "the model the file is for")
    num_layers: int = key(63, "depth: 63 is made of a ResNet-50, 199 of a ResNet-152", choices=(63, 199), fixed=True)
    dropout: Optional[float] = key(None, "before the last layer; unset: 0.5", low=0, high=0.99)


CLIP_MODELS = (
    ModelSpec(
        name="I3D",
        network="video_zoo.models.i3d:I3D",
        config=I3DSection,
        paper="Carreira, Zisserman: Quo Vadis, Action Recognition?, CVPR 2017, arXiv:1705.07750",
        train_transform="multi_scale_crop",
        eval_transform="center_crop",
        clips=ClipSizes(frames=9, pixels=193),
    ),
    ModelSpec(
        name="R2PLUS1D",
        network="video_zoo.models.r2plus1d:R2Plus1D",
        config=R2Plus1DSection,
        paper="Tran et al.: A Closer Look at Spatiotemporal Convolutions, CVPR 2018, arXiv:1711.11248",
        train_transform="multi_scale_crop",
        eval_transform="center_crop",
        clips=ClipSizes(),
    ),
    ModelSpec(
        name="S3D",
        network="video_zoo.models.s3d:S3D",
        config=S3DSection,
        paper="Xie et al.: Rethinking Spatiotemporal Feature Learning, ECCV 2018, arXiv:1712.04851",
        train_transform="multi_scale_crop",
        eval_transform="center_crop",
        clips=ClipSizes(frames=13, pixels=209),
    ),
    ModelSpec(
        name="I3DRESNET50",
        network="video_zoo.models.i3dresnet50:I3DResNet50",
        config=I3DResNet50Section,
        paper="Wang, Girshick, Gupta, He: Non-local Neural Networks, CVPR 2018, arXiv:1711.07971",
        train_transform="multi_scale_crop",
        eval_transform="center_crop",
        weights={"imagenet": Weights("ResNet50_pretrained", "ImageNet, inflated", _FULL_WIDTH, num_classes=None)},
        clips=ClipSizes(frames=5, pixels=17),
    ),
    ModelSpec(
        name="P3D",
        network="video_zoo.models.p3d:P3D",
        config=P3DSection,
        paper="Qiu, Yao, Mei: Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks, ICCV 2017",
        train_transform="multi_scale_crop",
        eval_transform="center_crop",
        weights={
            "imagenet": Weights("ResNet50_pretrained", "ImageNet", {"num_layers": 63, **_FULL_WIDTH}, num_classes=None)
        },
        clips=ClipSizes(frames=16, most_frames=31, pixels=129, most_pixels=160),
    ),
)
