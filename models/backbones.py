"""The networks of images that a TSM or TSN can be made of. Nothing here imports Paddle before one is built."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Union

from video_zoo.configs.schema import ModelSection
from video_zoo.utils.config import key
from video_zoo.utils.errors import InputError

if TYPE_CHECKING:
    from video_zoo.models.mobilenet_v2 import MobileNetV2
    from video_zoo.models.resnet import ResNet

    ImageNetwork = Union[ResNet, MobileNetV2]


@dataclass(frozen=True)
class Backbone:
    """A network of images.

    Args:
        network: "module:Class". Images (N, in_channels, H, W) -> features (N, out_channels). Its constructor takes
            in_channels, make_shift (called once a block that shifts, gives what the residual branch does to its input
            first) and data_format ("NCHW" or "NHWC").
        sizes: the keys of the MODEL section that are arguments of its constructor, too.
        others: further keys of the section that mean something for it alone.
    """

    network: str
    sizes: tuple[str, ...]
    others: tuple[str, ...] = ()

    def make(self, sizes: Mapping[str, Any], **options: Any) -> ImageNetwork:
        """The network, with the `sizes` that are its own; the others are those of other backbones."""
        unknown = sizes.keys() - {name for backbone in BACKBONES.values() for name in backbone.sizes}
        if unknown:
            raise TypeError(f"no backbone has {', '.join(sorted(unknown))}")
        own = {name: sizes[name] for name in self.sizes if name in sizes}
        return pkgutil.resolve_name(self.network)(**own, **options)


BACKBONES = {
    "resnet": Backbone("video_zoo.models.resnet:ResNet", ("num_layers", "base_width"), ("non_local",)),
    "mobilenet_v2": Backbone("video_zoo.models.mobilenet_v2:MobileNetV2", ("width_multiplier",)),
}


@dataclass(frozen=True)
class BackboneSection(ModelSection):
    """The keys of a network that has a backbone on frames. Raises InputError if one that the backbone has not is set to
    something else than its default."""

    backbone: str = key("resnet", "the network of images", choices=tuple(BACKBONES), fixed=True)
    num_layers: int = key(50, "depth of the ResNet", choices=(18, 34, 50, 101, 152), fixed=True)
    base_width: int = key(64, "channels of the first stage; 64 is the published ResNet", low=8, high=4096, fixed=True)
    width_multiplier: float = key(
        1.0, "of the channels of the MobileNetV2; 1 is the published one", low=0.1, high=4, fixed=True
    )

    def __post_init__(self) -> None:
        defaults = {field.name: field.default for field in fields(self)}
        for name, backbone in BACKBONES.items():
            for item in (*backbone.sizes, *backbone.others):
                if name != self.backbone and getattr(self, item, None) != defaults.get(item):
                    raise InputError(
                        f"MODEL.{item} = {getattr(self, item)} is for MODEL.backbone = {name}, and it is"
                        f" {self.backbone}: leave {item} out, or set the other backbone"
                    )
