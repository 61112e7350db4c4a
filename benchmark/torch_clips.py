"""S3D, I3D, I3D of a ResNet-50 and P3D in PyTorch, with the names and layers of the public code of each.

The names are those of torchvision, piergiaj/pytorch-i3d, MMAction2 and qijiezhao/pseudo-3d-pytorch. The tests compare
them with what those projects compute, and benchmarks compare their speed with ours. The project itself never imports
this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch_r2plus1d import VideoResNet

# Channels of an Inception block: 1x1x1; 1x1x1 and 3x3x3; 1x1x1 and 3x3x3; the 1x1x1 behind the pool.
INCEPTION = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


def network(name: str, num_classes: int) -> nn.Module:
    """Normalised clips (n, 3, T, H, W) -> logits, with fresh weights and in training mode.

    Args:
        name: "s3d", "i3d", "i3d_r50", "p3d63" or "p3d199"; or a form and depth of torch_r2plus1d.py, as "r2plus1d_18".
    """
    made: dict[str, Callable[[], nn.Module]] = {
        "s3d": lambda: S3D(num_classes),
        "i3d": lambda: I3D(num_classes),
        "i3d_r50": lambda: I3DResNet50(num_classes),
        "p3d63": lambda: P3D((3, 4, 6, 3), num_classes),
        "p3d199": lambda: P3D((3, 8, 36, 3), num_classes),
    }
    if name in made:
        return made[name]()
    form, _, depth = name.partition("_")
    return VideoResNet(form, int(depth), num_classes)


def channels_last(made: nn.Module) -> nn.Module:
    """The network with its kernels in channels_last_3d, or, of images, in channels_last; `Module.to` takes only one."""
    for layer in made.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            is_2d = isinstance(layer, nn.Conv2d)
            layer.to(memory_format=torch.channels_last if is_2d else torch.channels_last_3d)
    return made


def _conv(inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] = (1, 1, 1)) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, tuple(kernel), tuple(stride), tuple(size // 2 for size in kernel), bias=False)


class S3D(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        layers: list[nn.Module] = [_separable(3, 64, 7, 2), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))]
        layers += [_s3d_unit(64, 64), _separable(64, 192, 3), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))]
        pools, channels = {"4b": nn.MaxPool3d(3, 2, 1), "5b": nn.MaxPool3d(2, 2)}, 192
        for name, sizes in INCEPTION.items():
            layers += [pools[name]] if name in pools else []
            layers.append(S3DBlock(channels, sizes))
            channels = sizes[0] + sizes[2] + sizes[4] + sizes[5]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Conv3d(1024, num_classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(F.avg_pool3d(self.features(x), (2, 7, 7), 1)).mean((2, 3, 4))


class S3DBlock(nn.Module):
    def __init__(self, inputs: int, sizes: Sequence[int]):
        super().__init__()
        first, middle1, second, middle2, third, fourth = sizes
        self.branch0 = _s3d_unit(inputs, first)
        self.branch1 = nn.Sequential(_s3d_unit(inputs, middle1), _separable(middle1, second, 3))
        self.branch2 = nn.Sequential(_s3d_unit(inputs, middle2), _separable(middle2, third, 3))
        self.branch3 = nn.Sequential(nn.MaxPool3d(3, 1, 1), _s3d_unit(inputs, fourth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)], 1)


def _s3d_unit(
    inputs: int, outputs: int, kernel: Sequence[int] = (1, 1, 1), stride: Sequence[int] = (1, 1, 1)
) -> nn.Sequential:
    norm = nn.BatchNorm3d(outputs, 1e-3, 0.001)
    return nn.Sequential(_conv(inputs, outputs, kernel, stride), norm, nn.ReLU(inplace=True))


def _separable(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _s3d_unit(inputs, outputs, (1, size, size), (1, stride, stride)),
        _s3d_unit(outputs, outputs, (size, 1, 1), (stride, 1, 1)),
    )


class I3D(nn.Module):
    """With TensorFlow's padding SAME; logits are averaged over time."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.logits = I3DUnit(1024, num_classes, last=True)
        self.Conv3d_1a_7x7 = I3DUnit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = I3DUnit(64, 64)
        self.Conv3d_2c_3x3 = I3DUnit(64, 192, 3)
        channels = 192
        for name, sizes in INCEPTION.items():
            self.add_module(f"Mixed_{name}", I3DBlock(channels, sizes))
            channels = sizes[0] + sizes[2] + sizes[4] + sizes[5]
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pools = {"3b": ((1, 3, 3), (1, 2, 2)), "4b": ((3, 3, 3), (2, 2, 2)), "5b": ((2, 2, 2), (2, 2, 2))}
        x = _max_pool_same(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for name in INCEPTION:
            x = _max_pool_same(x, *pools[name]) if name in pools else x
            x = getattr(self, f"Mixed_{name}")(x)
        return self.logits(self.dropout(F.avg_pool3d(x, (2, 7, 7), 1))).mean((2, 3, 4))


class I3DBlock(nn.Module):
    def __init__(self, inputs: int, sizes: Sequence[int]):
        super().__init__()
        first, middle1, second, middle2, third, fourth = sizes
        self.b0 = I3DUnit(inputs, first)
        self.b1a, self.b1b = I3DUnit(inputs, middle1), I3DUnit(middle1, second, 3)
        self.b2a, self.b2b = I3DUnit(inputs, middle2), I3DUnit(middle2, third, 3)
        self.b3b = I3DUnit(inputs, fourth)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = _max_pool_same(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class I3DUnit(nn.Module):
    """A convolution with BatchNorm and ReLU; the last one has a bias instead."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1, last: bool = False):
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, size, stride, bias=last)
        self.bn = None if last else nn.BatchNorm3d(outputs, 1e-3, 0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv = self.conv3d
        x, padding = _pad_same(x, conv.kernel_size, conv.stride)
        x = F.conv3d(x, conv.weight, conv.bias, conv.stride, padding)
        return x if self.bn is None else F.relu(self.bn(x), inplace=True)


def _pad_same(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int]) -> tuple[torch.Tensor, list[int]]:
    """The clip with zeros where there are more after than before, and the zeros on each side that are still wanted."""
    totals = [max(size - (length % step or step), 0) for length, size, step in zip(x.shape[2:], kernel, stride)]
    if all(total % 2 == 0 for total in totals):
        return x, [total // 2 for total in totals]
    pairs = [(total // 2, total - total // 2) for total in reversed(totals)]  # F.pad begins with the last axis
    return F.pad(x, [zeros for pair in pairs for zeros in pair]), [0, 0, 0]


def _max_pool_same(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int]) -> torch.Tensor:
    """Of values that are not negative, so that zeros are as good as minus infinity."""
    x, padding = _pad_same(x, kernel, stride)
    return F.max_pool3d(x, kernel, stride, padding)


class I3DResNet50(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.backbone = I3DBackbone()
        self.dropout = nn.Dropout(0.5)
        self.cls_head = nn.ModuleDict({"fc_cls": nn.Linear(2048, num_classes)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cls_head["fc_cls"](self.dropout(self.backbone(x).mean((2, 3, 4))))


class I3DBackbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = ConvModule(3, 64, (5, 7, 7), (2, 2, 2))
        channels = 64
        for stage, inflated in enumerate(((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))):
            blocks = []
            for index, over_time in enumerate(inflated):
                blocks.append(I3DBottleneck(channels, 64 << stage, 2 if stage and not index else 1, bool(over_time)))
                channels = 256 << stage
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool3d(self.conv1(x).relu_(), (1, 3, 3), 2, (0, 1, 1))
        x = F.max_pool3d(self.layer1(x), (2, 1, 1))
        return self.layer4(self.layer3(self.layer2(x)))


class I3DBottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, over_time: bool):
        super().__init__()
        self.conv1 = ConvModule(inputs, width, (3 if over_time else 1, 1, 1))
        self.conv2 = ConvModule(width, width, (1, 3, 3), (1, stride, stride))
        self.conv3 = ConvModule(width, 4 * width, (1, 1, 1))
        is_same = inputs == 4 * width and stride == 1
        self.downsample = None if is_same else ConvModule(inputs, 4 * width, (1, 1, 1), (1, stride, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv3(self.conv2(self.conv1(x).relu_()).relu_())
        return (y + (x if self.downsample is None else self.downsample(x))).relu_()


class ConvModule(nn.Module):
    """A convolution and BatchNorm."""

    def __init__(self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] = (1, 1, 1)):
        super().__init__()
        self.conv, self.bn = _conv(inputs, outputs, kernel, stride), nn.BatchNorm3d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


class P3D(nn.Module):
    def __init__(self, depths: Sequence[int], num_classes: int):
        super().__init__()
        self.conv1_custom = _conv(3, 64, (1, 7, 7), (1, 2, 2))
        self.bn1 = nn.BatchNorm3d(64)
        channels, kinds = 64, 0
        for stage, depth in enumerate(depths):
            blocks = []
            for index in range(depth):
                kind = "ABC"[(kinds + index) % 3] if stage < 3 else ""
                blocks.append(P3DBottleneck(channels, 64 << stage, 2 if stage and not index else 1, kind))
                channels = 256 << stage
            kinds += depth
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2048, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool3d(self.bn1(self.conv1_custom(x)).relu_(), (2, 3, 3), 2, (0, 1, 1))
        for stage in (self.layer1, self.layer2, self.layer3):
            x = F.max_pool3d(stage(x), (2, 1, 1))
        return self.fc(self.dropout(self.layer4(x.squeeze(2)).mean((2, 3))))


class P3DBottleneck(nn.Module):
    """`kind` is "A", "B" or "C"; "" is a block on images."""

    def __init__(self, inputs: int, width: int, stride: int, kind: str):
        super().__init__()
        self.kind = kind
        conv, norm = (_conv, nn.BatchNorm3d) if kind else (_conv_of_images, nn.BatchNorm2d)
        strides, point = (1, stride, stride), (1, 1, 1)
        self.downsample = None
        if stride > 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(conv(inputs, 4 * width, point, strides), norm(4 * width))
        self.conv1, self.bn1 = conv(inputs, width, point, strides), norm(width)
        if kind:
            self.conv2, self.bn2 = conv(width, width, (1, 3, 3)), norm(width)
            self.conv3, self.bn3 = conv(width, width, (3, 1, 1)), norm(width)
        else:
            self.conv_normal, self.bn_normal = conv(width, width, (1, 3, 3)), norm(width)
        self.conv4, self.bn4 = conv(width, 4 * width, point), norm(4 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn1(self.conv1(x)).relu_()
        if self.kind:
            space = self.bn2(self.conv2(y)).relu_()
            time = self.bn3(self.conv3(y if self.kind == "B" else space)).relu_()
            y = time if self.kind == "A" else space + time
        else:
            y = self.bn_normal(self.conv_normal(y)).relu_()
        return (self.bn4(self.conv4(y)) + (x if self.downsample is None else self.downsample(x))).relu_()


def _conv_of_images(inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] = (1, 1, 1)) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel[-1], stride[-1], kernel[-1] // 2, bias=False)
