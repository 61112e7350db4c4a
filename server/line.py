"""The line of visitors: one after the other has the network, and each knows its place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Callable


class LineFull(Exception):
    """No more visitors may wait."""


class Line:
    """Those who wait. All methods are of one event loop.

    Args:
        most: visitors at once, with the one whose turn it is and those who are still sending.
        changed: is told how many wait.
    """

    def __init__(self, most: int, changed: Callable[[int], None] = lambda waiting: None):
        self._most, self._changed = most, changed
        self._inside = 0
        self._tickets: list[Ticket] = []

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """A visitor is inside while the block runs. Raises LineFull."""
        if self._inside >= self._most:
            raise LineFull
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return max(len(self._tickets) - 1, 0)

    @contextlib.contextmanager
    def queue(self) -> Iterator[Ticket]:
        """A visitor stands in the line while the block runs."""
        ticket = Ticket(self._tickets)
        self._tickets.append(ticket)
        self._changed(self.waiting)
        try:
            yield ticket
        finally:
            self._tickets.remove(ticket)
            self._changed(self.waiting)
            for other in self._tickets:
                other.tell()


class Ticket:
    """A place in the line, which moves on as others leave it."""

    def __init__(self, line: list[Ticket]):
        self._line, self._moved = line, asyncio.Event()

    @property
    def place(self) -> int:
        """How many are before this visitor; 0: it is its turn."""
        return self._line.index(self)

    def tell(self) -> None:
        """Somebody has left the line."""
        self._moved.set()

    async def moved(self) -> None:
        """Waits until somebody leaves the line."""
        await self._moved.wait()
        self._moved.clear()
