"""A clock for limits of time, which stands while this process does."""

from __future__ import annotations

import time


class WorkClock:
    """Seconds that this process has been at work, for one that looks at the clock again and again.

    Where it was stopped (Ctrl-Z, a paused container, a suspended machine), the time between two looks is long: of that,
    `longest_s` count. So nothing has run out when it goes on.
    """

    def __init__(self, longest_s: float):
        self._longest_s = longest_s
        self._now_s, self._looked = 0.0, time.monotonic()

    def now(self) -> float:
        """In seconds since the clock was made."""
        looked = time.monotonic()
        self._now_s += min(looked - self._looked, self._longest_s)
        self._looked = looked
        return self._now_s
