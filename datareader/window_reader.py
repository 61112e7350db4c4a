"""Windows of a video, read in a reader process: which frames they have, and their clips."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

import cv2
import numpy as np

from video_zoo.configs.schema import ReaderSection
from video_zoo.datareader.decode import VideoError, av, check_file, open_with_opencv
from video_zoo.datareader.sampling import segment_indices
from video_zoo.datareader.transforms import EvalTransform, Size
from video_zoo.datareader.video_list import Video

if av is not None:
    from video_zoo.datareader.codecs import Unclear
    from video_zoo.datareader.rgb import ToRGB
    from video_zoo.datareader.selective import PacketVideo

_LONGEST_TASK_S = 5.0  # that a task goes on with a file which is decoded from its start to its end
_USUAL_STEP_S = 0.04  # between two frames, where a file does not say
_NEARLY_S = 1e-6  # times that are no further apart are equal
_TROUBLE = (cv2.error, OSError, MemoryError, ValueError, *([av.FFmpegError] if av is not None else []))


class Window(NamedTuple):
    """A stretch of a video: seconds from its first frame; a frame that is presented at `end_s` is not in it."""

    start_s: float
    end_s: float


class Cut(NamedTuple):
    """A window, and its frames: the number of the first, and how many."""

    window: Window
    first: int
    frames: int

    def indices(self, seg_num: int, seglen: int) -> list[int]:
        """The numbers, in the video, of its clip's seg_num * seglen frames; see `segment_indices`."""
        return [self.first + index for index in segment_indices(self.frames, seg_num, seglen)]


class Chunk(NamedTuple):
    """What came of a task.

    Args:
        windows: those whose clips were filled, from the first that was asked for; perhaps fewer than were asked for.
        total: of the video's windows; None: not known yet.
        damage: what is wrong with the video, which is used in part; as far as is known.
        in_order: the file must be decoded from its start to its end, and so is best read on by one process.
    """

    windows: list[Window]
    total: int | None
    damage: str | None
    in_order: bool


def cut_windows(times_s: Sequence[float], window_s: float, stride_s: float) -> list[Cut]:
    """The windows of a video, and their frames: those presented from a window's start to before its end.

    Windows begin at 0, stride_s, 2 * stride_s ... The first that reaches the video's end is the last; it is cut there,
    and left out if it is not the only one and less than half of window_s is left. A window in which no frame begins
    has the frame that is on the screen then.

    Args:
        times_s: of all frames, ascending, from 0; at least one. The last frame lasts as long as frames do on average,
            an only one 1/25 second.
    """
    step_s = times_s[-1] / (len(times_s) - 1) if len(times_s) > 1 else 0.0
    video_end_s = times_s[-1] + (step_s or _USUAL_STEP_S)
    cuts, start_s = [], 0.0
    while start_s < video_end_s - _NEARLY_S:
        end_s = min(start_s + window_s, video_end_s)
        if not cuts or end_s - start_s > window_s / 2 - _NEARLY_S:
            first, last = (bisect_left(times_s, each - _NEARLY_S) for each in (start_s, end_s))
            cuts.append(Cut(Window(start_s, end_s), first if last > first else first - 1, max(last - first, 1)))
        if start_s + window_s > video_end_s - _NEARLY_S:
            break
        start_s = len(cuts) * stride_s
    return cuts


def window_frames(
    times_s: Sequence[float], window_s: float, stride_s: float, seg_num: int, seglen: int
) -> list[tuple[Window, list[int]]]:
    """Each window of `cut_windows` and the numbers of its clip's frames, seg_num * seglen."""
    return [(cut.window, cut.indices(seg_num, seglen)) for cut in cut_windows(times_s, window_s, stride_s)]


class WindowReader:
    """Reads some windows of a video, one after the other; it travels to the reader processes.

    The video stays open for the next task. Where its packets say what is needed for which frame, only that is decoded.
    Else the whole file is decoded twice, for the times of its frames and then for the frames; a process that gets
    the tasks of such a file in order decodes it no more often than that, and never works longer than some seconds on
    one task. In memory is one full frame, and of others what goes into clips.

    Args:
        section: keys of configs/schema.py.
        shape: of `clips`: (windows a task, seg_num, 3 * seglen, H, W).
    """

    def __init__(self, section: ReaderSection, shape: tuple[int, ...], window_s: float, stride_s: float):
        self._section, self._shape = section, shape
        self._window_s, self._stride_s = window_s, stride_s
        sizes = (section.short_size, section.target_size, section.keep_aspect, section.fast_crop)
        self._transform = EvalTransform(*sizes)
        self._source: _Source | None = None

    def __call__(self, video: Video, first: int, clips: np.ndarray) -> Chunk:
        """Fills `clips` with the video's windows from number `first` on. Raises VideoError."""
        limit_s = min(_LONGEST_TASK_S, self._section.decode_timeout_s / 4 or math.inf)
        until = time.monotonic() + limit_s
        try:
            if self._source is None or self._source.path != Path(video.path):
                self._close()
                self._source = _Source(Path(video.path), self._section.decoder, self._cut)
            if self._source.selective is not None:
                try:
                    return self._read_selected(self._source.selective, first, clips)
                except Unclear:  # what went wrong, and where, shows when everything is decoded
                    self._source.give_up_selecting()
            return self._read_in_order(self._source.in_order, first, clips, until)
        except VideoError:
            self._close()
            raise
        except _TROUBLE as error:  # one video's trouble, not the run's
            self._close()
            raise VideoError(f"{type(error).__name__}: {error}") from error

    def _read_selected(self, source: _Selective, first: int, clips: np.ndarray) -> Chunk:
        cuts = source.cuts[first : first + len(clips)]
        places: dict[int, list[tuple[int, int]]] = {}  # frame -> (clip, place in it)
        for clip, cut in enumerate(cuts):
            for place, number in enumerate(self._indices(cut)):
                places.setdefault(number, []).append((clip, place))
        frames = clips.reshape(len(clips), -1, 3, *clips.shape[3:])  # (n, seg_num * seglen, 3, H, W)
        for number, frame in source.video.decode_selected(places) if places else ():
            image = self._transformed(source.to_rgb(frame))
            for clip, place in places[number]:
                frames[clip, place] = image
        return Chunk([cut.window for cut in cuts], len(source.cuts), None, False)

    def _read_in_order(self, source: _InOrder, first: int, clips: np.ndarray, until: float) -> Chunk:
        if not source.survey(until):
            return Chunk([], None, None, True)
        damage, windows = source.damage(), []
        if damage and self._section.on_damage == "skip":
            raise VideoError(damage)
        if damage and source.num_frames < self._shape[1]:
            raise VideoError(f"{damage}; whole frames: {source.num_frames}, and {self._shape[1]} are needed")
        for place, clip in enumerate(clips[: max(len(source.cuts) - first, 0)]):
            frames = source.frames_of(first + place, self._indices, self._transformed, until)
            if frames is None:
                break
            for target, frame in zip(clip.reshape(-1, 3, *clip.shape[2:]), frames):
                target[:] = frame
            windows.append(source.cuts[first + place].window)
        damage = damage and f"{damage}; {source.num_frames} whole frames are used"
        return Chunk(windows, len(source.cuts), damage, True)

    def _cut(self, times_s: Sequence[float]) -> list[Cut]:
        return cut_windows(times_s, self._window_s, self._stride_s)

    def _indices(self, cut: Cut) -> list[int]:
        return cut.indices(self._shape[1], self._shape[2] // 3)

    def _transformed(self, frame: np.ndarray) -> np.ndarray:
        return self._transform.draw(Size(frame.shape[1], frame.shape[0]))(frame)

    def _close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None


class _Selective(NamedTuple):
    """A video whose frames can be decoded by themselves."""

    video: Any
    cuts: list[Cut]
    to_rgb: Any


class _Source:
    """An open video: it is read selectively, until that fails, or in order."""

    def __init__(self, path: Path, decoder: str, cut: Callable[[Sequence[float]], list[Cut]]):
        self.path = path
        self.selective: _Selective | None = None
        check_file(path)
        path = path.absolute()  # FFmpeg takes what comes before a colon for a protocol, unless a slash comes first
        self._video = None
        if decoder != "opencv" and av is not None:
            try:
                self._video = PacketVideo(path)
            except (av.FFmpegError, ValueError):
                if decoder == "pyav":
                    raise VideoError("it is no video, or its header is damaged") from None
        if self._video is None:
            self.in_order = _InOrder(lambda: _frames_of_opencv(path), lambda: None, cut)
            return
        video = self._video
        self.in_order = _InOrder(lambda: _frames_of(video), lambda: video.table.damage, cut)
        if not video.table.unclear:
            base, first = video.stream.time_base, None
            times = []
            for place in video.table.shown():
                first = video.table.pts[place] if first is None else first
                times.append((video.table.pts[place] - first) * base.numerator / base.denominator)
            self.selective = _Selective(video, cut(times), ToRGB())

    def give_up_selecting(self) -> None:
        self.selective = None

    def close(self) -> None:
        if self._video is not None:
            self._video.container.close()


Frame = tuple[Any, Callable[[], np.ndarray]]  # seconds or None, and what makes the RGB frame (H, W, 3)


class _InOrder:
    """A video that is decoded from its start to its end, and stops on the way between two tasks.

    Args:
        frames: begins again.
        damage: what is wrong with the file, once it has been decoded.
    """

    def __init__(
        self,
        frames: Callable[[], Iterator[Frame]],
        damage: Callable[[], str | None],
        cut: Callable[[Sequence[float]], list[Cut]],
    ):
        self._frames, self.damage, self._cut = frames, damage, cut
        self._source = frames()
        self._times: list[float] = []
        self.cuts: list[Cut] = []

    @property
    def num_frames(self) -> int:
        return len(self._times)

    def survey(self, until: float) -> bool:
        """Decodes on for the times of the frames; whether it is through. Raises VideoError: not one frame."""
        if self.cuts:
            return True
        for time_s, _ in self._source:
            if time_s is None:  # the file does not say
                time_s = self._times[-1] + _USUAL_STEP_S if self._times else 0.0
            self._times.append(time_s)
            if time.monotonic() > until:
                return False
        if not self._times:
            damage = self.damage()
            raise VideoError(f"not one frame can be decoded{f': {damage}' if damage else ''}")
        self._times.sort()  # an AVI file may have the times of two frames exchanged
        self.cuts = self._cut([time_s - self._times[0] for time_s in self._times])
        self._begin(0)
        return True

    def frames_of(
        self,
        number: int,
        indices: Callable[[Cut], list[int]],
        keep: Callable[[np.ndarray], np.ndarray],
        until: float,
    ) -> list[np.ndarray] | None:
        """What `keep` makes of the frames of a window; None: not yet. Raises VideoError."""
        if number < self._window:
            self._begin(number)
        self._window, cut = number, self.cuts[number]
        self._planned = max(self._planned, number)
        self._kept = {place: frame for place, frame in self._kept.items() if place >= cut.first}
        wanted = indices(cut)
        while self._number <= max(wanted):
            _, to_rgb = next(self._source, (None, None))
            if to_rgb is None:
                raise VideoError("its number of frames changes from one decoding to the next")
            while self._planned < len(self.cuts) and self.cuts[self._planned].first <= self._number:
                self._wanted.update(indices(self.cuts[self._planned]))
                self._planned += 1
            if self._number in self._wanted:
                self._wanted.remove(self._number)
                self._kept[self._number] = keep(to_rgb())
            self._number += 1
            if time.monotonic() > until and self._number <= max(wanted):
                return None
        return [self._kept[place] for place in wanted]

    def _begin(self, window: int) -> None:
        """Decodes from the start again, for the windows from this one on."""
        self._source = self._frames()
        self._number = 0  # of the next frame
        self._window = self._planned = window  # asked for; whose frames are not among the wanted yet
        self._wanted: set[int] = set()
        self._kept: dict[int, np.ndarray] = {}


def _frames_of(video: Any) -> Iterator[Frame]:
    to_rgb, rate, base = ToRGB(), video.stream.average_rate, video.stream.time_base
    for number, frame in enumerate(video.decode_all()):
        time_s = number / float(rate) if rate else None
        if frame.pts is not None:
            time_s = float(frame.pts * base)  # frame.time is NaN for what the decoder gives at the end
        yield time_s, lambda frame=frame: to_rgb(frame)


def _frames_of_opencv(path: Path) -> Iterator[Frame]:
    capture = open_with_opencv(path)

    def to_rgb() -> np.ndarray:
        ok, image = capture.retrieve()
        if not ok:
            raise VideoError("a frame cannot be decoded")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    number, rate = 0, capture.get(cv2.CAP_PROP_FPS)
    while capture.grab():
        time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        yield (time_s if time_s > 0 or not number else number / rate if rate > 0 else None), to_rgb
        number += 1
    capture.release()
