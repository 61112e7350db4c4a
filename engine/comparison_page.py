"""compare.html: what changed from one evaluation to another of the same videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_zoo.engine.html_document import (
    counted,
    document,
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

if TYPE_CHECKING:
    from video_zoo.engine.comparison import Comparison
    from video_zoo.engine.stored_evaluation import StoredEvaluation

CHANCE = 0.05  # a difference that comes about by chance more often is called none
LISTED = 1000  # videos that only one of them read, in the page


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Writes the page of a comparison: one file, which needs nothing from elsewhere.

    Raises OSError: the file cannot be written.
    """
    body = [
        f'<p class="headline">top-1 {signed(comparison.difference)} (95% interval {signed(comparison.low)} to '
        f"{signed(comparison.high)})</p>\n",
        f"<p>{_verdict(comparison)}</p>\n",
        side_by_side(_draw_sides(comparison), _draw_counts(comparison)),
        _draw_classes(comparison),
        _draw_changes(),
    ]
    title = f"{_title(comparison.first)} and {_title(comparison.second)}"
    path.write_text(document(title, body, _data(comparison), "comparison.js"), encoding="utf-8")


def _title(evaluation: StoredEvaluation) -> str:
    return str(evaluation.folder.parent if evaluation.folder.name == "eval" else evaluation.folder)


def _data(comparison: Comparison) -> dict[str, Any]:
    changes = comparison.changes
    return {
        **shorten([each.video for each in changes]),
        "names": [plain(name) for name in comparison.names],
        "labels": [each.label for each in changes],
        "first": [each.first for each in changes],
        "second": [each.second for each in changes],
        "first_confidence": [round(each.first_confidence, 4) for each in changes],
        "second_confidence": [round(each.second_confidence, 4) for each in changes],
        "won": [each.won for each in changes],
        "classes": [
            {"index": each.index, "videos": each.videos, "first": each.first_right, "second": each.second_right}
            for each in comparison.classes
        ],
        "most": max([abs(each.won) for each in comparison.classes] + [1]),
        "alone": {
            "alone_first": [plain(video) for video in comparison.only_read_by_first[:LISTED]],
            "alone_second": [plain(video) for video in comparison.only_read_by_second[:LISTED]],
        },
    }


def _verdict(comparison: Comparison) -> str:
    """The difference and McNemar's test in words."""
    if not comparison.changes:
        return f"All {counted(comparison.videos, 'video')} that both read are right in both, or wrong in both."
    changed = (
        f"Of the {counted(comparison.videos, 'video')} that both read, the second one is right on "
        f"{comparison.only_second:,} that the first one has wrong, and wrong on {comparison.only_first:,} that the "
        "first one has right."
    )
    p = f"{comparison.p:.2g}" if comparison.p >= 1e-300 else "below 1e-300"
    said = (
        "If both were equally good, chance alone would make a difference like this, or a larger one, with probability "
        f"{p} (McNemar's exact test)"
    )
    if comparison.p >= CHANCE:
        return f"{changed} {said}: <b>the difference may be chance</b>."
    better = "second" if comparison.only_second > comparison.only_first else "first"
    return f"{changed} {said}: <b>the {better} one is better on videos like these</b>."


def _draw_sides(comparison: Comparison) -> str:
    """Both evaluations side by side: their headlines, and the facts that are not the same."""
    sides = (comparison.first, comparison.second)
    rows = [
        ["folder", *(isolated(str(each.folder)) for each in sides)],
        ["result", *(markup(each.headline) for each in sides)],
        ["model", *(markup(str(each.facts.get("model", ""))) for each in sides)],
        ["protocol", *(markup(str(each.facts.get("protocol", {}).get("name", ""))) for each in sides)],
        ["weights", *(isolated(str(each.facts.get("weights", {}).get("name", ""))) for each in sides)],
    ]
    known = {"model", "protocol.name", "weights.name"}
    apart = [row for row in comparison.differing_facts if row[0] not in known]
    differing = [
        [markup(name), *("\u2013" if each is None else isolated(str(each)) for each in two)] for name, *two in apart
    ]
    head = ["", "first", "second"]
    summary = f"<summary>{counted(len(differing), 'other difference')}</summary>"
    folded = f"<details>{summary}{table(head, differing, text=True)}</details>" if differing else ""
    return section("First and second", table(head, rows, text=True), folded)


def _draw_counts(comparison: Comparison) -> str:
    rows = [
        ["first right", f"{comparison.both:,}", f'<b class="less">{comparison.only_first:,}</b>'],
        ["first wrong", f'<b class="more">{comparison.only_second:,}</b>', f"{comparison.neither:,}"],
    ]
    alone = []
    for name, rank, videos in (
        ("alone_first", "first", comparison.only_read_by_first),
        ("alone_second", "second", comparison.only_read_by_second),
    ):
        said = f"{counted(len(videos), 'video')} that only the {rank} one read; they do not count"
        alone.append(folded_listing(name, said, len(videos), LISTED, "compare.json"))
    return section("Videos", table(["", "second right", "second wrong"], rows), *alone)


def _draw_classes(comparison: Comparison) -> str:
    won, lost = (sum(sign * each.won > 0 for each in comparison.classes) for sign in (1, -1))
    text = (
        f'<p class="soft">The second one is better on {counted(won, "class")} and worse on {counted(lost, "class")}. '
        "Bars: videos won, to the right, and lost, to the left. A class lists its videos that changed.</p>"
    )
    orders = {"won": "most won first", "lost": "most lost first", "name": "by name"}
    return section("Classes won and lost", text, listing("Filter the classes", orders, "Order"), name="classes")


def _draw_changes() -> str:
    kinds = {"": "all changes", "won": "wrong before, right now", "lost": "right before, wrong now"}
    return section("Videos that changed", listing("Filter the videos", kinds, "Kind of change"), name="changed")
