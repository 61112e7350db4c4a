"""Checkpoints: a v1.5 folder (one file a variable, momenta as NAME_velocity_0), and checkpoint.json beside them.

v1.5's format, because v1.5's tools then read what this project writes, and because reading it runs no code.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from video_zoo.configs.schema import Config
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file, atomic_folder, remove_folder
from video_zoo.utils.fluid_vars import INFO_FILE, VariableStore, format_info, write_folder
from video_zoo.utils.json_files import MOST_COUNT
from video_zoo.utils.log import logger

if TYPE_CHECKING:
    from video_zoo.datareader.reader import VideoReader


class NotFinite(InputError):
    """The loss, or a weight, is infinite or not a number."""


_STEP_COUNTER = "@LR_DECAY_COUNTER@"  # v1.5's: the number of the last step, from 0
_NONE_YET = -1.0  # how checkpoint.json says that there is no best value yet
_SECTIONS = tuple(each.name for each in dataclasses.fields(Config))


@dataclass
class State:
    """Where a training is.

    Args:
        epoch: the current one, from 0. An epoch stays the current one until it has been validated.
        iteration: steps of the epoch that are done.
        global_step: steps that are done.
        best: the best value of `best_metric` in all validations; None before the first.
        totals: the metrics' state over the epoch's samples so far.
        best_metric: the name of the value that decides which checkpoint is the best.
    """

    epoch: int = 0
    iteration: int = 0
    global_step: int = 0
    best: float | None = None
    totals: list[float] = field(default_factory=list)
    best_metric: str = "top1"

    @classmethod
    def of(cls, store: VariableStore, best_metric: str = "top1") -> State:
        """The state in a checkpoint of ours. A v1.5 folder begins at epoch 0, its learning rate, as in v1.5, at the
        step its counter says. Raises InputError if it is damaged."""
        info = store.info()
        if not info:
            counter = store.read(_STEP_COUNTER).ravel() if _STEP_COUNTER in store.names() else np.array([-1])
            if len(counter) != 1 or counter.dtype.kind != "i" or counter[0] > MOST_COUNT:
                raise InputError(f"{store.path / _STEP_COUNTER} is damaged: it must hold one number of steps")
            return cls(global_step=max(int(counter[0]) + 1, 0), best_metric=best_metric)
        values = {name: float(value) for name, value in info.items() if name.startswith("best_")}
        if not values or "epoch" not in info or "global_step" not in info:
            raise InputError(
                f"{store.path / INFO_FILE} is damaged: it must say epoch, global_step and best_{best_metric}"
            )
        best = values.get(f"best_{best_metric}", _NONE_YET)
        return cls(
            epoch=info["epoch"],
            iteration=info.get("iteration", 0),
            global_step=info["global_step"],
            best=None if best == _NONE_YET else best,
            totals=[float(value) for value in info.get("totals", [])],
            best_metric=best_metric,
        )

    def to_json(self) -> dict[str, Any]:
        """As checkpoint.json has it."""
        return {
            "epoch": self.epoch,
            "iteration": self.iteration,
            "global_step": self.global_step,
            f"best_{self.best_metric}": _NONE_YET if self.best is None else self.best,
            "totals": self.totals,
        }

    def next_epoch(self) -> None:
        """The epoch under way is through."""
        self.epoch, self.iteration, self.totals = self.epoch + 1, 0, []


@dataclass(frozen=True)
class Facts:
    """What a checkpoint tells of its training beside the state; None, or empty, where an older one does not.

    Args:
        model: its name.
        training: an id, which stays when a training goes on.
        classes: their names.
        train_list, valid_list: fingerprints of the lists of videos.
        sections: of the config: name -> key -> value. Version 0.2 kept MODEL, TRAIN and VALID alone.
        loss_scale: that of mixed precision, with its counts.
    """

    model: str | None = None
    training: str | None = None
    classes: list[str] | None = None
    train_list: str | None = None
    valid_list: str | None = None
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    loss_scale: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_training(
        cls, settings: Config, classes: list[str], reader: VideoReader, valid_reader: VideoReader | None
    ) -> Facts:
        """Those of a training that begins."""
        return cls(
            model=settings.MODEL.name.upper(),
            training=uuid.uuid4().hex,
            classes=classes,
            train_list=reader.fingerprint(),
            valid_list=valid_reader and valid_reader.fingerprint(),
            sections={name: dataclasses.asdict(getattr(settings, name)) for name in _SECTIONS},
        )

    @classmethod
    def from_json(cls, info: Mapping[str, Any]) -> Facts:
        """Those that checkpoint.json has; a v1.5 folder's are empty."""
        sections = {name: info[name] for name in _SECTIONS if name in info}
        names = ("model", "training", "classes", "list", "valid_list")
        return cls(*map(info.get, names), sections=sections, loss_scale=info.get("loss_scale", {}))

    def to_json(self) -> dict[str, Any]:
        """As checkpoint.json has them."""
        return {
            "model": self.model,
            "training": self.training,
            "classes": self.classes,
            "list": self.train_list,
            "valid_list": self.valid_list,
            **self.sections,
            "loss_scale": self.loss_scale,
        }


@dataclass(frozen=True)
class Found:
    """A checkpoint in a training's folder.

    Args:
        training: the id of its training; None in one of an older version.
        saved_s: when it was saved, by a clock that may have been set since.
    """

    path: Path
    training: str | None
    saved_s: float
    state: State

    def progress(self) -> tuple:
        """Of two checkpoints of a training, the one that is further has the greater."""
        # An epoch's checkpoint of before its validation still is in that epoch.
        return (self.state.global_step, self.state.epoch, self.saved_s, self.path)


def furthest(found: list[Found], training: str | None = None) -> Found | None:
    """The checkpoint that is furthest in the training with that id; None if there is none.

    Without an id, the training is the one that was saved last, by the clock: steps do not tell trainings apart.
    """
    if training is None and found:
        training = max(found, key=lambda each: each.saved_s).training
    return max((each for each in found if each.training == training), key=Found.progress, default=None)


class Checkpoints:
    """The checkpoints of a training in its folder: NAME_epoch3, within an epoch NAME_epoch3_iter200, and NAME_best.

    Args:
        folder: is there.
        name: the model's.
        keep: epochs whose checkpoints stay; 0: all. Of those within an epoch only the newest stays.
    """

    def __init__(self, folder: Path, name: str, keep: int = 0):
        self.folder = folder
        self.last: Path | None = None
        self._name = name
        self._keep = keep

    def path(self, epoch: int, iteration: int | None = None) -> Path:
        """The place of an epoch's checkpoint, or of one after so many steps of it."""
        within = "" if iteration is None else f"_iter{iteration}"
        return self.folder / f"{self._name}_epoch{epoch}{within}"

    def best(self) -> Path:
        """The place of the best one."""
        return self.folder / f"{self._name}_best"

    def found(self) -> list[Found]:
        """All that are in the folder; one that is damaged is left out with a warning."""
        found = []
        for path in self.folder.glob(f"{self._name}_*"):
            if self._place(path) or path == self.best():
                try:
                    store = VariableStore(path)
                    info, state = store.info(), State.of(store)
                    found.append(Found(path, info.get("training"), info.get("saved_s", 0), state))
                except InputError as error:
                    logger.warning("%s is left out: %s", path, error)
        return found

    def furthest(self, training: str | None = None) -> Path | None:
        """The place of the one that `furthest` gives."""
        place = furthest(self.found(), training)
        return place and place.path

    def prune(self) -> None:
        """Removes the checkpoints that `last` makes needless. Those of later epochs, of an earlier training, stay."""
        last = self.last and self._place(self.last)
        if last is None or self.last.parent != self.folder:
            return
        places = {path: place for path in self.folder.glob(f"{self._name}_epoch*") if (place := self._place(path))}
        now = (last[0], math.inf if last[1] is None else last[1])
        old = [path for path, place in places.items() if place[1] is not None and place <= now]
        epochs = sorted(place[0] for place in places.values() if place[1] is None and (place[0], math.inf) <= now)
        if self._keep:
            old += [self.path(epoch) for epoch in epochs[: -self._keep]]
        for path in old:
            if path != self.last:
                remove_folder(path)

    def _place(self, path: Path) -> tuple[int, int | None] | None:
        """(epoch, iteration, or None for a whole epoch) of a checkpoint's name; None if it is no such name."""
        match = re.fullmatch(rf"{re.escape(self._name)}_epoch(\d+)(?:_iter(\d+))?", path.name)
        return match and (int(match[1]), match[2] and int(match[2]))


def save(
    folder: Path,
    variables: Mapping[str, paddle.Tensor],
    optimizer: paddle.optimizer.Optimizer,
    state: State,
    facts: Facts,
) -> None:
    """Writes a checkpoint; the folder is whole or not there.

    Args:
        variables: v1.5's names -> weights and statistics.

    Raises NotFinite if a weight is not finite, InputError if the folder cannot be written. What was there stays.
    """
    momenta = optimizer.state_dict()
    arrays = {name: tensor.numpy() for name, tensor in variables.items()}
    for name, tensor in variables.items():
        if _velocity(tensor) in momenta:
            arrays[f"{name}_velocity_0"] = np.asarray(momenta[_velocity(tensor)])
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise NotFinite(f"{name} is not finite after step {state.global_step}: no checkpoint is made of that")
    arrays[_STEP_COUNTER] = np.array([state.global_step - 1], np.int64)
    with atomic_folder(folder) as target:
        write_folder(target, arrays, _info(state, facts))


def save_state(folder: Path, state: State, facts: Facts) -> None:
    """Rewrites the checkpoint.json of a checkpoint: the weights are the same, and the training is further."""
    _rewrite_info(VariableStore(folder), _info(state, facts))


def move_to_training(folder: Path, training: str) -> None:
    """Gives a checkpoint the id of another training; all else that its checkpoint.json says stays, but the time."""
    store = VariableStore(folder)
    _rewrite_info(store, {**store.info(), "training": training, "saved_s": time.time()})


def copy_state(source: Path, folder: Path) -> None:
    """Gives a checkpoint the checkpoint.json of another one, if that has the same weights of the same step."""
    old, new = VariableStore(folder), VariableStore(source)
    if old.checksums() == new.checksums() and State.of(old).global_step == State.of(new).global_step:
        _rewrite_info(old, new.info())


def _rewrite_info(store: VariableStore, info: Mapping[str, Any]) -> None:
    with atomic_file(store.path / INFO_FILE) as file:
        file.write(format_info(info, store.checksums()))


def _info(state: State, facts: Facts) -> dict[str, Any]:
    return {**facts.to_json(), **state.to_json(), "saved_s": time.time()}


def restore_momenta(
    store: VariableStore, variables: Mapping[str, paddle.Tensor], optimizer: paddle.optimizer.Optimizer
) -> int:
    """Sets the optimizer's momenta that the store holds; returns how many.

    Raises InputError if one has another shape than its weight.
    """
    momenta = {}
    for name, tensor in variables.items():
        file = f"{name}_velocity_0"
        if file in store.names():
            momenta[_velocity(tensor)] = array = store.read(file)
            if list(array.shape) != list(tensor.shape):
                raise InputError(
                    f"{store.path} does not fit: {file} has shape {list(array.shape)}, its weight {list(tensor.shape)}"
                )
    if momenta:
        tensors = {name: paddle.to_tensor(array) for name, array in momenta.items()}
        optimizer.set_state_dict({**optimizer.state_dict(), **tensors})
    return len(momenta)


def _velocity(tensor: paddle.Tensor) -> str:
    """Paddle's name of a weight's momentum in an optimizer's state."""
    return f"{tensor.name}_velocity_0"
