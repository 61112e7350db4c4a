"""The temporal shift (Lin, Gan, Han: TSM, ICCV 2019, section 3)."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.autograd import PyLayer
from paddle.nn import functional as F
from paddle.utils import unique_name


class TemporalShift(nn.Layer):
    """Moves an eighth of the channels one frame later and, if `direction` is "bi", another eighth one frame earlier.

    (N * seg_num, C, H, W), or (N * seg_num, H, W, C), -> the same shape. Channels [0, C/8) come from frame t-1,
    [C/8, C/4) from t+1, the rest stay; zeros enter at the ends. (PyTorch's TSM takes the first eighth from t+1 and the
    second from t-1.) With "uni" nothing comes from the future, so a stream needs only the previous frame's first
    eighth: section 3.3, online TSM.

    Args:
        seg_num: frames a clip.
        direction: "bi" or "uni".
        data_format: "NCHW" or "NHWC".

    Attributes:
        frames_first: x has the first frames of all clips, then their second ones, and so on: the form of programs for
            inference engines.
        past: empty but while a network is given the frames of a stream one by one (TSM.step): then `forward` takes one
            frame a stream, (N, C, H, W), and this holds what is kept of the frame before: its first eighth of the
            channels, or zeros of that shape. It is a list, as Paddle makes a buffer of a tensor.
    """

    def __init__(self, seg_num: int, direction: str = "bi", data_format: str = "NCHW"):
        super().__init__()
        self.seg_num = seg_num
        self.direction = direction
        self.data_format = data_format
        self.frames_first = False
        self.past: list[paddle.Tensor] = []
        self._split: list[paddle.Tensor] | None = None  # while `split` is on: what waits for the convolution

    @paddle.jit.not_to_static  # translated, it would stay so in dynamic mode, and be slow
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.past:
            return self.follow(x)
        if self.frames_first:
            axis, channels = self._axis - 1, x.shape[self._axis - 1]
            still = x.slice([axis], [self.moved_channels(channels)], [channels])
            return paddle.concat([*self.shifted(x, channels), still], axis=axis)
        if not paddle.in_dynamic_mode():
            return self.move(x)
        whole = x.size > 0 and x.shape[0] % self.seg_num == 0  # otherwise Paddle says what is wrong
        if whole and x.place.is_cpu_place() and x.dtype == paddle.float32:
            learns = paddle.is_grad_enabled() and not x.stop_gradient
            return _Copy.apply(x, self) if learns else self.copy(x)
        if self.direction == "bi" and x.place.is_gpu_place():  # one kernel; on a CPU it is one slow thread
            return F.temporal_shift(x, self.seg_num, 1 / 8, data_format=self.data_format)
        return self.move(x)

    def copy(self, x: paddle.Tensor, by: int = 1) -> paddle.Tensor:
        """The shift of a float32 tensor on a CPU, as copies of memory: Paddle's slices, put together, take three times
        as long (benchmark/RESULTS.md). With `by` -1 its gradient: what came from frame t-1 goes there."""
        x = x.contiguous()
        shifted = paddle.empty_like(x)
        old, new = (np.moveaxis(self._frames(tensor), self._axis, 2) for tensor in (x, shifted))  # (N, T, C, ...)
        channels = old.shape[2]
        folds = (0, channels // 8, channels // 4, channels)
        for first, last, step in zip(folds, folds[1:], (by, -by if self.direction == "bi" else 0, 0)):
            to, of = slice(max(step, 0), self.seg_num + min(step, 0)), slice(max(-step, 0), self.seg_num - max(step, 0))
            new[:, to, first:last] = old[:, of, first:last]
            if step:
                new[:, 0 if step > 0 else -1, first:last] = 0
        return shifted

    def _frames(self, x: paddle.Tensor) -> np.ndarray:
        """The tensor's own memory, (N, T, C, H, W) or channels last; it must live as long as the array."""
        memory = ctypes.cast(x.data_ptr(), ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(memory, (x.shape[0] // self.seg_num, self.seg_num, *x.shape[1:]))

    def move(self, x: paddle.Tensor) -> paddle.Tensor:
        """The shift, as slices put together."""
        past, future, still = self._folds(x)
        past = _later(past)
        if self.direction == "bi":
            future = _earlier(future)
        return paddle.concat([past, future, still], axis=self._axis).reshape(x.shape)

    def shifted(self, x: paddle.Tensor, channels: int) -> list[paddle.Tensor]:
        """The channels that move of (T * N, C, H, W), or channels last, with the frames first: those from the frame
        before, and with "bi" those from the frame after.

        In four dimensions, as engines lay channels out as their convolutions like it, and turn that round for five.
        Channels are taken first, which oneDNN does in Paddle Inference, and then frames, whose number it cannot know.

        Args:
            x: its channels but the first `moved_channels(channels)` may be missing.
            channels: C.
        """
        axis, eighth, moved = self._axis - 1, channels // 8, self.moved_channels(channels)
        if self.seg_num == 1:
            return [x.slice([axis], [0], [moved]) * 0.0]  # OpenVINO fails on channels that nothing asks for
        rows = paddle.shape(x)[0]
        clips = rows // self.seg_num
        past = x.slice([axis], [0], [eighth])
        folds = [paddle.concat([paddle.zeros_like(past[:clips]), past[: rows - clips]])]
        if self.direction == "bi":
            future = x.slice([axis], [eighth], [moved])
            folds.append(paddle.concat([future[clips:], paddle.zeros_like(future[:clips])]))
        return folds

    def moved_channels(self, channels: int) -> int:
        """How many of so many channels move; they are the first ones."""
        return channels // (4 if self.direction == "bi" else 8)

    def follow(self, x: paddle.Tensor) -> paddle.Tensor:
        """The "uni" shift of the next frame of N streams; keeps in `past` what the frame after it will need."""
        axis = self._axis - 1  # there is no axis of frames
        still = x.slice([axis], [x.shape[axis] // 8], [x.shape[axis]])
        past, self.past[0] = self.past[0], self.first_fold(x)
        if self._split is not None:
            self._split.append(past)
            return x
        return paddle.concat([past, still], axis=axis)

    @contextlib.contextmanager
    def split(self, convolution: nn.Conv2D) -> Iterator[None]:
        """While its block runs, `follow` leaves its input as it is, and the convolution that comes next computes the
        same as two: of the channels that stay, and of the first eighth of the frame before. The channels that stay are
        then not copied, which is a quarter of the time of a ResNet-50's frame in OpenVINO.

        Args:
            convolution: of this layer's result, without groups. Its weights are others while the block runs.
        """
        weights = convolution.weight.numpy()
        eighth = weights.shape[1] // 8
        name = paddle.ParamAttr(name=unique_name.generate(f"{convolution.weight.name}_of_past"))
        of_past = convolution.create_parameter([weights.shape[0], eighth, *weights.shape[2:]], attr=name)
        of_past.set_value(weights[:, :eighth])
        others = weights.copy()
        others[:, :eighth] = 0
        how = {"stride": convolution._stride, "padding": convolution._padding, "data_format": self.data_format}

        def add(layer: nn.Layer, inputs: tuple[paddle.Tensor], result: paddle.Tensor) -> paddle.Tensor:
            return result + F.conv2d(self._split.pop(), layer.of_past, **how)

        convolution.add_parameter("of_past", of_past)
        hook, self._split = convolution.register_forward_post_hook(add), []
        try:
            convolution.weight.set_value(others)
            yield
        finally:
            hook.remove()
            self._split = None
            del convolution.of_past
            convolution.weight.set_value(weights)

    def first_fold(self, x: paddle.Tensor) -> paddle.Tensor:
        """The first eighth of the channels of images (N, C, H, W), or channels last."""
        return x.slice([self._axis - 1], [0], [x.shape[self._axis - 1] // 8])

    @property
    def _axis(self) -> int:
        """Of the channels, in clips of frames."""
        return 4 if self.data_format == "NHWC" else 2

    def _folds(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """(N * T, C, H, W) -> (N, T, C/8, H, W) twice and (N, T, 3C/4, H, W), or channels last."""
        frames = x.reshape([-1, self.seg_num, *x.shape[1:]])
        channels = frames.shape[self._axis]
        ends = (0, channels // 8, channels // 4, channels)
        return [frames.slice([self._axis], [first], [last]) for first, last in zip(ends, ends[1:])]

    def extra_repr(self) -> str:
        return f"seg_num={self.seg_num}, direction={self.direction}"


class _Copy(PyLayer):
    """TemporalShift.copy with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, shift: TemporalShift) -> paddle.Tensor:
        ctx.shift = shift
        return shift.copy(x)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> paddle.Tensor:
        return ctx.shift.copy(gradient, -1)


def _later(fold: paddle.Tensor) -> paddle.Tensor:
    return paddle.concat([paddle.zeros_like(fold[:, :1]), fold[:, :-1]], axis=1)


def _earlier(fold: paddle.Tensor) -> paddle.Tensor:
    return paddle.concat([fold[:, 1:], paddle.zeros_like(fold[:, :1])], axis=1)
