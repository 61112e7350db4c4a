"""The parts of an evaluation's page on confidence: whether it is calibrated, and what a threshold of it decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from video_zoo.engine.evaluation import NATURAL
from video_zoo.engine.html_document import counted, finite, percent, section, table
from video_zoo.metrics.statistics import Bin, coverage_curve, wilson_interval

if TYPE_CHECKING:
    from video_zoo.engine.evaluation_files import Summary

LEVELS = 10_000  # steps of confidence from 0 to 1
TARGETS = (0.9, 0.95, 0.99)  # of the accuracy on the videos that are decided
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 440, 310, 44, 12, 24, 36  # of a plot and of its margins, px
_COUNTS = 44  # height of the bars below a plot, px
_PLOT = (_WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - _TOP)  # of the area with the curve, px
PLOT = [_LEFT, _PLOT[0], _TOP, _TOP + _PLOT[1]]  # where it is: left edge, width, upper and lower edge, px


def draw_calibration(summary: Summary) -> str:
    """The section that compares confidence with accuracy, HTML."""
    filled = [each for each in summary.bins if each.count]
    rows = [
        [f"{each.low:.3f} to {each.high:.3f}", f"{each.count:,}", percent(each.confidence), percent(each.accuracy)]
        for each in filled
    ]
    head = ["confidence", "videos", "mean confidence", "accuracy"]
    return section(
        "Calibration",
        f"<p>Calibration error <b>{finite(summary.calibration_error)}</b>. {_confidence_text(summary)}</p>",
        _svg("Accuracy by confidence", _draw_bins(filled), _COUNTS + 4),
        '<p class="soft">Bars: accuracy. Points: at the mean confidence; a calibrated network has them on the dashed '
        "line. The bars below: how many videos.</p>",
        f"<details><summary>The {len(summary.bins)} bins as a table</summary>{table(head, rows)}</details>",
    )


def _draw_bins(bins: Sequence[Bin]) -> list[str]:
    most = max(each.count for each in bins)
    parts = [_frame("confidence", "accuracy")]
    for each in bins:
        (left, top), (right, bottom) = _place(each.low, each.accuracy), _place(each.high, 0)
        words = f"<title>{each.low:.3f} to {each.high:.3f}: {percent(each.accuracy)} of {each.count:,} right</title>"
        across, height = f'x="{left + 1:.1f}" width="{right - left - 2:.1f}"', _COUNTS * each.count / most
        parts.append(f'<rect class="bar" {across} y="{top:.1f}" height="{bottom - top:.1f}">{words}</rect>')
        y = _HEIGHT + _COUNTS - height
        parts.append(f'<rect class="count" {across} y="{y:.1f}" height="{height:.1f}">{words}</rect>')
        x, y = _place(each.confidence, each.accuracy)
        parts.append(f'<circle class="mean" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
    return [*parts, f'<path class="ideal" d="M{_point(0, 0)}L{_point(1, 1)}"/>']


def _confidence_text(summary: Summary) -> str:
    sure, right = float(summary.confidence.mean()), summary.scores[NATURAL]["top1"].value
    way, points = "over" if sure > right else "under", f"{abs(100 * (sure - right)):.1f}"
    said = "" if points == "0.0" else f": the network is {way}confident by {points} points"
    return f"The mean confidence is {percent(sure)}, and {percent(right)} are right{said}."


def draw_coverage(summary: Summary, right: np.ndarray) -> str:
    """The section that says how many videos a threshold of confidence decides, HTML. right: bool (n,)."""
    coverage, accuracy = coverage_curve(summary.confidence, right)
    places = np.unique(np.linspace(0, len(coverage) - 1, 400).astype(int))
    line = " ".join(_point(coverage[place], accuracy[place]) for place in places)
    parts = [
        _frame("share of the videos that are decided", "accuracy"),
        f'<polyline class="curve" points="{line}"/><path class="cut" id="cut"/>',
    ]
    rows = [[f"{target:.0%}", *_decide(summary.confidence, right, target)] for target in TARGETS]
    head = ["right, at least", "confidence from", "decided", "right"]
    start = level_for(summary.confidence, right, 0.95)
    slider = (
        f'<input type="range" id="threshold" min="0" max="{LEVELS}" value="{LEVELS if start is None else start}" '
        'aria-label="Threshold of confidence"><p id="decided" aria-live="polite"></p>'
    )
    return section(
        "How many videos need no second look",
        table(head, rows),
        '<p class="soft">The largest share of the videos on which the most confident answers are so often right, with '
        "a 95% interval. The threshold is chosen on these videos: on others, expect a little less.</p>",
        _svg("Accuracy on the most confident videos", parts),
        slider,
    )


def levels_of(confidence: np.ndarray) -> np.ndarray:
    """Confidences as whole steps, rounded down: a threshold of LEVEL / LEVELS keeps those of at least LEVEL."""
    return np.floor(np.asarray(confidence, np.float64) * LEVELS).astype(np.int64)


def level_for(confidence: np.ndarray, right: np.ndarray, target: float) -> int | None:
    """The lowest threshold, in steps, that keeps videos of which at least `target` are right; None: there is none.

    Args:
        confidence, right: (n,), as of `coverage_curve`.
    """
    order = np.argsort(-confidence, kind="stable")
    levels, good = levels_of(confidence)[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(levels[1:] != levels[:-1], True))  # of each level
    reached = last[good[last] >= target * (last + 1) - 1e-9]  # whole numbers: 0.95 of 20 are 19
    return int(levels[reached[-1]]) if len(reached) else None


def _decide(confidence: np.ndarray, right: np.ndarray, target: float) -> list[str]:
    """Cells: the threshold for a target, and what is decided by it."""
    level = level_for(confidence, right, target)
    if level is None:
        return ["none", "\u2013", "\u2013"]
    kept = levels_of(confidence) >= level
    count, good = int(kept.sum()), int(right[kept].sum())
    low, high = wilson_interval(good, count)
    button = f'<button type="button" data-level="{level}">{level / LEVELS:.4f}</button>'
    return [
        button,
        f"<b>{percent(count / len(kept))}</b><small>{counted(count, 'video')}</small>",
        f"<b>{percent(good / count)}</b><small>{percent(low)} to {percent(high)}</small>",
    ]


# ---- plots of shares by shares


def _place(x: float, y: float) -> tuple[float, float]:
    """Where a point is drawn, px."""
    return _LEFT + _PLOT[0] * x, _TOP + _PLOT[1] * (1 - y)


def _point(x: float, y: float) -> str:
    return "{:.1f},{:.1f}".format(*_place(x, y))


def _frame(x_name: str, y_name: str) -> str:
    """The axes of a plot."""
    parts = []
    for level in (0, 0.25, 0.5, 0.75, 1):
        (x, y), anchor = _place(level, level), "end" if level == 1 else "middle"
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{level:.0%}</text>')
        parts.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="{anchor}">{level:.0%}</text>')
    middle = _LEFT + _PLOT[0] / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{x_name}</text>')
    parts.append(f'<text x="{_LEFT}" y="12">{y_name}</text>')
    return "".join(parts)


def _svg(label: str, parts: list[str], below: int = 0) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + below}" role="img" aria-label="{label}">' + "\n".join(parts) + "</svg>"
    )
