"""Live streams and videos, followed frame by frame by a network that keeps a state: `infer.py --online`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader.checks import check_sizes
from video_zoo.datareader.inputs import Inputs
from video_zoo.datareader.live import Timing
from video_zoo.datareader.online_frames import LOOK_S, OnlineFrames, TakenFrame
from video_zoo.datareader.views import View
from video_zoo.engine.deployment import Deployment
from video_zoo.engine.evaluate import log_softmax
from video_zoo.engine.events import Event, EventFinder, EventRules
from video_zoo.engine.online_files import OnlineFiles
from video_zoo.engine.predict import Writer
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger
from video_zoo.utils.stop import Stop

if TYPE_CHECKING:
    from video_zoo.engine.inference import LoadNetwork
    from video_zoo.engine.online_pictures import StreamVideos, Window

_FILES_AT_ONCE = 8  # that are played; each has a thread and a decoder
_LOG_S = 5.0  # between the log's lines of a stream
_REMEMBERED = 10_000  # frames whose latencies are


class Steps(Protocol):
    """What a network makes of frames, as engine/streams.py has it."""

    def step(self, frames: Mapping[Hashable, np.ndarray]) -> dict[Hashable, np.ndarray]:
        """Stream -> uint8 RGB (3, H, W); returns stream -> logits, float32 (classes,)."""

    def leave(self, stream: Hashable) -> None:
        """Forgets the state of a stream, which begins anew with its next frame."""


class Latencies:
    """How long the parts of the last 10,000 frames took."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}

    def add(self, **seconds: float) -> None:
        """Counts a frame's parts."""
        for part, spent in {**seconds, "together": sum(seconds.values())}.items():
            self._seconds.setdefault(part, deque(maxlen=_REMEMBERED)).append(spent)

    def __str__(self) -> str:
        parts = []
        for part, seconds in self._seconds.items():
            numbers = (f"{1000 * number:.1f}" for number in np.percentile(seconds, (50, 95, 99)))
            parts.append(f"{part} {'/'.join(numbers)}")
        return f"ms a frame, p50/p95/p99: {', '.join(parts)}"


class _Followed:
    """A stream, and what is recognised in it."""

    def __init__(self, frames: OnlineFrames, finder: EventFinder):
        self.frames, self.finder, self.name = frames, finder, frames.name
        self._logged, self._logged_frames, self._tell_at = time.monotonic(), 0, 1

    def tell_left(self) -> None:
        """Says now and then how many frames were left out, as the network, or what comes before it, was too slow."""
        left = self.frames.left
        if left >= self._tell_at:
            logger.warning("%s: this machine is slower than ONLINE.fps: frames left out so far: %d", self.name, left)
            self._tell_at = 10 * left

    def log(self, frame: TakenFrame, names: Sequence[str], late_s: float) -> None:
        """Says where the stream is, every few seconds."""
        spent = time.monotonic() - self._logged
        if spent < _LOG_S:
            return
        rate, smoothed = (self.frames.taken - self._logged_frames) / spent, self.finder.smoothed
        best = int(np.argmax(smoothed))
        words = (self.name, frame.time_s, names[best], 100 * smoothed[best], rate)
        live = f", lag {frame.lag_s + late_s:.2f} s, {self.frames.left} left out" if self.frames.is_live else ""
        logger.info("[ONLINE] %s: %.1f s, %s %.0f%%, %.1f frames/s%s", *words, live)
        self._logged, self._logged_frames = time.monotonic(), self.frames.taken


class Follower:
    """Gives a network the frames of all streams, and writes what it recognises. Each step has the newest frame of every
    stream that has one.

    Args:
        steps: the network with the streams' states.
        files: are open.
        names: of the classes.
        log: whether the log says where the streams are.
        videos, window: get the frames, with what was recognised; None: nobody does.
    """

    def __init__(
        self,
        steps: Steps,
        rules: EventRules,
        files: OnlineFiles,
        names: Sequence[str],
        fps: float,
        *,
        log: bool = True,
        videos: StreamVideos | None = None,
        window: Window | None = None,
    ):
        self.latencies, self.done = Latencies(), 0
        self._steps, self._rules, self._files, self._names, self._step_s = steps, rules, files, names, 1 / fps
        self._log, self._videos, self._window = log, videos, window
        self._active: dict[str, _Followed] = {}
        self._writer: Writer | None = None

    def follow(self, sources: Sequence[OnlineFrames], changed: threading.Condition, stop: Stop) -> None:
        """Follows the streams until they end, or a signal comes; events that are under way then end.

        Args:
            sources: have different names; live ones begin at once, and of files some at a time.
            changed: theirs.

        Raises InputError: the results cannot be written, or the weights are not sound.
        """
        waiting = deque(sorted(sources, key=lambda each: not each.is_live))
        with contextlib.ExitStack() as stack:
            if self._videos is not None:
                self._writer = stack.enter_context(Writer(self._videos.add))
            stack.callback(self._leave_all)
            while stop.signal is None and not (self._window and self._window.is_closed()):
                while waiting and (waiting[0].is_live or self._files_active() < _FILES_AT_ONCE):
                    frames = waiting.popleft()
                    finder = EventFinder(self._rules, len(self._names), self._step_s)
                    self._active[frames.name] = _Followed(frames, finder)
                if not self._active:
                    break
                self._look(changed)

    def _files_active(self) -> int:
        return sum(not each.frames.is_live for each in self._active.values())

    def _look(self, changed: threading.Condition) -> None:
        """Waits for something, and deals with it."""
        for each in self._active.values():
            each.frames.watch()
        with changed:
            if not any(each.frames.is_waiting or each.frames.ended for each in self._active.values()):
                changed.wait(LOOK_S)
        taken = {}
        for name, each in self._active.items():
            if each.frames.broke():
                self._leave(each)
            if (frame := each.frames.take()) is not None:
                taken[name] = frame
            each.tell_left()
        if taken:
            self._step(taken)
        for name, each in list(self._active.items()):
            if each.frames.ended and not each.frames.is_waiting:
                del self._active[name]
                self._leave(each)

    def _step(self, taken: Mapping[str, TakenFrame]) -> None:
        start = time.monotonic()
        logits = self._steps.step({name: frame.pixels for name, frame in taken.items()})
        end = time.monotonic()
        self.done += len(taken)
        for name, frame in taken.items():
            self.latencies.add(**frame.seconds, waiting=start - frame.ready, network=end - start)
            each = self._active[name]
            self._recognise(each, frame, np.exp(log_softmax(logits[name])))
            if self._log:
                each.log(frame, self._names, end - frame.ready)

    def _recognise(self, each: _Followed, frame: TakenFrame, probabilities: np.ndarray) -> None:
        finder, before = each.finder, (each.finder.label, each.finder.start_s)
        ended = finder.add(frame.time_s, probabilities)
        self._write(each, ended)
        under_way = None if finder.label is None else (finder.label, finder.start_s)
        if under_way not in (None, before):
            logger.info("[ONLINE] %s: %s, since %.1f s", each.name, self._names[finder.label], finder.start_s)
        self._files.add_label(each.name, frame.time_s, finder.smoothed)
        if frame.picture is not None:
            from video_zoo.engine.online_pictures import draw_label

            pixels = draw_label(frame.picture, finder.smoothed, self._names, under_way)
            if self._window is not None:
                self._window.show(each.name, pixels)
            if self._writer is not None:
                self._writer.put(each.name, frame.time_s, pixels)

    def _write(self, each: _Followed, event: Event | None) -> None:
        if event is not None:
            self._files.add_event(each.name, event)
            words = (each.name, event.start_s, event.end_s, self._names[event.label], 100 * event.confidence)
            logger.info("[ONLINE] %s: %.1f-%.1f s %s %.0f%%", *words)

    def _leave(self, each: _Followed) -> None:
        """The stream does not go on from here: its event ends, and a next frame begins anew."""
        self._steps.leave(each.name)
        self._write(each, each.finder.close())

    def _leave_all(self) -> None:
        while self._active:
            self._leave(self._active.popitem()[1])


def predict_online(
    source: Deployment | LoadNetwork,
    settings: Config,
    inputs: Inputs,
    transform: str,
    names: Sequence[str],
    folder: Path,
    *,
    engine: str,
    precision: str,
    use_gpu: bool | None,
    duration_s: float | None = None,
    log: bool = True,
    save_video: str | None = None,
    show: bool = False,
) -> None:
    """What `infer.py --online` does: follows all inputs until they end, or a signal comes.

    Args:
        source: a deployment folder, or what loads a network.
        transform: the name of what makes pixels of frames.
        names: of the classes.
        folder: for MODEL_online_events.jsonl and MODEL_online_labels.csv.
        duration_s: ends each stream so long after its first frame.
        save_video: a folder for annotated videos.
        show: whether a window shows the streams.

    Raises:
        InputError: something cannot be used, read or written, or a source broke off for good.
        Stopped: a signal has come; all is written.
    """
    from video_zoo.engine.streams import open_streams

    online = settings.ONLINE
    check_sizes("infer", settings.INFER)
    changed = threading.Condition()
    options = {
        "duration_s": duration_s,
        "keep_pictures": show or save_video is not None,
        "timing": Timing(online.stream_timeout_s, online.stream_timeout_s),
    }
    view = View.of(settings, "infer", transform)
    given = [*inputs.streams, *(Path(video.path) for video in inputs.videos)]
    sources = [OnlineFrames(each, view.transformed, online.fps, changed, **options) for each in given]
    _name_apart(sources)
    most = len(inputs.streams) + min(len(inputs.videos), _FILES_AT_ONCE)
    with contextlib.ExitStack() as stack:
        videos = window = None
        if options["keep_pictures"]:
            from video_zoo.engine.online_pictures import open_pictures

            files_given = [video.path for video in inputs.videos]
            videos, window = open_pictures(stack, sources, files_given, online.fps, save_video, show)
        streams, _ = open_streams(source, engine, precision, use_gpu, settings.clip_shape("infer")[1:], most)
        rules = EventRules.of(online, names)
        files = stack.enter_context(OnlineFiles(folder, f"{settings.MODEL.name.upper()}_online", names))
        for each in sources:
            stack.callback(each.close)
        stop = stack.enter_context(Stop("stopping: what is under way is written; once more ends at once"))
        follower = Follower(streams, rules, files, names, online.fps, log=log, videos=videos, window=window)
        start = time.monotonic()
        follower.follow(sources, changed, stop)
        seconds = max(time.monotonic() - start, 1e-9)
    _report(follower, sources, files, seconds, videos.written if videos else [])
    stop.check()
    _check(sources, files)


def _name_apart(sources: Sequence[OnlineFrames]) -> None:
    """Sources that differ in their passwords alone get numbers behind their names."""
    seen: set[str] = set()
    for each in sources:
        name, number = each.name, 1
        while each.name in seen:
            number += 1
            each.name = f"{name} ({number})"
        seen.add(each.name)


def _report(
    follower: Follower, sources: Sequence[OnlineFrames], files: OnlineFiles, seconds: float, videos: Sequence[Path]
) -> None:
    for each in sources:
        if each.left:
            logger.warning("%s: this machine was slower than ONLINE.fps: %d frames were left out", each.name, each.left)
        if each.failure:
            logger.warning("%s: %s", each.name, each.failure)
    rate = follower.done / seconds
    words = (follower.done, files.events, rate)
    logger.info("[ONLINE] finished. %d frames, %d events, %.1f frames/s", *words)
    if follower.done:
        logger.info("[ONLINE] %s", follower.latencies)
    if files.paths:
        logger.info("results: %s", ", ".join(map(str, [*files.paths, *videos])))


def _check(sources: Sequence[OnlineFrames], files: OnlineFiles) -> None:
    """Raises InputError: a source broke off for good, or none gave a frame."""
    for each in sources:
        if each.failure:
            raise InputError(f"{each.name}: {each.failure}")
    if not files.paths:
        raise InputError("nothing was recognised: no file was written, and the results of an earlier run are kept")
