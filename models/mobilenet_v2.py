"""MobileNetV2 (Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018, table 2).

Blocks are counted as torchvision's `features` are: `block1` to `block17`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import paddle
from paddle import nn
from paddle.nn import functional as F

from video_zoo.models.resnet import ConvBN, MakeShift

# of each stage: the expansion of its blocks' channels, its own channels, its blocks, and the first one's stride
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_STEM, _LAST = 32, 1280


class Block(NamedTuple):
    """What an inverted residual block is made of. `stage` and `index` count from 0, `number` of all blocks from 1."""

    number: int
    stage: int
    index: int
    in_channels: int
    expansion: int
    out_channels: int
    stride: int

    @property
    def name(self) -> str:
        return f"block{self.number}"

    @property
    def is_residual(self) -> bool:
        """Whether its input is added to its output."""
        return self.stride == 1 and self.in_channels == self.out_channels

    @property
    def is_shifted(self) -> bool:
        """Whether TSM shifts it: residual, and its channels are expanded (mit-han-lab/temporal-shift-module,
        ops/temporal_shift.py)."""
        return self.is_residual and self.expansion > 1


def channels_of(width_multiplier: float) -> tuple[int, list[Block], int]:
    """Channels after the first convolution, the blocks, and channels after the last convolution.

    Channels are multiples of 8, rounded as in the paper's own code and torchvision's (`_make_divisible`): to the
    nearest one, but not to less than 90%. MIT's code rounds up and leaves the first two stages alone, which differs for
    multipliers other than 1. The last convolution's channels do not go below 1280 (section 6.1).
    """
    stem = channels = _divisible(_STEM * width_multiplier)
    blocks: list[Block] = []
    for stage, (expansion, width, depth, first_stride) in enumerate(STAGES):
        for index in range(depth):
            outputs, stride = _divisible(width * width_multiplier), first_stride if index == 0 else 1
            blocks.append(Block(len(blocks) + 1, stage, index, channels, expansion, outputs, stride))
            channels = outputs
    return stem, blocks, _divisible(_LAST * max(1.0, width_multiplier))


class InvertedResidual(nn.Layer):
    """1x1 to `expansion` times the channels, 3x3 channel by channel (which has the stride), 1x1; `shift` acts on the
    residual branch alone."""

    def __init__(self, block: Block, shift: nn.Layer, data_format: str):
        super().__init__()
        self._block = block
        self.shift = shift
        inner = block.in_channels * block.expansion
        if block.expansion > 1:
            self.expand = ConvBN(block.in_channels, inner, 1, data_format=data_format)
        self.depthwise = ConvBN(inner, inner, 3, block.stride, groups=inner, data_format=data_format)
        self.project = ConvBN(inner, block.out_channels, 1, data_format=data_format)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.shift(x)
        if self._block.expansion > 1:
            y = F.relu6(self.expand(y))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self._block.is_residual else y


class MobileNetV2(nn.Layer):
    """The convolutional part: images (N, in_channels, H, W) -> pooled features (N, out_channels).

    Args:
        width_multiplier: of the channels; 1 is the published network.
        in_channels: channels of the input.
        make_shift: called once a block that TSM shifts, gives what its residual branch does to its input first.
        data_format: "NCHW", or "NHWC": the images are turned on entry. The weights are the same.
    """

    def __init__(
        self,
        width_multiplier: float = 1.0,
        in_channels: int = 3,
        make_shift: MakeShift = nn.Identity,
        data_format: str = "NCHW",
    ):
        super().__init__()
        self._data_format = data_format
        stem, self._blocks, self.out_channels = channels_of(width_multiplier)
        self.conv1 = ConvBN(in_channels, stem, 3, 2, data_format=data_format)
        for block in self._blocks:
            shift = make_shift() if block.is_shifted else nn.Identity()
            self.add_sublayer(block.name, InvertedResidual(block, shift, data_format))
        self.conv_last = ConvBN(block.out_channels, self.out_channels, 1, data_format=data_format)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        last = self._data_format == "NHWC"
        x = images.transpose([0, 2, 3, 1]) if last else images  # (N, C, H, W) -> (N, H, W, C)
        x = F.relu6(self.conv1(x))
        for block in self._blocks:
            x = getattr(self, block.name)(x)
        x = F.relu6(self.conv_last(x))
        return F.adaptive_avg_pool2d(x, 1, self._data_format).reshape([-1, self.out_channels])  # -> (N, C)


def candidate_widths() -> Iterator[float]:
    """Width multipliers from 0.1 to 4, those with the roundest decimals first: several give the same network."""
    seen: set[float] = set()
    for parts in (10, 20, 100):
        for count in range(parts // 10, 4 * parts + 1):
            width = count / parts
            if width not in seen:
                seen.add(width)
                yield width


def _divisible(channels: float) -> int:
    """The nearest multiple of 8 that is at least 90% of it, and at least 8."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
