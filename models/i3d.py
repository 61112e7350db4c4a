"""I3D: the inflated Inception (Carreira and Zisserman, CVPR 2017, arXiv:1705.07750).

As piergiaj/pytorch-i3d has it, whose names the variables have: TensorFlow's padding SAME everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from video_zoo.models.clip_network import ClipNetwork, mean_of_windows
from video_zoo.models.convolution import Conv3D, Triple, in_pairs, same_padding
from video_zoo.models.s3d import BLOCKS

_POOLS = ((3, (1, 3, 3), (1, 2, 2)), (4, (3, 3, 3), (2, 2, 2)), (5, (2, 2, 2), (2, 2, 2)))  # before a stage's blocks


class I3D(ClipNetwork):
    """Clips of at least 9 frames of 193 px -> logits (n, num_classes), averaged over time.

    Args:
        num_classes: classes.
        dropout: probability, before the last layer; None: 0.5.
        options: ClipNetwork's.
    """

    first_layer = "Conv3d_1a_7x7.conv3d.weight"
    last_layer = ("logits.conv3d.weight", "logits.conv3d.bias")
    project = "piergiaj"

    def __init__(self, num_classes: int = 400, dropout: float | None = None, **options: Any):
        super().__init__(**options)
        self.logits = _Last(sum(self.scaled(BLOCKS[-1][-1][branch]) for branch in (0, 2, 4, 5)), num_classes)
        first, channels = self.scaled(64), self.scaled(192)
        self.Conv3d_1a_7x7 = _Unit(3, first, (7, 7, 7), (2, 2, 2))
        self.Conv3d_2b_1x1 = _Unit(first, first)
        self.Conv3d_2c_3x3 = _Unit(first, channels, (3, 3, 3))
        self._stages = []
        for (stage, *pool), sizes in zip(_POOLS, BLOCKS):
            names = [f"Mixed_{stage}{chr(ord('b') + index)}" for index in range(len(sizes))]
            for name, each in zip(names, sizes):
                channels = self.add_sublayer(name, _Block(channels, [*map(self.scaled, each)])).out_channels
            self._stages.append((pool, names))
        self.dropout = nn.Dropout(0.5 if dropout is None else dropout)

    def compute(self, x: paddle.Tensor) -> paddle.Tensor:
        """Normalised float32 (n, 3, T, H, W) -> logits (n, num_classes)."""
        x = _max_pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for pool, names in self._stages:
            x = _max_pool(x, *pool)
            for name in names:
                x = getattr(self, name)(x)
        return mean_of_windows(x, (2, 7, 7), lambda means: self.logits(self.dropout(means)))


class _Unit(nn.Layer):
    """Convolution without bias, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple = (1, 1, 1), stride: Triple = (1, 1, 1)):
        super().__init__()
        self.conv3d = Conv3D(inputs, outputs, kernel, stride, "SAME")
        self.bn = nn.BatchNorm3D(outputs, momentum=0.99, epsilon=1e-3)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.relu(self.bn(self.conv3d(x)))


class _Last(nn.Layer):
    """A 1x1x1 convolution with bias, under its public name."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv3d = Conv3D(inputs, outputs, (1, 1, 1), bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv3d(x)


class _Block(nn.Layer):
    """An Inception block; `sizes` as in BLOCKS."""

    def __init__(self, inputs: int, sizes: Sequence[int]):
        super().__init__()
        first, middle1, second, middle2, third, fourth = sizes
        self.b0 = _Unit(inputs, first)
        self.b1a, self.b1b = _Unit(inputs, middle1), _Unit(middle1, second, (3, 3, 3))
        self.b2a, self.b2b = _Unit(inputs, middle2), _Unit(middle2, third, (3, 3, 3))
        self.b3b = _Unit(inputs, fourth)
        self.out_channels = first + second + third + fourth

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        pooled = _max_pool(x, (3, 3, 3), (1, 1, 1))
        return paddle.concat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


def _max_pool(x: paddle.Tensor, kernel: Triple, stride: Triple) -> paddle.Tensor:
    """With padding SAME; the public code pads with zeros, below which nothing is behind a ReLU."""
    return F.max_pool3d(x, kernel, stride, in_pairs(same_padding(x.shape, kernel, stride)))
