"""Checkpoints: a v1.5 folder (one file a variable, momenta as NAME_velocity_0), and checkpoint.json beside them.

v1.5's format, because v1.5's tools then read what this project writes, and because reading it runs no code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from utils.errors import InputError
from utils.files import atomic_folder
from utils.fluid_vars import INFO_FILE, VariableStore, write_folder

_STEP_COUNTER = "@LR_DECAY_COUNTER@"  # v1.5's: the number of the last step, from 0


@dataclass
class State:
    """How far a training has come; checkpoint.json holds it."""

    epoch: int = 0  # the next one
    global_step: int = 0  # the next one
    best_top1: float = -1.0  # of all validations, from 0 to 1

    @classmethod
    def of(cls, store: VariableStore) -> State:
        """The state in a checkpoint of ours. A v1.5 folder begins at epoch 0, its learning rate, as in v1.5, at the
        step its counter says. Raises InputError if it is damaged."""
        info = store.info()
        if not info:
            steps = int(store.read(_STEP_COUNTER).ravel()[0]) + 1 if _STEP_COUNTER in store.names() else 0
            return cls(global_step=max(steps, 0))
        try:
            state = cls(int(info["epoch"]), int(info["global_step"]), float(info["best_top1"]))
            if state.epoch < 0 or state.global_step < 0 or not math.isfinite(state.best_top1):
                raise ValueError
            return state
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{store.path / INFO_FILE} is damaged: it must say epoch, global_step and best_top1"
            ) from None


def save(
    folder: Path, variables: Mapping[str, paddle.Tensor], optimizer: paddle.optimizer.Optimizer, info: dict[str, Any]
) -> None:
    """Writes a checkpoint; the folder is whole or not there.

    Args:
        variables: v1.5's names -> weights and statistics.
        info: what else resuming needs; holds at least "global_step". It must be JSON.
    """
    state = optimizer.state_dict()
    arrays = {name: tensor.numpy() for name, tensor in variables.items()}
    for name, tensor in variables.items():
        if _velocity(tensor) in state:
            arrays[f"{name}_velocity_0"] = np.asarray(state[_velocity(tensor)])
    arrays[_STEP_COUNTER] = np.array([info["global_step"] - 1], np.int64)
    with atomic_folder(folder) as target:
        write_folder(target, arrays, info)


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
