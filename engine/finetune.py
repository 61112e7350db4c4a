"""`video_zoo.finetune`: what `train.py --data=FOLDER` does, in one call."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from video_zoo.engine.inference import check_paddle
from video_zoo.engine.predictor import Predictor, load, use_gpu_of
from video_zoo.utils.cli import CONFIGS
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger

_trained_in: dict[str, threading.Thread] = {}  # a backward pass in a second one ends the process


def finetune(
    folder: str | os.PathLike,
    *,
    weights: str | os.PathLike | None = None,
    config: str | os.PathLike = CONFIGS / "tsm_finetune.yaml",
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    save_dir: str | os.PathLike = "checkpoints",
    resume: bool = False,
    allow_changes: bool = False,
    device: str = "auto",
    settings: Sequence[str] = (),
    verbose: bool = True,
) -> Predictor:
    """Trains a network on a folder of class folders, FOLDER/CLASS/video.mp4, and returns the model of the best epoch::

        model = video_zoo.finetune("my videos", epochs=10, save_dir="mine")
        print(model.predict("holiday.mp4"))

    Checkpoints, curves and train.log are in `save_dir`, as train.py writes them; `video_zoo.load("mine/TSM_best")`
    loads the model again.

    Args:
        weights: to start from, all but the last layer: a checkpoint, "imagenet", "kinetics" or "none"; None: what the
            config says.
        config: of the network and its training; the default is a TSM-50, which begins with the weights of Kinetics-400.
        epochs, batch_size, learning_rate: None: the config's.
        resume: goes on with the training in `save_dir`, if there is one.
        allow_changes: with `resume`, goes on though arguments or videos are others than they were.
        device: "auto" takes a GPU if there is one, "gpu" insists on it, "cpu" leaves it out.
        settings: any keys of the config, as ["TRAIN.flip=False"].
        verbose: whether the log is shown.

    Raises:
        InputError: the folder, the config or the weights cannot be used, or another thread has trained before.
        KeyboardInterrupt: the training was stopped; `resume` goes on with its last checkpoint.
    """
    given = {
        "config": os.fspath(config),
        "data": os.fspath(folder),
        "save_dir": os.fspath(save_dir),
        "pretrain": weights if weights is None else os.fspath(weights),
        "epoch": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "resume": "auto" if resume else None,
        "allow_changes": allow_changes,
        "use_gpu": use_gpu_of(device),
    }
    flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
    check_paddle(needed=True)
    if _trained_in.setdefault("thread", threading.current_thread()) is not threading.current_thread():
        raise InputError("another thread has trained, and Paddle trains in one: call finetune there, or run train.py")
    from video_zoo import train  # imports Paddle

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            args = train.parse_arguments([*flags, *(f"--set={each}" for each in settings)])
    except SystemExit:
        raise InputError(said.getvalue().partition("error: ")[2].rpartition(" (see ")[0]) from None
    with _logged(verbose):
        try:
            checkpoint = train.run(args)
        except SystemExit as stopped:
            if stopped.code != 128 + signal.SIGINT:
                raise
            raise KeyboardInterrupt from None
    if checkpoint is None:
        raise InputError(f"no checkpoint was made in {Path(save_dir)}")
    return load(checkpoint, device=device)


@contextlib.contextmanager
def _logged(verbose: bool) -> Iterator[None]:
    """While the block runs, the log has what train.log needs, and is shown if `verbose`; then it is as before."""
    before = (logger.level, logger.propagate, list(logger.handlers))
    shown = logging.StreamHandler(sys.stdout) if verbose else logging.NullHandler()
    shown.setFormatter(logging.Formatter("[%(levelname)s: %(asctime)s]: %(message)s", "%H:%M:%S"))
    logger.addHandler(shown)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.level, logger.propagate, logger.handlers = before
