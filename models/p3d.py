"""P3D: a ResNet of pseudo-3-D convolutions (Qiu, Yao, Mei, ICCV 2017, arXiv:1711.10305, section 3).

As qijiezhao/pseudo-3d-pytorch has it (p3d_model.py), whose names the variables have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from video_zoo.models.clip_network import ClipNetwork
from video_zoo.models.convolution import Conv2D, Conv3D
from video_zoo.models.resnet import block_name

# Layers -> blocks a stage, and layers of the 2-D ResNet with as many.
STAGES = {63: ((3, 4, 6, 3), 50), 199: ((3, 8, 36, 3), 152)}
_IMAGE_LAYERS = {"conv1": "2a", "conv2": "2b", "conv_normal": "2b", "conv4": "2c", "0": "1"}
_IMAGE_LAYERS |= {"bn1": "2a", "bn2": "2b", "bn_normal": "2b", "bn4": "2c", "1": "1"}
_IMAGE_LEAVES = {"weight": "scale", "bias": "offset", "running_mean": "mean", "running_var": "variance"}


class P3D(ClipNetwork):
    """Clips of 16 to 31 frames of 129 to 160 px -> logits (n, num_classes).

    The last stage sees images: it needs one frame of the last map, and the pool 5 x 5 pixels.

    Args:
        num_classes: classes.
        num_layers: 63 or 199.
        dropout: probability, before the last layer; None: 0.5.
        options: ClipNetwork's.
    """

    first_layer = "conv1_custom.weight"
    last_layer = ("fc.weight", "fc.bias")
    project = "qijiezhao"

    def __init__(self, num_classes: int = 400, num_layers: int = 63, dropout: float | None = None, **options: Any):
        super().__init__(**options)
        self.num_layers = num_layers
        base = channels = self.scaled(64)
        self.conv1_custom = Conv3D(3, base, (1, 7, 7), (1, 2, 2), (0, 3, 3))
        self.bn1 = nn.BatchNorm3D(base)
        self.maxpool = nn.MaxPool3D((2, 3, 3), 2, (0, 1, 1))
        self.maxpool_2 = nn.MaxPool3D((2, 1, 1), (2, 1, 1))
        number = 0
        for stage, depth in enumerate(STAGES[num_layers][0]):
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                kind = "2-D" if stage == 3 else "ABC"[number % 3]
                blocks.append(_Bottleneck(channels, base * 2**stage, stride, kind))
                channels, number = 4 * base * 2**stage, number + 1
            self.add_sublayer(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.dropout = nn.Dropout(0.5 if dropout is None else dropout)
        self.fc = nn.Linear(channels, num_classes)

    def compute(self, x: paddle.Tensor) -> paddle.Tensor:
        """Normalised float32 (n, 3, T, H, W) -> logits (n, num_classes)."""
        x = self.maxpool(F.relu(self.bn1(self.conv1_custom(x))))
        for stage in (self.layer1, self.layer2, self.layer3):
            x = self.maxpool_2(stage(x))
        x = self.layer4(x.reshape([-1, x.shape[1] * x.shape[2], *x.shape[3:]]))  # (n, C, 1, H, W) -> (n, C, H, W)
        return self.fc(self.dropout(x.mean([2, 3])))

    @classmethod
    def keys_of(cls, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        """Classes and layers."""
        return {**super().keys_of(shapes), "num_layers": 199 if "layer3.6.conv1.weight" in shapes else 63}

    def image_names(self) -> dict[str, str]:
        """All but the last layer and the convolutions over time, by the names of the 2-D ResNet with as many blocks."""
        names = {}
        for name in self.variables():
            *place, part, leaf = name.split(".")
            if name in self.last_layer or part in ("conv3", "bn3"):
                continue
            kind = "weights" if part.startswith("conv") or part == "0" else _IMAGE_LEAVES[leaf]
            if not place:
                names[name] = "conv1_weights" if kind == "weights" else f"bn_conv1_{kind}"
                continue
            block = block_name(STAGES[self.num_layers][1], int(place[0][-1]) - 1, int(place[1]))
            block = block if kind == "weights" else block.replace("res", "bn", 1)
            names[name] = f"{block}_branch{_IMAGE_LAYERS[part]}_{kind}"
        return names


class _Bottleneck(nn.Layer):
    """1x1x1, which has the stride over H and W; 1x3x3 and 3x1x1, one after the other (kind "A"), side by side ("B") or
    the second as a residual of the first ("C"); 1x1x1 to four times the width. Of kind "2-D" all are 2-D, and there is
    one of 3x3 in the middle."""

    def __init__(self, inputs: int, width: int, stride: int, kind: str):
        super().__init__()
        self.kind = kind
        convolution, batch_norm = (_conv2d, nn.BatchNorm2D) if kind == "2-D" else (_conv3d, nn.BatchNorm3D)
        self.conv1, self.bn1 = convolution(inputs, width, (1, 1, 1), stride), batch_norm(width)
        if kind == "2-D":
            self.conv_normal, self.bn_normal = _conv2d(width, width, (1, 3, 3)), nn.BatchNorm2D(width)
        else:
            self.conv2, self.bn2 = _conv3d(width, width, (1, 3, 3)), nn.BatchNorm3D(width)
            self.conv3, self.bn3 = _conv3d(width, width, (3, 1, 1)), nn.BatchNorm3D(width)
        self.conv4, self.bn4 = convolution(width, 4 * width, (1, 1, 1)), batch_norm(4 * width)
        self.downsample = None
        if inputs != 4 * width or stride != 1:
            shortcut = convolution(inputs, 4 * width, (1, 1, 1), stride)
            self.downsample = nn.Sequential(shortcut, batch_norm(4 * width))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.bn4(self.conv4(self._middle(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))

    def _middle(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.kind == "2-D":
            return F.relu(self.bn_normal(self.conv_normal(x)))
        space = F.relu(self.bn2(self.conv2(x)))
        time = F.relu(self.bn3(self.conv3(x if self.kind == "B" else space)))
        return time if self.kind == "A" else space + time


def _conv3d(inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1) -> nn.Layer:
    return Conv3D(inputs, outputs, kernel, (1, stride, stride), tuple(size // 2 for size in kernel))


def _conv2d(inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1) -> nn.Layer:
    return Conv2D(inputs, outputs, kernel[-1], stride, kernel[-1] // 2, data_format="NCHW")
