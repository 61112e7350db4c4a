"""Your own videos (`train.py --data=FOLDER`): lists of FOLDER/CLASS/*.mp4, and a config that names them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from video_zoo.configs.schema import Config
from video_zoo.datareader.class_folders import split_class_folders
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import check_no_link
from video_zoo.utils.log import logger

_BAD_VIDEOS = 2  # of a list, that may be unreadable at least: 1% of a small folder is none


def list_own_videos(data: str, settings: Config, lists: Path, *, going_on: bool) -> tuple[Config, list[str]]:
    """Writes the lists of a folder of class folders; returns the config with them in it, and the classes' names.

    Args:
        data: the folder.
        lists: the folder for the lists.
        going_on: a training goes on, which must have the same videos as the lists that are there.

    Raises InputError: there are no videos, or others than before; the lists cannot be written, or `lists` is a link.
    """
    check_no_link(lists)
    section = settings.TRAIN
    if settings.MODEL.format != "mp4":
        raise InputError(f"--data takes video files, and MODEL.format is {settings.MODEL.format}")
    found = split_class_folders(data, section.valid_share, section.seed)
    if going_on and not found.are_listed_in(lists):
        raise InputError(
            f"{data} is not what {lists} says any more: videos were added, removed or renamed. Without"
            f" --data, --config={lists.parent / 'config.yaml'} goes on with the old lists; another --save_dir begins"
            " with the new ones"
        )
    written = found.write(lists)
    logger.info("--data=%s: %d classes (%s)", data, len(found.names), ", ".join(found.names))
    split = (len(found.train), len(found.valid), section.valid_share, section.seed, written.train)
    logger.info(
        "%d videos to train with, %d to validate with (valid_share %g, seed %d), listed in %s and beside", *split
    )
    if found.without_valid:
        logger.warning("with one video each, and so not validated: %s", ", ".join(found.without_valid))
    if found.ignored:
        logger.info("left out: %s", ", ".join(f"{count} {suffix}" for suffix, count in found.ignored.items()))
    # Absolute, as the videos in them are: a checkpoint is used from other folders, too.
    train_list, valid_list = (each and os.path.abspath(each) for each in (written.train, written.valid))
    settings = dataclasses.replace(
        settings,
        MODEL=dataclasses.replace(settings.MODEL, num_classes=len(found.names), class_names=None),
        TRAIN=dataclasses.replace(
            section, filelist=train_list, max_bad_videos=_allowed_share(section.max_bad_videos, len(found.train))
        ),
        VALID=dataclasses.replace(
            settings.VALID,
            filelist=valid_list,
            max_bad_videos=_allowed_share(settings.VALID.max_bad_videos, len(found.valid)),
        ),
        TEST=dataclasses.replace(settings.TEST, filelist=valid_list),
    )
    return settings, found.names


def _allowed_share(share: float, videos: int) -> float:
    """The share of a list that may be unreadable: none if nobody wants any, or else two videos at least."""
    return max(share, min(1.0, _BAD_VIDEOS / videos)) if share and videos else share
