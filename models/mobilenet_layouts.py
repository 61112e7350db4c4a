"""How this project and others name the tensors of a MobileNetV2.

Sources of the names: mit-han-lab/temporal-shift-module (archs/mobilenet_v2.py, ops/temporal_shift.py,
online_demo/mobilenet_v2_tsm.py), open-mmlab/mmaction2 (mmaction/models/backbones/mobilenet_v2.py, mobilenet_v2_tsm.py),
torchvision.models.mobilenetv2, and paddle.vision.models.mobilenetv2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from video_zoo.models.mobilenet_v2 import Block, channels_of
from video_zoo.models.weight_layouts import ConvBN, Layout, Network

_Pair = tuple[str, str]


@dataclass(frozen=True)
class MobileNetLayout(Layout):
    """How a project names the tensors of a MobileNetV2, with {number} from 1.

    Args:
        last: (convolution, BatchNorm) behind the blocks.
        parts: of a block that expands its channels: of its three convolutions. {net} is ".net" where a TSM shifts.
        first_parts: of the block that does not: of its two.
    """

    last: _Pair = ("features.18.0", "features.18.1")
    parts: tuple[_Pair, _Pair, _Pair] = (("0.0", "0.1"), ("1.0", "1.1"), ("2", "3"))
    first_parts: tuple[_Pair, _Pair] = (("0.0", "0.1"), ("1", "2"))

    @property
    def marks(self) -> tuple[str, ...]:
        return *super().marks, f"{self.block}{self.first_parts[0][0]}.weight".format(stage=1, index=0, number=1)

    def conv_bns(self, network: Network) -> Iterator[ConvBN]:
        stem, blocks, last = channels_of(network.width_multiplier)
        yield ConvBN(("conv1", "bn_conv1"), self.stem, (stem, 3, 3, 3), ())
        for block in blocks:
            yield from self._of_block(block, network.model == "TSM" and self.shifts)
        yield ConvBN(("conv_last", "bn_conv_last"), self.last, (last, block.out_channels, 1, 1), (1,))

    def _of_block(self, block: Block, of_tsm: bool) -> Iterator[ConvBN]:
        """The second block's output is the first that a shifted block reads: there, the residual stream begins."""
        inner = block.in_channels * block.expansion
        reads, writes = (1,) * (block.number > 2), (0,) * (block.number >= 2)
        units = [
            ("expand", (inner, block.in_channels, 1, 1), reads),
            ("depthwise", (inner, 1, 3, 3), ()),
            ("project", (block.out_channels, inner, 1, 1), writes),
        ]
        expands = block.expansion > 1
        place = {"stage": block.stage + 1, "index": block.index, "number": block.number}
        place["net"] = ".net" if of_tsm and block.is_shifted else ""
        for (name, shape, axes), pair in zip(*((units, self.parts) if expands else (units[1:], self.first_parts))):
            conv, bn = ((self.block + each).format(**place) for each in pair)
            yield ConvBN((f"{block.name}_{name}", f"bn_{block.name}_{name}"), (conv, bn), shape, axes)


_TORCHVISION = MobileNetLayout(
    block="features.{number}.conv.", stem=("features.0.0", "features.0.1"), fc="classifier.1"
)
_MIT = MobileNetLayout(
    block="base_model.features.{number}.conv.",
    stem=("base_model.features.0.0", "base_model.features.0.1"),
    last=("base_model.features.18.0", "base_model.features.18.1"),
    fc="new_fc",
    shifts=True,
    wrapper="module.",
    parts=(("0{net}", "1"), ("3", "4"), ("6", "7")),
    first_parts=(("0", "1"), ("3", "4")),
)
MOBILENET_LAYOUTS = {
    "mit": _MIT,
    "mit_online": replace(
        _MIT,
        block=_TORCHVISION.block,
        stem=_TORCHVISION.stem,
        last=_TORCHVISION.last,
        fc="classifier",
        wrapper="",
        one_way=True,
        parts=(("0", "1"), ("3", "4"), ("6", "7")),
    ),
    "mmaction2": MobileNetLayout(
        block="backbone.layer{stage}.{index}.conv.",
        stem=("backbone.conv1.conv", "backbone.conv1.bn"),
        last=("backbone.conv2.conv", "backbone.conv2.bn"),
        fc="cls_head.fc_cls",
        shifts=True,
        parts=(("0{net}.conv", "0{net}.bn"), ("1.conv", "1.bn"), ("2.conv", "2.bn")),
        first_parts=(("0.conv", "0.bn"), ("1.conv", "1.bn")),
    ),
    "torchvision": _TORCHVISION,
    "paddle": replace(_TORCHVISION, statistics=("_mean", "_variance"), out_first=False),
}
