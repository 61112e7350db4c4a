"""What 3-D networks have in common: kernels that reach over the frames of a clip."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Callable, ClassVar

import paddle
from paddle import nn

from video_zoo.models.network import VideoNetwork
from video_zoo.utils.errors import InputError

_OF_TORCH = {"_mean": "running_mean", "_variance": "running_var"}


class ClipNetwork(VideoNetwork):
    """A 3-D network: clips are one segment of T frames. It implements `compute`.

    Its variables are named as in the public code whose weights it takes, so that these become ours, and ours theirs, by
    turning the matrices of linear layers around (models/clip_weights.py).

    Args:
        image_mean, image_std: VideoNetwork's.
        seg_num, seglen: a clip's, which the network sees itself.
        channels_last: there is none.
        width_multiplier: the share of the published channels, which `scaled` gives.

    Attributes:
        project: whose names the variables have, as scripts/convert_weights.py takes it.
    """

    project: ClassVar[str]

    def __init__(
        self,
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
        seg_num: int = 1,
        seglen: int = 1,
        channels_last: bool = False,
        width_multiplier: float = 1.0,
    ):
        if channels_last:
            raise InputError(f"TRAIN.channels_last: {type(self).__name__} has no form for it, only networks on images")
        super().__init__(image_mean, image_std)
        self._width_multiplier = width_multiplier

    def scaled(self, channels: int) -> int:
        """The network's channels where the published one has so many: their share, rounded up to a multiple of 8."""
        return channels if self._width_multiplier == 1 else 8 * math.ceil(channels * self._width_multiplier / 8)

    def classify(self, clips: paddle.Tensor) -> paddle.Tensor:
        """Normalised float32 clips (n, T, 3, H, W) -> logits (n, num_classes)."""
        return self.compute(clips.transpose([0, 2, 1, 3, 4]))  # -> (n, 3, T, H, W)

    def compute(self, x: paddle.Tensor) -> paddle.Tensor:
        """Normalised float32 (n, 3, T, H, W) -> logits (n, num_classes)."""
        raise NotImplementedError

    @classmethod
    def owns(cls, shapes: Mapping[str, Sequence[int]]) -> bool:
        """Whether weights are of this network: name of a variable -> shape."""
        return len(shapes.get(cls.first_layer, ())) == 5

    @classmethod
    def keys_of(cls, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        """The keys of the MODEL section that weights of the network tell, likewise."""
        return {"num_classes": shapes[cls.last_layer[1]][0]}

    @staticmethod
    def variable_name(key: str) -> str:
        """PyTorch's: `features.2.1._mean` -> `features.2.1.running_mean`."""
        owner, _, leaf = key.rpartition(".")
        return f"{owner}.{_OF_TORCH.get(leaf, leaf)}"


def mean_of_windows(
    x: paddle.Tensor, window: tuple[int, int, int], last: Callable[[paddle.Tensor], paddle.Tensor]
) -> paddle.Tensor:
    """(n, C, T, H, W) -> (n, classes): what the last layers say of each window's mean, averaged over all windows."""
    logits = last(nn.functional.avg_pool3d(x, window, stride=1))  # -> (n, classes, T', H', W')
    return logits.mean([2, 3, 4])
