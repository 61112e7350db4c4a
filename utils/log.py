"""Log lines on stdout, and how far a long run has come."""

from __future__ import annotations

import contextlib
import errno
import logging
import logging.handlers
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Callable, TextIO, TypeVar

from video_zoo.utils.bar import Bar
from video_zoo.utils.errors import InputError
from video_zoo.utils.open_files import open_own
from video_zoo.utils.stop import drop_lost_terminal
from video_zoo.utils.texts import for_display

Item = TypeVar("Item")

logger = logging.getLogger("zoo")
logger.setLevel(logging.WARNING)  # of a program of one's own, which may change it; commands say more
bar = Bar()
_verbose = False


def be_verbose(verbose: bool) -> None:
    """Whether `set_up_logging` shows lines of level DEBUG, too, and no bar."""
    global _verbose
    _verbose = verbose


def set_up_logging(*, file_later: bool = False) -> None:
    """Log lines of level INFO and above go to stdout, one at a time, also when it is a pipe. On a terminal, what a
    Progress says is a bar below them.

    What the terminal's encoding cannot show (a path in another script) is escaped. With `file_later`, the lines are
    kept for the file that `log_to_file` will name, which has those of level DEBUG, too.
    """
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = _PipeHandler(sys.stdout)
    handler.setLevel(logging.DEBUG if _verbose else logging.INFO)
    bar.attach(None if _verbose or sys.stdout is None else getattr(sys.stdout, "unescaped", sys.stdout))
    handler.setFormatter(_Formatter("[%(levelname)s: %(asctime)s]: %(message)s", "%H:%M:%S"))
    logger.handlers = [handler]
    if file_later:
        logger.addHandler(logging.handlers.MemoryHandler(1000, flushLevel=logging.CRITICAL + 1))
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


@contextlib.contextmanager
def log_to_file(path: str | os.PathLike) -> Iterator[None]:
    """The log's lines go to the end of a file, too, with the date, while the block runs; also the error that ends it.

    Raises InputError if the file cannot be written.
    """
    try:
        handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    handler.setFormatter(_Formatter("[%(levelname)s: %(asctime)s]: %(message)s"))
    try:
        for kept in [each for each in logger.handlers if isinstance(each, logging.handlers.MemoryHandler)]:
            logger.removeHandler(kept)
            kept.setTarget(handler)
            kept.close()  # writes its lines
        logger.addHandler(handler)
        yield
    except SystemExit:  # on purpose, and said
        raise
    except BaseException as error:
        known = isinstance(error, (InputError, KeyboardInterrupt))
        said = f"ended: {error}" if isinstance(error, InputError) else f"ended by {type(error).__name__} {error}"
        with contextlib.suppress(InputError):  # the disk may be what is full
            handler.handle(logger.makeRecord("", logging.ERROR, "", 0, said, (), None if known else sys.exc_info()))
        raise
    finally:
        logger.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()


@contextlib.contextmanager
def heartbeat(what: str, every_s: float = 5) -> Iterator[None]:
    """Logs `what`, and how long it has taken so far, every `every_s` seconds while the block runs."""
    done, start = threading.Event(), time.monotonic()

    def beat() -> None:
        while not done.wait(every_s):
            logger.info("%s, %d seconds so far", what, time.monotonic() - start, extra={"passing": True})

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class _Formatter(logging.Formatter):
    """Lines that no name of a file or class can forge, however long or odd it is."""

    def format(self, record: logging.LogRecord) -> str:
        return for_display(super().format(record))


class _LogFile(logging.FileHandler):
    """A full disk ends the run, with the file's name."""

    def _open(self) -> TextIO:
        return open_own(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise InputError(f"cannot write {self.baseFilename}: {error.strerror or error}") from error
        super().handleError(record)


class _PipeHandler(logging.StreamHandler):
    """A reader that went away (`| head`), or a full disk, ends the run, instead of a traceback for every line. A
    terminal that was closed does not: the signal that it sends decides, and a run that is to ignore it goes on.

    On a terminal, what a Progress says while it is under way is drawn as a bar, in which what a heartbeat says goes by.
    """

    def emit(self, record: logging.LogRecord) -> None:
        progress = getattr(record, "progress", None)
        if progress is not None and bar.is_possible and not progress.is_done:
            bar.show(progress, record.args[0])
        elif getattr(record, "passing", False) and bar.is_shown:
            bar.say(record.getMessage())
        else:
            with bar.cleared():
                super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError) and error.errno == errno.EIO and drop_lost_terminal():
            return
        if isinstance(error, OSError):
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
        if self.is_done:
            bar.close()

    def say(self, what: str, more: str = "", *, due: bool = True) -> None:
        """Logs `WHAT, 5.0 videos/s ...MORE`, if a line is due; on a terminal it is a bar, which goes on between."""
        if due:
            logger.info("%s, %s%s", what, self, more, extra={"progress": self})
        else:
            bar.update(self, what)

    def finish(self) -> None:
        """Nothing more comes, whatever the total was: some videos could not be read."""
        self.total = self.done
        bar.close()

    @property
    def is_done(self) -> bool:
        """Whether all is counted."""
        return bool(self.total) and self.done >= self.total

    def milliseconds(self) -> dict[str, float]:
        """What each part took a step, as {"reader_ms": ...}."""
        return {f"{part}_ms": 1000 * spent / max(self.steps, 1) for part, spent in self.seconds.items()}

    @property
    def elapsed_s(self) -> float:
        """Seconds that count, more than 0."""
        return max(sum(self.seconds.values()) or time.monotonic() - self._start, 1e-9)

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.done / self.elapsed_s

    @property
    def pace(self) -> str:
        """Units a second, and the time that is left, or that it took."""
        text, rate = f"{self.rate:.1f} {self.unit}/s", self.rate
        if self.is_done:
            text += f", {format_seconds(self.elapsed_s)} in all"
        elif self.total and rate:
            text += f", {format_seconds((self.total - self.done) / rate)} left"
        return text

    @property
    def shares(self) -> str:
        """What part of the time each part took; empty without parts."""
        spent = sum(self.seconds.values())
        return " ".join(f"{part} {part_s / spent:.0%}" for part, part_s in self.seconds.items()) if spent else ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.pace, self.shares)))


def print_line(text: str) -> None:
    """Prints a result on stdout, above the bar."""
    with bar.cleared():
        print(text, flush=True)


def format_seconds(seconds: float) -> str:
    """Seconds as H:MM:SS."""
    return str(timedelta(seconds=round(seconds)))


def timed(
    items: Iterable[Item], waiting: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext
) -> Iterator[tuple[Item, float]]:
    """Each item, and the seconds waited for it; every wait is inside of `waiting()`."""
    iterator = iter(items)
    while True:
        start = time.monotonic()
        try:
            with waiting():
                item = next(iterator)
        except StopIteration:
            return
        yield item, time.monotonic() - start
