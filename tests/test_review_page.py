"""The review of predictions in a headless browser: keys, mouse and phone, what is saved, and what fails."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed (requirements/demo.txt)")

from browsers import open_browser
from media import make_video, moving
from served import served

from video_zoo.server.app import open_app
from video_zoo.server.guard import own_names
from video_zoo.server.review import open_review

NAMES = ["golf", "<img src=x onerror=hacked=1>", "=1+1", "\u064a\u0644\u0639\u0628", "rock climbing", "climbing a tree"]
NAMES += ["\u6253\u9ad8\u5c14\u592b"]
SHARES = {"b.mp4": 0.9, "a <i>.mp4": 0.5, "c.mp4": 0.7, "missing.mp4": 0.6}  # of the class 0


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    """A page of a browser, which all tests share."""
    with open_browser() as browser:
        page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        page.set_default_timeout(20_000)
        page.wrong = []
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        yield page


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> bytes:
    return make_video(tmp_path_factory.mktemp("clip") / "a.mp4", moving(25, 48, 64)).read_bytes()


def make_results(folder: Path, clip: bytes, shares: dict[str, float] = SHARES, span: tuple | None = None) -> None:
    """Videos whose class 0 has this probability; the other classes share the rest, falling."""
    with (folder / "TSM_infer_result.jsonl").open("w") as file:
        for name, share in shares.items():
            if name != "missing.mp4":
                (folder / name).write_bytes(clip)
            rest = [share, *((1 - share) * part for part in (0.4, 0.25, 0.15, 0.1, 0.06, 0.04))]
            top = [{"class": n, "name": NAMES[n], "probability": each} for n, each in enumerate(rest)]
            window = {"start_s": span[0], "end_s": span[1]} if span else {}
            file.write(json.dumps({"video": str(folder / name), **window, "top": top}) + "\n")


@pytest.fixture
def show(tab, tmp_path, clip) -> Iterator[Callable[..., Any]]:
    """Opens the review of the results in tmp_path; the test fails if the page has an error or runs a name."""
    with contextlib.ExitStack() as stack:

        def open_page(page: Any = tab, **how: Any) -> Any:
            if not (tmp_path / "TSM_infer_result.jsonl").exists():
                make_results(tmp_path, clip, **how)
            routes = stack.enter_context(open_review(tmp_path))
            app = stack.enter_context(open_app(None, review=routes, hosts=own_names()))
            tab.address = stack.enter_context(served(app))
            return again(page)

        tab.wrong.clear()
        yield open_page
        ran = tab.evaluate("typeof hacked")
        tab.goto("about:blank")  # before the server ends
        assert ran == "undefined" and tab.wrong == []


def again(page: Any) -> Any:
    page.goto(page.address)  # which leads to the review
    page.wait_for_selector("#stage:not([hidden])")
    return page


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def name(page: Any) -> str:
    return page.inner_text("#name > bdi")


def wait(page: Any, script: str, given: Any = None) -> None:
    """Until the script gives something. Playwright's own waiting evaluates text in the page, which the page forbids."""
    end = time.monotonic() + 20
    while not page.evaluate(script, given):
        assert time.monotonic() < end, script
        page.wait_for_timeout(10)


def is_said(page: Any, selector: str, text: str) -> None:
    """Waits for a text."""
    wait(page, "([place, text]) => document.querySelector(place).textContent.includes(text)", [selector, text])


def reviewed(page: Any, count: int) -> None:
    """Waits until all is saved, which are so many."""
    page.evaluate("sending")
    is_said(page, "#count", f"{count} of 4 reviewed")


def listed(folder: Path) -> list[str]:
    path = folder / "reviewed.list"
    return sorted(Path(line).name for line in path.read_text().splitlines()) if path.exists() else []


def test_a_key_decides_and_goes_to_the_next(show, tmp_path):
    page = show()
    assert name(page) == "a <i>.mp4"  # the least sure one
    texts = page.eval_on_selector_all("#choices bdi", "found => found.map(each => each.textContent)")
    assert texts == NAMES[:5] and page.inner_text("#choices .bar > b >> nth=0") == "50.0%"
    press(page, "Enter")
    assert name(page) == "missing.mp4" and "missing" in page.inner_text("#problem")
    press(page, "Enter")  # what cannot be seen is not confirmed
    assert name(page) == "missing.mp4" and "missing" in page.inner_text("#error")
    press(page, "x", "2")
    assert name(page) == "b.mp4"
    press(page, " ")
    reviewed(page, 4)
    assert listed(tmp_path) == ["a <i>.mp4 0", "b.mp4 0", "c.mp4 1"]
    assert "All of these are reviewed." in page.inner_text("#finished")
    assert page.inner_text("#reviewed").startswith("Of those reviewed: 2 of 3 right, 66.7% (")
    again(page)
    reviewed(page, 4)
    page.select_option("#show", "corrected")
    assert name(page) == "c.mp4" and page.inner_text("#state") == f"corrected: {NAMES[1]}"
    page.select_option("#show", "unusable")
    assert name(page) == "missing.mp4"


def test_skip_undo_and_arrows(show, tmp_path):
    page = show()
    press(page, "s", "s", "3")
    reviewed(page, 1)
    assert listed(tmp_path) == ["c.mp4 2"] and name(page) == "b.mp4"
    press(page, "u")
    reviewed(page, 0)
    assert name(page) == "c.mp4" and listed(tmp_path) == []
    press(page, "ArrowRight")
    assert name(page) == "b.mp4"
    press(page, "ArrowRight", "ArrowLeft", "4", "Control+z", "Enter")
    reviewed(page, 1)
    assert listed(tmp_path) == ["c.mp4 0"]
    press(page, "Enter")  # b; round the end, to those that were skipped
    assert name(page) == "a <i>.mp4"


def test_another_class_is_typed(show, tmp_path):
    page = show()
    press(page, "/")
    page.keyboard.type("climb")
    options = page.eval_on_selector_all("[role=option]", "found => found.map(each => each.textContent)")
    assert options == ["climbing a tree", "rock climbing"]  # what begins so comes first
    press(page, "ArrowDown")
    marked = page.get_attribute("#search", "aria-activedescendant")
    assert page.inner_text(f"#{marked}") == "rock climbing"
    press(page, "Enter")
    reviewed(page, 1)
    assert listed(tmp_path) == ["a <i>.mp4 4"] and not page.is_visible("#names")
    press(page, "ArrowRight", "/")
    page.keyboard.type("x2?sq")
    assert page.inner_text("#names") == "There is no such class."
    press(page, "Enter", "Escape")
    assert page.evaluate("document.activeElement.id") == "name"
    reviewed(page, 1)


def test_a_mouse_does_all_of_it(show, tmp_path):
    page = show()
    page.click("#choices button >> nth=1")
    press(page, "x")  # the focus has left the button: a key means the next video
    page.click("#skip")
    page.click("#undo")
    reviewed(page, 1)
    page.click("#list button >> nth=3")
    assert name(page) == "b.mp4"
    page.click("#unusable")
    page.click("#list button >> nth=2")
    page.click("#search")
    page.click("[role=option] >> nth=0")
    reviewed(page, 3)
    page.click("#help_button")
    assert page.is_visible("#help")
    page.uncheck("#keys_on")
    press(page, "Escape", "x")
    assert not page.is_visible("#help") and page.evaluate("pending.size") == 0


def test_orders_and_filters(show):
    page = show()
    page.select_option("#order", "most")
    assert name(page) == "b.mp4"
    page.select_option("#order", "file")
    assert name(page) == "a <i>.mp4"
    page.click("#filter")
    page.keyboard.type("C.MP")
    assert name(page) == "c.mp4" and page.inner_text("#position") == "1 of 1"
    page.fill("#filter", "nowhere")
    assert "Nothing to show here" in page.inner_text("#finished")
    page.fill("#filter", "")
    page.select_option("#order", "random")
    press(page, "x")
    assert "review in random order" in page.inner_text("#estimate")
    for _ in range(2):
        press(page, "Enter" if name(page) != "missing.mp4" else "x")
    reviewed(page, 3)
    assert page.inner_text("#estimate").startswith("Estimate for all 4 videos: ")


def test_two_tabs_at_once(show, tab, tmp_path):
    page = show()
    other = tab.context.new_page()
    other.address = tab.address
    try:
        again(other)
        press(page, "2")
        reviewed(page, 1)
        press(other, "3")
        is_said(other, "#error", "Somebody else has decided")
        assert name(other) == "a <i>.mp4" and other.inner_text("#state") == f"corrected: {NAMES[1]}"
        press(other, "3")
        press(other, "ArrowRight")
        press(other, "ArrowRight", "1")
        reviewed(other, 2)
        page.evaluate("poll()")
        reviewed(page, 2)
        assert listed(tmp_path) == ["a <i>.mp4 2", "b.mp4 0"]
    finally:
        other.close()


def test_what_is_not_saved_is_said_and_taken_back(show, tmp_path):
    page = show()
    page.route("**/review/decisions", lambda route: route.abort())
    press(page, "1")
    is_said(page, "#error", "The server does not answer")
    assert name(page) == "a <i>.mp4" and page.inner_text("#state") == "to review"
    page.unroute("**/review/decisions")
    press(page, "1")
    reviewed(page, 1)
    (tmp_path / "TSM_infer_result.jsonl").write_text("{}")
    press(page, "ArrowRight", "2")
    is_said(page, "#error", "Reload the page")
    assert listed(tmp_path) == ["a <i>.mp4 0"]


def test_the_video_plays_in_its_window(show):
    page = show(span=(0.4, 0.8))
    wait(page, "document.querySelector('video').currentTime >= 0.4")
    assert "0.4\u20130.8 s" in page.inner_text("#name")
    page.evaluate("document.querySelector('video').currentTime = 0.95")
    wait(page, "document.querySelector('video').currentTime < 0.8")
    assert "Windows of one video are alike" in page.inner_text("body")


def test_a_video_that_the_browser_cannot_play_has_frames(show, tmp_path):
    make_results(tmp_path, b"", {"old.avi": 0.5, "damaged.mp4": 0.6})
    make_video(tmp_path / "old.avi", moving(25, 48, 64), codec="mpeg4")
    page = show()
    wait(page, "document.querySelector('#strip').naturalWidth > 700")
    assert page.is_visible("#strip") and not page.is_visible("video")
    press(page, "ArrowRight")
    is_said(page, "#problem", "The video cannot be read: the file is empty")


@pytest.mark.parametrize("width", [1400, 400])
def test_it_fits(show, width, tmp_path, clip):
    make_results(tmp_path, clip, {f"{'long ' * 20}{'x' * 100}.mp4": 0.5})
    page = show()
    page.set_viewport_size({"width": width, "height": 860})
    try:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") == width
        for box in (page.locator("#choices button").nth(4), page.locator("#skip")):
            assert box.bounding_box()["height"] >= 40  # a finger meets it
        assert page.evaluate("document.activeElement.id") == "name"
        unnamed = "[...document.querySelectorAll('button, input, select')].filter(each => !each.ariaLabel"
        assert page.evaluate(f"{unnamed} && !each.labels?.length && !each.textContent.trim()).length") == 0
    finally:
        page.set_viewport_size({"width": 1400, "height": 900})
        page.emulate_media(color_scheme="light")
