"""TSM, TSN and ResNet in PyTorch, with the modules' names of MIT's code, of MMAction2 and of torchvision."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

STAGES = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
MEAN, STD = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])


class TemporalShift(nn.Module):
    """In PyTorch's direction; wraps a convolution."""

    def __init__(self, net: nn.Module, seg_num: int, shift: str):
        super().__init__()
        self.net, self.seg_num, self.shift = net, seg_num, shift

    def forward(self, x):
        frames = x.view(-1, self.seg_num, *x.shape[1:])
        fold, out = x.shape[1] // 8, torch.zeros_like(frames)
        if self.shift == "uni":
            out[:, 1:, :fold] = frames[:, :-1, :fold]
            out[:, :, fold:] = frames[:, :, fold:]
        else:
            out[:, :-1, :fold] = frames[:, 1:, :fold]
            out[:, 1:, fold : 2 * fold] = frames[:, :-1, fold : 2 * fold]
            out[:, :, 2 * fold :] = frames[:, :, 2 * fold :]
        return self.net(out.view_as(x))


class ConvModule(nn.Module):
    """MMAction2's."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.bn(self.conv(x))


class Block(nn.Module):
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

    def shift(self, seg_num: int, shift: str) -> None:
        owner, name = (self.conv1, "conv") if self.mm else (self, "conv1")
        setattr(owner, name, TemporalShift(getattr(owner, name), seg_num, shift))

    def forward(self, x):
        y = x
        for number in range(1, self.parts + 1):
            y = getattr(self, f"conv{number}")(y)
            y = y if self.mm else getattr(self, f"bn{number}")(y)
            y = F.relu(y) if number < self.parts else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Images -> features, or, with num_classes, logits as torchvision's."""

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

    def forward(self, x):
        x = self.conv1(x)
        x = F.max_pool2d(F.relu(x if self.mm else self.bn1(x)), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        x = x.mean((2, 3))
        return self.fc(x) if hasattr(self, "fc") else x

    def shift(self, seg_num: int, shift: str, every: int = 1) -> None:
        for stage in range(1, 5):
            for block in list(getattr(self, f"layer{stage}"))[::every]:
                block.shift(seg_num, shift)


class Recognizer(nn.Module):
    """uint8 RGB clips (N, T, 3, H, W) -> logits. MIT's has `base_model` and `new_fc`; MMAction2's `backbone` and
    `cls_head.fc_cls`."""

    def __init__(self, mm: bool, depth: int, width: int, num_classes: int, shift: str | None, seg_num: int = 3):
        super().__init__()
        backbone, self.mm = ResNet(depth, width, mm), mm
        if shift:
            backbone.shift(seg_num, shift)
        fc = nn.Linear(backbone.channels, num_classes)
        if mm:
            self.backbone, self.cls_head = backbone, nn.Module()
            self.cls_head.fc_cls = fc
        else:
            self.base_model, self.new_fc = backbone, fc

    def forward(self, clips):
        images = normalise(clips)
        backbone, fc = (self.backbone, self.cls_head.fc_cls) if self.mm else (self.base_model, self.new_fc)
        logits = fc(backbone(images.flatten(0, 1)))
        return logits.view(*clips.shape[:2], -1).mean(1)


def normalise(clips: torch.Tensor) -> torch.Tensor:
    return (clips.float() - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random statistics and parameters of BatchNorm, and convolutions that keep the signal up; in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.uniform_(0.5, 1.5, generator=generator)
                for tensor in (module.bias, module.running_mean):
                    tensor.normal_(0, 0.2, generator=generator)
            elif isinstance(module, nn.Conv2d):
                module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0, 0.3, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
    return network.eval()


def logits_of(network: nn.Module, clips: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(clips)).numpy()


def arrays_of(network: nn.Module, wrapper: str = "") -> dict[str, np.ndarray]:
    """Its state_dict, with `wrapper` before the names."""
    return {wrapper + name: tensor.numpy() for name, tensor in network.state_dict().items()}
