"""Non-local blocks (Wang, Girshick, Gupta, He: Non-local Neural Networks, CVPR 2018, section 3.3)."""

from __future__ import annotations

import math

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from video_zoo.models.convolution import Conv3D

_POINT = (1, 1, 1)


class NonLocal(nn.Layer):
    """x + BN(W y), where y is at each place a mean of g(x) over all places, weighted by softmax(theta(x) . phi(x)).

    Clips (n, C, T, H, W) -> the same shape. The embedded Gaussian, in C / 2 channels; of phi and g the largest of every
    2 x 2 pixels is taken, and there is no factor of 1 / sqrt(C / 2), as in mit-han-lab/temporal-shift-module
    (ops/non_local.py), whose names the convolutions have. A fresh block changes nothing: its BatchNorm's scale is 0.

    Args:
        channels: C.
        bias: whether W has one.
    """

    def __init__(self, channels: int, bias: bool = True):
        super().__init__()
        inner = channels // 2
        self.g, self.theta, self.phi = (Conv3D(channels, inner, _POINT, bias=True) for _ in range(3))
        self.pool = nn.MaxPool3D((1, 2, 2))
        self.attention = Attention()
        self.W = Conv3D(inner, channels, _POINT, bias=bias)
        self.bn = nn.BatchNorm3D(channels, weight_attr=paddle.ParamAttr(initializer=nn.initializer.Constant(0.0)))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        theta, phi, g = self.theta(x), self.pool(self.phi(x)), self.pool(self.g(x))
        y = self.attention(_by_place(theta), phi.reshape([-1, phi.shape[1], math.prod(phi.shape[2:])]), _by_place(g))
        _, inner, *places = theta.shape
        y = y.reshape([-1, *places, inner]).transpose([0, 4, 1, 2, 3])  # -> (n, C / 2, T, H, W)
        return x + self.bn(self.W(y))


class FramesNonLocal(NonLocal):
    """A NonLocal for the frames of clips, (n * seg_num, C, H, W) -> the same shape; or (n * seg_num, H, W, C).

    Args:
        seg_num: frames a clip.
        data_format: "NCHW" or "NHWC".
        channels: C.

    Attributes:
        frames_first: the images are the first frames of all clips, then their second ones, and so on.
    """

    def __init__(self, seg_num: int, data_format: str, channels: int):
        super().__init__(channels)
        self.seg_num = seg_num
        self.frames_first = False
        self._places = (4, 2, 3) if data_format == "NHWC" else (2, 3, 4)  # of C, H and W, behind n and T

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        sizes, n, t = ([self.seg_num, -1], 1, 0) if self.frames_first else ([-1, self.seg_num], 0, 1)
        channels, height, width = self._places
        axes = [n, channels, t, height, width]
        clips = x.reshape([*sizes, *x.shape[1:]]).transpose(axes)  # -> (n, C, T, H, W)
        return NonLocal.forward(self, clips).transpose(np.argsort(axes).tolist()).reshape([-1, *x.shape[1:]])


class Attention(nn.Layer):
    """At each of L places the mean of the values at M places, weighted by the softmax of query . key.

    Queries (n, L, D), keys (n, D, M) and values (n, M, D) -> (n, L, D).
    """

    def forward(self, queries: paddle.Tensor, keys: paddle.Tensor, values: paddle.Tensor) -> paddle.Tensor:
        # As an operator, for Paddle 3's paddle.matmul cannot be written as a program of the older form.
        return F.softmax(queries @ keys) @ values

    @staticmethod
    def multiply_adds(queries: paddle.Tensor, keys: paddle.Tensor, values: paddle.Tensor) -> int:
        """Of both products (models/cost.py)."""
        return 2 * math.prod(queries.shape) * keys.shape[2]


def _by_place(x: paddle.Tensor) -> paddle.Tensor:
    """(n, C, T, H, W) -> (n, T * H * W, C). It turns before it reshapes: reshape, transpose and a product Paddle
    Inference makes one operation of (reshape_transpose_matmul_onednn_fuse_pass), and its results are then wrong."""
    return x.transpose([0, 2, 3, 4, 1]).reshape([-1, math.prod(x.shape[2:]), x.shape[1]])
