"""Released weights: where they are, what they fit, and how any weights get into a network."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from video_zoo.configs.schema import ModelSection
from video_zoo.utils.download import fetch_folder
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import VariableStore
from video_zoo.utils.log import logger

if TYPE_CHECKING:
    from video_zoo.models.network import VideoNetwork

HOST = "https://paddlemodels.bj.bcebos.com"


@dataclass(frozen=True)
class Weights:
    """Weights that PaddleVideo v1.5 released, and what they expect.

    Args:
        name: of the archive, and of the folder in the cache.
        trained_on: the data set.
        fits: keys of the MODEL section, and the values that the network must have.
        num_classes: likewise; None: the last layer is not used.
        image_mean, image_std, short_size, target_size: of the images that they were trained on, as in the config.
        top1: published top-1 accuracy on its validation set, one centre crop (source: v1.5's README).
    """

    name: str
    trained_on: str
    fits: Mapping[str, object]
    num_classes: int | None
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    short_size: int = 256
    target_size: int = 224
    top1: float | None = None

    def urls(self) -> list[str]:
        """Where to look, in this order; PADDLE_WEIGHTS_MIRROR replaces the host."""
        mirror = os.environ.get("PADDLE_WEIGHTS_MIRROR", "").rstrip("/")
        if not mirror:
            return [f"{HOST}/{self._path()}"]
        return [f"{mirror}/{self._path()}", f"{mirror}/{self.name}.tar.gz"]

    def folder(self) -> Path:
        """The place in the cache: ~/.paddle/weights/NAME, or below PADDLE_WEIGHTS_HOME."""
        home = os.environ.get("PADDLE_WEIGHTS_HOME") or "~/.paddle/weights"
        return Path(home).expanduser() / self.name

    def fetch(self, config: ModelSection, flag: str, needed: Collection[str]) -> Path:
        """The folder with the weights, downloaded if it is not there.

        Args:
            config: the MODEL section, which the weights must fit.
            flag: the command line's flag that takes a path instead, for messages.
            needed: names that must be there.

        Raises:
            InputError: they do not fit the config, or cannot be downloaded.
        """
        for key, value in {**self.fits, "num_classes": self.num_classes}.items():
            if value is not None and getattr(config, key) != value:
                raise InputError(
                    f"no weights are published for this network: {self.name} has {key} = {value}, the config"
                    f" {getattr(config, key)}. {other_weights(flag)}"
                )

        def check(folder: Path) -> None:
            _check_content(folder, needed)

        try:
            folder = fetch_folder(self.urls(), self.folder(), check)
        except InputError as error:
            raise InputError(
                f"{error}\n  Without a network: download {HOST}/{self._path()} elsewhere, unpack it so that"
                f" {self.folder()} holds its files, or give the folder or the .tar.gz with {flag}=PATH."
                " PADDLE_WEIGHTS_MIRROR names another server, PADDLE_WEIGHTS_HOME another folder."
            ) from error
        try:
            check(folder)  # it may have been there before, from a broken download of v1.5
        except InputError as error:
            raise InputError(f"{folder} is not sound: {error}. Delete it, and it is downloaded again.") from error
        return folder

    def _path(self) -> str:
        return f"video_classification/{self.name}.tar.gz"


def other_weights(flag: str) -> str:
    """What to do where no released weights fit; the flag takes a path."""
    return f"Give {flag}=PATH{', or --pretrain=none to start from scratch' if flag == '--pretrain' else ''}."


def load_weights(
    network: VideoNetwork,
    path: str | os.PathLike,
    *,
    config: ModelSection | None = None,
    skip: Collection[str] = (),
    complete: bool = False,
    inflate: bool = False,
) -> VariableStore:
    """Sets a network's weights from a v1.5 folder, our own checkpoint, or a .tar.gz of either, and logs the count.

    Args:
        network: whose `variables` are set.
        path: the folder or archive.
        config: a checkpoint of ours must be whole, and have been trained by the same model, which saw the same; None:
            any will do, to start from.
        skip: names that keep their fresh values.
        complete: every other name must be there.
        inflate: weights of a 2-D ResNet will do for a 3-D network that has one inside (VideoNetwork.image_names): a
            kernel is repeated over time and divided by its length (Carreira, Zisserman, CVPR 2017, section 3.3).

    Returns: the open store, for what else it holds.

    Raises:
        InputError: nothing fits, a shape differs, a file is damaged, or (complete) one is missing. The network is
            untouched then.
    """
    store = VariableStore(path)
    variables = network.variables()
    wanted = [name for name in variables if name not in skip]
    if config is not None:
        _check_model(store, config)
        complete = complete or bool(store.info())
    theirs = {name: name for name in wanted}
    if inflate and theirs.keys().isdisjoint(store.names()):
        theirs = network.image_names()
    missing = [name for name in wanted if theirs.get(name) not in store.names()]
    if len(missing) == len(wanted):
        hint = _weights_below(store.path, network.first_layer)
        raise InputError(f"{path} holds no weights of this {type(network).__name__}{hint}")
    found = [name for name in wanted if theirs.get(name) in store.names()]
    arrays = {name: _read_fitting(store, theirs[name], variables[name], network.last_layer) for name in found}
    if missing and complete:
        raise InputError(
            f"{path} is incomplete, or of another depth: {len(missing)} of {len(wanted)} names are missing, the first"
            f" is {missing[0]}"
        )
    for name, array in arrays.items():
        variables[name].set_value(array)
    level = logging.WARNING if missing else logging.INFO
    counts = (len(arrays), len(skip), len(missing), _first(missing))
    logger.log(level, "weights %s: %d loaded, %d skipped, %d not found%s", path, *counts)
    return store


def _read_fitting(store: VariableStore, name: str, tensor, last_layer: Collection[str]) -> np.ndarray:
    array, expected = store.read(name), list(tensor.shape)
    if array.ndim == 4 and len(expected) == 5:
        array = np.repeat(array[:, :, None] / np.float32(expected[2]), expected[2], axis=2)  # -> (out, in, T, H, W)
    if list(array.shape) != expected:
        other = "number of classes" if name in last_layer else "backbone, depth or width"
        raise InputError(
            f"{store.path} does not fit: {name} has shape {list(array.shape)}, the network's is {expected} (another"
            f" {other}?)"
        )
    if array.dtype != np.float32 or not np.isfinite(array).all():
        raise InputError(f"{store.path}: {name} is not made of finite float32 numbers")
    return array


def _check_model(store: VariableStore, config: ModelSection) -> None:
    """A checkpoint of ours says what it was trained with; weights fit the shapes of other settings too."""
    info = store.info()
    made_for = info.get("model", config.name.upper())
    if made_for != config.name.upper():
        raise InputError(f"{store.path} is a checkpoint of {made_for}, not of {config.name.upper()}")
    trained = info.get("MODEL", {})
    for key in (key.name for key in fields(config) if key.metadata["fixed"]):
        ours = getattr(config, key)
        theirs = trained.get(key, ours)
        if (tuple(theirs) if isinstance(theirs, list) else theirs) != ours:
            raise InputError(
                f"{store.path} was trained with MODEL.{key} = {theirs}, and the config says {ours}. The config.yaml"
                " beside a checkpoint is the one it was trained with."
            )


def _check_content(folder: Path, needed: Collection[str]) -> None:
    store = VariableStore(folder)
    missing = [name for name in needed if name not in store.names()]
    if missing:
        found = sorted(store.names())[:3]
        raise InputError(
            f"it lacks {len(missing)} of the {len(needed)} files, the first is {missing[0]}; it holds"
            f" {', '.join(found) or 'nothing'}{' ...' if len(store.names()) > 3 else ''}"
        )
    for name in needed:
        store.read(name)


def _weights_below(path: Path, first_layer: str) -> str:
    """A hint where the folder above was given: `checkpoints` instead of `checkpoints/TSM_best`."""
    below = sorted(str(file.parent) for file in path.glob(f"*/{first_layer}")) if path.is_dir() else []
    return f": did you mean {' or '.join(below[-3:])}?" if below else ": none of their names is there"


def _first(names: list[str]) -> str:
    return f" ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''})" if names else ""
