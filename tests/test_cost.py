"""Multiply-adds against a count by hand."""

from __future__ import annotations

import paddle
import pytest
from tiny import CLASSES, make_network

from video_zoo.models.cost import multiply_adds
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN


@pytest.mark.parametrize("model", [TSM, TSN])
def test_a_small_resnet(model):
    """ResNet-18 of base width 8 on two frames of 32 px: the shift and the mean compute nothing that counts."""
    stem = 16 * 16 * 8 * 3 * 7 * 7  # positions x channels out x channels in x kernel
    first = 4 * (8 * 8 * 8 * 8 * 9)
    later = sum(
        side * side * (width * width // 2 * 9 + 3 * width * width * 9 + width * width // 2)  # the last: the shortcut
        for side, width in ((4, 16), (2, 32), (1, 64))
    )
    assert multiply_adds(make_network(model), (2, 3, 32, 32)) == 2 * (stem + first + later) + 64 * CLASSES


def test_other_layers_and_the_mode_stay(monkeypatch):
    class Network(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.convolution = paddle.nn.Conv3D(4, 6, (3, 1, 2), groups=2)
            self.fc = paddle.nn.Linear(5, 7)

        def forward(self, clips):
            x = self.convolution(clips.astype("float32").transpose([0, 2, 1, 3, 4]))  # -> (n, 4, T, H, W)
            assert not self.training
            return self.fc(x)

    network = Network()
    assert multiply_adds(network, (5, 4, 3, 6)) == 6 * 3 * 3 * 5 * (2 * 3 * 1 * 2) + 6 * 3 * 3 * 7 * 5
    assert network.training and not network.convolution._forward_post_hooks
