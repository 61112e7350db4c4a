"""A video -> what the page and the interface say of it, part by part, so that progress shows."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.sampling import Windows
from video_zoo.engine.page import film_strip
from video_zoo.engine.results import top_classes
from video_zoo.server.counts import Counts
from video_zoo.server.reading import MOST_PIXELS, VideoFacts, VideoSource
from video_zoo.server.uploads import Refused
from video_zoo.utils.texts import one_line

MOST_WINDOWS = 2000  # of a video
_MOST_SHOWN = 16  # frames of a strip, about


class Model(Protocol):
    """What video_zoo.load gives, as far as the server uses it."""

    name: str
    names: Sequence[str]
    description: str
    settings: Config

    def probabilities(self, clips: np.ndarray) -> np.ndarray:
        """uint8 clips (n, T, 3, H, W) -> float32 (n, classes)."""


@dataclass(frozen=True)
class Question:
    """What a visitor wants to know.

    Args:
        top_k: classes of each prediction.
        windows: of the video; None: the whole of it.
        whole: the whole of it, too; windows are left out if there would be one.
        reverse: also of the same frames in reverse order.
        strips: also the frames that the network saw, as a JPEG.
    """

    top_k: int = 5
    windows: Windows | None = None
    whole: bool = False
    reverse: bool = False
    strips: bool = False


class Analyst:
    """Answers questions about videos. One thread may use it.

    Args:
        model: as video_zoo.load gives it.
        transform: its record's; a name of transforms.TRANSFORMS.
        most_s: seconds that a video may have.
    """

    def __init__(self, model: Model, transform: str, counts: Counts, most_s: float):
        self.model = model
        self._counts, self._most_s = counts, most_s
        self._source = VideoSource(model.settings, transform)

    def warm_up(self) -> None:
        """Starts the reader's process, which the first visitor would wait for."""
        self._source.forget()

    def close(self) -> None:
        """Ends the reader's process."""
        self._source.close()

    def answers(self, path: Path, question: Question) -> Iterator[dict[str, Any]]:
        """First {"video": ...}, then {"prediction": ..., "done": 0 to 1} of the whole and of each window, then
        {"seconds": ..., "damage"?: ...}. All of it is JSON-able.

        Raises Refused: it is no video, too long, too large, or cannot be read.
        """
        start = time.monotonic()
        try:
            facts = self._describe(path)
            yield {"video": {**facts._asdict(), "duration_s": round(facts.duration_s, 3)}}
            damage = None
            for windows in self._passes(facts, question):
                first, total = 0, 1
                while first < total:
                    chunk, clips = self._source.read(path, windows, first)
                    for sample, clip in zip(chunk.samples, clips):
                        prediction = self._predict(clip, sample.span, question)
                        done = min(sample.span.end_s / facts.duration_s, 1.0) if sample.span else 1.0
                        yield {"prediction": prediction, "done": round(done, 4)}
                    first += len(chunk.samples)
                    total = first + 1 if chunk.total is None else chunk.total
                    damage = chunk.damage or damage
            said = {"damage": one_line(damage)} if damage else {}
            yield {"seconds": round(time.monotonic() - start, 3), **said}
            self._counts.videos.inc()
        except VideoError as error:
            raise Refused(422, f"the video cannot be read: {one_line(str(error))}") from error
        finally:
            self._source.forget()

    def _describe(self, path: Path) -> VideoFacts:
        try:
            facts = self._source.describe(path)
        except VideoError as error:
            raise Refused(415, f"this is no video that can be read: {one_line(str(error))}") from error
        if facts.duration_s > self._most_s:
            raise Refused(413, f"the video takes {facts.duration_s:.1f} s, and --max_s allows {self._most_s:g} s")
        if facts.width * facts.height > MOST_PIXELS:
            raise Refused(413, f"the video's frames are {facts.width} x {facts.height} px, which is too large")
        return facts

    def _passes(self, facts: VideoFacts, question: Question) -> list[Windows | None]:
        windows = question.windows
        if windows is None:
            return [None]
        if facts.duration_s / windows.stride_s > MOST_WINDOWS:
            least = facts.duration_s / MOST_WINDOWS
            raise Refused(
                400, f"stride_s={windows.stride_s:g} makes more than {MOST_WINDOWS} windows: {least:.2f} or more"
            )
        if not question.whole:
            return [windows]
        return [None, windows] if facts.duration_s > windows.window_s else [None]

    def _predict(self, clip: np.ndarray, span: Any, question: Question) -> dict[str, Any]:
        """A prediction as JSON has it.

        Args:
            clip: uint8 (T, 3, H, W).
            span: of a window, seconds.
        """
        found: dict[str, Any] = {"start_s": round(span.start_s, 3), "end_s": round(span.end_s, 3)} if span else {}
        names, row = self.model.names, self._compute(clip)
        found["top"] = top_of(row, names, question.top_k)
        if question.reverse:
            reverse = self._compute(clip[::-1])
            found["reverse"] = top_of(reverse, names, question.top_k)
            found["reverse_of_first"] = float(reverse[row.argmax()])
        if question.strips:
            shown = clip[:: max(len(clip) // _MOST_SHOWN, 1)]
            found["strip"] = "data:image/jpeg;base64," + base64.b64encode(film_strip(shown)).decode()
        return found

    def _compute(self, clip: np.ndarray) -> np.ndarray:
        """uint8 (T, 3, H, W) -> float32 (classes,)."""
        (row,) = self.model.probabilities(np.ascontiguousarray(clip[None]))
        self._counts.clips.inc()
        return row


def top_of(probabilities: np.ndarray, names: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    """float32 (classes,) -> its largest, best first, as result files have them."""
    best = top_classes("", probabilities, top_k)
    rows = zip(best.classes, best.probabilities)
    return [{"class": index, "name": one_line(names[index]), "probability": float(share)} for index, share in rows]
