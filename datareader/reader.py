"""Videos -> batches of uint8 clips, read by several processes."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader.batches import Batch, BatchBuilder, Failure, Sample
from video_zoo.datareader.checks import check_memory
from video_zoo.datareader.clip_reader import Chunk, ClipReader
from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.timeline import describe_jumps
from video_zoo.datareader.video_list import Video, check_label, resolve, tidy
from video_zoo.datareader.workers import Task, WorkerPool
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger
from video_zoo.utils.runtime import ALONE, Launch, usable_cores

_WINDOWS_A_TASK = 8


class TooManyBadVideos(InputError):
    """More of the list's videos are unreadable than max_bad_videos allows."""


class VideoReader:
    """Batches of clips of videos: one of each view or, where `read` has windows, of each window over the video.

    The order is that of the videos and of their windows; in training the videos' is drawn anew each epoch. A video that
    cannot be read is named in the log and kept in `failures`; one that is damaged and used is kept in `damaged`; both
    are of the last pass.

    Whole videos: each has its place in a batch, which one that cannot be read leaves empty; the last batch holds what
    is left. A batch of which nothing could be read is left out, but in training, where all ranks take as many steps: it
    then is a black clip with label -1.

    Windows: batches are filled, over the ends of videos. A long video is read by all processes; one that must be
    decoded from its start to its end, beyond its first windows by one. If it shows only on the way that a video cannot
    be read, its windows up to there are given. decode_timeout_s is for a task, of some windows.

    Args:
        mode: "train", "valid", "test" or "infer".
        settings: the whole config; batch_size, in clips, is that of all ranks together, in test mode that of each. Of
            videos with several views, a batch has as many as make no more clips, but at least one a rank.
        videos: as `read` finds them.
        read: what the reader processes do.
        launch: each rank reads its part of every batch of whole videos.
        list_path: where the videos are listed; None: nowhere.
    """

    def __init__(
        self,
        mode: str,
        settings: Config,
        videos: Sequence[Video],
        read: ClipReader,
        *,
        launch: Launch = ALONE,
        list_path: str | None = None,
    ):
        section = settings.reader(mode)
        batch_size = section.batch_size * (launch.size if mode == "test" else 1)
        if batch_size < launch.size:
            raise InputError(
                f"{mode.upper()}.batch_size = {section.batch_size} is that of all {launch.size} processes together:"
                " each needs a clip at least"
            )
        self.mode, self.videos, self.list_path = mode, list(videos), list_path
        views = len(read.views)
        self.batch_size = max(batch_size // views, launch.size) if views > 1 else batch_size
        self.max_bad_videos = section.max_bad_videos
        self.failures: list[Failure] = []
        self.damaged: list[Failure] = []
        self.epoch = 0
        self.first_batch = 0
        self._model, self._seed = settings.MODEL, settings.TRAIN.seed
        self._launch, self._windows = launch, read.windows
        share = math.ceil(self.batch_size / launch.size)  # of a batch, this rank's videos
        self._shape = settings.clip_shape(mode)
        workers = min(section.num_reader_threads, max(1, usable_cores() // launch.local_size))
        if self._windows is None:
            workers = min(workers, len(self.videos))
            self._count = views
            ahead = min(max(section.buf_size // self._count, 1), 2 * share + workers, len(self.videos))
            self._videos_ahead = ahead
        else:
            self._count = min(_WINDOWS_A_TASK, section.buf_size)
            ahead = max(min(2 * workers, section.buf_size // self._count), 1)
            self._videos_ahead = min(ahead, len(self.videos) - 1) if ahead > 1 else 0
            ahead += self._videos_ahead
        self._clips_a_batch = share if self._windows else share * self._count
        held = self._clips_a_batch + ahead * self._count
        what = f"{mode.upper()}.batch_size = {section.batch_size}"
        remedy = "A smaller batch_size" if self.batch_size > launch.size or views == 1 else "A protocol of fewer views"
        check_memory(what, held * launch.local_size, self._shape, remedy)
        shape = (self._count, *self._shape)  # of a task's clips
        self._read = read
        self._pool = WorkerPool(read, workers, ahead=ahead, shape=shape, timeout_s=section.decode_timeout_s)

    def __len__(self) -> int:
        """Videos, read or not."""
        return len(self.videos)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the reader processes."""
        self._pool.close()

    def fingerprint(self) -> str:
        """A hash of the list: the names of its files (not their folders), the labels, and the order."""
        lines = (f"{tidy(video.path).rpartition('/')[2]} {video.label}\n" for video in self.videos)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def files(self) -> dict[str, Path]:
        """Where the videos lie, by the names that they have in the list."""
        folder = Path(self.list_path).resolve().parent if self.list_path else Path()
        return {video.path: resolve(video.path, folder) for video in self.videos}

    @property
    def batches(self) -> int:
        """Batches of a whole pass over whole videos."""
        return math.ceil(len(self.videos) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """One pass. `epoch` decides the order and the random draws; it counts up by itself. The pass begins at batch
        `first_batch`, which is of whole videos; the next one at 0 again.

        Raises TooManyBadVideos, except in infer mode, where the other results are worth having.
        """
        epoch, self.epoch, self.failures, self.damaged = self.epoch, self.epoch + 1, [], []
        first, self.first_batch = self.first_batch, 0
        if self._windows is None:
            order = np.arange(len(self.videos))
            if self.mode == "train":
                order = np.random.default_rng([self._seed, epoch]).permutation(order)

            def parts() -> Iterator[tuple[np.ndarray, int]]:  # as they are needed: a list may be long
                return (self._part(order, number) for number in range(first, self.batches))

            videos = (self.videos[index] for mine, _ in parts() for index in mine)
            sizes: Iterable[tuple[int, int | None]] = ((len(mine) * self._count, whole) for mine, whole in parts())
        else:
            videos, sizes = iter(self.videos), repeat((self.batch_size, None))
        with contextlib.closing(self._clips(videos, epoch)) as clips:
            for number, (mine, whole) in enumerate(sizes, first):
                places, batch = 0, BatchBuilder(self._clips_a_batch, self._shape)
                for sample, clip in islice(clips, mine):
                    places += 1
                    if sample is not None:
                        batch.add(sample, clip)
                if not len(batch) and self.mode == "train":
                    batch.add(Sample("", -1), np.uint8(0))
                if len(batch):
                    yield batch.take(len(batch) if whole is None else whole, number)
                if places < mine:
                    return
            next(clips, None)  # the pool, too, is through with the pass

    def first_view(self, video_id: str) -> np.ndarray | None:
        """The clip of a whole video's first view, uint8 (T, 3, H, W), read anew by this process; None if it cannot be,
        or no line has that path: pickles have ids of their own."""
        video = next((video for video in self.videos if video.path == video_id), None)
        if video is None:
            return None
        clips = np.empty((self._count, *self._shape), np.uint8)
        try:
            self._read(video, 0, 0, clips)
        except VideoError:
            return None
        return clips[0]

    def check_failures(self) -> None:
        """Raises TooManyBadVideos if more videos of the last pass failed than max_bad_videos allows, or all did."""
        failed, total = len(self.failures), len(self.videos)
        if failed > round(self.max_bad_videos * total, 6) or failed == total:
            section = self.mode.upper()
            videos = "videos" if self.list_path is None else f"videos of {self.list_path}"
            allowed, more = f", and {section}.max_bad_videos allows {self.max_bad_videos:.1%}", ""
            if self.max_bad_videos < 1:
                more = f", or allow more with --set {section}.max_bad_videos=SHARE, from 0 to 1"
            raise TooManyBadVideos(
                f"{failed} of {total} {videos} cannot be read{allowed if more else ''}:\n"
                + "\n".join(f"  {self._describe(failure)}" for failure in self.failures[:10])
                + ("\n  ..." if failed > 10 else "")
                + f"\nMend or remove them{more}"
            )

    def report_failures(self) -> None:
        """Logs how many videos of the last pass failed, and which; and which are damaged and were used."""
        for videos, what in ((self.failures, "could not be read"), (self.damaged, "are damaged")):
            if videos:
                logger.warning("%d of %d videos %s:", len(videos), len(self.videos), what)
            for failure in videos:
                logger.warning("  %s", self._describe(failure))

    def _part(self, order: np.ndarray, number: int) -> tuple[np.ndarray, int]:
        """This rank's part of a batch of whole videos, and the size of the whole."""
        whole = order[number * self.batch_size : (number + 1) * self.batch_size]
        rank, size = self._launch.rank, self._launch.size
        first, last = (math.ceil(len(whole) * number / size) for number in (rank, rank + 1))
        return whole[first:last], len(whole)  # the first rank has one if anyone has

    def _clips(self, videos: Iterator[Video], epoch: int) -> Iterator[tuple[Sample | None, np.ndarray | None]]:
        """The videos' samples and their clips, which are valid until the next one is taken. A whole video that cannot
        be read has (None, None)."""
        schedule = _Schedule(videos, epoch, self._count, self._videos_ahead)
        with contextlib.closing(self._pool.run(schedule)) as results:
            for done in results:
                if not schedule.wants(done.task):
                    continue
                (video, _, first), chunk = done.task.args, done.result
                schedule.go_on(done.task, chunk)
                if isinstance(chunk, VideoError):
                    self._note_failure(video, first, str(chunk))
                    if self._windows is None:
                        yield from [(None, None)] * self._count
                    continue
                if first + len(chunk.samples) == chunk.total:
                    if chunk.damage:
                        self._note_damage(video, chunk.damage)
                    if chunk.jumps:
                        logger.warning("%s: %s", video.path, describe_jumps(chunk.jumps))
                for sample, clip in zip(chunk.samples, done.array):
                    self._check_label(video, sample.label)
                    yield sample, clip

    def _check_label(self, video: Video, label: int) -> None:
        """A pickle's label is known only now."""
        if self._model.format == "pkl" and self.mode != "infer":
            try:
                check_label(label, self._model.num_classes)
            except ValueError as error:
                raise InputError(f"{video.path}: {error}") from None

    def _note_failure(self, video: Video, first: int, reason: str) -> None:
        if first:  # of its windows; those before were read
            reason = f"from {first * self._windows.stride_s:.2f} s on: {reason}"
        self.failures.append(Failure(video, reason))
        logger.warning("cannot read a video: %s", self._describe(self.failures[-1]))
        if self.mode != "infer":
            self.check_failures()

    def _note_damage(self, video: Video, reason: str) -> None:
        self.damaged.append(Failure(video, reason))
        logger.warning("a damaged video: %s", self._describe(self.damaged[-1]))

    def _describe(self, failure: Failure) -> str:
        line = "" if self.list_path is None else f" (line {failure.video.line})"
        return f"{failure.video.path}{line}: {failure.reason}"


class _Schedule:
    """The tasks of a pass: (video, epoch, number of the first sample). How many samples a video has is known only when
    its first task is done.

    An iterator that is asked again after each result, as `WorkerPool.run` does it: it may have nothing now, and more
    later. The videos' first tasks are given out ahead, others only of the video whose turn it is. Their order is
    (number of the video, first sample), so that the results come video by video.

    Args:
        count: samples a task.
        videos_ahead: videos behind that one whose first task may be under way or done.
    """

    def __init__(self, videos: Iterator[Video], epoch: int, count: int, videos_ahead: int):
        self._videos, self._epoch, self._count, self._videos_ahead = videos, epoch, count, videos_ahead
        self._turn = 0  # number of the video whose samples are wanted now
        self._begun = 0  # videos whose first task is given out
        self._rest: Iterator[Task] | None = None  # the turn's other tasks; None: not known yet
        self._in_order = False  # whether the turn's video is read on by one process

    def __iter__(self) -> _Schedule:
        return self

    def __next__(self) -> Task:
        task = next(self._rest or iter(()), None)
        if task is None:
            if self._begun > self._turn + self._videos_ahead:
                raise StopIteration
            task = Task((next(self._videos), self._epoch, 0), (self._begun, 0))
            self._begun += 1
        return task

    def wants(self, task: Task) -> bool:
        """Whether a result is of use: not of the rest of a video that failed, or that one process reads on."""
        return task.order[0] == self._turn and (task.stay or not self._in_order)

    def go_on(self, task: Task, result: Chunk | VideoError) -> None:
        """Takes note of what came of a task that is wanted."""
        if isinstance(result, VideoError):
            self._next_video()
            return
        video, first = task.args[0], task.args[2]
        behind = first + len(result.samples)
        if result.total is not None and behind >= result.total:
            self._next_video()
        elif result.in_order or task.stay:  # another process may have opened the file anew, and selects again
            self._in_order = True
            self._rest = iter([self._task(video, behind, stay=True)])
        elif self._rest is None:
            self._rest = (self._task(video, place) for place in range(behind, result.total, self._count))

    def _task(self, video: Video, first: int, stay: bool = False) -> Task:
        return Task((video, self._epoch, first), (self._turn, first), stay)

    def _next_video(self) -> None:
        self._turn, self._rest, self._in_order = self._turn + 1, None, False
