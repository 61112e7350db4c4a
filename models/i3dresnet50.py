"""I3D of a ResNet-50, inflated (Wang, Girshick, Gupta, He: Non-local Neural Networks, CVPR 2018, section 4).

As MMAction2 has it (mmaction/models/backbones/resnet3d.py; mmcv/cnn/bricks/non_local.py), whose names the variables
have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from video_zoo.models.clip_network import ClipNetwork
from video_zoo.models.convolution import Conv3D, Triple
from video_zoo.models.non_local import NonLocal
from video_zoo.models.resnet import STAGES, block_name

DEPTHS = STAGES[50][0]
# Whether a block's first convolution reaches over three frames, in turn, by stages.
INFLATED = ((True, True, True), (True, False), (True, False), (False, True))


class I3DResNet50(ClipNetwork):
    """Clips of at least 5 frames of 17 px -> logits (n, num_classes).

    Args:
        num_classes: classes.
        non_local: whether non-local blocks follow every second block of the second and third stage.
        dropout: probability, before the last layer; None: 0.5.
        options: ClipNetwork's.
    """

    first_layer = "backbone.conv1.conv.weight"
    last_layer = ("cls_head.fc_cls.weight", "cls_head.fc_cls.bias")
    project = "mmaction2"

    def __init__(self, num_classes: int = 400, non_local: bool = False, dropout: float | None = None, **options: Any):
        super().__init__(**options)
        self.backbone = _Backbone(self.scaled(64), non_local)
        self.dropout = nn.Dropout(0.5 if dropout is None else dropout)
        self.cls_head = nn.Layer()
        weight = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, 0.01))
        self.cls_head.fc_cls = nn.Linear(32 * self.scaled(64), num_classes, weight)

    def compute(self, x: paddle.Tensor) -> paddle.Tensor:
        """Normalised float32 (n, 3, T, H, W) -> logits (n, num_classes)."""
        return self.cls_head.fc_cls(self.dropout(self.backbone(x).mean([2, 3, 4])))

    @classmethod
    def keys_of(cls, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        """Classes, and whether there are non-local blocks."""
        return {**super().keys_of(shapes), "non_local": any(".non_local_block." in name for name in shapes)}

    def image_names(self) -> dict[str, str]:
        """All but the last layer and the non-local blocks, by the names of the ResNet-50 that was inflated."""
        names, leaves = {}, {"weight": "scale", "bias": "offset", "running_mean": "mean", "running_var": "variance"}
        for name in self.variables():
            if name in self.last_layer or ".non_local_block." in name:
                continue
            *place, part, kind, leaf = name.split(".")[1:]  # without `backbone`
            layer = part
            if place:
                branch = "branch1" if part == "downsample" else f"branch2{'abc'[int(part[-1]) - 1]}"
                layer = f"{block_name(50, int(place[0][-1]) - 1, int(place[1]))}_{branch}"
            batch_norm = f"bn_{layer}" if layer == "conv1" else layer.replace("res", "bn", 1)
            names[name] = f"{layer}_weights" if kind == "conv" else f"{batch_norm}_{leaves[leaf]}"
        return names

    @staticmethod
    def variable_name(key: str) -> str:
        """MMAction2's, where g and phi of a non-local block are each the first of two layers; the other is a pool."""
        name = ClipNetwork.variable_name(key).replace(".non_local_block.bn.", ".non_local_block.conv_out.bn.")
        for ours, theirs in (("g", "g.0"), ("phi", "phi.0"), ("theta", "theta"), ("W", "conv_out")):
            name = name.replace(f".non_local_block.{ours}.", f".non_local_block.{theirs}.conv.")
        return name


class _Backbone(nn.Layer):
    def __init__(self, base: int, non_local: bool):
        super().__init__()
        self.conv1 = _ConvBN(3, base, (5, 7, 7), (2, 2, 2))
        self.pool1 = nn.MaxPool3D((1, 3, 3), (2, 2, 2), (0, 1, 1))
        self.pool2 = nn.MaxPool3D((2, 1, 1), (2, 1, 1))
        channels = base
        for stage, (depth, inflated) in enumerate(zip(DEPTHS, INFLATED)):
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                block = _Bottleneck(channels, base * 2**stage, stride, inflated[index % len(inflated)])
                channels = 4 * base * 2**stage
                if non_local and stage in (1, 2) and index % 2 == 1:
                    block.non_local_block = NonLocal(channels, bias=False)
                blocks.append(block)
            self.add_sublayer(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.pool2(self.layer1(self.pool1(F.relu(self.conv1(x)))))
        return self.layer4(self.layer3(self.layer2(x)))


class _ConvBN(nn.Layer):
    """Convolution without bias, which keeps the size but for its stride, then BatchNorm."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1)):
        super().__init__()
        self.conv = Conv3D(inputs, outputs, kernel, stride, tuple(size // 2 for size in kernel))
        self.bn = nn.BatchNorm3D(outputs)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.bn(self.conv(x))


class _Bottleneck(nn.Layer):
    """1x1x1, or 3x1x1 where `inflated`; 1x3x3, which has the stride; 1x1x1 to four times the width."""

    def __init__(self, inputs: int, width: int, stride: int, inflated: bool):
        super().__init__()
        self.conv1 = _ConvBN(inputs, width, (3 if inflated else 1, 1, 1))
        self.conv2 = _ConvBN(width, width, (1, 3, 3), (1, stride, stride))
        self.conv3 = _ConvBN(width, 4 * width, (1, 1, 1))
        self.downsample = None
        if inputs != 4 * width or stride != 1:
            self.downsample = _ConvBN(inputs, 4 * width, (1, 1, 1), (1, stride, stride))
        self.non_local_block: nn.Layer | None = None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        y = F.relu(y + (x if self.downsample is None else self.downsample(x)))
        return y if self.non_local_block is None else self.non_local_block(y)
