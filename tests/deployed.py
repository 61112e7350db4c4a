"""A small network whose statistics are not those of a fresh one, and programs made of it."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import paddle
from tiny import CLASSES, make_network

from video_zoo.datareader.decode import decode_video
from video_zoo.dataset.moving_shapes.make_moving_shapes import DIRECTIONS, draw_clip, write_mp4
from video_zoo.engine.backends.paddle_network import PaddleNetwork
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN

SHAPE = (2, 3, 32, 32)


def settled_network(model: type[TSN] = TSM, **options: object) -> TSN:
    """tests/tiny.py's network, with BatchNorm statistics and a last layer that fit such clips."""
    network = make_network(model, **options)
    for name, value in _settled_values(model, **options).items():
        network.variables()[name].set_value(value)
    network.eval()
    return network


@functools.cache
def _settled_values(model: type[TSN], **options: object) -> dict[str, np.ndarray]:
    """Of each variable of a settled network; it takes 40 passes."""
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
    return {name: tensor.numpy() for name, tensor in network.variables().items()}


def trained_network() -> TSM:
    """A TSM-18 of base width 8 that was trained on moving shapes (golden/trained_tsm18.npz): 99.4% of its validation.

    It was made by `python train.py --model_name=TSM --config=configs/tsm_moving_shapes.yaml --pretrain=none
    --set MODEL.base_width=8`; its weights are stored as float16.
    """
    network = TSM(num_layers=18, base_width=8, num_classes=len(DIRECTIONS), seg_num=8)
    with np.load(Path(__file__).parent / "golden/trained_tsm18.npz") as weights:
        for name, tensor in network.variables().items():
            tensor.set_value(weights[name].astype(np.float32))
    network.eval()
    return network


def shape_clips(folder: Path, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips of moving shapes that no training saw, uint8 (count, 8, 3, 56, 56), and their labels (count,).

    They go through an mp4 file in `folder`: the network knows shapes as the codec leaves them.
    """
    rng, labels = np.random.default_rng([7, seed]), np.arange(count) % len(DIRECTIONS)
    found = []
    for label in labels:
        write_mp4(folder / "shape.mp4", draw_clip(list(DIRECTIONS)[label], 64, 24, 3, rng))
        frames = decode_video(folder / "shape.mp4", lambda num_frames: range(1, num_frames, 3)).frames
        found.append(np.stack(frames)[:, 4:60, 4:60])
    return np.stack(found).transpose(0, 1, 4, 2, 3), labels  # (n, T, H, W, 3) -> (n, T, 3, H, W)


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
