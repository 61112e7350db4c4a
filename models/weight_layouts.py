"""How this project and others name the tensors of a TSM or TSN, and what each tensor is.

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
        num_layers, num_classes, base_width, shift: as in the MODEL section; shift means nothing for a TSN.
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

    def __str__(self) -> str:
        width = f", base_width {self.base_width}" if self.base_width != 64 else ""
        shift = f", shift {self.shift}" if self.model == "TSM" else ""
        blocks = " with non-local blocks" if self.non_local else ""
        return f"{self.model}-{self.num_layers}{blocks}{width}{shift}, {self.num_classes} classes"


@dataclass(frozen=True)
class Layout:
    """How a project names the tensors of a ResNet.

    Args:
        block: where a block is: {stage} from 1, {index} in the stage from 0, {number} of all blocks from 0; {inner}
            is nothing, or, where a non-local block follows, "block." for the block and "nl." for the other.
        part: (convolution, BatchNorm) of a block: {part} from 1, {before} from 0.
        projection, stem: likewise.
        fc: the last layer.
        statistics: a BatchNorm's mean and variance.
        out_first: the last layer's weight is (out, in), else (in, out).
        shifts: a TSM's first convolutions are in a module `net`; False: the layout is a plain ResNet's.
        wrapper: what stands before all names in the project's files.
    """

    block: str
    part: tuple[str, str]
    projection: tuple[str, str]
    stem: tuple[str, str]
    fc: str
    statistics: tuple[str, str] = ("running_mean", "running_var")
    out_first: bool = True
    shifts: bool = False
    wrapper: str = ""

    @property
    def non_local(self) -> bool:
        """Whether it has names for non-local blocks."""
        return "{inner}" in self.block


_TORCHVISION = Layout(
    block="layer{stage}.{index}.",
    part=("conv{part}", "bn{part}"),
    projection=("downsample.0", "downsample.1"),
    stem=("conv1", "bn1"),
    fc="fc",
)
LAYOUTS = {
    "mit": Layout(
        block="base_model.layer{stage}.{index}.{inner}",
        part=("conv{part}", "bn{part}"),
        projection=("downsample.0", "downsample.1"),
        stem=("base_model.conv1", "base_model.bn1"),
        fc="new_fc",
        shifts=True,
        wrapper="module.",
    ),
    "mmaction2": Layout(
        block="backbone.layer{stage}.{index}.",
        part=("conv{part}.conv", "conv{part}.bn"),
        projection=("downsample.conv", "downsample.bn"),
        stem=("backbone.conv1.conv", "backbone.conv1.bn"),
        fc="cls_head.fc_cls",
        shifts=True,
    ),
    "torchvision": _TORCHVISION,
    "paddle": replace(_TORCHVISION, statistics=("_mean", "_variance"), out_first=False),
    "paddleclas": Layout(
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


class _ConvBN(NamedTuple):
    """A convolution and its BatchNorm. `stem` is the first of the network, `part` 0 the projection of a block."""

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

    def theirs(self, layout: Layout, is_shifted: bool, inner: str) -> tuple[str, str]:
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
    is_shifted = network.model == "TSM" and layout.shifts
    tensors = []
    for unit in _conv_bns(network):
        inner = "block." if network.non_local and has_non_local(unit.stage, unit.index) else ""
        (ours, our_bn), (theirs, their_bn) = unit.ours(network.num_layers), unit.theirs(layout, is_shifted, inner)
        shape = (unit.outputs, unit.inputs, unit.kernel, unit.kernel)
        axes = (0,) * unit.writes + (1,) * unit.reads
        tensors.append(Tensor(f"{ours}_weights", f"{theirs}.weight", shape, axes))
        for suffix, leaf in _batch_norm(layout).items():
            tensors.append(Tensor(f"{our_bn}_{suffix}", f"{their_bn}.{leaf}", (unit.outputs,), axes[: unit.writes]))
    if network.non_local:
        tensors += _non_local_tensors(network, layout)
    shape = (unit.outputs, network.num_classes)  # the last unit writes the stream
    tensors.append(Tensor(FC_WEIGHT, f"{layout.fc}.weight", shape, (0,), layout.out_first))
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


def _conv_bns(network: Network) -> Iterator[_ConvBN]:
    depths, is_bottleneck = STAGES[network.num_layers]
    channels, number = network.base_width, 0
    yield _ConvBN(0, 0, 0, 0, 7, 3, channels, reads=False, writes=True, is_stem=True)
    for stage, depth in enumerate(depths):
        width = network.base_width * 2**stage
        outputs = 4 * width if is_bottleneck else width
        parts = [(1, width), (3, width), (1, outputs)] if is_bottleneck else [(3, width), (3, outputs)]
        for index in range(depth):
            inputs, place = channels, (stage, index, number)
            for part, (kernel, size) in enumerate(parts, 1):
                ends = {"reads": part == 1, "writes": part == len(parts)}
                yield _ConvBN(*place, part, kernel, inputs, size, **ends)
                inputs = size
            if channels != outputs:
                yield _ConvBN(*place, 0, 1, channels, outputs, reads=True, writes=True)
            channels, number = outputs, number + 1
