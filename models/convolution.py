"""Convolution layers, which compute with oneDNN on CPUs that Paddle has it for."""

from __future__ import annotations

import functools
from typing import Any

import paddle
from paddle import nn
from paddle.autograd import PyLayer

from video_zoo.utils import onednn

_convolution = functools.lru_cache(maxsize=1024)(onednn.Convolution)


class Conv2D(nn.Conv2D):
    """nn.Conv2D without bias; its weights and, but for the order of sums, its results. On a GPU, in static programs,
    and where oneDNN is not there, Paddle's own.

    With oneDNN there is no second derivative, and, as of every PyLayer, no second backward pass of a result and no
    paddle.grad that leaves out an input that learns; FLAGS_use_mkldnn=0 in the environment turns it off.

    Args:
        padding: zeros on each side.
        data_format: "NCHW" or "NHWC".
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0, *, data_format: str
    ):
        super().__init__(in_channels, out_channels, kernel, stride, padding, bias_attr=False, data_format=data_format)
        self._geometry = ((stride,) * 2, (padding,) * 2)
        self._channels_last = data_format == "NHWC"

    @paddle.jit.not_to_static  # translated, it would stay so in dynamic mode, and be slow
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not _has_onednn(x, self.weight):
            return super().forward(x)
        shape = (x.shape[0], x.shape[-1], *x.shape[1:-1]) if self._channels_last else x.shape
        try:
            convolution = _convolution(tuple(shape), tuple(self.weight.shape), *self._geometry, 1, self._channels_last)
        except RuntimeError:  # a shape that does not fit: Paddle says what is wrong
            return super().forward(x)
        if paddle.is_grad_enabled() and not (x.stop_gradient and self.weight.stop_gradient):
            return _Convolve.apply(x, self.weight, convolution)
        return convolution.forward(x.contiguous(), self.weight)


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
