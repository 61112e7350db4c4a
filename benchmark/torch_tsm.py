"""TSM and TSN in PyTorch, to compare with ours: the same network, which takes our weights by their names.

Written for speed too, in what PyTorch offers everyone: `torch.channels_last`, autocast, and a shift that copies each
value once forwards and once backwards. The project itself never imports this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

LAYOUTS = {  # depth -> (blocks a stage, bottleneck?)
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
FOLDS = ("ours", "torch")  # where the first eighth of the channels comes from: frame t-1, or t+1 as in PyTorch's TSM
FORMS = ("copied", "published", "joined", "rolled")  # of the shift: the same result, in other operations


class TorchTSN(nn.Module):
    """uint8 RGB clips (N, seg_num, 3, H, W) -> logits (N, num_classes).

    Args:
        shift: "ours" or "torch" (FOLDS) makes it a TSM; None: a TSN.
        dropout: probability, before the last layer.
        v15_dropout: as ours: training does not rescale, inference multiplies by 1 - p. False: PyTorch's way.
        channels_last: the memory format of the convolutions.
        form: of the shift, one of FORMS.
    """

    def __init__(
        self,
        num_classes: int = 400,
        seg_num: int = 8,
        num_layers: int = 50,
        base_width: int = 64,
        shift: str | None = "ours",
        dropout: float = 0.5,
        *,
        v15_dropout: bool = True,
        channels_last: bool = False,
        form: str = "copied",
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        image_std: Sequence[float] = (0.229, 0.224, 0.225),
    ):
        super().__init__()
        self.seg_num = seg_num
        self.dropout = dropout
        self.keep = 1 - dropout if v15_dropout else 1.0
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.register_buffer("image_mean", torch.tensor(image_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(image_std).view(3, 1, 1), persistent=False)
        depths, bottleneck = LAYOUTS[num_layers]
        self.conv1 = ConvBN(3, base_width, 7, 2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.blocks = nn.ModuleDict()
        channels = base_width
        for stage, depth in enumerate(depths):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                moved = TemporalShift(seg_num, shift, form)
                block = Block(channels, base_width * 2**stage, stride, bottleneck, moved)
                self.blocks[block_name(num_layers, stage, index)] = block
                channels = block.out_channels
        self.fc = nn.Linear(channels, num_classes)
        self.to(memory_format=self.memory_format)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        images = clips.flatten(0, 1)  # (N, T, C, H, W) -> (N * T, C, H, W)
        images = images.to(torch.float32, memory_format=self.memory_format)
        x = self.pool(F.relu(self.conv1((images / 255 - self.image_mean) / self.image_std), inplace=True))
        for block in self.blocks.values():
            x = block(x)
        features = x.mean((2, 3))  # (N * T, C, H, W) -> (N * T, C)
        features = F.dropout(features, self.dropout, self.training) * self.keep
        return self.fc(features.view(-1, self.seg_num, features.shape[1]).mean(1))  # (N * T, C) -> (N, T, C) -> (N, C)

    def load_v15(self, variables: Mapping[str, np.ndarray]) -> None:
        """Sets the weights and statistics from arrays by v1.5's names, as our network's `variables()` gives them.

        Raises KeyError if one is missing, and ValueError if there are others.
        """
        state = {}
        left = set(variables)
        for key, tensor in self.state_dict().items():
            if key.endswith("num_batches_tracked"):
                state[key] = tensor
                continue
            name = v15_name(key)
            value = torch.from_numpy(np.array(variables[name]))
            state[key] = value.T if key == "fc.weight" else value  # (in, out) -> (out, in)
            left.discard(name)
        if left:
            raise ValueError(f"variables that this network does not have: {', '.join(sorted(left))}")
        self.load_state_dict(state)


class ConvBN(nn.Module):
    """Convolution without bias, then BatchNorm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


class Block(nn.Module):
    """A residual block: 3x3, 3x3; or 1x1, 3x3, 1x1 to four times the width. The first 3x3 has the stride, the shift
    acts on the residual branch alone."""

    def __init__(self, in_channels: int, width: int, stride: int, bottleneck: bool, shift: nn.Module):
        super().__init__()
        self.out_channels = 4 * width if bottleneck else width
        self.shift = shift
        if bottleneck:
            self.branch2a = ConvBN(in_channels, width, 1)
            self.branch2b = ConvBN(width, width, 3, stride)
            self.branch2c = ConvBN(width, self.out_channels, 1)
        else:
            self.branch2a = ConvBN(in_channels, width, 3, stride)
            self.branch2b = ConvBN(width, width, 3)
            self.branch2c = None
        same = in_channels == self.out_channels and stride == 1
        self.branch1 = nn.Identity() if same else ConvBN(in_channels, self.out_channels, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.branch2b(F.relu(self.branch2a(self.shift(x)), inplace=True))
        if self.branch2c is not None:
            y = self.branch2c(F.relu(y, inplace=True))
        return F.relu(y + self.branch1(x), inplace=True)


class TemporalShift(nn.Module):
    """(N * seg_num, C, H, W) -> the same shape, an eighth of the channels from the frame before, another from the frame
    after; zeros enter at the ends.

    Args:
        seg_num: frames a clip.
        folds: which of FOLDS; None: nothing is shifted.
        form: "copied", for training: slices copied into a tensor that was not filled before. The others are for
            inference: "published", as the code of PyTorch's TSM has it, slices copied into zeros; "joined", slices put
            together; "rolled", the same in four dimensions, which inference engines like best.
    """

    def __init__(self, seg_num: int, folds: str | None = "ours", form: str = "copied"):
        super().__init__()
        for given, known in ((folds, (*FOLDS, None)), (form, FORMS)):
            if given not in known:
                raise ValueError(f"{given!r} is none of {', '.join(map(str, known))}")
        self.seg_num = seg_num
        self.folds = folds
        self.form = form

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.folds is None:
            return x
        move = {"copied": _Shift.apply, "published": _published, "joined": _joined, "rolled": _rolled}[self.form]
        return move(x, self.seg_num, self.folds == "ours")


class _Shift(torch.autograd.Function):
    """The gradient of a shift is the shift the other way. Autograd's own, of assigned slices, fills a tensor of zeros
    for each slice, and took twenty times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, seg_num: int, past_first: bool) -> torch.Tensor:
        ctx.seg_num, ctx.past_first = seg_num, past_first
        return _shifted(x, seg_num, past_first)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _shifted(gradient, ctx.seg_num, not ctx.past_first), None, None


def _shifted(x: torch.Tensor, seg_num: int, past_first: bool) -> torch.Tensor:
    frames = x.unflatten(0, (-1, seg_num))  # (N * T, C, H, W) -> (N, T, C, H, W)
    eighth = x.shape[1] // 8
    first, second, rest = slice(eighth), slice(eighth, 2 * eighth), slice(2 * eighth, None)
    past, future = (first, second) if past_first else (second, first)
    shifted = torch.empty_like(frames)
    shifted[:, 0, past] = 0
    shifted[:, 1:, past] = frames[:, :-1, past]
    shifted[:, -1, future] = 0
    shifted[:, :-1, future] = frames[:, 1:, future]
    shifted[:, :, rest] = frames[:, :, rest]
    return shifted.flatten(0, 1)


def _published(x: torch.Tensor, seg_num: int, past_first: bool) -> torch.Tensor:
    frames = x.unflatten(0, (-1, seg_num))  # (N * T, C, H, W) -> (N, T, C, H, W)
    eighth = x.shape[1] // 8
    first, second, rest = slice(eighth), slice(eighth, 2 * eighth), slice(2 * eighth, None)
    past, future = (first, second) if past_first else (second, first)
    shifted = torch.zeros_like(frames)
    shifted[:, 1:, past] = frames[:, :-1, past]
    shifted[:, :-1, future] = frames[:, 1:, future]
    shifted[:, :, rest] = frames[:, :, rest]
    return shifted.flatten(0, 1)


def _joined(x: torch.Tensor, seg_num: int, past_first: bool) -> torch.Tensor:
    frames = x.unflatten(0, (-1, seg_num))  # (N * T, C, H, W) -> (N, T, C, H, W)
    eighth = x.shape[1] // 8
    first, second, rest = frames[:, :, :eighth], frames[:, :, eighth : 2 * eighth], frames[:, :, 2 * eighth :]
    moved = (_later(first, 1), _earlier(second, 1)) if past_first else (_earlier(first, 1), _later(second, 1))
    return torch.cat((*moved, rest), 2).flatten(0, 1)


def _rolled(x: torch.Tensor, seg_num: int, past_first: bool) -> torch.Tensor:
    eighth = x.shape[1] // 8
    first, second, rest = x[:, :eighth], x[:, eighth : 2 * eighth], x[:, 2 * eighth :]
    moves = (_later, _earlier) if past_first else (_earlier, _later)
    moved = (torch.cat([move(clip, 0) for clip in each.split(seg_num)]) for move, each in zip(moves, (first, second)))
    return torch.cat((*moved, rest), 1)


def _later(fold: torch.Tensor, axis: int) -> torch.Tensor:
    """Along the axis of the frames."""
    return torch.cat((torch.zeros_like(fold.narrow(axis, 0, 1)), fold.narrow(axis, 0, fold.shape[axis] - 1)), axis)


def _earlier(fold: torch.Tensor, axis: int) -> torch.Tensor:
    return torch.cat((fold.narrow(axis, 1, fold.shape[axis] - 1), torch.zeros_like(fold.narrow(axis, 0, 1))), axis)


def block_name(num_layers: int, stage: int, index: int) -> str:
    """v1.5's: res2a, res2b ...; in the third stage of 101 and 152 layers res4a, res4b1, res4b2 ..."""
    if num_layers > 100 and stage == 2:
        return f"res4b{index}" if index else "res4a"
    return f"res{stage + 2}{'abcdefgh'[index]}"


def v15_name(key: str) -> str:
    """`blocks.res2a.branch2b.bn.weight` -> `bn2a_branch2b_scale`."""
    *layer, leaf = key.removeprefix("blocks.").split(".")
    if layer == ["fc"]:
        return "fc_0.w_0" if leaf == "weight" else "fc_0.b_0"
    *places, kind = layer
    name = "_".join(places)
    if kind == "conv":
        return f"{name}_weights"
    name = f"bn_{name}" if places == ["conv1"] else name.replace("res", "bn", 1)
    suffix = {"weight": "scale", "bias": "offset", "running_mean": "mean", "running_var": "variance"}[leaf]
    return f"{name}_{suffix}"
