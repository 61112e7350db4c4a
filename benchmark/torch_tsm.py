"""TSM, TSN and ResNet in PyTorch, with the modules' names of MIT's code, of MMAction2 and of torchvision.

The tests compare converted weights with them, the benchmarks speed. The project itself never imports this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
# For each eighth of the channels that is shifted, where its values come from: 1 is the next frame, -1 the one before.
OFFSETS = {"bi": (1, -1), "uni": (-1,)}


def published_shift(x: torch.Tensor, seg_num: int, offsets: Sequence[int]) -> torch.Tensor:
    """(N * seg_num, C, H, W) -> the same shape, shifted as MIT's code does it: slices are copied into zeros."""
    frames = x.unflatten(0, (-1, seg_num))  # (N * T, C, H, W) -> (N, T, C, H, W)
    fold, out = x.shape[1] // 8, torch.zeros_like(frames)
    for number, offset in enumerate(offsets):
        channels = slice(number * fold, (number + 1) * fold)
        to, source = (slice(-1), slice(1, None)) if offset > 0 else (slice(1, None), slice(-1))
        out[:, to, channels] = frames[:, source, channels]
    rest = slice(len(offsets) * fold, None)
    out[:, :, rest] = frames[:, :, rest]
    return out.flatten(0, 1)


def rolled_shift(x: torch.Tensor, seg_num: int, offsets: Sequence[int]) -> torch.Tensor:
    """The same result in four dimensions and without assignments, which inference engines compute fastest."""
    fold, folds = x.shape[1] // 8, []
    for number, offset in enumerate(offsets):
        channels = x[:, number * fold : (number + 1) * fold]
        zero = torch.zeros_like(channels[:1])
        clips = channels.split(seg_num)
        folds.append(torch.cat([torch.cat((clip[1:], zero) if offset > 0 else (zero, clip[:-1])) for clip in clips]))
    return torch.cat((*folds, x[:, len(offsets) * fold :]), 1)


class TrainedShift(torch.autograd.Function):
    """The published shift for training: its gradient is the shift the other way. Autograd's own gradient of assigned
    slices fills a tensor of zeros for each slice, and took twenty times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, seg_num: int, offsets: Sequence[int]) -> torch.Tensor:
        ctx.seg_num, ctx.offsets = seg_num, offsets
        return published_shift(x, seg_num, offsets)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return published_shift(gradient, ctx.seg_num, [-offset for offset in ctx.offsets]), None, None


FORMS = {"published": published_shift, "rolled": rolled_shift, "trained": TrainedShift.apply}


class TemporalShift(nn.Module):
    """A shift in one of the FORMS, then the convolution that it wraps."""

    def __init__(self, net: nn.Module, seg_num: int, shift: str, form: str):
        super().__init__()
        self.net, self.seg_num, self.offsets, self.form = net, seg_num, OFFSETS[shift], form

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(FORMS[self.form](x, self.seg_num, self.offsets))


class ConvModule(nn.Module):
    """MMAction2's: a convolution without bias, then BatchNorm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


class Block(nn.Module):
    """A residual block: 3x3, 3x3; or 1x1, 3x3, 1x1 to four times the width. The first 3x3 has the stride.

    Args:
        mm: the names are MMAction2's, else torchvision's.
    """

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool, mm: bool):
        super().__init__()
        outputs, self.mm = width * 4 if bottleneck else width, mm
        sizes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        sizes = sizes if bottleneck else [(inputs, width, 3, stride), (width, width, 3, 1)]
        for number, size in enumerate(sizes, 1):
            unit = ConvModule(*size)
            setattr(self, f"conv{number}", unit if mm else unit.conv)
            if not mm:
                setattr(self, f"bn{number}", unit.bn)
        self.parts, self.downsample = len(sizes), None
        if stride != 1 or inputs != outputs:
            unit = ConvModule(inputs, outputs, 1, stride)
            self.downsample = unit if mm else nn.Sequential(unit.conv, unit.bn)

    def shift(self, *how: Any) -> None:
        owner, name = (self.conv1, "conv") if self.mm else (self, "conv1")
        setattr(owner, name, TemporalShift(getattr(owner, name), *how))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for number in range(1, self.parts + 1):
            y = getattr(self, f"conv{number}")(y)
            y = y if self.mm else getattr(self, f"bn{number}")(y)
            y = F.relu(y, inplace=True) if number < self.parts else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet(nn.Module):
    """Normalised images (N, 3, H, W) -> features, or, with num_classes, logits as torchvision's."""

    def __init__(self, depth: int, width: int, mm: bool = False, num_classes: int | None = None):
        super().__init__()
        stem, self.mm, channels, bottleneck = ConvModule(3, width, 7, 2), mm, width, depth >= 50
        self.conv1 = stem if mm else stem.conv
        if not mm:
            self.bn1 = stem.bn
        for stage, blocks in enumerate(STAGES[depth], 1):
            made = []
            for index in range(blocks):
                size = width * 2 ** (stage - 1)
                made.append(Block(channels, size, 2 if stage > 1 and index == 0 else 1, bottleneck, mm))
                channels = size * 4 if bottleneck else size
            setattr(self, f"layer{stage}", nn.Sequential(*made))
        self.channels = channels
        if num_classes:
            self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        x = F.max_pool2d(F.relu(x if self.mm else self.bn1(x), inplace=True), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        x = x.mean((2, 3))
        return self.fc(x) if hasattr(self, "fc") else x

    def shift(self, seg_num: int, shift: str, form: str = "published") -> None:
        """Puts a shift before the first convolution of each block."""
        for stage in range(1, 5):
            for block in getattr(self, f"layer{stage}"):
                block.shift(seg_num, shift, form)


class Recognizer(nn.Module):
    """uint8 RGB clips (N, T, 3, H, W) -> logits. MIT's has `base_model` and `new_fc`; MMAction2's `backbone` and
    `cls_head.fc_cls`.

    Args:
        mm: it is MMAction2's.
        shift: "bi" or "uni" makes it a TSM; None: a TSN.
        form: of the shift, one of FORMS.
        dropout: probability, before the last layer.
    """

    def __init__(
        self,
        mm: bool,
        depth: int,
        width: int,
        num_classes: int,
        shift: str | None,
        seg_num: int = 3,
        form: str = "published",
        dropout: float = 0.0,
    ):
        super().__init__()
        backbone, self.mm, self.dropout = ResNet(depth, width, mm), mm, dropout
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        if shift:
            backbone.shift(seg_num, shift, form)
        fc = nn.Linear(backbone.channels, num_classes)
        if mm:
            self.backbone, self.cls_head = backbone, nn.Module()
            self.cls_head.fc_cls = fc
        else:
            self.base_model, self.new_fc = backbone, fc

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        backbone, fc = (self.backbone, self.cls_head.fc_cls) if self.mm else (self.base_model, self.new_fc)
        images = clips.flatten(0, 1).float()  # (N, T, 3, H, W) -> (N * T, 3, H, W)
        features = F.dropout(backbone((images - self.mean) / self.std), self.dropout, self.training)
        return fc(features).view(*clips.shape[:2], -1).mean(1)


def logits_of(network: nn.Module, clips: np.ndarray) -> np.ndarray:
    """What a network says of uint8 clips, on the CPU."""
    with torch.no_grad():
        return network(torch.from_numpy(clips)).numpy()
