"""What a network computes, in multiplications with additions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from video_zoo.models.non_local import Attention

_COUNTED = (nn.Conv2D, nn.Conv3D, nn.Linear, Attention)


@paddle.no_grad()
def multiply_adds(network: nn.Layer, clip_shape: Sequence[int]) -> int:
    """The multiply-adds of the convolutions, linear layers and attention's products for one clip, counted as it runs
    through them.

    Papers count one of them as one FLOP (TSM: 33 G for ResNet-50 and 8 frames of 224 px); normalisation, activations,
    pooling and shifts are left out.

    Args:
        network: uint8 clips (n, *clip_shape) -> anything.
        clip_shape: (T, 3, H, W).
    """
    counted: list[int] = []

    def count(layer: nn.Layer, inputs: Any, output: paddle.Tensor) -> None:
        if isinstance(layer, Attention):
            counted.append(layer.multiply_adds(*inputs))
            return
        weight = layer.weight.shape  # a convolution's (out, in / groups, *kernel), a linear layer's (in, out)
        each = weight[0] if isinstance(layer, nn.Linear) else math.prod(weight[1:])
        counted.append(math.prod(output.shape) * each)

    layers = [layer for layer in network.sublayers() if isinstance(layer, _COUNTED)]
    hooks = [layer.register_forward_post_hook(count) for layer in layers]
    training = network.training
    try:
        network.eval()
        network(paddle.zeros([1, *clip_shape], "uint8"))
    finally:
        for hook in hooks:
            hook.remove()
        if training:
            network.train()
    return sum(counted)
