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
    """Images (T * N, C, H, W), the first frames of all clips first, -> pooled features (T * N, F): what `backbone`
    computes in evaluation, to rounding.

    Args:
        backbone: in NCHW, a TemporalShift in each block, without non-local blocks, and of at least eight channels.
            Its weights are copied, with those of the BatchNorms in the convolutions.
    """

    def __init__(self, backbone: ResNet):
        super().__init__()
        self.stem, self.pool, self.blocks = _Convolution(backbone.conv1), backbone.pool, nn.LayerList()
        for name in backbone.block_names:
            self.blocks.append(_Block(getattr(backbone, name)))
        self._out_channels = backbone.out_channels
        self.eval()

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        x = self.pool(F.relu(self.stem([images])))
        parts = tuple(x[:, channels] for channels in _parts(self.blocks[0].shift, x.shape[1]))
        for block in self.blocks:
            parts = block(parts)
        pooled = [F.adaptive_avg_pool2d(part, 1) for part in parts]
        return paddle.concat(pooled, axis=1).reshape([-1, self._out_channels])


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
        shifted = paddle.concat(self.shift.shifted(moved, moved.shape[1] + still.shape[1]), axis=1)
        y = F.relu(self.first([shifted, still]))
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
        self.terms = nn.LayerList()
        # The BatchNorm scales what the first convolution gives; in the others, the scale is in the weights.
        factor = (unit.bn.weight / (unit.bn._variance + unit.bn._epsilon).sqrt()).numpy().reshape([-1, 1, 1, 1])
        for channels in inputs:
            kernel = (unit.conv.weight.numpy() * (factor if len(self.terms) else 1))[outputs, channels]
            sizes = (kernel.shape[1], kernel.shape[0], kernel.shape[2:], unit.conv._stride, unit.conv._padding)
            self.terms.append(nn.Conv2D(*sizes, bias_attr=False))
            self.terms[-1].weight.set_value(kernel)
        self.bn = nn.BatchNorm2D(kernel.shape[0], epsilon=unit.bn._epsilon)
        self.bn.set_state_dict({name: value[outputs] for name, value in unit.bn.state_dict().items()})

    def forward(self, tensors: Sequence[paddle.Tensor]) -> paddle.Tensor:
        total = self.bn(self.terms[0](tensors[0]))  # a bias instead Paddle Inference adds in a pass of its own
        for term, x in zip(self.terms[1:], tensors[1:]):
            total = total + term(x)
        return total


def _parts(shift: TemporalShift, channels: int) -> tuple[slice, slice]:
    """Which of so many channels the shift moves, and which stay."""
    moved = shift.moved_channels(channels)
    return slice(0, moved), slice(moved, channels)
