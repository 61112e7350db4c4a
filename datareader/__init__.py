"""Videos -> batches of clips. Nothing here imports Paddle, so reader processes start at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from video_zoo.configs.schema import Config
from video_zoo.datareader.checks import check_sizes, check_template, check_windows
from video_zoo.datareader.clip_reader import ClipReader
from video_zoo.datareader.reader import VideoReader
from video_zoo.datareader.sampling import Windows
from video_zoo.datareader.video_list import Video, check_some_are_there, read_mode_list
from video_zoo.datareader.views import views_of
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import ALONE, Launch


def open_reader(
    mode: str,
    settings: Config,
    transform: str = "center_crop",
    *,
    launch: Launch = ALONE,
    videos: Sequence[Video] | None = None,
    windows: Windows | None = None,
) -> VideoReader:
    """The reader of a config's list for a mode. Iterating over it gives `Batch`es; `close()` ends its processes (it is
    a context manager).

    Args:
        mode: "train", "valid", "test" or "infer".
        transform: a name of `transforms.TRANSFORMS`.
        launch: each rank reads its part of every batch.
        videos: instead of the config's list; their paths are meant as they are.
        windows: a clip of each window that slides over a video; None: one of the whole video. They are for evaluation,
            by one process.

    Raises InputError: the list, the sizes or times cannot be used, or no transform has that name.
    """
    section, views = settings.reader(mode), views_of(settings, mode, transform)
    if windows is not None:
        if views[0].is_random or len(views) > 1 or mode == "train" or launch.size > 1:
            raise ValueError("windows are read in their order, one view of each, by one process")
        check_windows(settings, windows)
    check_template(settings.MODEL)
    list_path, list_folder = None, Path()
    if videos is None:
        list_path, videos = section.filelist, read_mode_list(settings, mode)
        list_folder = Path(list_path).resolve().parent
        check_some_are_there(videos, list_path)
    elif not videos:
        raise InputError("no videos are given")
    check_sizes(mode, section)
    read = ClipReader(settings.MODEL, section, views, list_folder, settings.TRAIN.seed, windows)
    return VideoReader(mode, settings, videos, read, launch=launch, list_path=list_path)
