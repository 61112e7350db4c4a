"""TSM of one direction, frame by frame, in PyTorch: the state is a list of tensors that goes in and comes out, as in
MIT's online demo. The project itself never imports this."""

from __future__ import annotations

import torch
from torch import nn
from torch_tsm import MEAN, STD, ResNet

# of each stage of MobileNetV2: expansion, channels, blocks, and the first one's stride (Sandler et al., table 2)
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class StreamShift(nn.Module):
    """Puts the first eighth of the channels of the frame before in place of this one's, then the layer it wraps."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer, self.past = layer, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fold = x.shape[1] // 8
        present, past = x[:, :fold], self.past
        if past is None:
            past = torch.zeros_like(present)
        self.past = present
        return self.layer(torch.cat((past, x[:, fold:]), 1))


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)]
    layers += [nn.BatchNorm2d(outputs), *([nn.ReLU6(inplace=True)] if relu else [])]
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """1x1, 3x3 channel by channel, 1x1."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        expand = [_unit(inputs, inner, 1)] if expansion > 1 else []
        layers = [*expand, _unit(inner, inner, 3, stride, inner), _unit(inner, outputs, 1, relu=False)]
        self.layers = nn.Sequential(*layers)
        if self.residual and expansion > 1:
            self.layers = StreamShift(self.layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNetV2(nn.Module):
    """Normalised images (N, 3, H, W) -> features, with a shift in each residual block whose channels are expanded."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, channels = 1280, 32
        layers: list[nn.Module] = [_unit(3, channels, 3, 2)]
        for expansion, outputs, blocks, first_stride in STAGES:
            for index in range(blocks):
                layers.append(InvertedResidual(channels, outputs, 1 if index else first_stride, expansion))
                channels = outputs
        self.layers = nn.Sequential(*layers, _unit(channels, self.channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).mean((2, 3))


class StreamNetwork(nn.Module):
    """uint8 RGB frames (N, 3, H, W) and the state -> logits (N, classes) and the next state.

    Args:
        backbone: "mobilenet_v2", or "resnet" of num_layers and base_width.
    """

    def __init__(self, backbone: str = "resnet", num_layers: int = 50, base_width: int = 64, classes: int = 27):
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.backbone = MobileNetV2() if backbone == "mobilenet_v2" else ResNet(num_layers, base_width)
        if backbone == "resnet":
            for stage in range(1, 5):
                for block in getattr(self.backbone, f"layer{stage}"):
                    block.conv1 = StreamShift(block.conv1)
        self.fc = nn.Linear(self.backbone.channels, classes)
        self._shifts = [each for each in self.modules() if isinstance(each, StreamShift)]

    def initial_state(self, batch: int, size: int) -> list[torch.Tensor]:
        """Zeros, as before the first frame."""
        frame = torch.zeros(batch, 3, size, size, dtype=torch.uint8, device=self.mean.device)
        _, state = self(frame, [None] * len(self._shifts))
        return [torch.zeros_like(each) for each in state]

    def forward(self, frame: torch.Tensor, state: list) -> tuple[torch.Tensor, list[torch.Tensor]]:
        for shift, past in zip(self._shifts, state):
            shift.past = past
        logits = self.fc(self.backbone((frame.float() - self.mean) / self.std))
        return logits, [shift.past for shift in self._shifts]
