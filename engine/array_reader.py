"""Clips in memory -> batches, as of video files of the same frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader.batches import Batch, Failure
from video_zoo.datareader.checks import check_sizes
from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.video_list import Video
from video_zoo.datareader.views import views_of
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger


class ArrayReader:
    """A batch of each clip, of its views in a mode; the ids are "clip 0", "clip 1" ...

    Args:
        settings: the whole config.
        mode: "infer" or "test".
        transform: a name of `transforms.TRANSFORMS`.
        clips: uint8 RGB (T, H, W, 3) of any length and size.

    Attributes:
        failures: clips with too few frames for a protocol.

    Raises InputError: the sizes cannot be used.
    """

    def __init__(self, settings: Config, mode: str, transform: str, clips: Sequence[np.ndarray]):
        check_sizes(mode, settings.reader(mode))
        self._views = views_of(settings, mode, transform)
        self._clips, self._shape = clips, settings.clip_shape(mode)
        self.failures: list[Failure] = []

    def __len__(self) -> int:
        return len(self._clips)

    def close(self) -> None:
        """Nothing is open."""

    def __iter__(self) -> Iterator[Batch]:
        for number, frames in enumerate(self._clips):
            name, views = f"clip {number}", len(self._views)
            made = np.empty((views, *self._shape), np.uint8)
            try:
                for view, clip in zip(self._views, made):
                    for place, index in zip(clip, view.indices(len(frames))):
                        place[:] = view.transformed(frames[index])
            except VideoError as error:
                self.failures.append(Failure(Video(name, None, number + 1), str(error)))
                logger.warning("cannot read a video: %s: %s", name, error)
                continue
            yield Batch(made, np.full(views, -1, np.int64), [name] * views, 1, views=views, number=number)


def as_clips(given: np.ndarray | Sequence[np.ndarray]) -> list[np.ndarray]:
    """A clip (T, H, W, 3), several (n, T, H, W, 3), a list of clips, or of a clip's frames (H, W, 3) -> clips.

    Raises InputError: they are something else.
    """
    clips = list(given) if isinstance(given, list) or given.ndim == 5 else [given]
    if not clips:
        raise InputError("no clips are given")
    if all(each.ndim == 3 and each.shape == clips[0].shape for each in clips):
        clips = [np.stack(clips)]  # frames of a clip
    for each in clips:
        if each.dtype != np.uint8 or each.ndim != 4 or each.shape[3] != 3 or 0 in each.shape:
            raise InputError(
                f"an array of {each.dtype} {each.shape} is no clip: give uint8 RGB (T, H, W, 3), of at least one frame"
            )
    return clips
