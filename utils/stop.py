"""Ctrl-C and SIGTERM: the first asks for an end at the next good place, the second ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """The end that was asked for, where it does no harm. `code` is the process's exit code."""

    def __init__(self, number: int):
        super().__init__(number)
        self.code = 128 + number


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
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

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
        if self.signal is not None:
            if time.monotonic() - self._since < self._repeats_s:
                return
            raise SystemExit(128 + number)
        self.signal, self._since = number, time.monotonic()
        with contextlib.suppress(OSError):
            os.write(2, f"{self._message}\n".encode())  # print and logging may be what the signal interrupted
        if self._harmless:
            self.end()
