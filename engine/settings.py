"""The config that weights are used with: what they say of themselves, a config file over it, and flags over both."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from video_zoo.configs.schema import Config
from video_zoo.datareader.labels import names_of
from video_zoo.engine.deployment import CONFIG, FILE, Deployment, is_deployment
from video_zoo.models import MODELS, load_trained
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import whole_folder
from video_zoo.utils.fluid_vars import INFO_FILE, VariableStore
from video_zoo.utils.log import logger
from video_zoo.utils.registry import did_you_mean

if TYPE_CHECKING:
    from video_zoo.engine.inference import LoadNetwork


# Of TEST and INFER: what changes no prediction.
SPEED_KEYS = frozenset(
    ("filelist", "batch_size", "num_reader_threads", "buf_size", "decode_timeout_s", "max_bad_videos")
)


class Trained(NamedTuple):
    """Weights, and how they are used.

    Args:
        weights: a checkpoint, a v1.5 folder, an archive of either, or a deployment folder; None: the released ones.
        settings: the whole config.
        names: of the classes.
        deployment: the deployment folder, if it is one.
    """

    weights: str | None
    settings: Config
    names: list[str]
    deployment: Deployment | None

    def source(self, mode: str) -> Deployment | LoadNetwork:
        """What `open_backend` takes: the deployment folder, or what loads the network for the clips of a mode."""
        return self.deployment or partial(load_trained, self.settings, mode, self.weights)

    def what_decides(self, *sections: str) -> dict[str, Any]:
        """The names of the classes, the config's section MODEL, and these without what changes no prediction."""
        said = asdict(self.settings)
        parts = {name: {key: said[name][key] for key in said[name] if key not in SPEED_KEYS} for name in sections}
        return {"names": self.names, "MODEL": said["MODEL"], **parts}


def settings_of(args: argparse.Namespace, flags: config.Values, mode: str, checked: bool = True) -> Trained:
    """`find_settings` of a command line's --weights, --model_name, --config and --set."""
    names = {"model_name": args.model_name, "file": args.config, "settings": args.set}
    return find_settings(args.weights, flags, mode, checked=checked, **names)


def find_settings(
    weights: str | None,
    flags: config.Values,
    mode: str,
    *,
    model_name: str | None = None,
    file: str | None = None,
    settings: Sequence[str] = (),
    checked: bool = True,
) -> Trained:
    """The config for weights. A checkpoint and a deployment folder say themselves what they need; a config file and
    flags replace parts of it. Other weights need a model's name or a config file.

    Args:
        weights: also a model's name, as "TSM", for the weights that PaddleVideo v1.5 released, unless a file or folder
            has that name.
        flags, model_name, file, settings: as `cli.merge_config` takes them.
        mode: whose clips a deployment folder is given, "infer" or "test".
        checked: whether a deployment folder must compute what the config says.

    Raises InputError: as `cli.merge_config`, or the weights cannot be read, or do not say enough.
    """
    if weights and weights.upper() in MODELS.names() and not whole_folder(weights).exists():
        if model_name and model_name.upper() != weights.upper():
            raise InputError(
                f"two models at once: --weights={weights} are the released ones, and --model_name is {model_name}"
            )
        weights, model_name = None, weights
    given = {"model_name": model_name, "settings": settings}
    if not is_deployment(weights):
        base, classes = _said_by(weights, known=bool(model_name or file))
        found = cli.merge_config(Config, flags, MODELS, file=file, base=base, **given)
        return Trained(weights, found, names_of(found.MODEL, trained=classes), None)
    deployment = Deployment.read(Path(weights))
    if file:
        logger.warning("--config is not looked at: %s holds the config of its programs", deployment.folder)
    own = str(deployment.folder / CONFIG)
    found = cli.merge_config(Config, flags, MODELS, base={own: config.read(own)}, **given)
    if checked:
        exported = config.load(own, Config, models=cli.model_sections(MODELS))
        deployment.check_settings(exported, found, mode)
    return Trained(weights, found, names_of(found.MODEL, trained=deployment.names), deployment)


def _said_by(weights: str | None, known: bool) -> tuple[config.Sources, list[str] | None]:
    """What a checkpoint says of its config, and its classes' names; nothing of other weights.

    Args:
        known: whether a model's name or a config file is given, without which an older checkpoint says too little.

    Raises InputError.
    """
    if not weights:
        return {}, None
    if not whole_folder(weights).exists():
        near = did_you_mean(weights, MODELS.names())
        raise InputError(
            f"no weights at {weights}: give a checkpoint, a deployment folder, a v1.5 folder, a .tar.gz of one, or a"
            f" model's name{near}"
        )
    store = VariableStore(weights)
    if not store.names():
        below = sorted(str(file.parent) for name in (FILE, INFO_FILE) for file in Path(weights).glob(f"*/{name}"))
        raise InputError(f"{weights} holds no weights{f'; did you mean {below[0]}?' if below else ''}")
    info = store.info()
    if "INFER" in info:
        sections = {each.name: dict(info[each.name]) for each in fields(Config) if each.name in info}
        sections["MODEL"] = {**sections["MODEL"], "class_names": None}  # the checkpoint has the names themselves
        source = str(Path(weights) / INFO_FILE)
        return {source: config.with_files_beside(sections, Path(weights).parent)}, info.get("classes")
    if info and not known:
        raise InputError(
            f"{weights} is a checkpoint of an older version, which does not say how videos are read for it: give"
            f" {_config_beside(weights, info)}"
        )
    return {}, info.get("classes")


def _config_beside(weights: str, info: Mapping[str, Any]) -> str:
    """The flags that an older checkpoint needs."""
    beside = Path(weights).parent / CONFIG
    return f"--config={beside}" if beside.is_file() else f"--config=FILE, or --model_name={info.get('model') or 'NAME'}"
