"""What a stream's probabilities say over time: smoothed, and as events that have a start and an end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from video_zoo.configs.schema import OnlineSection
from video_zoo.utils.errors import InputError


class Event(NamedTuple):
    """A class that was seen from one time to another, in seconds since the stream's first frame. confidence, peak: the
    mean and the largest of its smoothed probabilities, from the frame on at which it was found."""

    label: int
    start_s: float
    end_s: float
    confidence: float
    peak: float


class EventRules(NamedTuple):
    """How probabilities become events; the keys of the section ONLINE, whose `background` is a class here."""

    smoothing_s: float
    start_threshold: float
    end_threshold: float
    min_event_s: float
    background: int | None = None

    @classmethod
    def of(cls, section: OnlineSection, names: Sequence[str]) -> EventRules:
        """Raises InputError: an event would end before it starts, or the background is no class."""
        if section.end_threshold > section.start_threshold:
            raise InputError(
                f"ONLINE.end_threshold = {section.end_threshold:g} is over ONLINE.start_threshold ="
                f" {section.start_threshold:g}: an event would end as it starts; give one at or under it"
            )
        numbers = section.smoothing_s, section.start_threshold, section.end_threshold, section.min_event_s
        return cls(*numbers, _class_of(section.background, names))


def _class_of(background: str | None, names: Sequence[str]) -> int | None:
    """The number of a class that is given by its name or number. Raises InputError."""
    if background is None:
        return None
    if background in names:
        return list(names).index(background)
    if background.isascii() and background.isdigit() and int(background) < len(names):
        return int(background)
    few = f": {', '.join(names)}" if len(names) <= 10 else ""
    raise InputError(
        f"ONLINE.background = {background!r} is neither a name nor a number of the {len(names)} classes{few}"
    )


class EventFinder:
    """Finds the events of one stream, of which one at most is under way at a time.

    Probabilities are smoothed exponentially by time: over a step of t seconds, 1 - exp(-t / smoothing_s) of the
    difference to the new ones is added, so that the frame rate does not matter. Before the first frame they are equal
    for all classes.

    The event of a class starts when its smoothed probability rises over start_threshold while it is the largest, and
    ends when that falls under end_threshold, or the event of another class starts. The start is then put back to the
    first of the frames in a row, up to this one, whose own probability of the class, unsmoothed, is the largest: that
    takes off what the smoothing delays. It is never before the end of the event before, unless that one ends because
    of this one, which is at this start. Events of the background are found like others, and left out.

    Args:
        step_s: the usual time from one frame to the next, for the first one.
    """

    def __init__(self, rules: EventRules, num_classes: int, step_s: float):
        self._rules, self._step_s = rules, step_s
        self._uniform = np.full(num_classes, 1 / num_classes)
        self.begin()

    def begin(self) -> None:
        """Forgets what has been; an event that is under way, too."""
        self.smoothed = self._uniform.copy()  # (classes,)
        self._time_s: float | None = None  # of the latest frame
        self._ended_s = -math.inf  # the last event
        self._top, self._top_since_s = -1, 0.0  # of the frames' own probabilities
        self._label: int | None = None  # of the event under way
        self._start_s = self._peak = self._sum = 0.0
        self._count = 0

    @property
    def label(self) -> int | None:
        """The class of the event that is under way, unless it is the background."""
        return None if self._label == self._rules.background else self._label

    @property
    def start_s(self) -> float:
        """When the event that is under way started."""
        return self._start_s

    def add(self, time_s: float, probabilities: np.ndarray) -> Event | None:
        """Takes the next frame's probabilities, (classes,); returns the event that they end, if they end one.

        Raises InputError if they are not finite.
        """
        if not np.isfinite(probabilities).all():
            raise InputError("the probabilities are not finite: the weights are not sound")
        step_s = self._step_s if self._time_s is None else time_s - self._time_s
        share = 1.0 if not self._rules.smoothing_s else -math.expm1(-step_s / self._rules.smoothing_s)
        self.smoothed = self.smoothed + share * (probabilities - self.smoothed)
        self._time_s = time_s
        top = int(np.argmax(probabilities))
        if top != self._top:
            self._top, self._top_since_s = top, time_s
        best = int(np.argmax(self.smoothed))
        ended = None
        if best != self._label and self.smoothed[best] > self._rules.start_threshold:
            start_s = max(self._top_since_s if best == top else time_s, self._ended_s)
            ended = self._end(max(start_s, self._start_s))
            self._label, self._start_s = best, max(start_s, self._ended_s)
            self._peak = self._sum = 0.0
            self._count = 0
        elif self._label is not None and self.smoothed[self._label] < self._rules.end_threshold:
            ended = self._end(time_s)
        if self._label is not None:
            self._peak = max(self._peak, float(self.smoothed[self._label]))
            self._sum += float(self.smoothed[self._label])
            self._count += 1
        return ended

    def close(self) -> Event | None:
        """Ends the event that is under way at the latest frame, and forgets what has been; the stream may go on."""
        ended = None if self._time_s is None else self._end(self._time_s)
        self.begin()
        return ended

    def _end(self, time_s: float) -> Event | None:
        label, self._label = self._label, None
        if label is None:
            return None
        self._ended_s = time_s
        if label == self._rules.background or time_s - self._start_s < self._rules.min_event_s:
            return None
        return Event(label, self._start_s, time_s, self._sum / self._count, self._peak)
