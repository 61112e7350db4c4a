"""A small network whose statistics are not those of a fresh one, and programs made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
from tiny import CLASSES, make_network

from video_zoo.engine.backends.paddle_network import PaddleNetwork
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN

SHAPE = (2, 3, 32, 32)


def settled_network(model: type[TSN] = TSM, **options: object) -> TSN:
    """tests/tiny.py's network, with BatchNorm statistics and a last layer that fit such clips."""
    network = make_network(model, **options)
    rng = np.random.default_rng(1)
    for name, tensor in network.variables().items():
        if name.endswith("_offset"):
            tensor.set_value(rng.normal(0, 0.3, tensor.shape).astype("float32"))
    network.train()  # the statistics become those of such clips
    with paddle.no_grad():
        for _ in range(40):
            network(paddle.to_tensor(clips(16, seed=8)))
    network.eval()
    with paddle.no_grad():
        logits = network(paddle.to_tensor(clips(8, seed=9))).numpy()
    spread = (logits - logits.mean(0)).std()
    network.fc.weight.set_value(network.fc.weight * (2 / float(spread)))
    network.fc.bias.set_value(paddle.to_tensor(-(logits.mean(0) * 2 / spread).astype("float32")))
    return network


def clips(count: int, seed: int = 0) -> np.ndarray:
    """uint8 (count, *SHAPE): each its own colours, with noise."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 200, (count, SHAPE[0], 3, 1, 1))
    return (base + rng.integers(0, 56, (count, *SHAPE))).astype(np.uint8)


def expected(network: TSN, given: np.ndarray) -> np.ndarray:
    """The network's probabilities (n, CLASSES)."""
    found = PaddleNetwork(network)(given)
    assert found.shape == (len(given), CLASSES)
    assert np.ptp(found, axis=0).max() > 0.1  # clips are told apart, or nothing is compared
    return found


def program_files(folder: Path, kinds: tuple[str, ...]) -> dict[str, Path]:
    names = {"paddle": "model.pdmodel", "onnx": "model.onnx", "openvino": "openvino_fp32.xml"}
    return {kind: folder / names[kind] for kind in kinds}
