"""Log lines on stdout, and how far a long run has come."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

Item = TypeVar("Item")

logger = logging.getLogger("zoo")


def set_up_logging() -> None:
    """Log lines of level INFO and above go to stdout, one at a time, also when it is a pipe.

    What the terminal's encoding cannot show (a path in another script) is escaped.
    """
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = _PipeHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("[%(levelname)s: %(asctime)s]: %(message)s", "%H:%M:%S"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


class _PipeHandler(logging.StreamHandler):
    """A reader that went away (`| head`), or a full disk, ends the run, instead of a traceback for every line."""

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], OSError):
            raise
        super().handleError(record)


class Progress:
    """Speed and time left, and the share of the time that each part took.

    Where parts are given, only they count as time: a validation between two epochs does not slow the training down.

    Args:
        total: units of work in all; None if nobody knows.
        unit: what is counted.
    """

    def __init__(self, total: int | None, unit: str = "videos"):
        self.total = total
        self.unit = unit
        self.done = self.steps = 0
        self.seconds: dict[str, float] = {}
        self._start = time.monotonic()

    def add(self, units: int, **seconds: float) -> None:
        """Counts a step's finished units, and the seconds that parts (reader=..., compute=...) of it took."""
        self.done += units
        self.steps += 1
        for part, spent in seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + spent

    def finish(self) -> None:
        """Nothing more comes, whatever the total was: some videos could not be read."""
        self.total = self.done

    def milliseconds(self) -> dict[str, float]:
        """What each part took a step, as {"reader_ms": ...}."""
        return {f"{part}_ms": 1000 * spent / max(self.steps, 1) for part, spent in self.seconds.items()}

    def __str__(self) -> str:
        spent = sum(self.seconds.values())
        elapsed = max(spent or time.monotonic() - self._start, 1e-9)
        rate = self.done / elapsed
        text = f"{rate:.1f} {self.unit}/s"
        if self.total and self.done >= self.total:
            text += f", {format_seconds(elapsed)} in all"
        elif self.total and rate:
            text += f", {format_seconds((self.total - self.done) / rate)} left"
        if spent:
            text += ", " + " ".join(f"{part} {part_s / spent:.0%}" for part, part_s in self.seconds.items())
        return text


def format_seconds(seconds: float) -> str:
    """Seconds as H:MM:SS."""
    return str(timedelta(seconds=round(seconds)))


def timed(items: Iterable[Item]) -> Iterator[tuple[Item, float]]:
    """Each item, and the seconds waited for it."""
    iterator = iter(items)
    while True:
        start = time.monotonic()
        try:
            item = next(iterator)
        except StopIteration:
            return
        yield item, time.monotonic() - start
