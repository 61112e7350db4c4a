"""How this project and others name the tensors of a TSM or TSN, and what each tensor is. Those of a MobileNetV2 are in
models/mobilenet_layouts.py.

Sources of the names: mit-han-lab/temporal-shift-module (ops/models.py, ops/temporal_shift.py), open-mmlab/mmaction2
(mmaction/models/backbones/resnet_tsm.py), torchvision.models.resnet, paddle.vision.models.resnet, and PaddleClas
(ppcls/arch/backbone/legendary_models/resnet.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from video_zoo.models.resnet import STAGES, block_name, has_non_local

FC_WEIGHT, FC_BIAS = "fc_0.w_0", "fc_0.b_0"


@dataclass(frozen=True)
class Network:
    """What weights are of.

    Args:
        model: "TSM" or "TSN".
        num_layers, num_classes, base_width, shift, backbone, width_multiplier: as in the MODEL section; shift means
            nothing for a TSN.
        dropout: ours, which multiplies by 1 - dropout at inference.
        non_local: whether it has non-local blocks.
    """

    model: str
    num_layers: int = 50
    num_classes: int = 400
    base_width: int = 64
    shift: str = "bi"
    dropout: float = 0.0
    non_local: bool = False
    backbone: str = "resnet"
    width_multiplier: float = 1.0

    @property
    def image_network(self) -> str:
        """The backbone's name, with its depth."""
        return f"ResNet-{self.num_layers}" if self.backbone == "resnet" else "MobileNetV2"

    @property
    def name(self) -> str:
        """Of model and backbone."""
        return f"{self.model}-{self.image_network.removeprefix('ResNet-')}"

    @property
    def size(self) -> str:
        """The key that says how wide it is, and its value."""
        key = "base_width" if self.backbone == "resnet" else "width_multiplier"
        return f"{key} {getattr(self, key):g}"

    def __str__(self) -> str:
        width = "" if self.size in ("base_width 64", "width_multiplier 1") else f", {self.size}"
        shift = f", shift {self.shift}" if self.model == "TSM" else ""
        blocks = " with non-local blocks" if self.non_local else ""
        return f"{self.name}{blocks}{width}{shift}, {self.num_classes} classes"


class ConvBN(NamedTuple):
    """A convolution and its BatchNorm.

    Args:
        ours, theirs: the names of both, theirs without the wrapper.
        shape: of the convolution's weight.
        stream_axes: as Tensor's, of that weight.
    """

    ours: tuple[str, str]
    theirs: tuple[str, str]
    shape: tuple[int, int, int, int]
    stream_axes: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How a project names the tensors of a backbone and of the last layer.

    Args:
        block: where a block is: {stage} from 1, {index} in the stage from 0, {number} of all blocks; {inner} is
            nothing, or, where a non-local block follows, "block." for the block and "nl." for the other.
        stem: (convolution, BatchNorm) that the network begins with.
        fc: the last layer.
        statistics: a BatchNorm's mean and variance.
        out_first: the last layer's weight is (out, in), else (in, out).
        shifts: it is of a network of videos; False: of a plain one of images.
        wrapper: what stands before all names in the project's files.
        one_way: it is of a TSM with shift uni, and of nothing else; otherwise what a TSM shifts first is in a module
            `net`.
    """

    block: str
    stem: tuple[str, str]
    fc: str
    statistics: tuple[str, str] = ("running_mean", "running_var")
    out_first: bool = True
    shifts: bool = False
    wrapper: str = ""
    one_way: bool = False

    @property
    def non_local(self) -> bool:
        """Whether it has names for non-local blocks."""
        return "{inner}" in self.block

    @property
    def marks(self) -> tuple[str, ...]:
        """Names by which it is known."""
        conv, bn = self.stem
        return f"{conv}.weight", f"{bn}.{self.statistics[0]}"

    def conv_bns(self, network: Network) -> Iterator[ConvBN]:
        """All but the last layer and non-local blocks, in the order of the network."""
        raise NotImplementedError


@dataclass(frozen=True)
class ResNetLayout(Layout):
    """How a project names the tensors of a ResNet, with {number} from 0.

    Args:
        part: (convolution, BatchNorm) of a block: {part} from 1, {before} from 0.
        projection: likewise.
    """

    part: tuple[str, str] = ("conv{part}", "bn{part}")
    projection: tuple[str, str] = ("downsample.0", "downsample.1")

    def conv_bns(self, network: Network) -> Iterator[ConvBN]:
        is_shifted = network.model == "TSM" and self.shifts
        for unit in _units(network):
            inner = "block." if network.non_local and has_non_local(unit.stage, unit.index) else ""
            shape, axes = (unit.outputs, unit.inputs, unit.kernel, unit.kernel), (0,) * unit.writes + (1,) * unit.reads
            yield ConvBN(unit.ours(network.num_layers), unit.theirs(self, is_shifted, inner), shape, axes)


_TORCHVISION = ResNetLayout(block="layer{stage}.{index}.", stem=("conv1", "bn1"), fc="fc")
LAYOUTS = {
    "mit": ResNetLayout(
        block="base_model.layer{stage}.{index}.{inner}",
        stem=("base_model.conv1", "base_model.bn1"),
        fc="new_fc",
        shifts=True,
        wrapper="module.",
    ),
    "mmaction2": ResNetLayout(
        block="backbone.layer{stage}.{index}.",
        part=("conv{part}.conv", "conv{part}.bn"),
        projection=("downsample.conv", "downsample.bn"),
        stem=("backbone.conv1.conv", "backbone.conv1.bn"),
        fc="cls_head.fc_cls",
        shifts=True,
    ),
    "torchvision": _TORCHVISION,
    "paddle": replace(_TORCHVISION, statistics=("_mean", "_variance"), out_first=False),
    "paddleclas": ResNetLayout(
        block="blocks.{number}.",
        part=("conv{before}.conv", "conv{before}.bn"),
        projection=("short.conv", "short.bn"),
        stem=("stem.0.conv", "stem.0.bn"),
        fc="fc",
        statistics=("_mean", "_variance"),
        out_first=False,
    ),
}


class Tensor(NamedTuple):
    """A weight or a statistic.

    Args:
        ours, theirs: its names, theirs without the wrapper.
        shape: ours.
        stream_axes: its axes that count the channels of the residual stream.
        is_transposed: theirs has the axes the other way round.
    """

    ours: str
    theirs: str
    shape: tuple[int, ...]
    stream_axes: tuple[int, ...]
    is_transposed: bool = False


class _Unit(NamedTuple):
    """A convolution of a ResNet. `stem` is the first of the network, `part` 0 the projection of a block."""

    stage: int
    index: int
    number: int
    part: int
    kernel: int
    inputs: int
    outputs: int
    reads: bool
    writes: bool
    is_stem: bool = False

    def ours(self, num_layers: int) -> tuple[str, str]:
        """v1.5's names of both."""
        if self.is_stem:
            return "conv1", "bn_conv1"
        branch = (
            f"{block_name(num_layers, self.stage, self.index)}_branch{'2' + 'abc'[self.part - 1] if self.part else 1}"
        )
        return branch, branch.replace("res", "bn", 1)

    def theirs(self, layout: ResNetLayout, is_shifted: bool, inner: str) -> tuple[str, str]:
        """A project's names of both; a shifted block's first convolution is wrapped."""
        if self.is_stem:
            return layout.stem
        conv, bn = layout.part if self.part else layout.projection
        if self.part == 1 and is_shifted:
            conv += ".net"
        place = {"stage": self.stage + 1, "index": self.index, "number": self.number, "inner": inner}
        conv, bn = ((layout.block + name).format(part=self.part, before=self.part - 1, **place) for name in (conv, bn))
        return conv, bn


def tensors_of(network: Network, layout: Layout) -> list[Tensor]:
    """All weights and statistics, in the order of the network; the last layer's weight and bias come last."""
    tensors = []
    for (ours, our_bn), (theirs, their_bn), shape, axes in layout.conv_bns(network):
        tensors.append(Tensor(f"{ours}_weights", f"{theirs}.weight", shape, axes))
        written = tuple(axis for axis in axes if axis == 0)
        for suffix, leaf in _batch_norm(layout).items():
            tensors.append(Tensor(f"{our_bn}_{suffix}", f"{their_bn}.{leaf}", shape[:1], written))
    if network.non_local:
        tensors += _non_local_tensors(network, layout)
    # What the last convolution writes, the last layer reads.
    tensors.append(Tensor(FC_WEIGHT, f"{layout.fc}.weight", (shape[0], network.num_classes), written, layout.out_first))
    tensors.append(Tensor(FC_BIAS, f"{layout.fc}.bias", (network.num_classes,), ()))
    return tensors


def _non_local_tensors(network: Network, layout: Layout) -> Iterator[Tensor]:
    """Of the non-local blocks, which read and write the residual stream; their names are MIT's."""
    depths, is_bottleneck = STAGES[network.num_layers]
    for stage, index in ((stage, index) for stage, depth in enumerate(depths) for index in range(depth)):
        if not has_non_local(stage, index):
            continue
        channels = network.base_width * 2**stage * (4 if is_bottleneck else 1)
        ours = block_name(network.num_layers, stage, index).replace("res", "nl")
        theirs = layout.block.format(stage=stage + 1, index=index, inner="nl.")
        for each, name in {"g": "g.0", "theta": "theta", "phi": "phi.0", "W": "W.0"}.items():
            sizes, axes = ((channels, channels // 2), (0,)) if each == "W" else ((channels // 2, channels), (1,))
            yield Tensor(f"{ours}_{each}_weights", f"{theirs}{name}.weight", (*sizes, 1, 1, 1), axes)
            yield Tensor(f"{ours}_{each}_biases", f"{theirs}{name}.bias", sizes[:1], axes if each == "W" else ())
        for suffix, leaf in _batch_norm(layout).items():
            yield Tensor(f"bn_{ours}_{suffix}", f"{theirs}W.1.{leaf}", (channels,), (0,))


def _batch_norm(layout: Layout) -> dict[str, str]:
    """Our names of a BatchNorm's tensors -> theirs."""
    mean, variance = layout.statistics
    return {"scale": "weight", "offset": "bias", "mean": mean, "variance": variance}


def _units(network: Network) -> Iterator[_Unit]:
    depths, is_bottleneck = STAGES[network.num_layers]
    channels, number = network.base_width, 0
    yield _Unit(0, 0, 0, 0, 7, 3, channels, reads=False, writes=True, is_stem=True)
    for stage, depth in enumerate(depths):
        width = network.base_width * 2**stage
        outputs = 4 * width if is_bottleneck else width
        parts = [(1, width), (3, width), (1, outputs)] if is_bottleneck else [(3, width), (3, outputs)]
        for index in range(depth):
            inputs, place = channels, (stage, index, number)
            for part, (kernel, size) in enumerate(parts, 1):
                ends = {"reads": part == 1, "writes": part == len(parts)}
                yield _Unit(*place, part, kernel, inputs, size, **ends)
                inputs = size
            if channels != outputs:
                yield _Unit(*place, 0, 1, channels, outputs, reads=True, writes=True)
            channels, number = outputs, number + 1
