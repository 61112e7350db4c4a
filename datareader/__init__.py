"""Videos -> batches of clips: one line a model. Nothing here imports Paddle, so reader processes start at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Callable

# Before OpenCV is loaded: a damaged file is reported by us, once, by name.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")  # a file cannot name an address

from video_zoo.configs.schema import Config
from video_zoo.datareader.kinetics_reader import KineticsReader
from video_zoo.datareader.video_list import Video
from video_zoo.utils.registry import Registry
from video_zoo.utils.runtime import ALONE, Launch

READERS: Registry[Callable[..., KineticsReader]] = Registry("reader")
READERS.add("TSM", partial(KineticsReader, multi_scale=True))
READERS.add("TSN", partial(KineticsReader, multi_scale=False))


def get_reader(
    name: str, mode: str, config: Config, launch: Launch = ALONE, videos: Sequence[Video] | None = None
) -> KineticsReader:
    """The reader of a model's list, or of `videos`, for a mode ("train", "valid", "test", "infer"); each rank reads
    its part.

    Iterating over it gives `Batch`es; `close()` ends its processes (it is a context manager).
    """
    return READERS.get(name)(mode, config, launch=launch, videos=videos)
