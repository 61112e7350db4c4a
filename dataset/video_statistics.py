"""The numbers of a data set of videos: tables as text, and one picture of histograms (SVG, written by hand)."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from video_zoo.utils.files import atomic_file
from video_zoo.utils.texts import html

WIDTH, HEIGHT = 1000, 400
MARGIN, GAP = 40, 44
TOP, BOTTOM = 168, HEIGHT - 44  # of the histograms
BINS, WIDEST = 20, 8  # about so many bars; a bar is at most an eighth of the room
COLOURS = {
    "ok": "#3b8f6b",
    "damaged": "#e39a34",
    "too short": "#c9bd45",
    "empty": "#8c3f4d",
    "unreadable": "#cc4b41",
    "missing": "#8a8f98",
    "mislabelled": "#8762b5",
    "duplicate": "#4c86c8",
    "bad line": "#3d4250",
}
BAR, INK, FAINT, MEDIAN = "#4577a8", "#22262e", "#6b7280", "#d1572a"
FONT = "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in [header, *rows]
    ]


def statistics_table(columns: Mapping[str, Sequence[float]]) -> list[str]:
    """Lines: min, median and max of each column that has values."""
    rows = [
        (name, *(_number(value) for value in (min(values), statistics.median(values), max(values))))
        for name, values in columns.items()
        if values
    ]
    return table(("", "min", "median", "max"), rows) if rows else []


def write_picture(
    path: str | os.PathLike, title: str, counts: Mapping[str, int], columns: Mapping[str, Sequence[float]]
) -> None:
    """A bar of the statuses, and below it a histogram of each column. Raises InputError if it cannot be written."""
    panel = (WIDTH - 2 * MARGIN - GAP * (len(columns) - 1)) / len(columns)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' role="img" font-family="{FONT}">\n<title>{html(title)}</title>',
        '<rect width="100%" height="100%" fill="#fff"/>',
        _text(MARGIN, 34, title, 16, bold=True),
        *_status_bar(counts),
    ]
    for number, (name, values) in enumerate(columns.items()):
        parts += _panel(MARGIN + number * (panel + GAP), panel, name, values)
    with atomic_file(path) as file:
        file.write("\n".join([*parts, "</svg>\n"]))


class Histogram(NamedTuple):
    """Bins of `step`, the first from `start` on; with `open_end` the last one holds all that is above it, too."""

    counts: list[int]
    start: float
    step: float
    open_end: bool


def histogram(values: Sequence[float]) -> Histogram:
    """Bins begin at multiples of a round step. A few values far above the others share the last one."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    most = ordered[math.ceil(0.98 * len(ordered)) - 1]  # 98% are not above it
    open_end = high - low > 2 * (most - low) > 0
    top = most if open_end else high
    step = _round_step((top - low) / BINS, whole=all(float(value).is_integer() for value in values))
    start = math.floor(low / step) * step
    counts = [0] * (int((top - start) / step + 1e-9) + 1 + open_end)
    for value in ordered:
        counts[min(int((value - start) / step + 1e-9), len(counts) - 1)] += 1
    return Histogram(counts, start, step, open_end)


def _round_step(step: float, whole: bool) -> float:
    """The least of 1, 2, 5, 10, 20 ... (0.1, 0.2 ...) that is not below `step`."""
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    rounded = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= step * (1 - 1e-9))
    return max(rounded, 1.0) if whole else rounded


def _status_bar(counts: Mapping[str, int]) -> list[str]:
    total, parts = max(sum(counts.values()), 1), []
    thinnest = 2  # px
    scale = (WIDTH - 2 * MARGIN - thinnest * len(counts)) / total
    left, key_left = float(MARGIN), float(MARGIN)
    for status, count in counts.items():
        colour = COLOURS.get(status, FAINT)
        width = thinnest + scale * count
        parts.append(
            f'<rect x="{left:.1f}" y="50" width="{width:.1f}" height="22" fill="{colour}"><title>{html(status)}:'
            f" {count:,} ({count / total:.1%})</title></rect>"
        )
        label = f"{status} {count:,}"
        parts.append(f'<rect x="{key_left:.1f}" y="84" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(_text(key_left + 15, 93, label))
        left += width
        key_left += 28 + 7.2 * len(label)
    return parts


def _panel(left: float, width: float, name: str, values: Sequence[float]) -> list[str]:
    """A histogram with its axis and the median."""
    parts = [_text(left, 140, name, 14, bold=True)]
    if not values:
        return [*parts, _text(left, TOP + 20, "no video could be read", colour=FAINT)]
    bins, median = histogram(values), statistics.median(values)
    slot, most = min(width / len(bins.counts), width / WIDEST), max(bins.counts)
    first = left + (width - slot * len(bins.counts)) / 2
    every = math.ceil(len(bins.counts) / 6)  # bars that have a number
    # A whole number stands below its bar, a bound where the bar begins.
    shift = 0.5 if bins.step == 1 and float(median).is_integer() else 0
    for number, count in enumerate(bins.counts):
        height, begin = (BOTTOM - TOP) * count / most, _number(bins.start + number * bins.step)
        last = bins.open_end and number == len(bins.counts) - 1
        label = f"{begin} and more" if last else begin if shift else f"from {begin}"
        parts.append(
            f'<rect x="{first + number * slot + 1:.1f}" y="{BOTTOM - height:.1f}" width="{max(slot - 2, 1):.1f}"'
            f' height="{height:.1f}" rx="1.5" fill="{BAR}"><title>{label}: {count:,}</title></rect>'
        )
        if last or number % every == 0 and not (bins.open_end and number > len(bins.counts) - 1 - every):
            parts.append(_text(first + (number + shift) * slot, BOTTOM + 18, begin + "+" * last, 11, FAINT, "middle"))
    place = first + min((median - bins.start) / bins.step + shift, len(bins.counts) - 0.5) * slot
    return [
        *parts,
        f'<path d="M{left:.1f} {TOP - 0.5}h{width:.1f}" stroke="{FAINT}" stroke-opacity=".35"/>',
        f'<path d="M{left:.1f} {BOTTOM + 0.5}h{width:.1f}" stroke="{FAINT}"/>',
        f'<path d="M{place:.1f} {TOP}V{BOTTOM}" stroke="{MEDIAN}" stroke-width="1.5" stroke-dasharray="4 3"/>',
        _text(left, TOP - 8, f"{most:,} videos" if most > 1 else "1 video", 11, FAINT),
        _text(left + width, TOP - 8, f"median {_number(median)}", 11, MEDIAN, "end"),
    ]


def _text(
    x: float, y: float, text: str, size: int = 12, colour: str = INK, anchor: str = "start", bold: bool = False
) -> str:
    style = f'font-size="{size}" fill="{colour}" text-anchor="{anchor}"' + ' font-weight="600"' * bold
    return f'<text x="{x:.1f}" y="{y}" {style}>{html(text)}</text>'


def _number(value: float) -> str:
    """As short as the size allows: 1080, 29.97, 0.5."""
    return f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:.4g}"
