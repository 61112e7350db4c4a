"""One of our networks with random weights, and PyTorch's with the same: each side makes its own in its own process.

What one side tells the other lies in a folder: clips.npy, logits.npy (ours, in evaluation) and torch.npz (the weights).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from harness import Shape

if TYPE_CHECKING:
    import paddle
    import torch

    from video_zoo.configs.schema import Config

_RANGES = {"scale": (0.5, 1.0), "variance": (0.5, 1.5), "offset": (-0.1, 0.1), "mean": (-0.1, 0.1)}  # of BatchNorm
_LOGITS = 3.0  # their deviation, so that probabilities differ
_LAYOUT = "mit"


def load_settings(shape: Shape, sections: Mapping[str, dict[str, Any]]) -> Config:
    """The config of the model's own file with a shape, and the keys of further sections, laid over it."""
    from video_zoo.configs.schema import Config
    from video_zoo.models import MODELS
    from video_zoo.utils import cli, config

    model = {"num_layers": shape.num_layers, "base_width": shape.base_width, "num_classes": shape.classes}
    clip = {"seg_num": shape.segments, "target_size": shape.size, "short_size": round(shape.size * 256 / 224)}
    overrides = {"MODEL": model, **{name: {**clip, **keys} for name, keys in sections.items()}}
    return config.load(str(cli.CONFIGS / f"{shape.model.lower()}.txt"), Config, overrides, cli.model_sections(MODELS))


def our_network(settings: Config, mode: str) -> paddle.nn.Layer:
    """Ours, as it is before training."""
    from video_zoo.models import build_network

    return build_network(settings, mode)


def draw_weights(network: paddle.nn.Layer, clips: np.ndarray) -> dict[str, np.ndarray]:
    """Gives our network random weights; returns them."""
    rng, tensors = np.random.default_rng(0), network.variables()
    for name, tensor in tensors.items():
        limits = next((limits for end, limits in _RANGES.items() if name.endswith(f"_{end}")), None)
        if limits:
            tensor.set_value(rng.uniform(*limits, tensor.shape).astype(np.float32))
    last = tensors["fc_0.w_0"]
    last.set_value(last.numpy() * np.float32(_LOGITS / logits_of(network, clips).std()))
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def logits_of(network: paddle.nn.Layer, clips: np.ndarray) -> np.ndarray:
    """What ours says in evaluation."""
    import paddle

    network.eval()
    with paddle.no_grad():
        return network(paddle.to_tensor(clips)).numpy()


def save_pair(network: paddle.nn.Layer, model: str, clips: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    """Draws weights and fills the folder; returns the weights."""
    from video_zoo.models.torch_weights import from_ours
    from video_zoo.models.weight_layouts import LAYOUTS

    variables = draw_weights(network, clips)
    state, _ = from_ours(variables, _LAYOUT, model)
    start = len(LAYOUTS[_LAYOUT].wrapper)
    np.savez(folder / "torch.npz", **{name[start:]: array for name, array in state.items()})
    np.save(folder / "clips.npy", clips)
    np.save(folder / "logits.npy", logits_of(network, clips))
    return variables


def torch_network(shape: Shape, form: str, channels_last: bool = False, folder: Path | None = None) -> torch.nn.Module:
    """PyTorch's, clips -> logits, with the weights of the folder, if it is given."""
    import torch
    from torch_tsm import Recognizer

    shift, dropout = {"TSM": ("bi", 0.5), "TSN": (None, 0.0)}[shape.model]
    sizes = (shape.num_layers, shape.base_width, shape.classes)
    network = Recognizer(False, *sizes, shift, shape.segments, form, dropout)
    if folder is not None:
        with np.load(folder / "torch.npz") as file:
            network.load_state_dict({name: torch.from_numpy(file[name]) for name in file})
    return network.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
