"""The folder of a training: SAVE_DIR."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from video_zoo.utils.files import make_folder, remove_leftovers
from video_zoo.utils.locks import lock_folder
from video_zoo.utils.log import log_to_file
from video_zoo.utils.runtime import Launch


@contextlib.contextmanager
def open_save_folder(path: str, name: str, launch: Launch) -> Iterator[Path]:
    """SAVE_DIR, for this training alone; the log goes to its train.log, too.

    What a killed training left is tidied up first: a checkpoint that stepped aside for a new one takes its name again.
    Only the first rank touches the folder.

    Args:
        name: of the model, with which the checkpoints' names begin.

    Raises InputError if it cannot be written, or another training writes to it.
    """
    if launch.rank:
        yield Path(path)
        return
    folder = make_folder(path)
    with lock_folder(folder, "another training writes to it; give another --save_dir"):
        remove_leftovers(folder)
        for below in (folder / "lists", *folder.glob(f"{name}_*")):
            if not below.is_symlink():
                remove_leftovers(below)
        with log_to_file(folder / "train.log"):
            yield folder
