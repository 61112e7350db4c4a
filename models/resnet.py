"""ResNet (He et al., Deep Residual Learning, CVPR 2016, table 1), with the stride on the 3x3 convolution.

Attributes are named as v1.5 names its variables: res3b.branch2a is layer `res3b_branch2a`.
"""

from __future__ import annotations

from typing import Callable

import paddle
from paddle import nn
from paddle.nn import functional as F

from video_zoo.models.convolution import Conv2D

# depth -> (blocks a stage, bottleneck?)
STAGES = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}

MakeShift = Callable[[], nn.Layer]
MakeNonLocal = Callable[[int], nn.Layer]


class ConvBN(nn.Layer):
    """Convolution without bias, then BatchNorm (epsilon 1e-5, momentum 0.9); `data_format` is "NCHW" or "NHWC"."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, data_format: str, groups: int = 1
    ):
        super().__init__()
        sizes = (in_channels, out_channels, kernel, stride, kernel // 2)
        self.conv = Conv2D(*sizes, groups=groups, data_format=data_format)
        self.bn = nn.BatchNorm2D(out_channels, data_format=data_format)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.bn(self.conv(x))


class BasicBlock(nn.Layer):
    """Two 3x3 convolutions; `shift` acts on the residual branch alone."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, shift: nn.Layer, data_format: str):
        super().__init__()
        self.shift = shift
        self.branch2a = ConvBN(in_channels, width, 3, stride, data_format=data_format)
        self.branch2b = ConvBN(width, width, 3, data_format=data_format)
        self.branch1 = _projection(in_channels, width, stride, data_format)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = F.relu(self.branch2a(self.shift(x)))
        return F.relu(self.branch1(x) + self.branch2b(y))


class Bottleneck(nn.Layer):
    """1x1, 3x3 (which has the stride), 1x1 to four times the width; `shift` acts on the residual branch alone."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, shift: nn.Layer, data_format: str):
        super().__init__()
        self.shift = shift
        self.branch2a = ConvBN(in_channels, width, 1, data_format=data_format)
        self.branch2b = ConvBN(width, width, 3, stride, data_format=data_format)
        self.branch2c = ConvBN(width, width * self.expansion, 1, data_format=data_format)
        self.branch1 = _projection(in_channels, width * self.expansion, stride, data_format)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = F.relu(self.branch2a(self.shift(x)))
        y = F.relu(self.branch2b(y))
        return F.relu(self.branch1(x) + self.branch2c(y))


class ResNet(nn.Layer):
    """The convolutional part: images (N, in_channels, H, W) -> pooled features (N, out_channels).

    Args:
        num_layers: 18, 34, 50, 101 or 152.
        base_width: channels of the first stage; 64 is the published network.
        in_channels: channels of the input.
        make_shift: called once a block, gives what the block's residual branch does to its input first.
        data_format: "NCHW", or "NHWC": the images are turned on entry. The weights are the same.
        make_non_local: called with the channels of each block that `has_non_local` names, gives what follows it; None:
            nothing does.
    """

    def __init__(
        self,
        num_layers: int = 50,
        base_width: int = 64,
        in_channels: int = 3,
        make_shift: MakeShift = nn.Identity,
        data_format: str = "NCHW",
        make_non_local: MakeNonLocal | None = None,
    ):
        super().__init__()
        self.data_format = data_format
        depths, bottleneck = STAGES[num_layers]
        block = Bottleneck if bottleneck else BasicBlock
        self.conv1 = ConvBN(in_channels, base_width, 7, 2, data_format=data_format)
        self.pool = nn.MaxPool2D(3, stride=2, padding=1, data_format=data_format)
        self.block_names: list[str] = []
        channels = base_width
        for stage, depth in enumerate(depths):
            width = base_width * 2**stage
            for index in range(depth):
                name = block_name(num_layers, stage, index)
                stride = 2 if stage > 0 and index == 0 else 1
                self.add_sublayer(name, block(channels, width, stride, make_shift(), data_format))
                self.block_names.append(name)
                channels = width * block.expansion
                if make_non_local and has_non_local(stage, index):
                    self.block_names.append(name.replace("res", "nl"))
                    self.add_sublayer(self.block_names[-1], make_non_local(channels))
        self.out_channels = channels

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        last = self.data_format == "NHWC"
        x = images.transpose([0, 2, 3, 1]) if last else images  # (N, C, H, W) -> (N, H, W, C)
        x = self.pool(F.relu(self.conv1(x)))
        for name in self.block_names:
            x = getattr(self, name)(x)
        return F.adaptive_avg_pool2d(x, 1, self.data_format).reshape([-1, self.out_channels])  # -> (N, C)


def block_name(num_layers: int, stage: int, index: int) -> str:
    """v1.5's name of a block: res2a, res2b ...; in the third stage of 101 and 152 layers res4a, res4b1, res4b2 ..."""
    if num_layers in (101, 152) and stage == 2:
        return "res4a" if index == 0 else f"res4b{index}"
    return f"res{stage + 2}{chr(ord('a') + index)}"


def has_non_local(stage: int, index: int) -> bool:
    """Whether a non-local block follows a block, where there are some: every other of the second and third stage, from
    the first on (mit-han-lab/temporal-shift-module, ops/non_local.py; both count from 0)."""
    return stage in (1, 2) and index % 2 == 0


def _projection(in_channels: int, out_channels: int, stride: int, data_format: str) -> nn.Layer:
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return ConvBN(in_channels, out_channels, 1, stride, data_format=data_format)
