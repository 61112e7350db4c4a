"""A list of videos -> batches of uint8 clips, read by several processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from configs.schema import Config, Train
from datareader.decode import VideoError, decode_jpegs, decode_video, read_pickle
from datareader.sampling import segment_indices
from datareader.transforms import EvalTransform, TrainTransform
from datareader.video_list import Video, read_video_list, resolve
from datareader.workers import WorkerPool
from utils.errors import InputError
from utils.log import logger
from utils.runtime import usable_cores


class Batch(NamedTuple):
    """clips: uint8 RGB (n, seg_num, 3 * seglen, H, W). labels: int64 (n,), -1 where there is none. ids: one a clip."""

    clips: np.ndarray
    labels: np.ndarray
    ids: list[str]


class Failure(NamedTuple):
    """A video that could not be read, and why."""

    video: Video
    reason: str


class TooManyBadVideos(InputError):
    """More of the list's videos are unreadable than max_bad_videos allows."""


@dataclass(frozen=True)
class ClipReader:
    """Reads one video of a list into a clip; it travels to the reader processes.

    Args:
        format: "mp4" or "pkl".
        list_folder: paths that do not exist from here are relative to it.
        seg_num, seglen: see sampling.py.
        transform: TrainTransform draws at random, EvalTransform does not.
        seed: of the draws, with the epoch and the video's number.
    """

    format: str
    list_folder: Path
    seg_num: int
    seglen: int
    transform: TrainTransform | EvalTransform
    seed: int

    def __call__(self, video: Video, epoch: int) -> tuple[np.ndarray, int, str]:
        """The clip, uint8 (seg_num, 3 * seglen, H, W), its label (-1: none) and the video's id. Raises VideoError."""
        try:
            return self._read(video, epoch)
        except (cv2.error, OSError, MemoryError, ValueError) as error:  # one video's trouble, not the run's
            raise VideoError(f"{type(error).__name__}: {error}") from error

    def _read(self, video: Video, epoch: int) -> tuple[np.ndarray, int, str]:
        path = resolve(video.path, self.list_folder)
        training = isinstance(self.transform, TrainTransform)
        rng = np.random.default_rng([self.seed, epoch, video.line]) if training else None

        def choose(num_frames: int) -> list[int]:
            return segment_indices(num_frames, self.seg_num, self.seglen, rng=rng, legacy_pkl=self.format == "pkl")

        if self.format == "pkl":
            video_id, label, jpegs = read_pickle(path)
            frames = decode_jpegs(jpegs, choose)
        else:
            video_id, label = video.path, -1 if video.label is None else video.label
            frames = decode_video(path, choose)
        clip = self.transform(frames, rng) if training else self.transform(frames)
        # (seg_num * seglen, 3, H, W) -> (seg_num, 3 * seglen, H, W)
        return clip.reshape(self.seg_num, 3 * self.seglen, *clip.shape[2:]), label, video_id


class KineticsReader:
    """Batches of a list of videos, in the list's order, or (training) in an order drawn anew each epoch.

    Every video is read; the last batch holds what is left. One that cannot be read is named in the log, kept in
    `failures`, and its place in the batch is taken by the next.

    Args:
        mode: "train", "valid", "test" or "infer".
        config: the whole config.
        multi_scale: whether training crops at several sizes (TSM) or one (TSN).

    Raises InputError: the list, or the sizes, cannot be used.
    """

    def __init__(self, mode: str, config: Config, multi_scale: bool):
        section, model = config.reader(mode), config.MODEL
        self.mode = mode
        self.key = f"{mode.upper()}.filelist"
        self.list_path = section.filelist
        self.batch_size = section.batch_size
        self.max_bad_videos = section.max_bad_videos
        self.num_classes = model.num_classes
        self.format = model.format
        self.videos = read_video_list(
            section.filelist,
            num_classes=model.num_classes,
            labelled=mode != "infer" and model.format == "mp4",
            key=self.key,
        )
        _check_sizes(mode, section.short_size, section.target_size)
        sizes = (section.short_size, section.target_size, section.keep_aspect)
        training = isinstance(section, Train)
        self._order_seed = config.TRAIN.seed if training else None
        transform = TrainTransform(*sizes, multi_scale, section.flip) if training else EvalTransform(*sizes)
        list_folder = Path(section.filelist).resolve().parent
        read = ClipReader(model.format, list_folder, config.seg_num(mode), model.seglen, transform, config.TRAIN.seed)
        workers = min(section.num_reader_threads, usable_cores())
        self._pool = WorkerPool(read, workers, ahead=min(section.buf_size, 2 * section.batch_size + workers))
        self.epoch = 0
        self.failures: list[Failure] = []

    def __len__(self) -> int:
        """Videos in the list."""
        return len(self.videos)

    def __enter__(self) -> KineticsReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the reader processes."""
        self._pool.close()

    def __iter__(self) -> Iterator[Batch]:
        """One pass over the list. `epoch` decides the order and the random draws; it counts up by itself.

        Raises TooManyBadVideos, except in infer mode, where the other results are worth having.
        """
        epoch, self.epoch, self.failures = self.epoch, self.epoch + 1, []
        order = np.arange(len(self.videos))
        if self._order_seed is not None:
            order = np.random.default_rng([self._order_seed, epoch]).permutation(order)
        clips: list[tuple[np.ndarray, int, str]] = []
        tasks = ((self.videos[index], epoch) for index in order)
        for (video, _), result in self._pool.map(tasks):
            if isinstance(result, VideoError):
                self._note_failure(video, str(result))
                continue
            self._check_label(video, result[1])
            clips.append(result)
            if len(clips) == self.batch_size:
                yield _collate(clips)
                clips = []
        if clips:
            yield _collate(clips)

    def check_failures(self) -> None:
        """Raises TooManyBadVideos if more videos of the last pass failed than max_bad_videos allows, or all did."""
        failed, total = len(self.failures), len(self.videos)
        if failed > round(self.max_bad_videos * total, 6) or failed == total:
            section = self.mode.upper()
            raise TooManyBadVideos(
                f"{failed} of {total} videos of {self.list_path} cannot be read, and {section}.max_bad_videos allows"
                f" {self.max_bad_videos:.1%}:\n"
                + "\n".join(f"  {self._describe(failure)}" for failure in self.failures[:10])
                + ("\n  ..." if failed > 10 else "")
                + f"\nMend or remove them, or allow more with --set {section}.max_bad_videos=SHARE, from 0 to 1"
            )

    def report_failures(self) -> None:
        """Logs how many videos of the last pass failed, and which."""
        if self.failures:
            logger.warning("%d of %d videos could not be read:", len(self.failures), len(self.videos))
            for failure in self.failures:
                logger.warning("  %s", self._describe(failure))

    def _note_failure(self, video: Video, reason: str) -> None:
        failure = Failure(video, reason)
        self.failures.append(failure)
        logger.warning("cannot read a video: %s", self._describe(failure))
        if self.mode != "infer":
            self.check_failures()

    def _describe(self, failure: Failure) -> str:
        return f"{failure.video.path} (line {failure.video.line}): {failure.reason}"

    def _check_label(self, video: Video, label: int) -> None:
        """A pickle's label is known only now."""
        if self.format == "pkl" and self.mode != "infer" and not 0 <= label < self.num_classes:
            raise InputError(
                f"{video.path}: its label {label} is not one of the {self.num_classes} classes (MODEL.num_classes)"
            )


def _check_sizes(mode: str, short_size: int, target_size: int) -> None:
    if target_size > short_size:
        section = mode.upper()
        raise InputError(
            f"{section}.target_size = {target_size} does not fit into {section}.short_size = {short_size}:"
            " the crop is cut out of the scaled frame"
        )


def _collate(clips: list[tuple[np.ndarray, int, str]]) -> Batch:
    arrays, labels, ids = zip(*clips)
    return Batch(np.stack(arrays), np.asarray(labels, np.int64), list(ids))
