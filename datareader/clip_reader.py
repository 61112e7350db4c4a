"""What a reader process does: the clips of some samples of a video."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from video_zoo.configs.schema import ModelSection, ReaderSection
from video_zoo.datareader.batches import Sample
from video_zoo.datareader.codecs import Unclear
from video_zoo.datareader.decode import VideoError, decode_video
from video_zoo.datareader.images import decode_images, read_frame_folder
from video_zoo.datareader.labels import mirrored_labels
from video_zoo.datareader.sampling import Cut, Windows
from video_zoo.datareader.transforms import ClipTransform, EvalTransform, Size, TrainTransform, apply_all
from video_zoo.datareader.v15_pickles import read_pickle
from video_zoo.datareader.video_list import Video, resolve
from video_zoo.datareader.views import View
from video_zoo.datareader.windowed_video import WindowedVideo

_LONGEST_TASK_S = 5.0  # that a task goes on with a file which is decoded from its start to its end
_TROUBLE = (cv2.error, OSError, MemoryError, ValueError, av.FFmpegError)


class Chunk(NamedTuple):
    """What came of a task.

    Args:
        samples: those whose clips were filled, from the first that was asked for; perhaps fewer than were asked for.
        total: of the video's samples; None: not known yet.
        damage: what is wrong with the video, which is used in part; as far as is known.
        jumps: how often the video's clock jumps; of windows.
        in_order: the file must be decoded from its start to its end, and so is best read on by one process.
    """

    samples: list[Sample]
    total: int | None
    damage: str | None = None
    jumps: int = 0
    in_order: bool = False


class ClipReader:
    """Reads clips of a video, whole or of its windows; it travels to the reader processes.

    A video with windows stays open for the next task.

    Args:
        model, section: keys of configs/schema.py.
        views: that are taken of each video; of windows, and at random, there is one.
        list_folder: paths that do not exist from here are relative to it.
        seed: of the draws of a random view, with the epoch and the video's line.
        windows: what is cut out of each video; None: its views are of the whole of it.
    """

    def __init__(
        self,
        model: ModelSection,
        section: ReaderSection,
        views: Sequence[View],
        list_folder: Path,
        seed: int,
        windows: Windows | None = None,
    ):
        self.views, self.windows = tuple(views), windows
        self._model, self._section, self._view = model, section, views[0]
        self._list_folder, self._seed = list_folder, seed
        self._mirrored = mirrored_labels(model, section)
        self._open: WindowedVideo | None = None

    def __call__(self, video: Video, epoch: int, first: int, clips: np.ndarray) -> Chunk:
        """Fills `clips`, uint8 (samples, T, 3, H, W), with the video's samples from number `first` on.

        Raises VideoError.
        """
        try:
            if self.windows is None:
                return self._read_whole(video, epoch, clips)
            return self._read_windows(video, first, clips)
        except VideoError:
            self._close()
            raise
        except _TROUBLE as error:  # one video's trouble, not the run's
            self._close()
            raise VideoError(f"{type(error).__name__}: {error}") from error

    def _read_whole(self, video: Video, epoch: int, clips: np.ndarray) -> Chunk:
        """All views of a video, which is decoded once for all of them."""
        path, model = resolve(video.path, self._list_folder), self._model
        drawn: dict[TrainTransform | EvalTransform, ClipTransform] = {}

        def choose(num_frames: int) -> list[int]:
            return [index for view in self.views for index in view.indices(num_frames, self._rng(epoch, video, 0))]

        def keep(frame: np.ndarray) -> dict[TrainTransform | EvalTransform, np.ndarray]:
            if not drawn:
                size, rng = Size(frame.shape[1], frame.shape[0]), self._rng(epoch, video, 1)
                drawn.update({view.transform: view.transform.draw(size, rng) for view in self.views})
            return dict(zip(drawn, apply_all([*drawn.values()], frame)))

        sample, damage = _sample(video), None
        if model.format == "pkl":
            video_id, label, images = read_pickle(path)
            sample, frames = Sample(video_id, label), decode_images(images, choose, keep)
        elif model.format == "frames":
            template, first = model.frame_template, model.first_frame
            frames = read_frame_folder(path, video.num_frames, template, first, choose, keep)
        else:
            frames, num_frames, damage = decode_video(path, choose, keep, self._section.decoder)
            damage = self._judge(damage, num_frames)
        images = iter(frames)  # view by view
        for view, clip in zip(self.views, clips):
            for place in clip:
                place[:] = next(images)[view.transform]
        if any(transform.mirror for transform in drawn.values()):
            sample = sample._replace(label=self._mirrored.get(sample.label, sample.label))
        samples = [sample._replace(view=number) for number in range(len(self.views))]
        return Chunk(samples, len(samples), damage)

    def _read_windows(self, video: Video, first: int, clips: np.ndarray) -> Chunk:
        limit_s = min(_LONGEST_TASK_S, self._section.decode_timeout_s / 4 or math.inf)
        until = time.monotonic() + limit_s
        path = resolve(video.path, self._list_folder)
        if self._open is None or self._open.path != path:
            self._close()
            self._open = WindowedVideo(path, self._section.decoder, self.windows, self._view)
        source = self._open
        if source.selective:
            try:
                return self._chunk(video, source.fill_selected(first, clips), source)
            except Unclear:  # what went wrong, and where, shows when everything is decoded
                source.give_up_selecting()
        if not source.survey(until):
            return Chunk([], None, in_order=True)
        damage = self._judge(source.damage, source.num_frames)
        cuts = source.fill_in_order(first, clips, until)
        return self._chunk(video, cuts, source)._replace(damage=damage, in_order=True)

    def _chunk(self, video: Video, cuts: list[Cut], source: WindowedVideo) -> Chunk:
        samples = [_sample(video)._replace(span=cut.span) for cut in cuts]
        return Chunk(samples, len(source.cuts), jumps=source.jumps)

    def _judge(self, damage: str | None, num_frames: int) -> str | None:
        """What is said of a video that is used though it is damaged. Raises VideoError: it is not to be used."""
        if not damage:
            return None
        if self._section.on_damage == "skip":
            raise VideoError(damage)
        if num_frames < self._view.seg_num:
            raise VideoError(f"{damage}; whole frames: {num_frames}, and {self._view.seg_num} are needed")
        return f"{damage}; {num_frames} whole frames are used"

    def _rng(self, epoch: int, video: Video, purpose: int) -> np.random.Generator | None:
        """The same draws for the same line and epoch, whichever process or rank reads it; None: nothing is drawn."""
        return np.random.default_rng([self._seed, epoch, video.line, purpose]) if self._view.is_random else None

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def _sample(video: Video) -> Sample:
    return Sample(video.path, -1 if video.label is None else video.label)
