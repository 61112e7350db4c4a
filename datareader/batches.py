"""What all readers of videos share: batches of clips, and the videos that cannot be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from video_zoo.configs.schema import Config, ReaderSection
from video_zoo.datareader import decode
from video_zoo.datareader.video_list import Video
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger


class Batch(NamedTuple):
    """clips: uint8 RGB (n, seg_num, 3 * seglen, H, W). labels: int64 (n,), -1 where there is none. ids: one a clip.
    global_batch_size: videos of the batch in all ranks together, also those that could not be read. spans: seconds,
    from and to, of each clip in its video; empty: whole videos."""

    clips: np.ndarray
    labels: np.ndarray
    ids: list[str]
    global_batch_size: int
    spans: tuple[tuple[float, float], ...] = ()


class Failure(NamedTuple):
    """A video that could not be read, and why."""

    video: Video
    reason: str


class TooManyBadVideos(InputError):
    """More of the list's videos are unreadable than max_bad_videos allows."""


class Clip(NamedTuple):
    """What is known of a clip beside its pixels. damage: what is wrong with its video, which was used in part. span:
    seconds, from and to, in its video; None: the whole of it."""

    label: int
    video_id: str
    damage: str | None = None
    span: tuple[float, float] | None = None


class BatchBuilder:
    """Clips on their way into a batch."""

    def __init__(self, batch_size: int, shape: tuple[int, ...]):
        self._pixels = np.empty((batch_size, *shape), np.uint8)
        self._clips: list[Clip] = []

    def __len__(self) -> int:
        return len(self._clips)

    def add(self, clip: Clip, pixels: np.ndarray) -> None:
        """The one copy between a reader process and the network."""
        self._pixels[len(self._clips)] = pixels
        self._clips.append(clip)

    def take(self, places: int) -> Batch:
        """The batch, which is the caller's from now on."""
        labels = np.asarray([clip.label for clip in self._clips], np.int64)
        spans = tuple(clip.span for clip in self._clips if clip.span is not None)
        return Batch(self._pixels[: len(labels)], labels, [clip.video_id for clip in self._clips], places, spans)


class BatchReader:
    """Videos, and which of them could not be read (`failures`) or are damaged and used (`damaged`) in the last pass.

    Args:
        mode: "train", "valid", "test" or "infer".
        max_bad_videos: the share that may fail.
        list_path: where the videos are listed; None: nowhere.
    """

    def __init__(self, mode: str, videos: Sequence[Video], max_bad_videos: float, list_path: str | None = None):
        self.mode = mode
        self.videos = list(videos)
        self.max_bad_videos = max_bad_videos
        self.list_path = list_path
        self.failures: list[Failure] = []
        self.damaged: list[Failure] = []

    def __len__(self) -> int:
        """Videos, read or not."""
        return len(self.videos)

    def __enter__(self) -> BatchReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends what works beside this thread."""
        raise NotImplementedError

    def check_failures(self) -> None:
        """Raises TooManyBadVideos if more videos of the last pass failed than max_bad_videos allows, or all did."""
        failed, total = len(self.failures), len(self.videos)
        if failed > round(self.max_bad_videos * total, 6) or failed == total:
            section = self.mode.upper()
            videos = "videos" if self.list_path is None else f"videos of {self.list_path}"
            raise TooManyBadVideos(
                f"{failed} of {total} {videos} cannot be read, and {section}.max_bad_videos allows"
                f" {self.max_bad_videos:.1%}:\n"
                + "\n".join(f"  {self._describe(failure)}" for failure in self.failures[:10])
                + ("\n  ..." if failed > 10 else "")
                + f"\nMend or remove them, or allow more with --set {section}.max_bad_videos=SHARE, from 0 to 1"
            )

    def report_failures(self) -> None:
        """Logs how many videos of the last pass failed, and which; and which are damaged and were used."""
        for videos, what in ((self.failures, "could not be read"), (self.damaged, "are damaged")):
            if videos:
                logger.warning("%d of %d videos %s:", len(videos), len(self.videos), what)
            for failure in videos:
                logger.warning("  %s", self._describe(failure))

    def _note_failure(self, video: Video, reason: str) -> None:
        failure = Failure(video, reason)
        self.failures.append(failure)
        logger.warning("cannot read a video: %s", self._describe(failure))
        if self.mode != "infer":
            self.check_failures()

    def _note_damage(self, video: Video, reason: str) -> None:
        self.damaged.append(Failure(video, reason))
        logger.warning("a damaged video: %s", self._describe(self.damaged[-1]))

    def _describe(self, failure: Failure) -> str:
        line = "" if self.list_path is None else f" (line {failure.video.line})"
        return f"{failure.video.path}{line}: {failure.reason}"


def check_sizes(mode: str, section: ReaderSection) -> None:
    """Raises InputError if the crop is larger than the scaled frame."""
    if section.target_size > section.short_size:
        name = mode.upper()
        raise InputError(
            f"{name}.target_size = {section.target_size} does not fit into {name}.short_size = {section.short_size}:"
            " the crop is cut out of the scaled frame"
        )


def check_decoder(mode: str, section: ReaderSection) -> None:
    """Raises InputError if the decoder that is asked for is not installed."""
    if decode.av is None and section.decoder != "opencv":
        if section.decoder == "pyav":
            raise InputError(f"{mode.upper()}.decoder is pyav, and PyAV is not installed: pip install av")
        logger.warning("PyAV is not installed: OpenCV decodes every frame, which takes longer. pip install av")


def check_windows(config: Config, window_s: float, stride_s: float) -> None:
    """Raises InputError if windows cannot be cut out of what the config's lists name, or cannot be so long."""
    if config.MODEL.format != "mp4":
        raise InputError(
            f"windows and streams are of videos, and MODEL.format is {config.MODEL.format}: --set MODEL.format=mp4"
        )
    for name, seconds in (("window", window_s), ("stride", stride_s)):
        if not 0 < seconds < math.inf:
            raise InputError(f"a {name} of {seconds:g} seconds; it must be longer than 0, as 2.5")
