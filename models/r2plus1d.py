"""R(2+1)D, R3D and MC3: 3-D ResNets (Tran et al., CVPR 2018, arXiv:1711.11248).

Of 18 layers as torchvision has them (r2plus1d_18, r3d_18, mc3_18), whose names the variables have. R(2+1)D-34 is the
paper's, as VMZ and moabitcoin/ig65m-pytorch have it, with the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from video_zoo.models.clip_network import ClipNetwork
from video_zoo.models.convolution import Conv3D
from video_zoo.models.resnet import STAGES


class R2Plus1D(ClipNetwork):
    """Clips of any size -> logits (n, num_classes).

    Args:
        num_classes: classes.
        form: "r2plus1d": convolutions over H and W, then over T; "r3d": over all; "mc3": over all in the first stage,
            then over H and W alone.
        num_layers: 18 or 34.
        dropout: probability, before the last layer; None: 0.
        options: ClipNetwork's.
    """

    first_layer = "stem.0.weight"
    last_layer = ("fc.weight", "fc.bias")
    project = "torchvision"

    def __init__(
        self,
        num_classes: int = 400,
        form: str = "r2plus1d",
        num_layers: int = 18,
        dropout: float | None = None,
        **options: Any,
    ):
        super().__init__(**options)
        epsilon = 1e-5 if num_layers == 18 else 1e-3  # VMZ's
        base = channels = self.scaled(64)
        self.stem = _stem(form, base, self.scaled(45), epsilon)
        for stage, depth in enumerate(STAGES[num_layers][0]):
            width, blocks, kind = base * 2**stage, [], "flat" if form == "mc3" and stage else form
            for index in range(depth):
                stride = 2 if stage and not index else 1
                blocks.append(_Block(channels, width, stride, kind, epsilon, own_middle=num_layers == 34))
                channels = width
            self.add_sublayer(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.dropout = nn.Dropout(dropout or 0.0)
        self.fc = nn.Linear(channels, num_classes)

    def compute(self, x: paddle.Tensor) -> paddle.Tensor:
        """Normalised float32 (n, 3, T, H, W) -> logits (n, num_classes)."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return self.fc(self.dropout(x.mean([2, 3, 4])))

    @classmethod
    def keys_of(cls, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        """Classes, the form by its kernels, and the depth by the number of blocks."""
        kernel = tuple(shapes.get("layer2.0.conv1.0.weight", ()))[2:]
        form = {(3, 3, 3): "r3d", (1, 3, 3): "mc3"}.get(kernel, "r2plus1d")
        return {
            **super().keys_of(shapes),
            "form": form,
            "num_layers": 34 if "layer1.2.conv1.1.weight" in shapes else 18,
        }


def middle_channels(inputs: int, outputs: int) -> int:
    """Between the two convolutions that stand for one of 3x3x3, so that they have as many weights (section 3.5)."""
    return inputs * outputs * 27 // (inputs * 9 + 3 * outputs)


class _Block(nn.Layer):
    """Two convolutions, and what goes past them.

    Args:
        kind: a form, or "flat", over H and W alone.
        own_middle: the channels between the convolutions over space and time are each pair's own, as in the paper;
            torchvision gives the second pair those of the first.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, kind: str, epsilon: float, own_middle: bool):
        super().__init__()
        middle = middle_channels(inputs, outputs)
        first = _convolution(kind, inputs, outputs, middle, stride, epsilon)
        second_middle = middle_channels(outputs, outputs) if own_middle else middle
        second = _convolution(kind, outputs, outputs, second_middle, 1, epsilon)
        self.conv1 = nn.Sequential(first, _norm(outputs, epsilon), nn.ReLU())
        self.conv2 = nn.Sequential(second, _norm(outputs, epsilon))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            strides = (1 if kind == "flat" else stride, stride, stride)
            past = Conv3D(inputs, outputs, (1, 1, 1), strides)
            self.downsample = nn.Sequential(past, _norm(outputs, epsilon))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        past = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x)) + past)


def _convolution(kind: str, inputs: int, outputs: int, middle: int, stride: int, epsilon: float) -> nn.Layer:
    """One over 3x3 of H and W, and, unless it is flat, 3 of T."""
    if kind == "flat":
        return Conv3D(inputs, outputs, (1, 3, 3), (1, stride, stride), (0, 1, 1))
    if kind == "r3d" or kind == "mc3":
        return Conv3D(inputs, outputs, (3, 3, 3), (stride,) * 3, (1, 1, 1))
    return nn.Sequential(
        Conv3D(inputs, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1)),
        _norm(middle, epsilon),
        nn.ReLU(),
        Conv3D(middle, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0)),
    )


def _stem(form: str, outputs: int, middle: int, epsilon: float) -> nn.Sequential:
    if form != "r2plus1d":
        return nn.Sequential(Conv3D(3, outputs, (3, 7, 7), (1, 2, 2), (1, 3, 3)), _norm(outputs, epsilon), nn.ReLU())
    space, time = (
        Conv3D(3, middle, (1, 7, 7), (1, 2, 2), (0, 3, 3)),
        Conv3D(middle, outputs, (3, 1, 1), padding=(1, 0, 0)),
    )
    return nn.Sequential(space, _norm(middle, epsilon), nn.ReLU(), time, _norm(outputs, epsilon), nn.ReLU())


def _norm(channels: int, epsilon: float) -> nn.BatchNorm3D:
    return nn.BatchNorm3D(channels, epsilon=epsilon)
