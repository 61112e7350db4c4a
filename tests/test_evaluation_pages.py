"""The pages of evaluations and comparisons, in a headless browser: what they say, draw and list, and that nothing is
fetched or run that a name holds."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest
from browsers import open_browser
from evaluation_page import made_up, made_up_clip
from hypothesis import given
from hypothesis import strategies as st
from tiny import make_scores

from video_zoo.engine.board import Board
from video_zoo.engine.comparison import compare
from video_zoo.engine.comparison_page import write_comparison
from video_zoo.engine.confidence import LEVELS, level_for
from video_zoo.engine.evaluation import Evaluation
from video_zoo.engine.evaluation_files import Summary, write_evaluation
from video_zoo.engine.evaluation_page import FAILURES, FIRST, STRIPS, write_page
from video_zoo.engine.stored_evaluation import read_evaluation
from video_zoo.utils.errors import InputError

HOSTILE = [
    "</script><img src=x onerror=hacked=1>",
    "<b>bold</b> & \"double\" 'single'",
    "\u064a\u0644\u0639\u0628 \u0643\u0631\u0629",
    "long " * 60,
    "x" * 300,
    "two\nlines\tand\u202ereverse",
    "${hacked=1}`",
    "rock",
]
NAMES = [f"class {n}" for n in range(8)]


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    """A page of a browser, which all tests share."""
    with open_browser() as browser:
        page = browser.new_page()
        page.set_default_timeout(20_000)
        page.wrong = []
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or page.wrong.append(request.url))
        page.on("console", lambda message: page.wrong.append(message.text))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        yield page


@pytest.fixture
def show(tab) -> Iterator[Callable[..., Any]]:
    """Opens a page; the test fails if the page asks for anything but itself, has an error, or runs a name."""

    def open_page(path: Path, width: int = 1400, scheme: str = "light") -> Any:
        tab.set_viewport_size({"width": width, "height": 900})
        tab.emulate_media(color_scheme=scheme)
        tab.goto(path.as_uri())
        return tab

    tab.wrong.clear()
    yield open_page
    assert tab.evaluate("typeof hacked") == "undefined" and tab.wrong == []


@pytest.fixture
def report(tmp_path, show) -> Callable[..., Any]:
    """Writes an evaluation's page and opens it."""

    def write(evaluation: Evaluation, clip_of=lambda video: None, **how: Any) -> Any:
        path = tmp_path / "report.html"
        write_page(path, evaluation, Summary.of(evaluation), clip_of)
        return show(path, **how)

    return write


def texts(page: Any, selector: str) -> list[str]:
    return page.eval_on_selector_all(selector, "found => found.map(each => each.textContent)")


def listed(page: Any, place: str) -> list[str]:
    """The videos of a list."""
    return texts(page, f"{place} .list > div > bdi")


def right_of(evaluation: Evaluation) -> np.ndarray:
    return evaluation.logits["natural"].argmax(axis=1) == evaluation.labels


# --- what it says


@pytest.mark.parametrize("listed_as", ["beside the list", "absolute", "nowhere", "pickles"])
def test_a_videos_name_leads_to_its_file(report, tmp_path, listed_as):
    made = made_up(40, NAMES)
    folder = tmp_path / "my videos"
    (folder / "v #1").mkdir(parents=True)
    ids = [f"v #1/{n} ü?.mp4" for n in range(40)]
    if listed_as != "nowhere":
        for name in ids:
            (folder / name).touch()
    ids = [str(folder / name) for name in ids] if listed_as == "absolute" else ids
    config = {"MODEL": {"format": "pkl" if listed_as == "pickles" else "mp4"}}
    facts = {**made.facts, "list": {"path": str(folder / "val.list")}, "config": config}
    page = report(replace(made, ids=ids, facts=facts))
    page.click("#all")
    for place in ("article h3 a", "dialog .list a"):
        links = page.eval_on_selector_all(place, "found => found.map(each => [each.textContent, each.href])")
        assert bool(links) == (listed_as in ("beside the list", "absolute"))
        assert all(href == (folder / name).as_uri() for name, href in links)


def test_the_report_of_the_quick_start_fits_a_telephone(show, moving_shapes, run_cli, tmp_path):
    names = ["down", "left", "right", "up"]
    listed = [line.split()[0] for line in (moving_shapes / "val.list").read_text().splitlines()[:8]]
    for model in ("TSM", "TSN"):
        (tmp_path / model).mkdir()
        board = Board(tmp_path / model, "t1")
        for step, share in enumerate((0.25, 0.5, 0.975 if model == "TSM" else 0.3)):
            board.add("valid", step, make_scores(1.0, share, 1.0, 8))
        board.close()
        top = [{"class": n, "name": name, "probability": 0.25} for n, name in enumerate(names)]
        rows = [json.dumps({"video": video, "top": top}) for video in [*listed, "backwards.mp4"]]
        (tmp_path / model / f"{model}_infer_result.jsonl").write_text("\n".join(rows))
    done = run_cli("scripts/quickstart_report.py", f"--out={tmp_path}", f"--data={moving_shapes}", "--seconds=9")
    assert done.stdout.startswith("TSM: 97.5% at best (expected: 95% to 100%); TSN: 50.0%"), done.stderr
    for width in (400, 1400):
        page = show(tmp_path / "report.html", width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("svg").bounding_box()["width"] <= width
    assert re.search(r"Made \d{4}-\d\d-\d\dT\S+; the weights are in \S+TSM_best and", page.inner_text("body"))
    links = page.eval_on_selector_all(".clip a", "found => found.map(each => each.href)")
    assert links[:8] == [(moving_shapes / video).as_uri() for video in listed] and len(links) == 10


def test_scores_of_all_orders_stand_side_by_side(report):
    evaluation = made_up(150, NAMES, failed=3, orders=("natural", "reverse", "shuffle"))
    page, summary = report(evaluation), Summary.of(evaluation)
    assert page.inner_text(".headline") == summary.headline and "(3 failed)" in summary.headline
    text = page.inner_text("table >> nth=0")
    assert "natural order" in text and "reverse order" in text and "shuffle order" in text
    for order, scores in summary.scores.items():
        for name, score in scores.items():
            assert f"{score.value:.4f}" in text and f"{score.low:.4f} to {score.high:.4f}" in text
            change = score.value - summary.scores["natural"][name].value
            assert order == "natural" or f"{change:+.4f}".replace("-", "\u2212") in text
    assert texts(page, ".less")[
        0
    ] == f"{-summary.scores['natural']['top1'].value + summary.scores['reverse']['top1'].value:+.4f}".replace(
        "-", "\u2212"
    )


def test_how_it_was_made(report):
    page = report(made_up(20, NAMES))
    text = page.inner_text("body")
    for said in ("dense10x3", "30 views", "10 clips", "8 frames", "tsm_test_dense10", "256 px", "mean of logits"):
        assert said in page.inner_text("p >> nth=1"), said
    for said in (
        "TSM_final.pdparams",
        "ab" * 32,
        "dataset/kinetics/val.list",
        "cd" * 8,
        "dynamic mode",
        "CPU",
        "fp32",
    ):
        assert said in text, said
    for said in ("3.3.1", "2026-11-26T08:00:00Z", "5,025.5 s, 4.0 videos/s", "No video failed."):
        assert said in text, said


def test_facts_that_are_missing_are_left_out(report):
    page = report(replace(made_up(5, NAMES), facts={}))
    assert texts(page, "dt") == [] and "None" not in page.inner_text("body")


def test_parts_of_the_protocol_that_were_replaced_are_said(report):
    page = report(replace(made_up(5, NAMES), facts={"protocol": {"name": "dense10x3", "replaced": "target_size"}}))
    assert "Protocol dense10x3 (its target_size replaced)" in page.inner_text("body")


def test_failed_videos_are_listed_with_their_reasons(report):
    evaluation = replace(made_up(5, NAMES), failures=[(f"<i>{n}.mp4", f"reason {n}") for n in range(FAILURES + 5)])
    page = report(evaluation)
    assert not page.is_visible("#failures .list")
    page.click("#failures summary")
    page.wait_for_selector("#failures .list > div >> nth=50")
    rows = texts(page, "#failures .list > div:not(.end)")
    assert rows[0] == "<i>0.mp4reason 0" and len(rows) < FAILURES  # the rest is drawn when it is looked at
    assert f"{FAILURES + 5:,} videos could not be read" in page.inner_text("#failures summary")
    assert f"first {FAILURES:,}; eval.json has all" in page.inner_text("#failures")
    page.fill("#failures input", "reason 99")
    assert len(texts(page, "#failures .list > div:not(.end)")) == 19


# --- classes


def class_rows(page: Any) -> list[str]:
    return texts(page, "#classes .list .class > :first-child")


def test_classes_are_sorted_and_filtered(report):
    evaluation = made_up(90, ["b 10", "b 9", "a", "none of it", "c"])
    labels = np.where(evaluation.labels == 3, 4, evaluation.labels)
    page = report(replace(evaluation, labels=labels))
    shares = {n: right_of(replace(evaluation, labels=labels))[labels == n].mean() for n in (0, 1, 2, 4)}
    names = evaluation.names
    assert class_rows(page)[:4] == [names[n] for n in sorted(shares, key=lambda n: (shares[n], -(labels == n).sum()))]
    assert class_rows(page)[4] == "none of it"
    page.select_option("#classes select", "name")
    assert class_rows(page) == ["a", "b 9", "b 10", "c", "none of it"]
    page.select_option("#classes select", "most")
    assert class_rows(page)[0] == "c"
    page.fill("#classes input", "B 1")
    assert class_rows(page) == ["b 10"] and page.inner_text("#classes [role=status]") == "1 of 5 classes"
    page.fill("#classes input", "q")
    assert "Nothing fits." in page.inner_text("#classes .list")
    assert "Videos of 4 of 5 classes were read" in page.inner_text("#classes")


def test_bars_and_whiskers_of_a_class(report):
    evaluation = made_up(60, ["one", "two"])
    page, right = report(evaluation), right_of(evaluation)
    page.select_option("#classes select", "index")
    counts = [(int(right[evaluation.labels == n].sum()), int((evaluation.labels == n).sum())) for n in (0, 1)]
    said = [f"{100 * a / b:.1f}% {a} of {b}" for a, b in counts]
    assert texts(page, ".class > :last-child") == said
    track, bar = (page.locator(f".class .track{end}").first.bounding_box() for end in ("", " > :first-child"))
    assert bar["width"] / track["width"] == pytest.approx(counts[0][0] / counts[0][1], abs=0.01)
    low, high = page.evaluate("[DATA.low[0], DATA.high[0]]")
    whisker = page.locator(".whisker").first.bounding_box()
    assert (whisker["x"] - track["x"]) / track["width"] == pytest.approx(low, abs=0.01)
    assert (whisker["x"] + whisker["width"] - track["x"]) / track["width"] == pytest.approx(high, abs=0.01)


def test_many_classes_are_reached_by_the_keyboard(report):
    page = report(made_up(600, [f"class {n}" for n in range(250)]))
    page.focus("#classes select")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.parentNode.className") == "list"  # one stop, whatever the rows
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.parentNode.className") != "list"
    page.keyboard.press("Shift+Tab")
    page.evaluate("document.activeElement.parentNode.children[98].focus()")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    place = "[...document.activeElement.parentNode.children].indexOf(document.activeElement)"
    assert page.evaluate(place) == 101
    page.keyboard.press("ArrowUp")
    assert page.evaluate(place) == 100
    name = page.evaluate("document.activeElement.firstChild.textContent")
    page.keyboard.press("Enter")
    assert page.inner_text("dialog h2").startswith(name + ":")
    page.keyboard.press("Escape")
    assert not page.is_visible("dialog") and page.evaluate(place) == 100


def test_a_class_lists_its_videos_the_mistakes_first(report):
    evaluation = made_up(60, ["one", "two"])
    page, right = report(evaluation), right_of(evaluation)
    page.select_option("#classes select", "index")
    page.click(".class >> nth=1")
    levels = np.floor(Summary.of(evaluation).confidence.astype(np.float64) * LEVELS)
    own = sorted(np.flatnonzero(evaluation.labels == 1), key=lambda n: (right[n], -levels[n]))
    assert listed(page, "dialog") == [evaluation.ids[n] for n in own]
    page.fill("dialog input", evaluation.ids[own[3]].upper())
    assert listed(page, "dialog") == [evaluation.ids[own[3]]]


# --- what is taken for what


def test_the_most_confused_pairs_come_first_and_list_their_videos(report):
    evaluation = made_up(400, NAMES)
    page, predicted = report(evaluation), evaluation.logits["natural"].argmax(axis=1)
    pairs = Counter((a, b) for a, b in zip(evaluation.labels.tolist(), predicted.tolist()) if a != b)
    rows = texts(page, "#pairs .many")
    assert len(rows) == len(pairs)
    counts = [int(re.search(r"taken for class \d(\d+) of", row)[1]) for row in rows]
    assert counts == sorted(pairs.values(), reverse=True)
    (label, other), count = max(pairs.items(), key=lambda each: (each[1], -each[0][0] * len(NAMES) - each[0][1]))
    back = pairs[other, label]
    assert (
        rows[0]
        == f"class {label} taken for class {other}{count} of {(evaluation.labels == label).sum()}and back: {back}"
    )
    page.click("#pairs .many >> nth=0")
    expected = {evaluation.ids[n] for n in np.flatnonzero((evaluation.labels == label) & (predicted == other))}
    assert set(listed(page, "dialog")) == expected and len(expected) == count
    assert f"class {label} taken for class {other}: {count} of" in page.text_content("#said")


def cell_at(page: Any, label: int, predicted: int) -> tuple[float, float]:
    """Where the middle of a cell is, px of the window."""
    page.locator(".matrix").scroll_into_view_if_needed()
    box = page.locator("canvas").bounding_box()
    beside, size, top, left = page.evaluate("[matrix.beside, matrix.cellSize, matrix.top, matrix.left]")
    return box["x"] + beside + (predicted - left + 0.5) * size, box["y"] + beside + (label - top + 0.5) * size


def test_the_matrix_says_and_lists_a_cell(report):
    evaluation = made_up(300, NAMES)
    page, confusion = report(evaluation), Summary.of(evaluation).confusion
    for label, predicted in ((2, 3), (5, 5), (0, 7)):
        page.mouse.move(*cell_at(page, label, predicted))
        what = "rightly recognised" if label == predicted else f"taken for class {predicted}"
        said = f"class {label} {what}: {confusion[label, predicted]} of {confusion[label].sum()} videos"
        assert page.inner_text("#said").startswith(said)
    page.mouse.click(*cell_at(page, 2, 3))
    assert len(listed(page, "dialog")) == confusion[2, 3] > 0


def test_the_matrix_is_painted_right_and_wrong(report):
    evaluation = made_up(300, NAMES)
    page, confusion = report(evaluation), Summary.of(evaluation).confusion
    script = """cells => { const { width } = matrix.canvas, pixels = matrix.paint.getImageData(0, 0, width, width).data
      const place = n => Math.round(matrix.beside + (n + 0.2) * matrix.cellSize)
      const first = ([label, predicted]) => 4 * (place(label) * width + place(predicted))
      return cells.map(cell => [...pixels.slice(first(cell), first(cell) + 3)]) }"""
    empty = np.argwhere(confusion == 0)[0].tolist()
    right, wrong, ground = page.evaluate(script, [[4, 4], [2, 3], empty])
    assert right[2] > right[0] and wrong[0] > wrong[2] and confusion[2, 3] > 0
    assert ground == [230, 235, 240]


def test_the_matrix_obeys_the_keyboard(report):
    evaluation = made_up(300, NAMES)
    page, confusion = report(evaluation), Summary.of(evaluation).confusion
    page.focus("canvas")
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight"):  # the first one shows the cell 0, 0
        page.keyboard.press(key)
    assert page.inner_text("#said").startswith(f"class 2 rightly recognised: {confusion[2, 2]} of")
    page.keyboard.press("Enter")
    assert len(listed(page, "dialog")) == confusion[2, 2]
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"


def test_a_large_matrix_is_zoomed_and_moved(report):
    page = report(made_up(600, [f"class {n}" for n in range(200)]))
    assert page.evaluate("matrix.cellSize") < 12  # no names
    x, y = cell_at(page, 150, 60)
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    page.wait_for_function("matrix.zoom > 2")
    assert page.inner_text("#said").startswith("class 150 taken for class 60")
    page.mouse.move(x + 1, y)  # the cell has stayed below the pointer
    assert page.inner_text("#said").startswith("class 150 taken for class 60")
    for _ in range(6):
        page.click("#zoom_in")
    assert page.evaluate("matrix.cellSize") == pytest.approx(40)
    assert page.evaluate("matrix.top < 150 && 150 < matrix.top + matrix.shown")
    before = page.evaluate("matrix.left")
    x, y = cell_at(page, 150, 60)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 100, y, steps=4)
    page.mouse.up()
    assert page.evaluate("matrix.left") != before and not page.is_visible("dialog")
    page.click("#zoom_all")
    assert page.evaluate("[matrix.zoom, matrix.left, matrix.top]") == [1, 0, 0]


# --- mistakes


def test_the_most_confident_mistakes_have_film_strips(report):
    evaluation, asked = made_up(200, NAMES, accuracy=0.5), []

    def clip_of(video: str) -> np.ndarray:
        asked.append(video)
        return np.full((20, 3, 60, 80), [[[[200]], [[90]], [[10]]]], np.uint8)

    page, summary = report(evaluation, clip_of), Summary.of(evaluation)
    wrong = np.flatnonzero(~right_of(evaluation))
    expected = [evaluation.ids[n] for n in wrong[np.argsort(-summary.confidence[wrong], kind="stable")][:STRIPS]]
    assert asked == expected == texts(page, "article h3")
    assert page.locator("article:visible").count() == FIRST
    page.click(f"text={STRIPS - FIRST} more")
    assert page.locator("article:visible").count() == STRIPS
    source = page.get_attribute("article img", "src")
    strip = cv2.imdecode(np.frombuffer(base64.b64decode(source.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    assert strip.shape == (112, 7 * (149 + 2) - 2, 3)  # every third of 20 frames
    np.testing.assert_allclose(strip[50, 50], [10, 90, 200], atol=4)
    first, probabilities = int(wrong[summary.confidence[wrong].argmax()]), summary.probabilities
    bars = texts(page, "article:first-of-type .bar")
    assert bars[0] == f"class {summary.predicted[first]}{probabilities[first].max():.1%}"
    truth = next(bar for bar in bars if "truth" in bar)
    assert truth.startswith(f"class {evaluation.labels[first]}truth, rank {summary.ranks[first]}")
    assert truth.endswith(f"{probabilities[first, evaluation.labels[first]]:.1%}")


def test_frames_that_cannot_be_read_any_more(report):
    page = report(made_up(50, NAMES))
    assert (
        "Its frames cannot be read any more." in page.inner_text("article >> nth=0")
        and page.locator("img").count() == 0
    )


# --- confidence


def reference_level(confidence: np.ndarray, right: np.ndarray, target: float) -> int | None:
    levels = [int(float(each) * LEVELS) for each in confidence]
    for level in sorted(set(levels)):
        kept = [bool(r) for own, r in zip(levels, right) if own >= level]
        if sum(kept) >= target * len(kept):
            return level
    return None


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.12, 0.3, 0.30004, 0.5, 0.9, 1.0]), st.booleans()), min_size=1))
def test_the_lowest_threshold_that_reaches_a_target(rows):
    confidence, right = np.array([c for c, _ in rows], np.float32), np.array([r for _, r in rows])
    assert level_for(confidence, right, 0.75) == reference_level(confidence, right, 0.75)


def test_a_threshold_says_what_it_decides(report):
    evaluation = made_up(200, NAMES)
    page, right = report(evaluation), right_of(evaluation)
    confidence = Summary.of(evaluation).confidence.astype(np.float64)

    def said(level: int) -> str:
        kept = np.floor(confidence * LEVELS) >= level
        return (
            f"At a confidence of {level / LEVELS:.4f} or more, {100 * kept.mean():.1f}% of the videos ({kept.sum()}) "
            f"are decided with {100 * right[kept].mean():.1f}% right; {(~kept).sum()} are left for a person to look at."
        )

    for button in page.locator("[data-level]").all():
        button.click()
        level = int(button.get_attribute("data-level"))
        assert page.inner_text("#decided") == said(level)
        kept = np.floor(confidence * LEVELS) >= level
        row = button.locator("xpath=ancestor::tr").inner_text()
        assert f"{100 * kept.mean():.1f}%" in row and right[kept].mean() >= int(row.split("%")[0]) / 100
    page.fill("#threshold", "5000")
    assert page.inner_text("#decided") == said(5000)
    page.focus("#threshold")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#decided") == said(5001)


def test_calibration_has_its_bins_with_counts(report):
    evaluation = made_up(200, NAMES)
    page, summary = report(evaluation), Summary.of(evaluation)
    filled = [each for each in summary.bins if each.count]
    assert page.locator("rect.bar").count() == page.locator("rect.count").count() == len(filled)
    rows = texts(page, "details table tr")[1:]
    assert rows == [
        f"{b.low:.3f} to {b.high:.3f}{b.count}{100 * b.confidence:.1f}%{100 * b.accuracy:.1f}%" for b in filled
    ]
    assert f"Calibration error {summary.calibration_error:.4f}." in page.inner_text("body")


# --- any names, any sizes


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark"), (320, "light")])
def test_hostile_names_are_shown_as_they_are_and_fit(report, width, scheme):
    evaluation = made_up(80, HOSTILE, failed=2, orders=("natural", "reverse", "shuffle"), accuracy=0.5)
    ids = ["caf\udce9 <i>" + "y" * 200 + f"{n}" for n in range(40)] + evaluation.ids[40:]
    facts = {**evaluation.facts, "model": HOSTILE[0], "weights": {"name": HOSTILE[0] * 9, "sha256": HOSTILE[1]}}
    evaluation = replace(evaluation, ids=ids, facts=facts)
    page = report(evaluation, made_up_clip, width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.title().startswith(HOSTILE[0])
    page.select_option("#classes select", "index")
    shown = [name.replace("\n", "\\n").replace("\t", "\\t").replace("\u202e", "\\u202e") for name in HOSTILE]
    assert class_rows(page) == shown
    assert page.locator("img").count() == min(STRIPS, (~right_of(evaluation)).sum())
    page.click("#all")
    assert any(row.startswith("caf\\udce9 <i>") for row in listed(page, "dialog"))
    box = page.locator("dialog").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width


def test_colors_follow_the_scheme(report):
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = (report(made_up(9, NAMES), scheme=scheme).evaluate(ground) for scheme in ("light", "dark"))
    assert light != dark


def test_nothing_is_wrong(report):
    page = report(made_up(1, ["only"]))
    text = page.inner_text("body")
    assert "No video failed." in text and "There are none." in text and "No video was taken for another class." in text
    assert "no interval" in text and "NaN" not in text
    page.click("#wrong")
    assert "No videos." in page.inner_text("dialog")


def test_a_page_has_no_element_a_video(report, tmp_path):
    names = [f"class {n}" for n in range(100)]
    counts, sizes = [], []
    for videos in (500, 4000):
        counts.append(report(made_up(videos, names)).evaluate("document.querySelectorAll('*').length"))
        sizes.append((tmp_path / "report.html").stat().st_size)
    assert counts[1] < counts[0] + 600
    assert (sizes[1] - sizes[0]) / 3500 < 150  # bytes a video: 3 MB for 20,000


# --- comparisons


@pytest.fixture
def comparison_page(tmp_path, show) -> Callable[..., Any]:
    """Writes two evaluations and the page of their comparison, and opens it."""

    def write(first: Evaluation, second: Evaluation, **how: Any) -> tuple[Any, Any]:
        folders = [tmp_path / name / "eval" for name in ("a", "b")]
        for folder, evaluation in zip(folders, (first, second)):
            write_evaluation(folder, evaluation, lambda video: None)
        comparison = compare(*map(read_evaluation, folders))
        write_comparison(tmp_path / "compare.html", comparison)
        return show(tmp_path / "compare.html", **how), comparison

    return write


def worse(evaluation: Evaluation, count: int, lost: int = 3) -> Evaluation:
    """The evaluation with other logits for its first `count` videos, and without its last ones."""
    logits = evaluation.logits["natural"].copy()
    logits[:count] = np.roll(logits[:count], 1, axis=1)
    kept = len(logits) - lost
    gone = [(video, "gone") for video in evaluation.ids[kept:]]
    facts = {**evaluation.facts, "weights": {"name": "TSM_int8", "sha256": "ef" * 32}}
    parts = {"ids": evaluation.ids[:kept], "labels": evaluation.labels[:kept], "failures": gone, "facts": facts}
    return replace(evaluation, logits={"natural": logits[:kept]}, **parts)


def test_a_comparison_says_the_difference_in_words(comparison_page):
    first = made_up(300, NAMES)
    page, comparison = comparison_page(first, worse(first, 80))
    text = page.inner_text("body")
    assert "top-1 " + f"{comparison.difference:+.4f}".replace("-", "\u2212") in page.inner_text(".headline")
    assert f"right on {comparison.only_second} that the first one has wrong" in text
    assert f"wrong on {comparison.only_first} that the first one has right" in text
    assert f"probability {comparison.p:.2g} (McNemar's exact test): the first one is better" in text
    assert comparison.first.headline in text and comparison.second.headline in text and "TSM_int8" in text
    numbers = re.findall(r"\d+", page.inner_text("section:has-text('first wrong') >> table >> nth=-1"))
    assert list(map(int, numbers)) == [
        comparison.both,
        comparison.only_first,
        comparison.only_second,
        comparison.neither,
    ]
    assert "3 videos that only the first one read; they do not count" in text
    assert texts(page, "#alone_first .list bdi") == first.ids[-3:] and page.locator("#alone_second").count() == 0


def test_a_difference_that_may_be_chance(comparison_page):
    first = made_up(100, NAMES)
    page, comparison = comparison_page(first, worse(first, 3))
    assert comparison.p >= 0.05 and "the difference may be chance" in page.inner_text("body")


def test_classes_won_and_lost_are_bars_to_both_sides(comparison_page):
    first = made_up(300, NAMES)
    logits = first.logits["natural"]
    lost_class = np.where(first.labels[:, None] == 7, np.roll(logits, 1, axis=1), logits)
    page, comparison = comparison_page(worse(first, 20, 0), replace(first, logits={"natural": lost_class}))
    assert page.locator(".class").count() == len(comparison.classes)
    assert class_rows(page) == [NAMES[each.index] for each in comparison.classes]
    page.select_option("#classes select", "lost")
    found = [int(row.replace("\u2212", "-").split()[0]) for row in texts(page, ".class > :last-child")]
    assert found == sorted(each.won for each in comparison.classes) and found[0] < 0 < found[-1]
    axis = page.locator(".axis").last.bounding_box()["x"]
    bars = page.locator(".class .track > :first-child")
    lost, won = bars.first.bounding_box(), bars.last.bounding_box()
    assert won["x"] == pytest.approx(axis, abs=1) and won["width"] > 5
    assert lost["x"] + lost["width"] == pytest.approx(axis, abs=1) and lost["width"] > 5
    page.click(".class >> nth=-1")
    index = max(comparison.classes, key=lambda each: (each.won, each.index)).index
    expected = [each.video for each in comparison.changes if each.label == index]
    assert listed(page, "dialog") == expected


def test_changed_videos_are_listed_and_filtered(comparison_page):
    first = made_up(200, NAMES)
    page, comparison = comparison_page(first, worse(first, 90))
    assert listed(page, "#changed") == [each.video for each in comparison.changes]
    for kind, won in (("won", True), ("lost", False)):
        page.select_option("#changed select", kind)
        expected = [each for each in comparison.changes if each.won == won]
        assert listed(page, "#changed") == [each.video for each in expected] != []
    each = expected[0]
    said = f"lost: it is class {each.label}; first: class {each.first}, {100 * each.first_confidence:.1f}% confident"
    assert said in texts(page, "#changed .list small")[0]
    page.fill("#changed input", each.video)
    assert listed(page, "#changed") == [each.video]


def test_evaluations_that_are_the_same(comparison_page):
    page, _ = comparison_page(made_up(9, NAMES), made_up(9, NAMES))
    text = page.inner_text("body")
    assert "are right in both, or wrong in both" in text and "No video changed." in text


@pytest.mark.parametrize(("width", "scheme"), [(1400, "dark"), (400, "light")])
def test_hostile_names_in_a_comparison(comparison_page, width, scheme):
    first = made_up(80, HOSTILE)
    first = replace(first, ids=[f"</script><img src=x onerror=hacked=1>{'y' * 200}{n}" for n in range(80)])
    page, comparison = comparison_page(first, worse(first, 60), width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width and page.locator("img").count() == 0
    assert listed(page, "#changed") == [each.video for each in comparison.changes]


def test_a_page_that_finds_no_room_names_the_folder(tmp_path, monkeypatch):
    def fail(*_: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(InputError, match=f"^cannot write {tmp_path}/eval: No space left"):
        write_evaluation(tmp_path / "eval", made_up(5, NAMES), lambda video: None)
    assert not list(tmp_path.iterdir())
