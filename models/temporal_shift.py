"""The temporal shift (Lin, Gan, Han: TSM, ICCV 2019, section 3)."""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn import functional as F


class TemporalShift(nn.Layer):
    """Moves an eighth of the channels one frame later and, if `direction` is "bi", another eighth one frame earlier.

    (N * seg_num, C, H, W) -> the same shape. Channels [0, C/8) come from frame t-1, [C/8, C/4) from t+1, the rest
    stay; zeros enter at the ends. (PyTorch's TSM takes the first eighth from t+1 and the second from t-1.) With "uni"
    nothing comes from the future, so a stream needs only the previous frame's first eighth: section 3.3, online TSM.

    Args:
        seg_num: frames a clip.
        direction: "bi" or "uni".
    """

    def __init__(self, seg_num: int, direction: str = "bi"):
        super().__init__()
        self.seg_num = seg_num
        self.direction = direction

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.direction == "bi" and paddle.in_dynamic_mode() and x.place.is_gpu_place():
            return F.temporal_shift(x, self.seg_num, 1 / 8)  # one kernel; on a CPU it is one slow thread
        frames = x.reshape([-1, self.seg_num, *x.shape[1:]])  # (N * T, C, H, W) -> (N, T, C, H, W)
        eighth, quarter = x.shape[1] // 8, x.shape[1] // 4
        past, future, still = frames[:, :, :eighth], frames[:, :, eighth:quarter], frames[:, :, quarter:]
        past = self.from_past(past)
        if self.direction == "bi":
            future = paddle.concat([future[:, 1:], paddle.zeros_like(future[:, :1])], axis=1)
        return paddle.concat([past, future, still], axis=2).reshape(x.shape)

    def from_past(self, fold: paddle.Tensor) -> paddle.Tensor:
        """The first fold (N, T, C/8, H, W), one frame later. A "uni" stream overrides this: its frame before the first
        is the cached one, not zeros."""
        return paddle.concat([paddle.zeros_like(fold[:, :1]), fold[:, :-1]], axis=1)

    def extra_repr(self) -> str:
        return f"seg_num={self.seg_num}, direction={self.direction}"
