"""The ResNet of a TSM as inference engines run it fastest: channels that are shifted are kept apart from the others.

A shift that puts slices of its input together copies all of it, once a block. Here a block takes two tensors and gives
two, so that only what is shifted is copied; a convolution of both is the sum of two, with no more multiply-adds.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn import functional as F

from video_zoo.models.resnet import BasicBlock, Bottleneck, ConvBN, ResNet
from video_zoo.models.temporal_shift import TemporalShift

Parts = "tuple[paddle.Tensor, paddle.Tensor]"
_ALL = (slice(None),)


class SplitResNet(nn.Layer):
    """Images (N * T, C, H, W) -> pooled features (N * T, F): what `backbone` computes in evaluation, to rounding.

    Args:
        backbone: in NCHW, a TemporalShift in each block, without non-local blocks, and of at least eight channels.
            Its weights are copied, with those of the BatchNorms in the convolutions.
    """

    def __init__(self, backbone: ResNet):
        super().__init__()
        self.stem, self.pool, self.blocks = _Convolution(backbone.conv1), backbone.pool, nn.LayerList()
        for name in backbone.block_names:
            self.blocks.append(_Block(getattr(backbone, name)))

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        x = self.pool(F.relu(self.stem([images])))
        parts = tuple(x[:, channels] for channels in _parts(self.blocks[0].shift, x.shape[1]))
        for block in self.blocks:
            parts = block(parts)
        return paddle.concat([part.mean([2, 3]) for part in parts], axis=1)


class _Block(nn.Layer):
    """A residual block: Parts -> Parts."""

    def __init__(self, block: BasicBlock | Bottleneck):
        super().__init__()
        self.shift = block.shift
        units = [unit for unit in (block.branch2a, block.branch2b, getattr(block, "branch2c", None)) if unit]
        inputs = _parts(self.shift, units[0].conv.weight.shape[1])
        outputs = _parts(self.shift, units[-1].conv.weight.shape[0])
        self.first = _Convolution(units[0], inputs)
        self.middle = nn.LayerList([_Convolution(unit) for unit in units[1:-1]])
        self.last = nn.LayerList([_Convolution(units[-1], outputs=part) for part in outputs])
        projects = isinstance(block.branch1, ConvBN)
        self.shortcut = nn.LayerList(
            [_Convolution(block.branch1, inputs, part) for part in outputs] if projects else []
        )

    def forward(self, parts: Parts) -> Parts:
        moved, still = parts
        y = F.relu(self.first([self.shift.shift_moved(moved, moved.shape[1] + still.shape[1]), still]))
        for convolution in self.middle:
            y = F.relu(convolution([y]))
        shortcut = [convolution(parts) for convolution in self.shortcut] or parts
        return tuple(F.relu(convolution([y]) + x) for convolution, x in zip(self.last, shortcut))


class _Convolution(nn.Layer):
    """A convolution and its BatchNorm in evaluation, as a sum of one convolution a tensor of the input.

    Args:
        inputs: the channels of each tensor.
        outputs: which channels are computed.
    """

    def __init__(self, unit: ConvBN, inputs: Sequence[slice] = _ALL, outputs: slice = slice(None)):
        super().__init__()
        factor = unit.bn.weight / (unit.bn._variance + unit.bn._epsilon).sqrt()
        kernels = (unit.conv.weight * factor.reshape([-1, 1, 1, 1])).numpy()[outputs]
        bias = (unit.bn.bias - unit.bn._mean * factor).numpy()[outputs]
        self.terms = nn.LayerList()
        for channels in inputs:
            kernel = kernels[:, channels]
            sizes = (kernel.shape[1], kernel.shape[0], kernel.shape[2:], unit.conv._stride, unit.conv._padding)
            term = nn.Conv2D(*sizes, bias_attr=False if len(self.terms) else None)
            term.weight.set_value(kernel)
            if term.bias is not None:
                term.bias.set_value(bias)
            self.terms.append(term)

    def forward(self, tensors: Sequence[paddle.Tensor]) -> paddle.Tensor:
        total = self.terms[0](tensors[0])
        for term, x in zip(self.terms[1:], tensors[1:]):
            total = total + term(x)
        return total


def _parts(shift: TemporalShift, channels: int) -> tuple[slice, slice]:
    """Which of so many channels the shift moves, and which stay."""
    moved = shift.moved_channels(channels)
    return slice(0, moved), slice(moved, channels)
