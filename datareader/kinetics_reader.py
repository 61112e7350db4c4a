"""A list of videos -> batches of uint8 clips, read by several processes."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from video_zoo.configs.schema import Config, ModelSection, ReaderSection, TrainSection
from video_zoo.datareader.batches import Batch, BatchBuilder, BatchReader, Clip, check_decoder, check_sizes
from video_zoo.datareader.batches import TooManyBadVideos as TooManyBadVideos
from video_zoo.datareader.decode import VideoError, decode_video
from video_zoo.datareader.images import decode_images, read_frame_folder
from video_zoo.datareader.sampling import segment_indices
from video_zoo.datareader.transforms import ClipTransform, EvalTransform, Size, TrainTransform
from video_zoo.datareader.v15_pickles import read_pickle
from video_zoo.datareader.video_list import Video, check_label, read_video_list, resolve
from video_zoo.datareader.workers import WorkerPool
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import ALONE, Launch, usable_cores


@dataclass(frozen=True)
class ClipReader:
    """Reads one video of a list into a clip; it travels to the reader processes.

    Args:
        model, section: keys of configs/schema.py.
        seg_num: segments of a clip.
        list_folder: paths that do not exist from here are relative to it.
        transform: TrainTransform draws at random, EvalTransform does not.
        seed: of the draws, with the epoch and the video's line.
    """

    model: ModelSection
    section: ReaderSection
    seg_num: int
    list_folder: Path
    transform: TrainTransform | EvalTransform
    seed: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a clip: (seg_num, 3 * seglen, target_size, target_size)."""
        return (self.seg_num, 3 * self.model.seglen, self.section.target_size, self.section.target_size)

    def __call__(self, video: Video, epoch: int, clip: np.ndarray) -> Clip:
        """Fills the uint8 array `clip` of `shape`. Raises VideoError."""
        try:
            return self._read(video, epoch, clip)
        except (cv2.error, OSError, MemoryError, ValueError) as error:  # one video's trouble, not the run's
            raise VideoError(f"{type(error).__name__}: {error}") from error

    def _read(self, video: Video, epoch: int, clip: np.ndarray) -> Clip:
        path = resolve(video.path, self.list_folder)
        seglen, form = self.model.seglen, self.model.format
        training = isinstance(self.transform, TrainTransform)
        transform: ClipTransform | None = None

        def choose(num_frames: int) -> list[int]:
            rng = self._rng(epoch, video, 0) if training else None
            return segment_indices(num_frames, self.seg_num, seglen, rng=rng, legacy_pkl=form == "pkl")

        def keep(frame: np.ndarray) -> np.ndarray:
            nonlocal transform
            if transform is None:
                size = Size(frame.shape[1], frame.shape[0])
                transform = self.transform.draw(size, self._rng(epoch, video, 1))
            return transform(frame)

        video_id, label, damage = video.path, -1 if video.label is None else video.label, None
        if form == "pkl":
            video_id, label, images = read_pickle(path)
            frames = decode_images(images, choose, keep)
        elif form == "frames":
            template, first = self.model.frame_template, self.model.first_frame
            frames = read_frame_folder(path, video.num_frames, template, first, choose, keep)
        else:
            frames, num_frames, damage = decode_video(path, choose, keep, self.section.decoder)
            if damage and self.section.on_damage == "skip":
                raise VideoError(damage)
            if damage and num_frames < self.seg_num:
                raise VideoError(f"{damage}; whole frames: {num_frames}, and {self.seg_num} are needed")
            damage = damage and f"{damage}; {num_frames} whole frames are used"
        # (seg_num, 3 * seglen, H, W) -> (seg_num * seglen, 3, H, W)
        for place, frame in zip(clip.reshape(-1, 3, *clip.shape[2:]), frames):
            place[:] = frame
        return Clip(label, video_id, damage)

    def _rng(self, epoch: int, video: Video, purpose: int) -> np.random.Generator:
        """The same draws for the same line and epoch, whichever process or rank reads it."""
        return np.random.default_rng([self.seed, epoch, video.line, purpose])


class KineticsReader(BatchReader):
    """Batches of a list of videos, in the list's order, or (training) in an order drawn anew each epoch.

    Every video is read; the last batch holds what is left. One that cannot be read is named in the log, kept in
    `failures`, and missing in its batch; one that is damaged and used is kept in `damaged`. A batch of which nothing
    could be read is left out, but in training, where all ranks take as many steps: it then is a black clip with label
    -1.

    Args:
        mode: "train", "valid", "test" or "infer".
        config: the whole config; batch_size is that of all ranks together.
        multi_scale: whether training crops at several sizes (TSM) or one (TSN).
        launch: each rank reads its part of every batch.
        videos: instead of the config's list; their paths are meant as they are.

    Raises InputError: the list, or the sizes, cannot be used.
    """

    def __init__(
        self,
        mode: str,
        config: Config,
        multi_scale: bool,
        launch: Launch = ALONE,
        *,
        videos: Sequence[Video] | None = None,
    ):
        section, model = config.reader(mode), config.MODEL
        check_decoder(mode, section)
        _check_template(model)
        self.key = f"{mode.upper()}.filelist"
        list_path, list_folder = None, Path()
        if videos is None:
            list_path, videos = section.filelist, _read_list(mode, config, self.key)
            list_folder = Path(list_path).resolve().parent
        elif not videos:
            raise InputError("no videos are given")
        super().__init__(mode, videos, section.max_bad_videos, list_path)
        self.batch_size = section.batch_size
        self._launch = launch
        self.num_classes = model.num_classes
        self.format = model.format
        check_sizes(mode, section)
        sizes, fast = (section.short_size, section.target_size, section.keep_aspect), section.fast_crop
        training = isinstance(section, TrainSection)
        self._order_seed = config.TRAIN.seed if training else None
        transform = TrainTransform(*sizes, multi_scale, section.flip, fast) if training else EvalTransform(*sizes, fast)
        read = ClipReader(model, section, config.seg_num(mode), list_folder, transform, config.TRAIN.seed)
        self._shape = read.shape
        _check_batch_size(mode, section.batch_size, launch)
        share = math.ceil(section.batch_size / launch.size)  # of a batch, this rank's
        workers = min(section.num_reader_threads, max(1, usable_cores() // launch.local_size), len(self.videos))
        self._pool = WorkerPool(
            read,
            workers,
            ahead=min(section.buf_size, 2 * share + workers, len(self.videos)),
            shape=read.shape,
            timeout_s=section.decode_timeout_s,
        )
        self._share = share
        self.epoch = 0
        self.first_batch = 0

    def close(self) -> None:
        """Ends the reader processes."""
        self._pool.close()

    def fingerprint(self) -> str:
        """Of the list: the names of its files (not their folders), the labels, and the order."""
        lines = (f"{Path(video.path).name} {video.label}\n" for video in self.videos)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def batches(self) -> int:
        """Batches of a whole pass."""
        return math.ceil(len(self.videos) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """One pass over the list. `epoch` decides the order and the random draws; it counts up by itself. The pass
        begins at batch `first_batch`; the next one at 0 again.

        Raises TooManyBadVideos, except in infer mode, where the other results are worth having.
        """
        epoch, self.epoch, self.failures, self.damaged = self.epoch, self.epoch + 1, [], []
        first, self.first_batch = self.first_batch, 0
        order = np.arange(len(self.videos))
        if self._order_seed is not None:
            order = np.random.default_rng([self._order_seed, epoch]).permutation(order)
        numbers = range(first, self.batches)
        tasks = ((self.videos[index], epoch) for number in numbers for index in self._places(order, number)[0])
        with contextlib.closing(self._pool.map(tasks)) as results:
            for number in numbers:
                mine, places = self._places(order, number)
                batch = BatchBuilder(self._share, self._shape)
                for (video, _), clip, pixels in islice(results, len(mine)):
                    if isinstance(clip, VideoError):
                        self._note_failure(video, str(clip))
                        continue
                    if clip.damage:
                        self._note_damage(video, clip.damage)
                    self._check_label(video, clip.label)
                    batch.add(clip, pixels)
                if not len(batch) and self.mode == "train":
                    batch.add(Clip(-1, ""), np.uint8(0))
                if len(batch):
                    yield batch.take(places)
            next(results, None)  # the pool, too, is through with the pass

    def _places(self, order: np.ndarray, number: int) -> tuple[np.ndarray, int]:
        """This rank's part of a batch, and the size of the whole."""
        whole = order[number * self.batch_size : (number + 1) * self.batch_size]
        rank, size = self._launch.rank, self._launch.size
        first, last = (math.ceil(len(whole) * number / size) for number in (rank, rank + 1))
        return whole[first:last], len(whole)  # the first rank has one if anyone has

    def _check_label(self, video: Video, label: int) -> None:
        """A pickle's label is known only now."""
        if self.format == "pkl" and self.mode != "infer":
            try:
                check_label(label, self.num_classes)
            except ValueError as error:
                raise InputError(f"{video.path}: {error}") from None


def _read_list(mode: str, config: Config, key: str) -> list[Video]:
    model = config.MODEL
    return read_video_list(
        config.reader(mode).filelist,
        num_classes=model.num_classes,
        labelled=mode != "infer" and model.format != "pkl",
        key=key,
        frame_folders=model.format == "frames",
    )


def _check_batch_size(mode: str, batch_size: int, launch: Launch) -> None:
    if batch_size < launch.size:
        raise InputError(
            f"{mode.upper()}.batch_size = {batch_size} is that of all {launch.size} processes together: each needs a"
            " clip at least"
        )


def _check_template(model: ModelSection) -> None:
    try:
        names = {model.frame_template % number for number in (1, 2)}
    except (TypeError, ValueError):
        names = set()
    if len(names) < 2:
        raise InputError(f"MODEL.frame_template = {model.frame_template!r} needs one %d, as in img_%05d.jpg")
