"""Ctrl-C, SIGTERM and SIGHUP: what a command does when it is told to end.

While its modules are imported it ends at once, as there is nothing to tidy up. Later an exception ends it, which runs
its `finally` blocks, and `Stop` lets a loop end at a good place. The exit code is always 128 + the signal's number.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Callable, NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
# Seconds in which SIGHUP and SIGTERM count as the same as the first signal: the end of a session sends several.
_HANGUP_REPEATS_S = 5

Handler = Callable[[int, "FrameType | None"], None]


class Stopped(SystemExit):
    """The end that was asked for. `code` is the process's exit code."""

    def __init__(self, number: int):
        super().__init__(128 + number)


class _Command:
    """What has come to the command that runs in this process, and when."""

    signal: int | None = None
    since = 0.0
    holding = False
    hint: str | None = None


def handle(handler: Handler) -> dict[int, object]:
    """Makes `handler` answer the signals, but for those that the process was started to ignore, as `nohup` does.

    Returns: the handlers before, for `restore`; none in a thread, which may not set them.
    """
    taken = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    try:
        return {number: signal.signal(number, handler) for number in taken}
    except ValueError:  # the first one already: only the main thread may
        return {}


def restore(handlers: dict[int, object]) -> None:
    """Undoes `handle`."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


def end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """A handler: says so, and ends the process, whatever it is busy with."""
    with contextlib.suppress(OSError):
        os.write(2, f"{description(number)}\n".encode())
    os._exit(128 + number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """A handler: raises KeyboardInterrupt or Stopped; in `held` at its end."""
    if number == _HANGUP:
        drop_lost_terminal()
    if _Command.signal is None:
        _Command.signal, _Command.since = number, time.monotonic()
    elif _same_event(number, _Command.signal, time.monotonic() - _Command.since):
        return
    elif _Command.holding:
        end_at_once(number, frame)
    if not _Command.holding:
        _raise(number)


@contextlib.contextmanager
def interrupting() -> Iterator[Callable[[], int | None]]:
    """While the block runs, a signal raises KeyboardInterrupt or Stopped. Gives a function that says which came first,
    and None if none did: libraries turn these exceptions into others."""
    _Command.signal = _Command.hint = None
    before = handle(_interrupt)
    try:
        yield lambda: _Command.signal
    finally:
        restore(before)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """In `interrupting`, a signal waits for the end of this block; a second one ends the process at once."""
    before, _Command.holding = _Command.holding, True
    try:
        yield
    finally:
        _Command.holding = before
        if _Command.signal is not None and not before and _is_interrupting():
            _raise(_Command.signal)


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """In `interrupting`, a signal ends the process at once while this block runs."""
    before = handle(end_at_once) if _is_interrupting() else {}
    try:
        yield
    finally:
        restore(before)


def _is_interrupting() -> bool:
    return _interrupt in map(signal.getsignal, SIGNALS)


def say_when_stopped(hint: str | None) -> None:
    """What a signal that ends the command from now on is answered with, as how to go on; None: nothing any more."""
    _Command.hint = hint


def description(number: int) -> str:
    """What ended the process, and how to go on, if that is known."""
    said = "stopped." if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}."
    return f"{said} {_Command.hint}" if _Command.hint else said


def drop_lost_terminal() -> bool:
    """What is written to a terminal that has been closed goes nowhere from now on, instead of being an error.

    Returns: whether there was one.
    """
    if not hasattr(select, "poll"):  # Windows
        return False
    lost = [descriptor for descriptor in (1, 2) if _is_hung_up(descriptor)]
    for descriptor in lost:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
    return bool(lost)


def _is_hung_up(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _raise(number: int) -> NoReturn:
    raise KeyboardInterrupt if number == signal.SIGINT else Stopped(number)


def _same_event(number: int, first: int, seconds: float) -> bool:
    """Whether a signal only repeats the first: a session that ends sends SIGHUP, also twice, and SIGTERM, at one time.
    Ctrl-C never does."""
    return number != signal.SIGINT and _HANGUP in (number, first) and seconds < _HANGUP_REPEATS_S


class Stop:
    """While the context is open, the first signal is noted, and the second ends the process as it always did.

    Args:
        message: to stderr when the first signal comes.
        repeats_s: seconds after the first signal in which others count as the same one: launchers repeat theirs.
    """

    def __init__(self, message: str, repeats_s: float = 0):
        self.signal: int | None = None
        self._message = message
        self._repeats_s = repeats_s
        self._since = 0.0
        self._harmless = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stop:
        self._before = handle(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        restore(self._before)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A place where the process may stop at once: the first signal raises Stopped here."""
        self._harmless = True
        try:
            self.check()
            yield
        finally:
            self._harmless = False

    def check(self) -> None:
        """Raises Stopped if a signal has come."""
        if self.signal is not None:
            self.end()

    def end(self) -> NoReturn:
        """Raises Stopped, here or with another process that a signal has come to."""
        raise Stopped(self.signal or signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == _HANGUP:
            drop_lost_terminal()
        if self.signal is not None:
            after_s = time.monotonic() - self._since
            if after_s < self._repeats_s or _same_event(number, self.signal, after_s):
                return
            raise SystemExit(128 + number)
        self.signal, self._since = number, time.monotonic()
        with contextlib.suppress(OSError):
            first = "\n" if os.isatty(2) else ""  # behind the terminal's ^C, or a bar
            os.write(2, f"{first}{self._message}\n".encode())  # print and logging may be what the signal interrupted
        if self._harmless:
            self.end()
