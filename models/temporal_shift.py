"""The temporal shift (Lin, Gan, Han: TSM, ICCV 2019, section 3)."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn
from paddle.autograd import PyLayer
from paddle.nn import functional as F


class TemporalShift(nn.Layer):
    """Moves an eighth of the channels one frame later and, if `direction` is "bi", another eighth one frame earlier.

    (N * seg_num, C, H, W), or (N * seg_num, H, W, C), -> the same shape. Channels [0, C/8) come from frame t-1,
    [C/8, C/4) from t+1, the rest stay; zeros enter at the ends. (PyTorch's TSM takes the first eighth from t+1 and the
    second from t-1.) With "uni" nothing comes from the future, so a stream needs only the previous frame's first
    eighth: section 3.3, online TSM.

    Args:
        seg_num: frames a clip.
        direction: "bi" or "uni".
        layout: "NCHW" or "NHWC".
    """

    def __init__(self, seg_num: int, direction: str = "bi", layout: str = "NCHW"):
        super().__init__()
        self.seg_num = seg_num
        self.direction = direction
        self.layout = layout

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.direction == "bi" and paddle.in_dynamic_mode() and x.place.is_gpu_place():
            # One kernel; on a CPU it is one slow thread.
            return F.temporal_shift(x, self.seg_num, 1 / 8, data_format=self.layout)
        if paddle.in_dynamic_mode() and not x.stop_gradient:
            return _Shift.apply(x, self)
        return self.move(x)

    def move(self, x: paddle.Tensor) -> paddle.Tensor:
        """The shift, as slices put together."""
        past, future, still = self._folds(x)
        past = self.from_past(past)
        if self.direction == "bi":
            future = _earlier(future)
        return paddle.concat([past, future, still], axis=self._axis).reshape(x.shape)

    def move_back(self, gradient: paddle.Tensor) -> paddle.Tensor:
        """The shift's gradient: what came from frame t-1 goes there."""
        past, future, still = self._folds(gradient)
        past = _earlier(past)
        if self.direction == "bi":
            future = _later(future)
        return paddle.concat([past, future, still], axis=self._axis).reshape(gradient.shape)

    def from_past(self, fold: paddle.Tensor) -> paddle.Tensor:
        """The first fold, (N, T, C/8, H, W) or channels last, one frame later. A "uni" stream overrides this: its frame
        before the first is the cached one, not zeros."""
        return _later(fold)

    @property
    def _axis(self) -> int:
        """Of the channels, in clips of frames."""
        return 4 if self.layout == "NHWC" else 2

    def _folds(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """(N * T, C, H, W) -> (N, T, C/8, H, W) twice and (N, T, 3C/4, H, W), or channels last."""
        frames = x.reshape([-1, self.seg_num, *x.shape[1:]])
        channels = frames.shape[self._axis]
        ends = (0, channels // 8, channels // 4, channels)
        return [frames.slice([self._axis], [first], [last]) for first, last in zip(ends, ends[1:])]

    def extra_repr(self) -> str:
        return f"seg_num={self.seg_num}, direction={self.direction}"


class _Shift(PyLayer):
    """The shift with a gradient of its own, equal to the bit: that of Paddle's slices takes 7 times as long on a CPU
    (benchmark/RESULTS.md)."""

    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, shift: TemporalShift) -> paddle.Tensor:
        ctx.shift = shift
        return shift.move(x)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> paddle.Tensor:
        return ctx.shift.move_back(gradient)


def _later(fold: paddle.Tensor) -> paddle.Tensor:
    return paddle.concat([paddle.zeros_like(fold[:, :1]), fold[:, :-1]], axis=1)


def _earlier(fold: paddle.Tensor) -> paddle.Tensor:
    return paddle.concat([fold[:, 1:], paddle.zeros_like(fold[:, :1])], axis=1)
