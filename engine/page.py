"""An HTML page of predictions: the frames that the network saw, and a bar for each of the most probable classes."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import IO
from urllib.parse import quote

import cv2
import numpy as np

from video_zoo.engine.results import Prediction, span_text
from video_zoo.utils.files import atomic_file, fit_name, make_folder
from video_zoo.utils.locks import lock_file
from video_zoo.utils.open_files import open_own
from video_zoo.utils.texts import html

HEIGHT = 112  # of a frame in a strip, px
QUALITY = 82  # of its JPEG, 1 to 100
BARS = 5

_HEAD = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
<h1>{title}</h1>
"""

BAR_STYLE = """
.bar { display: grid; grid-template-columns: minmax(0, var(--label, 9.6rem)) minmax(2rem, 1fr) 3.4rem; gap: .5rem;
  align-items: center; font-size: .85rem; line-height: 1.35 }
.bar > :first-child { overflow-wrap: anywhere }
.bar > i { height: .65rem; border-radius: 4px; background: var(--track, #e2e8f0); overflow: hidden }
.bar > i > i { display: block; height: 100%; border-radius: 4px; background: var(--bar, #0b6e99) }
.bar > :last-child { text-align: right; font-variant-numeric: tabular-nums; font-weight: inherit }
"""

BASE_STYLE = """
:root { color-scheme: light dark; --ground: #f4f6f8; --card: #fff; --text: #1a202c; --soft: #5a6675; --track: #e6ebf0;
  --bar: #9db8c7; --first: #0b6e99; --edge: #dde3ea }
@media (prefers-color-scheme: dark) { :root { --ground: #12161b; --card: #1b2128; --text: #e6eaef; --soft: #97a3b1;
  --track: #2b343e; --bar: #48606f; --first: #4db3dd; --edge: #2b343e } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; margin: 0 auto;
  max-width: 82rem; padding: 1.5rem 1rem 3rem; background: var(--ground); color: var(--text) }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .4rem }
a { color: inherit; text-decoration-color: var(--soft); text-underline-offset: .15em }
"""

_STYLE = """
p { margin: .1rem 0; color: var(--soft) }
input { font: inherit; width: 100%; max-width: 26rem; margin: 1rem 0 0; padding: .45rem .8rem; border-radius: 8px;
  border: 1px solid var(--edge); background: var(--card); color: inherit }
article { display: grid; grid-template-columns: minmax(0, 1fr) minmax(17rem, 22rem); gap: .5rem 1.5rem;
  align-items: center; margin: 1rem 0; padding: .9rem 1.1rem 1rem; border-radius: 12px; background: var(--card);
  border: 1px solid var(--edge); content-visibility: auto; contain-intrinsic-size: auto 11rem }
article[hidden] { display: none }
h2 { grid-column: 1 / -1; margin: 0; font-size: 1rem; font-weight: 600; overflow-wrap: anywhere }
h2 small { color: var(--soft); font-weight: 400; font-size: .85rem; white-space: nowrap; margin-left: .5rem }
.strip { overflow-x: auto; scrollbar-width: thin; border-radius: 6px; background: #14181d }
.strip img { display: block; max-width: 100% }
.bars { grid-column: -2 / -1; display: grid; gap: .2rem } h2 + .bars { grid-column: 1 / -1 }
.bar:first-child { font-weight: 600 } .bar:first-child > i > i { background: var(--first) }
footer { margin-top: 2rem; color: var(--soft); font-size: .9rem }
@media (max-width: 56rem) { article { grid-template-columns: minmax(0, 1fr) } .bars { grid-column: 1 / -1 }
  .strip img { max-width: none; height: 96px } }
@media print { article { break-inside: avoid } input { display: none } }
"""

_FILTER = """
const box = document.querySelector("input")
box.hidden = false
box.addEventListener("input", () => {
  const words = box.value.toLowerCase().split(/\\s+/)
  for (const row of document.querySelectorAll("article")) {
    const text = row.textContent.toLowerCase()
    row.hidden = !words.every(word => text.includes(word))
  }
})
"""


class Page:
    """Writes an HTML page row by row; it needs nothing from elsewhere, and no script but for its filter.

    The rows are in NAME.partial.html beside it, which a browser shows too, until `finish` gives the page its name.

    Args:
        path: of the page.
        names: of the classes.
        title: its heading.
        limit: rows that get a film strip, some 40 kB each; those after it have bars only, and the page says so.
        step: the strip shows every such frame of a clip; a segment's length shows the first one of each segment.
        notes: lines below the heading: the model, the weights, the date.
        files: id -> the video file, to which the name in its row leads, by a path that is relative to the page's.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        title: str,
        limit: int = 500,
        *,
        step: int = 1,
        notes: Sequence[str] = (),
        files: Mapping[str, Path] | None = None,
    ):
        self.path = Path(path)
        suffix = self.path.suffix[:10]  # of a longer one, no browser makes anything
        self.partial = self.path.with_name(fit_name(self.path.stem, f".partial{suffix}"))
        self._names = names
        self._title = title
        self._limit = limit
        self._step = step
        self._notes = notes
        self._files = files or {}
        self._rows = 0
        self._file: IO[bytes] | None = None
        self._lock = contextlib.ExitStack()
        self._reserved = False

    def reserve(self) -> None:
        """From here to the page's end, no other process may write it. Raises InputError: one is doing so, or the folder
        cannot be written."""
        if not self._reserved:
            make_folder(self.path.parent)
            lock = self.path.with_name(fit_name(f".{self.path.name}", ".partial.lock"))
            otherwise = f"{self.path} is being written by another process; name another page"
            self._lock.enter_context(lock_file(lock, otherwise))
            self._reserved = True

    def begin(self, kept: Iterable[Prediction] = ()) -> None:
        """Begins the page, with the rows of these predictions: as they are in NAME.partial.html, or else without
        a strip. Raises InputError, as `reserve`."""
        self.reserve()
        with atomic_file(self.partial, "wb") as self._file:
            self._write(_HEAD.format(title=html(self._title), style=BAR_STYLE + BASE_STYLE + _STYLE))
            self._write("".join(f"<p>{html(note)}</p>\n" for note in self._notes))
            self._write('<input hidden type="search" placeholder="Filter by file or class" aria-label="Filter">\n')
            old = self._old_rows()
            row = next(old, b"")
            for prediction in kept:
                head, bars = _utf8(self._draw_head(prediction)), _utf8(self._draw_bars(prediction))
                fits = row.startswith(head) and row.endswith(bars)
                self._count()
                self._file.write(row if fits else head + bars)
                row = next(old, b"") if fits else row
        self._file = open_own(self.partial, "ab")

    def add(self, predictions: Sequence[Prediction], clips: np.ndarray | None = None) -> None:
        """Writes rows; with `clips`, what the network saw, uint8 RGB (n, T, 3, H, W), the first of them have film
        strips. Raises OSError."""
        for prediction, clip in zip(predictions, repeat(None) if clips is None else clips):
            self._count()
            strip = "" if clip is None or self._rows > self._limit else _draw_strip(clip[:: self._step])
            self._write(self._draw_head(prediction) + strip + self._draw_bars(prediction))
        self._file.flush()

    def finish(self) -> None:
        """Ends the page, and gives it its name. Raises OSError."""
        plural = "" if self._rows == 1 else "s"
        self._write(f"<footer>{self._rows} prediction{plural}</footer>\n<script>{_FILTER}</script>\n</html>\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.partial, self.path)
        self._lock.close()

    def close(self) -> None:
        """Without `finish` before, the rows wait for a pass that resumes."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    def _count(self) -> None:
        if self._rows == self._limit:
            self._write(f"<p>Film strips end here: the page keeps those of the first {self._limit} rows.</p>\n")
        self._rows += 1

    def _old_rows(self) -> Iterator[bytes]:
        if os.path.lexists(self.partial):
            with open_own(self.partial, "rb") as file:
                yield from (line for line in file if line.startswith(b"<article>") and line.endswith(b"</article>\n"))

    def _write(self, text: str) -> None:
        self._file.write(_utf8(text))

    # A row is one line of the file, so that one that was cut off shows.

    def _draw_head(self, prediction: Prediction) -> str:
        span = f"<small>{span_text(prediction)}</small>" if prediction.span else ""
        name, file = f'<span dir="auto">{html(prediction.video_id)}</span>', self._files.get(prediction.video_id)
        if file is not None:
            moment = f"#t={prediction.span[0]:g},{prediction.span[1]:g}" if prediction.span else ""
            name = f'<a href="{link_to(file, self.path.parent)}{moment}">{name}</a>'
        return f"<article><h2>{name}{span}</h2>"

    def _draw_bars(self, prediction: Prediction) -> str:
        rows = zip(prediction.classes[:BARS], prediction.probabilities)
        bars = "".join(draw_bar(html(self._names[index]), probability) for index, probability in rows)
        return f'<div class="bars">{bars}</div></article>\n'


def link_to(file: str | os.PathLike, folder: str | os.PathLike) -> str:
    """The address of a file for a page in `folder`: a relative path, which nothing in its name can make another."""
    return quote(os.fsencode(os.path.relpath(os.path.abspath(file), os.path.abspath(folder))))


def draw_bar(label: str, share: float, color: str = "") -> str:
    """A class's name, its bar and its percentage, in one line of HTML that BAR_STYLE lays out.

    Args:
        label: HTML.
        share: 0 to 1.
        color: CSS; empty: the style's.
    """
    paint = f";background:{color}" if color else ""
    bar = f'<i><i style="width:{100 * share:.1f}%{paint}"></i></i>'
    return f'<div class="bar"><span dir="auto">{label}</span>{bar}<b>{100 * share:.1f}%</b></div>'


def film_strip(clip: np.ndarray, height: int = HEIGHT) -> bytes:
    """A JPEG of a clip's frames, uint8 RGB (T, 3, H, W), from left to right, so many px high."""
    frames, gap = [], np.full((height, 2, 3), 20, np.uint8)
    for frame in clip.transpose(0, 2, 3, 1):  # (T, 3, H, W) -> (T, H, W, 3)
        own_height, width = frame.shape[:2]
        size = (max(round(width * height / own_height), 1), height)
        way = cv2.INTER_AREA if own_height > height else cv2.INTER_CUBIC
        frames += [cv2.resize(np.ascontiguousarray(frame), size, interpolation=way), gap]
    strip = np.concatenate(frames[:-1], axis=1)[..., ::-1]
    return cv2.imencode(".jpg", np.ascontiguousarray(strip), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _draw_strip(clip: np.ndarray) -> str:
    data = base64.b64encode(film_strip(clip)).decode()
    return f'<div class="strip"><img alt="{len(clip)} frames" src="data:image/jpeg;base64,{data}"></div>'


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # a file's name may be no text
