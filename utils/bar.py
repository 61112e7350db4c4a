"""A progress bar on the last line of a terminal, below the lines of the log."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any, TextIO

from video_zoo.utils.texts import one_line

_REDRAWN_S = 0.1  # at most so often, where only the numbers have changed
_FORMAT = "{percentage:3.0f}%|{bar:16}| {desc}"


class Bar:
    """One bar at a time, of the Progress that was shown last; tqdm draws it, and cuts it to the terminal's width. All
    functions may be called from any thread."""

    def __init__(self) -> None:
        self._stream: TextIO | None = None
        self._lock = threading.RLock()
        self._bar: Any = None  # a tqdm
        self._progress: Any = None
        self._text, self._drawn = "", 0.0

    def attach(self, stream: TextIO | None) -> None:
        """Where bars are drawn from now on, if it is a terminal; nowhere where it is none, or None."""
        self.close()
        usable = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
        with contextlib.suppress(ImportError):
            import tqdm  # noqa: F401  only where it is used

            self._stream = stream if usable else None

    @property
    def is_possible(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self._stream is not None

    @property
    def is_shown(self) -> bool:
        """Whether a bar is on it."""
        return self._bar is not None

    def show(self, progress: Any, text: str) -> None:
        """Draws the bar of a Progress, and a text behind its numbers."""
        with self._lock:
            if progress is not self._progress or self._bar is None:
                self.close()
                self._progress, self._bar = progress, _open(self._stream, progress.total)
            self._text = text
            self._draw()

    def say(self, text: str) -> None:
        """Shows a text at once, in the place of the one behind the numbers."""
        with self._lock:
            self._text = text
            self._draw()

    def update(self, progress: Any, text: str) -> None:
        """The text and the numbers of a Progress, if the bar is its, are other ones; they are drawn now and then."""
        if progress is self._progress and time.monotonic() - self._drawn > _REDRAWN_S:
            self.say(text)

    @contextlib.contextmanager
    def cleared(self) -> Iterator[None]:
        """No bar is on the terminal while the block writes to it."""
        with self._lock:
            if self._bar is not None:
                self._bar.clear()
            try:
                yield
            finally:
                if self._bar is not None:
                    self._bar.refresh()

    def close(self) -> None:
        """Takes the bar from the terminal."""
        with self._lock:
            bar, self._bar, self._progress = self._bar, None, None
            if bar is not None:
                bar.close()

    def _draw(self) -> None:
        if self._bar is not None:
            self._bar.n, self._bar.total = self._progress.done, self._progress.total
            parts = (self._progress.pace, self._text, self._progress.shares)  # what is cut off last stands first
            self._bar.set_description_str(one_line("  ".join(filter(None, parts))), refresh=False)
            self._bar.refresh()
            self._drawn = time.monotonic()


def _open(stream: TextIO | None, total: float | None) -> Any:
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread of its own
    tqdm.set_lock(threading.RLock())  # and no lock for other processes
    form = _FORMAT if total else "{desc}"
    return tqdm(total=total, file=stream, bar_format=form, dynamic_ncols=True, leave=False, delay=1e-9)  # drawn later
