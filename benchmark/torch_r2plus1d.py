"""R(2+1)D, R3D and MC3 in PyTorch, with the names and layers that torchvision documents for them.

The tests compare ours with it, and benchmarks speed. The project itself never imports this.
"""

from __future__ import annotations

import torch
from torch import nn

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def _conv(inputs: int, outputs: int, kernel: tuple, stride: tuple = (1, 1, 1)) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, kernel, stride, tuple(size // 2 for size in kernel), bias=False)


def _pair(inputs: int, middle: int, outputs: int, size: int, space: int, time: int, eps: float) -> list[nn.Module]:
    first, second = (
        _conv(inputs, middle, (1, size, size), (1, space, space)),
        _conv(middle, outputs, (3, 1, 1), (time, 1, 1)),
    )
    return [first, nn.BatchNorm3d(middle, eps), nn.ReLU(), second]


class Block(nn.Module):
    def __init__(self, form: str, depth: int, inputs: int, outputs: int, stride: int, eps: float):
        super().__init__()
        over_time = stride if form != "mc3" or outputs == 64 else 1

        def made(channels: int, step: int, middle_of: int) -> nn.Module:
            if form == "r2plus1d":
                middle = 27 * middle_of * outputs // (9 * middle_of + 3 * outputs)
                return nn.Sequential(*_pair(channels, middle, outputs, 3, step, step, eps))
            if form == "mc3" and outputs > 64:
                return _conv(channels, outputs, (1, 3, 3), (1, step, step))
            return _conv(channels, outputs, (3, 3, 3), (step, step, step))

        second = made(outputs, 1, inputs if depth == 18 else outputs)
        self.conv1 = nn.Sequential(made(inputs, stride, inputs), nn.BatchNorm3d(outputs, eps), nn.ReLU())
        self.conv2 = nn.Sequential(second, nn.BatchNorm3d(outputs, eps))
        self.downsample = None
        if stride > 1 or inputs != outputs:
            past = _conv(inputs, outputs, (1, 1, 1), (over_time, stride, stride))
            self.downsample = nn.Sequential(past, nn.BatchNorm3d(outputs, eps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv2(self.conv1(x)) + (x if self.downsample is None else self.downsample(x)))


class VideoResNet(nn.Module):
    """Normalised clips (n, 3, T, H, W) -> logits; `form` is "r2plus1d", "r3d" or "mc3", `depth` 18 or 34."""

    def __init__(self, form: str, depth: int, num_classes: int):
        super().__init__()
        eps, inputs = 1e-5 if depth == 18 else 1e-3, 64
        layers = _pair(3, 45, 64, 7, 2, 1, eps) if form == "r2plus1d" else [_conv(3, 64, (3, 7, 7), (1, 2, 2))]
        self.stem = nn.Sequential(*layers, nn.BatchNorm3d(64, eps), nn.ReLU())
        for stage, count in enumerate(DEPTHS[depth]):
            blocks = []
            for index in range(count):
                stride = 2 if stage and index == 0 else 1
                blocks.append(Block(form, depth, inputs, 64 << stage, stride, eps))
                inputs = 64 << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3, 4)))
