"""Weights and clips by recipe: PyTorch's networks, whose outputs are in golden/, had the same arrays.

Names and shapes are PyTorch's: a linear layer's weight is (out, in).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from video_zoo.models.torch_weights import LAYOUTS_OF
from video_zoo.models.tsn import TSN
from video_zoo.models.weight_layouts import Network, tensors_of

# The last layer's weight of each network, which the recipe keeps small.
LAST = {
    "s3d": "classifier.1.weight",
    "i3d": "logits.conv3d.weight",
    "i3d_r50": "cls_head.fc_cls.weight",
    "r50_2d": "fc.weight",
    "p3d63": "fc.weight",
    "p3d199": "fc.weight",
    "tsm_mbv2": "new_fc.weight",
    "tsm_mbv2_online": "classifier.weight",
    "tsm_r50": "new_fc.weight",
    "tsm_r50_nl": "new_fc.weight",
}
# The scales that end a residual branch, and their range: larger ones would let activations grow.
_OF_MOBILENET = (r"features\.(3|5|6|8|9|10|12|13|15|16)\.conv\.7\.weight", (0.2, 0.4))
BRANCH_ENDS = {
    "i3d_r50": (r"conv3\.bn\.weight", (0.2, 0.4)),
    "r50_2d": (r"bn3\.weight", (0.2, 0.4)),
    "p3d63": (r"bn4\.weight", (0.2, 0.4)),
    "p3d199": (r"bn4\.weight", (0.05, 0.15)),
    "tsm_mbv2": _OF_MOBILENET,
    "tsm_mbv2_online": _OF_MOBILENET,
    "tsm_r50": (r"bn3\.weight", (0.2, 0.4)),
    "tsm_r50_nl": (r"bn3\.weight|\.nl\.W\.1\.weight", (0.2, 0.4)),
}


def golden(name: str) -> dict[str, np.ndarray]:
    """What a network of PyTorch gave: golden/NAME.npz."""
    with np.load(Path(__file__).parent / f"golden/{name}.npz") as file:
        return dict(file)


def weight(net: str, name: str, shape: Sequence[int]) -> np.ndarray:
    """The float32 value of an entry of a state_dict."""
    rng = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith(("running_mean", "bias")):
        values = rng.normal(0.0, 0.1, shape)
    elif len(shape) == 1:
        ends, span = BRANCH_ENDS.get(net, ("(?!)", ()))
        values = rng.uniform(*(span if re.search(f"({ends})$", name) else (0.8, 1.2)), shape)
    elif re.search(r"\.nl\.(theta|phi)", name):
        values = rng.normal(0.0, 0.003, shape)
    else:
        values = rng.normal(0.0, 0.01 if name == LAST[net] else np.sqrt(2.0 / np.prod(shape[1:])), shape)
    return values.astype("float32")


def clip_batch(count: int, frames: int, size: int, seed: int) -> np.ndarray:
    """Normalised float32 clips (count, frames, 3, size, size): smooth patterns that move, so that the order matters."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:size, :size] / float(size)
    clips = np.empty((count, frames, 3, size, size), "float32")
    for clip in clips:
        rates, phase, speed = rng.uniform(1, 6, (3, 2)), rng.uniform(0, 6.28, 3), rng.uniform(-1.5, 1.5, 3)
        noise = rng.normal(0, 0.3, (3, size, size))
        for time, frame in enumerate(clip):
            for channel in range(3):
                waves = 6.28 * (rates[channel, 0] * x + rates[channel, 1] * y) + phase[channel] + speed[channel] * time
                frame[channel] = np.sin(waves) + noise[channel]
    return clips


def labels(count: int, classes: int, seed: int) -> np.ndarray:
    """The class of each clip."""
    return np.random.RandomState(seed).randint(0, classes, count)


def state_of(net: str, layout: str, network: Network) -> dict[str, np.ndarray]:
    """The recipe's weights of a TSM, by the names of a layout."""
    state = {}
    for tensor in tensors_of(network, LAYOUTS_OF[network.backbone][layout]):
        shape = tensor.shape[::-1] if tensor.is_transposed else tensor.shape
        state[tensor.theirs] = weight(net, tensor.theirs, shape)
    return state


def with_weights(network: TSN, variables: dict[str, np.ndarray]) -> TSN:
    """The network in evaluation mode with these variables, which are all of its."""
    tensors = network.variables()
    assert tensors.keys() == variables.keys()
    for name, value in variables.items():
        tensors[name].set_value(np.ascontiguousarray(value))
    network.eval()
    return network
