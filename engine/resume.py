"""Going on from a checkpoint: which one, what may have changed since, and what it restores beside the weights."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paddle

from video_zoo.configs.schema import Config
from video_zoo.engine.board import CURVES, training_of
from video_zoo.engine.checkpoint import Checkpoints, Facts, State, furthest, move_to_training, restore_momenta
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import VariableStore
from video_zoo.utils.log import logger

# What may differ from the checkpoint that a training goes on from, because it changes no step. `epoch` is among them
# only where the learning rate does not follow from it.
FREE_KEYS = frozenset(
    ("filelist", "num_reader_threads", "buf_size", "decoder", "decode_timeout_s", "max_bad_videos", "valid_share")
    + ("class_names", "epoch", "pretrain", "keep_checkpoints", "use_gpu", "enable_ce")
)


def find_checkpoint(flag: str | None, checkpoints: Checkpoints) -> Path | None:
    """The checkpoint that --resume means; None if the training begins."""
    if flag != "auto":
        return flag and Path(flag)
    found, training = checkpoints.found(), training_of(checkpoints.folder / CURVES)
    place = furthest(found, training)
    others = {each.training for each in found} - {place.training if place else training}
    if place is None:
        said = (
            f"no checkpoint in {checkpoints.folder} yet{' of the last training' if others else ''}; from the beginning"
        )
    else:
        said = f"{place.path}, step {place.state.global_step} of training {place.training or 'without an id'}"
    if others:
        said += f". Other trainings have checkpoints in the folder, too: {len(others)}"
        if training is None:
            said += f"; without {CURVES}, which names the last one, the clock says which it was"
    logger.info("--resume=auto: %s", said)
    return place and place.path


def leave_later_ones(checkpoints: Checkpoints, path: Path, state: State, facts: Facts) -> Facts:
    """The facts with a new id, if the training goes on before checkpoints of its own: those are another training's now.

    The checkpoint that it goes on from gets that id, too, if it is a folder beside them: --resume=auto then goes on
    from it. All else that it tells of its training stays.
    """
    later = checkpoints.furthest(facts.training)
    if later is None or State.of(VariableStore(later)).global_step <= state.global_step:
        return facts
    facts = dataclasses.replace(facts, training=uuid.uuid4().hex)
    if path.is_dir() and path.resolve().parent == checkpoints.folder.resolve():
        move_to_training(path, facts.training)
    logger.info("%s is further: from here on this is another training, with the id %s", later, facts.training)
    return facts


def resume(
    store: VariableStore,
    facts: Facts,
    settings: Config,
    network: paddle.nn.Layer,
    optimizer: paddle.optimizer.Optimizer,
    schedule: paddle.optimizer.lr.LRScheduler,
    batches: int,
    allow_changes: bool,
) -> tuple[State, Facts]:
    """Sets the optimizer's momenta and the schedule to those of a checkpoint, whose weights the network has.

    Args:
        store: the checkpoint.
        facts: of the training as the config and the flags describe it now.
        batches: steps of an epoch.
        allow_changes: whether the config and the list may be others than the checkpoint's.

    Returns: how far the training has come, and `facts` with the checkpoint's training id and loss scale.

    Raises InputError: the checkpoint is damaged, or was trained with another config or list.
    """
    state, before = State.of(store, settings.VALID.best_metric), Facts.from_json(store.info())
    state = check_changes(store.path, before, facts, state, allow_changes)
    if state.iteration > batches:
        raise InputError(
            f"{store.path} is damaged: it is {state.iteration:,} steps into an epoch of {batches:,}. Take another one"
        )
    momenta = restore_momenta(store, network.variables(), optimizer)
    if not store.info() and settings.TRAIN.lr_schedule != "piecewise":
        state.global_step = 0  # the counter of a v1.5 folder is that of v1.5's schedule
    schedule.step(state.global_step)
    place = (store.path, momenta, state.epoch, state.iteration, state.global_step, schedule())
    logger.info("resuming %s: %d momenta, from epoch %d, iter %d, step %d, learning rate %g", *place)
    training = before.training or facts.training
    return state, dataclasses.replace(facts, training=training, loss_scale=before.loss_scale)


def is_done(path: Path, state: State, epochs: int, flag: str) -> bool:
    """Whether the training of a checkpoint has had its epochs, which is an InputError unless --resume is auto."""
    if state.epoch < epochs:
        return False
    if flag != "auto":
        raise InputError(f"{path} has had its {epochs} epochs; ask for more with --epoch")
    logger.info("%s has had its %d epochs: nothing is left to do", path, epochs)
    return True


def check_changes(path: Path, before: Facts, now: Facts, state: State, allowed: bool) -> State:
    """The state to go on with: what was validated differently is no best value any more.

    Raises InputError, or logs if `allowed`, if the config or the list is not the one that the checkpoint was trained
    with.
    """
    found = _changed_keys(before, now)
    lists = {"TRAIN": (before.train_list, now.train_list), "VALID": (before.valid_list, now.valid_list)}
    for section, (old, new) in lists.items():
        if old and new and old != new:
            found[section].append(f"{section}.filelist has other videos, labels or another order")
    if found["VALID"] and state.best is not None:
        logger.warning("the best score so far counts no more: %s", "; ".join(found["VALID"]))
        state = dataclasses.replace(state, best=None)
    differ = found["MODEL"] + found["TRAIN"]
    if not differ:
        return state
    text = f"changed since {path}:\n" + "\n".join(f"  {change}" for change in differ)
    if not allowed:
        raise InputError(
            f"{text}\nGive the old values ({path.parent / 'config.yaml'} has them), or go on with the new ones:"
            " --allow_changes=True, or start anew from the weights: --pretrain"
        )
    order = ("TRAIN.filelist", "TRAIN.batch_size", "TRAIN.seed")
    if state.iteration and any(change.startswith(order) for change in differ):
        raise InputError(f"{text}\nIn the middle of an epoch, its order must stay: resume from an epoch's end")
    logger.warning("%s\n  and allowed", text)
    return state


def _changed_keys(before: Facts, now: Facts) -> dict[str, list[str]]:
    """The changes of each section of the config."""
    train = now.sections["TRAIN"]
    rate_follows_epochs = train["lr_schedule"] == "cosine" or train["decay_epochs"] is None
    free = FREE_KEYS - {"epoch"} if rate_follows_epochs else FREE_KEYS
    free_keys = {"MODEL": free, "TRAIN": free, "VALID": free | {"batch_size"}}
    return {
        section: changes(before.sections.get(section, {}), now.sections[section], keys, section)
        for section, keys in free_keys.items()
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any], free: frozenset[str], section: str) -> list[str]:
    """How a section of the config differs from the one of a checkpoint: `SECTION.key: old -> new`; keys that `free`
    holds, or that the checkpoint does not know, are left out."""
    now = json.loads(json.dumps(now))  # as checkpoint.json has it: lists for tuples
    keys = [key for key in now if key in before and key not in free and before[key] != now[key]]
    return [f"{section}.{key}: {before[key]} -> {now[key]}" for key in keys]
