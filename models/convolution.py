"""Convolution layers, which compute with oneDNN on CPUs that Paddle has it for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn
from paddle.autograd import PyLayer
from paddle.nn import functional as F

from video_zoo.utils import onednn

Triple = tuple[int, int, int]

_convolution = functools.lru_cache(maxsize=1024)(onednn.Convolution)


class _OneDNN:
    """What the layers below put before Paddle's own `forward`."""

    _channels_last = False

    @paddle.jit.not_to_static  # translated, it would stay so in dynamic mode, and be slow
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not _has_onednn(x, self.weight):
            return self._by_paddle(x)
        shape = (x.shape[0], x.shape[-1], *x.shape[1:-1]) if self._channels_last else x.shape
        try:
            pads = self._pads(shape)
            geometry = (tuple(self._stride), *pads, self._groups, self._channels_last)
            convolution = _convolution(tuple(shape), tuple(self.weight.shape), *geometry)
        except RuntimeError:  # a shape that does not fit: Paddle says what is wrong
            return self._by_paddle(x)
        if paddle.is_grad_enabled() and not (x.stop_gradient and self.weight.stop_gradient):
            y = _Convolve.apply(x, self.weight, convolution)
        else:
            y = convolution.forward(x.contiguous(), self.weight)
        return y if self.bias is None else y + self.bias.reshape([-1] + [1] * (len(shape) - 2))

    def _by_paddle(self, x: paddle.Tensor) -> paddle.Tensor:
        return super().forward(x)

    def _pads(self, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Zeros before and after each axis of the kernel, for an input of that shape, (N, C, ...)."""
        if self._padding == "SAME":
            return same_padding(shape, self._kernel_size, self._stride)
        return self._padding, self._padding


class Conv2D(_OneDNN, nn.Conv2D):
    """nn.Conv2D without bias; its weights and, but for the order of sums, its results. On a GPU, in static programs,
    and where oneDNN is not there, Paddle's own.

    With oneDNN there is no second derivative, and, as of every PyLayer, no second backward pass of a result and no
    paddle.grad that leaves out an input that learns; FLAGS_use_mkldnn=0 in the environment turns it off.

    Args:
        padding: zeros on each side.
        groups: as nn.Conv2D's.
        data_format: "NCHW" or "NHWC".
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        *,
        groups: int = 1,
        data_format: str,
    ):
        how = {"groups": groups, "bias_attr": False, "data_format": data_format}
        super().__init__(in_channels, out_channels, kernel, stride, padding, **how)
        self._padding, self._channels_last = (padding,) * 2, data_format == "NHWC"


class Conv3D(_OneDNN, nn.Conv3D):
    """nn.Conv3D of clips (n, C, T, H, W), as Conv2D is nn.Conv2D.

    Args:
        kernel, stride: of T, H and W.
        padding: zeros on each side of T, H and W, or "SAME" (`same_padding`).
        bias: whether it has one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Triple,
        stride: Triple = (1, 1, 1),
        padding: Triple | str = (0, 0, 0),
        *,
        groups: int = 1,
        bias: bool = False,
    ):
        how = {"groups": groups, "bias_attr": None if bias else False}
        super().__init__(in_channels, out_channels, kernel, stride, padding, **how)

    def _by_paddle(self, x: paddle.Tensor) -> paddle.Tensor:
        if self._padding != "SAME":
            return super()._by_paddle(x)
        pads = in_pairs(self._pads(x.shape))  # of Paddle's "SAME", paddle2onnx makes something else
        return F.conv3d(x, self.weight, self.bias, self._stride, pads, groups=self._groups)


def same_padding(
    shape: Sequence[int], kernel: Sequence[int], stride: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """TensorFlow's padding SAME: the zeros before and after each of T, H and W of an input (n, C, T, H, W). They make
    the result's size the input's over the stride, rounded up; where their number is odd, there is one more at the end.

    Source: https://www.tensorflow.org/api_docs/python/tf/nn, "Notes on padding".
    """
    totals = [max(length - (size % step or step), 0) for size, length, step in zip(shape[2:], kernel, stride)]
    return tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)


def in_pairs(pads: tuple[tuple[int, ...], tuple[int, ...]]) -> list[int]:
    """Zeros before and after each axis, as Paddle's functions take them: before T, after T, before H ..."""
    return [zeros for axis in zip(*pads) for zeros in axis]


def _has_onednn(*tensors: paddle.Tensor) -> bool:
    return (
        paddle.in_dynamic_mode()
        and all(tensor.dtype == paddle.float32 and tensor.place.is_cpu_place() for tensor in tensors)
        and paddle.get_device() == "cpu"
        and onednn.is_there()
    )


class _Convolve(PyLayer):
    """A convolution with its gradients."""

    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, weight: paddle.Tensor, convolution: onednn.Convolution) -> paddle.Tensor:
        x = x.contiguous()
        ctx.convolution, ctx.learns = convolution, [not tensor.stop_gradient for tensor in (x, weight)]
        ctx.save_for_backward(x, weight)
        return convolution.forward(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor | None, paddle.Tensor | None]:
        (x, weight), gradient = ctx.saved_tensor(), gradient.contiguous()
        of_x = ctx.convolution.backward_data(gradient, weight) if ctx.learns[0] else None
        of_weight = ctx.convolution.backward_weights(x, gradient) if ctx.learns[1] else None
        return of_x, of_weight
