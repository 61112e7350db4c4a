"""S3D: Inception of separable 3-D convolutions, and S3D-G, with gates (Xie et al., ECCV 2018, arXiv:1712.04851).

As torchvision has it: torchvision.models.video.s3d, whose names the variables have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from video_zoo.models.clip_network import ClipNetwork, mean_of_windows
from video_zoo.models.convolution import Conv3D, Triple

# Channels of an Inception block: 1x1x1; 1x1x1 and 3x3x3; 1x1x1 and 3x3x3; the 1x1x1 behind the pool.
BLOCKS = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


class S3D(ClipNetwork):
    """Clips of at least 13 frames of 209 px -> logits (n, num_classes).

    Args:
        num_classes: classes.
        gating: S3D-G: a gate behind the second separable convolution and behind each branch of a block.
        dropout: probability, before the last layer; None: 0.2.
        options: ClipNetwork's.
    """

    first_layer = "features.0.0.0.weight"
    last_layer = ("classifier.1.weight", "classifier.1.bias")
    project = "torchvision"

    def __init__(self, num_classes: int = 400, gating: bool = False, dropout: float | None = None, **options: Any):
        super().__init__(**options)
        first, channels = self.scaled(64), self.scaled(192)
        layers: list[nn.Layer] = [_Separable(3, first, 7, 2), nn.MaxPool3D((1, 3, 3), (1, 2, 2), (0, 1, 1))]
        layers += [_Unit(first, first), _Separable(first, channels, 3), nn.MaxPool3D((1, 3, 3), (1, 2, 2), (0, 1, 1))]
        if gating:
            layers[3].add_sublayer("2", Gate(channels))
        for sizes, pool in zip(BLOCKS, (nn.MaxPool3D(3, 2, 1), nn.MaxPool3D(2, 2, 0), None)):
            for each in sizes:
                layers.append(_Block(channels, [*map(self.scaled, each)], gating))
                channels = layers[-1].out_channels
            layers += [pool] if pool else []
        self.features = nn.Sequential(*layers)
        last = Conv3D(channels, num_classes, (1, 1, 1), bias=True)
        self.classifier = nn.Sequential(nn.Dropout(0.2 if dropout is None else dropout), last)

    def compute(self, x: paddle.Tensor) -> paddle.Tensor:
        """Normalised float32 (n, 3, T, H, W) -> logits (n, num_classes)."""
        return mean_of_windows(self.features(x), (2, 7, 7), self.classifier)

    @classmethod
    def keys_of(cls, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        """Classes, and whether there are gates."""
        return {**super().keys_of(shapes), "gating": "features.3.2.weights.weight" in shapes}


class Gate(nn.Layer):
    """Each channel times a number from 0 to 1, which the means of all channels over the clip decide (section 4.5)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weights = Conv3D(channels, channels, (1, 1, 1))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        told = self.weights(x.mean([2, 3, 4], keepdim=True))  # -> (n, C, 1, 1, 1)
        # The sigmoid, as a softmax with 0: Paddle 3.3 cannot write its own into a .pdmodel.
        return x * F.softmax(paddle.concat([told, paddle.zeros_like(told)], 2), 2)[:, :, :1]


class _Unit(nn.Sequential):
    """Convolution without bias, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple = (1, 1, 1), stride: Triple = (1, 1, 1)):
        convolution = Conv3D(inputs, outputs, kernel, stride, tuple(size // 2 for size in kernel))
        super().__init__(convolution, nn.BatchNorm3D(outputs, momentum=0.999, epsilon=1e-3), nn.ReLU())


class _Separable(nn.Sequential):
    """A convolution over H and W, then one over T; each with BatchNorm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__(
            _Unit(inputs, outputs, (1, kernel, kernel), (1, stride, stride)),
            _Unit(outputs, outputs, (kernel, 1, 1), (stride, 1, 1)),
        )


class _Block(nn.Layer):
    """An Inception block of separable convolutions; `sizes` as in BLOCKS."""

    def __init__(self, inputs: int, sizes: Sequence[int], gating: bool):
        super().__init__()
        first, middle1, second, middle2, third, fourth = sizes
        self.branch0 = _Unit(inputs, first)
        self.branch1 = nn.Sequential(_Unit(inputs, middle1), _Separable(middle1, second, 3))
        self.branch2 = nn.Sequential(_Unit(inputs, middle2), _Separable(middle2, third, 3))
        self.branch3 = nn.Sequential(nn.MaxPool3D(3, 1, 1), _Unit(inputs, fourth))
        self.branches = [self.branch0, self.branch1, self.branch2, self.branch3]
        self.out_channels = first + second + third + fourth
        if gating:
            for branch, channels in zip(self.branches, (first, second, third, fourth)):
                branch.add_sublayer(str(len(branch)), Gate(channels))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.concat([branch(x) for branch in self.branches], 1)
