"""Released weights: where they are, what they fit, and how any weights get into a network."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.schema import Model
from utils.download import DownloadError, fetch_folder
from utils.errors import InputError
from utils.fluid_vars import VariableStore
from utils.log import logger

HOST = "https://paddlemodels.bj.bcebos.com"
LAST_LAYER = ("fc_0.w_0", "fc_0.b_0")


@dataclass(frozen=True)
class Weights:
    """Weights that PaddleVideo v1.5 released.

    Args:
        name: of the archive, and of the folder in the cache.
        num_layers, num_classes: the network they fit, of base_width 64. num_classes None: the last layer is not used.
        preprocessing: what they were trained on.
        top1: published top-1 accuracy on Kinetics-400's validation set, one centre crop (source: v1.5's README).
    """

    name: str
    num_layers: int = 50
    num_classes: int | None = 400
    preprocessing: str = "shorter side 256, squeezed to 4:3; crop 224; RGB over 255, minus mean, over std"
    top1: float | None = None

    def urls(self) -> list[str]:
        """Where to look, in this order; PADDLE_WEIGHTS_MIRROR replaces the host."""
        path = f"video_classification/{self.name}.tar.gz"
        mirror = os.environ.get("PADDLE_WEIGHTS_MIRROR")
        if not mirror:
            return [f"{HOST}/{path}"]
        return [f"{mirror.rstrip('/')}/{path}", f"{mirror.rstrip('/')}/{self.name}.tar.gz"]

    def folder(self) -> Path:
        """The place in the cache: ~/.paddle/weights/NAME, or below PADDLE_WEIGHTS_HOME."""
        home = os.environ.get("PADDLE_WEIGHTS_HOME") or "~/.paddle/weights"
        return Path(home).expanduser() / self.name

    def fetch(self, config: Model, flag: str) -> Path:
        """The folder with the weights, downloaded if it is not there.

        Args:
            config: the MODEL section, which the weights must fit.
            flag: the command line's flag that takes a path instead, for messages.

        Raises:
            InputError: they do not fit the config, or cannot be downloaded.
        """
        wanted = (config.num_layers, config.base_width, config.num_classes if self.num_classes else None)
        if wanted != (self.num_layers, 64, self.num_classes):
            raise InputError(
                f"no weights are published for this network: {self.name} has {self.num_layers} layers of base_width 64"
                + (f" and {self.num_classes} classes" if self.num_classes else "")
                + f", the config {config.num_layers} layers of base_width {config.base_width}"
                + (f" and {config.num_classes} classes" if self.num_classes else "")
                + f". Give {flag}=PATH"
                + (", or --pretrain=none to start from scratch." if flag == "--pretrain" else ".")
            )
        try:
            return fetch_folder(self.urls(), self.folder(), _check_content)
        except DownloadError as error:
            raise InputError(
                f"{error}\n  Without a network: download {self.urls()[0]} elsewhere, unpack it so that {self.folder()}"
                f" holds its files, or give the folder or the .tar.gz with {flag}=PATH."
                " PADDLE_WEIGHTS_MIRROR names another server."
            ) from error


IMAGENET_RESNET50 = Weights(
    "ResNet50_pretrained", num_classes=None, preprocessing="ImageNet: crop 224; RGB over 255, minus mean, over std"
)


def load_weights(
    network, path: str | os.PathLike, *, skip: Collection[str] = (), complete: bool = False
) -> VariableStore:
    """Sets a network's weights from a v1.5 folder, our own checkpoint, or a .tar.gz of either, and logs the count.

    Args:
        network: has `variables()`: names -> tensors.
        path: the folder or archive.
        skip: names that keep their fresh values.
        complete: every other name must be there.

    Returns: the open store, for what else it holds.

    Raises:
        InputError: nothing fits, a shape differs, a file is damaged, or (complete) one is missing. The network is
            untouched then.
    """
    store = VariableStore(path)
    variables = network.variables()
    if not skip:  # another model's weights are fine to start from, not to go on or to be judged with
        _check_model(store, network)
    missing = [name for name in variables if name not in store.names() and name not in skip]
    arrays = {name: store.read(name) for name in variables if name in store.names() and name not in skip}
    if not arrays:
        raise InputError(
            f"{path} holds no weights of this {type(network).__name__}: none of its {len(variables)} names is there"
        )
    for name, array in arrays.items():
        expected = list(variables[name].shape)
        if list(array.shape) != expected:
            hint = (
                " (another number of classes?)" if name in LAST_LAYER else " (a checkpoint of another depth or width?)"
            )
            raise InputError(
                f"{path} does not fit: {name} has shape {list(array.shape)}, the network's is {expected}{hint}"
            )
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise InputError(f"{path}: {name} is not made of finite float32 numbers")
    if missing and complete:
        raise InputError(
            f"{path} is incomplete: {len(missing)} of {len(variables)} names are missing, the first is {missing[0]}"
        )
    for name, array in arrays.items():
        variables[name].set_value(array)
    logger.info(
        "weights %s: %d loaded, %d skipped, %d not found%s", path, len(arrays), len(skip), len(missing), _first(missing)
    )
    return store


def _check_model(store: VariableStore, network) -> None:
    made_for, name = store.info().get("model"), type(network).__name__
    if made_for not in (None, name):
        raise InputError(f"{store.path} is a checkpoint of {made_for}, not of {name}")


def _check_content(folder: Path) -> None:
    store = VariableStore(folder)
    if "conv1_weights" not in store.names():
        found = sorted(entry.name for entry in folder.iterdir())[:3]
        raise InputError(f"the archive has no file conv1_weights; it holds {', '.join(found) or 'nothing'}")
    store.read("conv1_weights")


def _first(names: list[str]) -> str:
    return f" ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''})" if names else ""
