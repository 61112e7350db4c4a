"""What predictions are asked of - paths, patterns, streams, clips in memory - and what reads it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Union

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader import open_reader
from video_zoo.datareader.inputs import Inputs, find_inputs
from video_zoo.datareader.reader import VideoReader
from video_zoo.datareader.sampling import Windows
from video_zoo.datareader.stream import StreamReader
from video_zoo.datareader.video_list import Video, listed_videos
from video_zoo.engine.array_reader import ArrayReader, as_clips
from video_zoo.engine.predictions import Failed
from video_zoo.models import MODELS
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger

Path = Union[str, "os.PathLike[str]"]
Source = Union[Path, int, np.ndarray, Iterable[Any]]
Reader = Union[VideoReader, StreamReader, ArrayReader]


def sort_source(source: Source) -> tuple[list[np.ndarray] | None, Inputs | None, list[Failed]]:
    """A source as clips (T, H, W, 3), or as videos and streams, and what of a list is not there. No clips stand for a
    list of which nothing is there."""
    if isinstance(source, np.ndarray):
        return as_clips(source), None, []
    if isinstance(source, (str, os.PathLike, int)):
        return None, find_inputs([path_text(source)]), []
    if isinstance(source, (bytes, bytearray)) or not isinstance(source, Iterable):
        raise InputError(f"{type(source).__name__} is no source: give a path, a list of paths, or uint8 (T, H, W, 3)")
    items = list(source)
    if items and all(isinstance(each, np.ndarray) for each in items):
        return as_clips(items), None, []
    videos, streams, failures = [], [], []
    for each in map(path_text, items):
        try:
            found = find_inputs([each])
        except InputError as error:
            failures.append(Failed(each, str(error)))
            logger.warning("cannot read a video: %s", error)
            continue
        videos += found.videos
        streams += found.streams
    if not items:
        raise InputError("no videos are given")
    if not videos and not streams:
        return [], None, failures
    return None, Inputs([Video(video.path, None, line) for line, video in enumerate(videos, 1)], streams), failures


def path_text(item: Any) -> str:
    """A path, an address or a camera's number as text. Raises InputError: it is something else."""
    if isinstance(item, bool) or not isinstance(item, (str, os.PathLike, int)):
        raise InputError(f"{type(item).__name__} is no path: give all as paths, or all as uint8 arrays (T, H, W, 3)")
    return str(item) if isinstance(item, int) else os.path.expanduser(os.fspath(item))


def open_input(
    settings: Config,
    inputs: Inputs | None,
    windows: Windows | None,
    *,
    mode: str = "infer",
    duration_s: float | None = None,
) -> VideoReader | StreamReader:
    """What reads videos, their windows, or a stream.

    Args:
        inputs: None: the config's list.
        duration_s: a stream's end; None: it goes on.

    Raises InputError: they cannot be read in this way, or the list cannot be used.
    """
    transform = MODELS.get(settings.MODEL.name).eval_transform
    if inputs and inputs.streams:
        if len(inputs.streams) + len(inputs.videos) > 1:
            given = " ".join([*inputs.streams, *(video.path for video in inputs.videos)])
            raise InputError(f"one stream a run, and nothing beside it; given: {given}")
        if mode != "infer":
            raise InputError("protocol averages views of whole videos, and a stream has no end: leave it out")
        if windows is None:
            raise InputError("a stream has no end: --window_s=2 predicts every 2 seconds of it")
        return StreamReader(settings, inputs.streams[0], windows, transform, duration_s=duration_s)
    if duration_s:
        raise InputError("--duration_s is of a stream, and none is given")
    videos = inputs.videos if inputs else None
    if windows and videos is None:
        videos = listed_videos(settings.INFER.filelist, settings.MODEL.num_classes, "INFER.filelist")
    return open_reader(mode, settings, transform, videos=videos, windows=windows)


def failures_of(reader: Reader, failures: Sequence[Failed], source: Source, read: int) -> list[Failed]:
    """The videos that could not be read.

    Args:
        failures: those that are not there.
        read: how many clips were read.

    Raises InputError: the source is one video by itself, and no list, and nothing of it was read.
    """
    found = [*failures, *(Failed(each.video.path, each.reason) for each in reader.failures)]
    if found and isinstance(source, (str, os.PathLike)) and len(reader) == 1 and not read:
        raise InputError(f"{found[0].source} cannot be read: {found[0].reason}")
    return found
