"""report.html: what an evaluation found, and where the network is wrong."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from video_zoo.datareader.video_list import locate
from video_zoo.engine.confidence import LEVELS, PLOT, draw_calibration, draw_coverage, levels_of
from video_zoo.engine.evaluation import NATURAL, Evaluation
from video_zoo.engine.html_document import (
    counted,
    document,
    facts_list,
    finite,
    folded_listing,
    isolated,
    listing,
    markup,
    plain,
    section,
    shorten,
    side_by_side,
    signed,
    table,
)
from video_zoo.engine.page import BARS, draw_bar, film_strip, link_to
from video_zoo.metrics.statistics import wilson_interval

if TYPE_CHECKING:
    from video_zoo.engine.evaluation_files import Score, Summary

STRIPS, FIRST = 24, 6  # most confident mistakes that are shown with their frames; without a click
FRAMES = 8  # of a film strip, at most
FAILURES = 1000  # that the page lists

_SCORES = {"top1": "top-1", "top5": "top-5", "mean_class_accuracy": "mean class accuracy", "loss": "loss"}


def write_page(
    path: Path, evaluation: Evaluation, summary: Summary, clip_of: Callable[[str], np.ndarray | None]
) -> None:
    """Writes the page of an evaluation: one file, which needs nothing from elsewhere.

    Args:
        summary: of the evaluation.
        clip_of: the frames that the network saw of a video, uint8 RGB (T, 3, H, W); None if they cannot be had. It is
            asked for the most confident mistakes.

    Raises OSError: the file cannot be written.
    """
    facts = evaluation.facts
    base = _base_of_links(evaluation, path.parent)
    title = f"{facts.get('model', 'Evaluation')} on {Path(str(facts.get('list', {}).get('path', 'a list'))).name}"
    body = [
        f'<p class="headline">{markup(summary.headline)}</p>\n',
        f"<p>{_protocol_text(facts)}</p>\n" if facts.get("protocol") else "",
        side_by_side(_draw_scores(summary), _draw_facts(evaluation)),
        _draw_classes(summary),
        _draw_matrix(),
        side_by_side(draw_coverage(summary, summary.predicted == evaluation.labels), draw_calibration(summary)),
        _draw_mistakes(evaluation, summary, clip_of, base),
    ]
    text = document(title, body, {**_data(evaluation, summary), "base": base}, "matrix.js", "evaluation.js")
    path.write_text(text, encoding="utf-8")


def _base_of_links(evaluation: Evaluation, folder: Path) -> str | None:
    """What comes before the videos' names in the addresses of their files; None where these are not as the list of the
    evaluation says, by its first video."""
    listed, model = (evaluation.facts.get(key) or {} for key in ("list", "config"))
    if not evaluation.ids or model.get("MODEL", {}).get("format") != "mp4":
        return None
    first, place = evaluation.ids[0], os.path.dirname(os.path.realpath(str(listed.get("path"))))
    file = locate(first, place)
    if not os.path.isfile(file):
        return None
    return "" if os.path.isabs(first) else link_to(file[: -len(first)] or os.curdir, folder) + "/"


def _data(evaluation: Evaluation, summary: Summary) -> dict[str, Any]:
    """What the script draws from: arrays by class and by video."""
    counts, right = summary.confusion.sum(axis=1).tolist(), summary.confusion.diagonal().tolist()
    ends = [wilson_interval(*each) for each in zip(right, counts)]
    return {
        **shorten(evaluation.ids),
        "names": [plain(name) for name in evaluation.names],
        "videos": counts,
        "right": right,
        "low": [round(low, 4) for low, _ in ends],
        "high": [round(high, 4) for _, high in ends],
        "labels": evaluation.labels.tolist(),
        "predicted": summary.predicted.tolist(),
        "confidence": levels_of(summary.confidence).tolist(),
        "ranks": summary.ranks.tolist(),
        "levels": LEVELS,
        "plot": PLOT,
        "failures": [[plain(name), plain(why)[:500]] for name, why in evaluation.failures[:FAILURES]],
    }


# ---- numbers, and how they were made


def _draw_scores(summary: Summary) -> str:
    orders = list(summary.scores)
    natural = summary.scores[NATURAL]
    head = ["", *(f"{order} order" if len(orders) > 1 else "95% interval below" for order in orders)]
    rows = []
    for key, name in _SCORES.items():
        cells = [_draw_score(summary.scores[order][key]) for order in orders]
        for place, order in enumerate(orders):
            if order != NATURAL:
                cells[place] += _draw_loss(summary.scores[order][key].value - natural[key].value, key)
        rows.append([name, *cells])
    note = "" if len(orders) == 1 else _ORDERS
    return section("Scores", table(head, rows), note)


_ORDERS = """<p class="soft">Below a value: its 95% interval, and what the order changes. The same clips with their
frames in another order: a network that looks at the course of time loses by it; one that takes the mean over frames, as
TSN does, cannot.</p>"""


def _draw_score(score: Score) -> str:
    """A value with its interval."""
    interval = f"{finite(score.low)} to {finite(score.high)}" if math.isfinite(score.low) else "no interval"
    return f"<b>{finite(score.value)}</b><small>{interval}</small>"


def _draw_loss(difference: float, key: str) -> str:
    """What another order changes: the difference to the natural one."""
    if not math.isfinite(difference):
        return ""
    worse = (difference > 0) if key == "loss" else (difference < 0)
    if not round(difference, 4):
        return "<small>no change</small>"
    return f'<small class="{"less" if worse else "more"}">{signed(difference)}</small>'


def _protocol_text(facts: Mapping[str, Any]) -> str:
    """The protocol in one line of HTML."""
    protocol = facts["protocol"]
    parts = [
        f"<b>{markup(str(protocol.get('name') or 'own'))}</b>" + _say(protocol, "replaced", " (its {} replaced)"),
        _say(protocol, "views", "{} views a video"),
        _say(protocol, "clips", "{} clips"),
        _say(protocol, "frames", "{} frames a clip"),
        _say(protocol, "stride", "stride {}"),
        _say(protocol, "sampling", "sampling {}"),
        _say(protocol, "resize", "resize {}") + _say(protocol, "short_size", " to {} px"),
        _say(protocol, "crops", "crops {}") + _say(protocol, "target_size", " of {} px"),
        _say(protocol, "average", "mean of {}"),
    ]
    return "Protocol " + ", ".join(filter(None, parts))


def _say(facts: Mapping[str, Any], key: str, form: str) -> str:
    value = facts.get(key)
    if value is None:
        return ""
    text = form.format(markup(str(value)))
    return text.replace("views", "view").replace("clips", "clip") if value == 1 else text


def _draw_facts(evaluation: Evaluation) -> str:
    facts = evaluation.facts
    weights, videos, engine = (facts.get(key) or {} for key in ("weights", "list", "engine"))
    times = ((facts.get("seconds"), "s"), (facts.get("videos_per_second"), "videos/s"))
    rows = [
        ("Weights", _with_hash(weights.get("name"), "SHA-256", weights.get("sha256"))),
        ("List", _with_hash(videos.get("path"), "fingerprint", videos.get("fingerprint"))),
        ("Engine", ", ".join(markup(str(engine[key])) for key in ("name", "description") if engine.get(key))),
        ("Device", markup(str(engine.get("device") or ""))),
        ("Precision", markup(str(engine.get("precision") or ""))),
        ("Paddle", markup(str(facts.get("paddle") or ""))),
        ("Made", markup(str(facts.get("made_at") or ""))),
        ("Time", ", ".join(f"{each:,.1f} {unit}" for each, unit in times if each is not None)),
    ]
    return section("How it was made", facts_list(rows), _draw_failures(evaluation))


def _with_hash(name: Any, kind: str, digest: Any) -> str:
    text = isolated(str(name)) if name else ""
    return text + (f"<br><small>{kind} {markup(str(digest))}</small>" if digest else "")


def _draw_failures(evaluation: Evaluation) -> str:
    count = len(evaluation.failures)
    said = f"{counted(count, 'video')} could not be read"
    return folded_listing("failures", said, count, FAILURES, "eval.json") or "<p>No video failed.</p>"


# ---- classes and pairs of them


def _draw_classes(summary: Summary) -> str:
    orders = {
        "worst": "worst first",
        "best": "best first",
        "most": "most videos first",
        "name": "by name",
        "index": "by number",
    }
    count = len(summary.confusion)
    note = (
        f" Videos of {summary.classes_seen:,} of {count:,} classes were read." if summary.classes_seen < count else ""
    )
    text = f'<p class="soft">The lines are 95% intervals. A class opens its videos.{note}</p>'
    return section("Accuracy of the classes", text, listing("Filter the classes", orders, "Order"), name="classes")


def _draw_matrix() -> str:
    zoom = {"in": "+", "out": "\u2212", "all": "all"}
    words = {"in": "Zoom in", "out": "Zoom out", "all": "Show the whole matrix"}
    buttons = "".join(
        f'<button type="button" id="zoom_{key}" aria-label="{words[key]}">{zoom[key]}</button>' for key in zoom
    )
    label = "Confusion matrix. Arrow keys choose a cell, Enter lists its videos, plus and minus zoom."
    key = (
        '<p class="soft"><i class="key" style="background:var(--right)"></i>right<i class="key" '
        'style="background:var(--wrong)"></i>taken for another class; the stronger, the larger the share of the '
        "class. A cell lists its videos. Zoom: buttons, or + and \u2212; drag or the arrow keys move.</p>"
    )
    matrix = (
        f'<div><div class="tools">{buttons}</div><div class="matrix"><canvas tabindex="0" role="application" '
        f'aria-label="{label}" aria-describedby="said"></canvas><i hidden></i></div>'
        f'<p class="said" id="said" aria-live="polite"></p>{key}</div>'
    )
    pairs = f'<div id="pairs"><h3>Most confused</h3>{listing("Filter the pairs")}</div>'
    lists = (
        '<div class="tools"><button type="button" id="wrong">List all mistakes</button>'
        '<button type="button" id="all">List all videos</button></div>'
    )
    return section("What is taken for what", lists, f'<div class="pair">{matrix}{pairs}</div>')


# ---- mistakes


def _draw_mistakes(
    evaluation: Evaluation, summary: Summary, clip_of: Callable[[str], np.ndarray | None], base: str | None
) -> str:
    wrong = np.flatnonzero(summary.predicted != evaluation.labels)
    chosen = wrong[np.argsort(-summary.confidence[wrong], kind="stable")][:STRIPS]
    if not len(chosen):
        return section("Most confident mistakes", "<p>There are none.</p>")
    rows = [
        _draw_mistake(evaluation, summary, place, clip_of(evaluation.ids[place]), base) for place in chosen.tolist()
    ]
    text = '<p class="soft">The frames that the network saw, and its most probable classes; the truth is marked.</p>'
    first, more = ('<div class="mistakes">' + "\n".join(part) + "</div>" for part in (rows[:FIRST], rows[FIRST:]))
    if len(rows) > FIRST:
        first += f"<details><summary>{len(rows) - FIRST} more</summary>{more}</details>"
    return section("Most confident mistakes", text, first)


def _draw_mistake(
    evaluation: Evaluation, summary: Summary, place: int, clip: np.ndarray | None, base: str | None
) -> str:
    label, probabilities = int(evaluation.labels[place]), summary.probabilities[place]
    best = np.argsort(-probabilities, kind="stable")[: BARS - 1].tolist()
    best = best if label in best else [*best, label]
    bars = []
    for index in best:
        name = f'<span class="clamp">{markup(evaluation.names[index])}</span>'
        if index == label:
            name = f"<b>{name}</b><small>truth, rank {summary.ranks[place]}</small>"
        color = "var(--right)" if index == label else "var(--wrong)" if index == summary.predicted[place] else ""
        bars.append(draw_bar(name, float(probabilities[index]), color))
    video = evaluation.ids[place]
    name = isolated(video) if base is None else f'<a href="{base}{quote(os.fsencode(video))}">{isolated(video)}</a>'
    heading = f'<h3 class="clamp" title="{markup(video)}">{name}</h3>'
    return f'<article>{heading}{_draw_strip(clip)}<div class="bars">{"".join(bars)}</div></article>'


def _draw_strip(clip: np.ndarray | None) -> str:
    if clip is None or not len(clip):
        return '<p class="soft">Its frames cannot be read any more.</p>'
    frames = clip[:: math.ceil(len(clip) / FRAMES)]
    data = base64.b64encode(film_strip(frames)).decode()
    image = f'<img decoding="async" alt="{len(frames)} frames" src="data:image/jpeg;base64,{data}">'
    return f'<div class="strip" tabindex="0" role="group" aria-label="Frames">{image}</div>'
