"""The page of demo.py in a headless browser, with a camera that is fed from a file."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browsers import open_browser
from media import levels, make_video

for _package in ("starlette", "uvicorn", "websockets"):
    pytest.importorskip(_package, reason="requirements/demo.txt is not installed")

from served import NAMES, MadeUp, served

from video_zoo.server import camera
from video_zoo.server.app import Limits, open_app


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """long.webm and short.webm: 4 s that become brighter, and 4 s that become darker, or 1 s; and camera.mjpeg."""
    folder = tmp_path_factory.mktemp("media")
    levels_up = levels(100, 48, 64, first=20)
    make_video(folder / "long <i>.webm", np.concatenate([levels_up, levels_up[::-1]]), "libvpx-vp9")
    make_video(folder / "short.webm", levels_up[:25], "libvpx-vp9")
    rising = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in levels(120, 240, 320, first=10)]
    (folder / "camera.mjpeg").write_bytes(b"".join(rising * 5))
    (folder / "no video.mp4").write_bytes(b"hello")
    return folder


@pytest.fixture(scope="module")
def model() -> MadeUp:
    return MadeUp()


@pytest.fixture(scope="module")
def tab(media, model, tmp_path_factory) -> Iterator[Any]:
    """A page of a browser, at the server's address."""
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    camera.append(f"--use-file-for-fake-video-capture={media / 'camera.mjpeg'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
        limits = Limits(max_mb=1, max_s=60)
        with open_app(model, limits=limits) as app, served(app) as address, open_browser(*camera) as browser:
            page = browser.new_page()
            page.set_default_timeout(30_000)
            page.address, page.wrong = address, []
            own = (address, "blob:", "data:", address.replace("http", "ws"))
            page.on("request", lambda request: request.url.startswith(own) or page.wrong.append(request.url))
            page.on("console", lambda message: page.wrong.append(message.text))
            page.on("pageerror", lambda error: page.wrong.append(str(error)))
            yield page


@pytest.fixture
def page(tab) -> Iterator[Any]:
    """The page, anew; the test fails if it asks for anything elsewhere, has an error, or runs a name."""
    tab.wrong.clear()
    tab.set_viewport_size({"width": 1400, "height": 900})
    tab.goto(tab.address)
    tab.locator("h1", has_text="TSM, 6 classes").wait_for()
    yield tab
    assert tab.evaluate("typeof hacked") == "undefined" and tab.wrong == []


def choose(page: Any, file: Path, said: str = "computed in") -> None:
    page.set_input_files("#file", str(file))
    page.locator("#said", has_text=said).wait_for()


def bars(page: Any, place: str) -> list[str]:
    return page.locator(f"{place} .bar > span").all_text_contents()


def test_a_video_its_bars_strip_and_both_directions(page, media):
    choose(page, media / "long <i>.webm")
    assert page.inner_text("#what") == "long <i>.webm" and page.inner_text("#span") == "the whole video"
    assert len(bars(page, "#forward")) == len(bars(page, "#backward")) == 5
    assert "8.0 s of video, computed in" in page.inner_text("#said")
    width, height = page.evaluate("[strip.naturalWidth, strip.naturalHeight]")
    assert (width, height) == (4 * 112 + 3 * 2, 112)
    assert not page.is_visible("#progress") and not page.is_visible("#no_player")
    assert page.locator("#timeline button").count() == 4


def test_a_click_on_the_timeline_seeks_and_shows_that_window(page, media):
    choose(page, media / "long <i>.webm")
    windows = page.locator("#timeline button")
    windows.nth(3).click()
    assert page.inner_text("#span") == "6.0-8.0 s" and bars(page, "#forward")[0] == NAMES[1]
    assert bars(page, "#backward")[0] == NAMES[0] and f'"{NAMES[1]}" has' in page.inner_text("#direction")
    assert page.evaluate("player.currentTime") == pytest.approx(6, abs=0.1)
    assert windows.nth(3).get_attribute("aria-pressed") == "true"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#span") == "2.0-4.0 s" and bars(page, "#forward")[0] == NAMES[0]
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.click("#whole")
    assert page.inner_text("#span") == "the whole video"
    legend = page.locator("#legend span").all_text_contents()
    assert set(legend) == set(NAMES[:2])


def test_the_windows_shown_follow_the_video_that_plays(page, media):
    choose(page, media / "long <i>.webm")
    page.evaluate("player.currentTime = 4.5; player.play()")
    page.locator("#span", has_text="4.0-6.0 s").wait_for()


def test_one_direction_and_a_short_video(page, media):
    page.uncheck("#reverse")
    choose(page, media / "short.webm")
    assert bars(page, "#forward")[0] == NAMES[0] and not page.is_visible("#backward")
    assert not page.is_visible("#timeline_part")


def test_a_video_is_dropped(page, media):
    data = page.evaluate_handle(
        """async bytes => {
          const transfer = new DataTransfer()
          transfer.items.add(new File([new Uint8Array(bytes)], "dropped.webm"))
          return transfer
        }""",
        list((media / "short.webm").read_bytes()),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    page.locator("#said", has_text="computed in").wait_for()
    assert page.inner_text("#what") == "dropped.webm"


def test_what_cannot_be_taken_is_said(page, media, tmp_path):
    choose(page, media / "no video.mp4", "this is no video that can be read")
    assert not page.is_visible("#result") and not page.is_visible("#progress")
    (tmp_path / "large.mp4").write_bytes(bytes(1_000_001))
    choose(page, tmp_path / "large.mp4", "large.mp4 has 1.0 MB, and this server takes 1 MB")


def test_progress_and_stop(page, media, model, monkeypatch):
    monkeypatch.setattr(model, "seconds", 0.3)
    choose(page, media / "long <i>.webm", "computing: 25%")
    assert page.is_visible("progress") and page.evaluate("document.querySelector('progress').value") >= 0.25
    page.click("#stop")
    assert page.inner_text("#said") == "stopped" and not page.is_visible("#progress")


def test_the_place_in_the_line_is_shown(page, media, model, monkeypatch):
    monkeypatch.setattr(model, "seconds", 0.5)
    content = (media / "long <i>.webm").read_bytes()
    with socket.create_connection(("127.0.0.1", int(page.address.rstrip("/").rpartition(":")[2]))) as other:
        head = f"POST /predict?window_s=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
        other.sendall(head.encode() + content)
        choose(page, media / "short.webm", "one video is computed before this one")
    monkeypatch.setattr(model, "seconds", 0.0)  # the other one has left
    page.locator("#said", has_text="computed in").wait_for()


def test_the_camera(page):
    page.click("#camera_button")
    page.locator("#label", has_text=NAMES[0]).wait_for()
    assert bars(page, "#live_bars")[0] == NAMES[0]
    assert "windows of 2 s: latency" in page.inner_text("#latency")
    drawn = page.evaluate("last.getContext('2d').getImageData(0, 0, last.width, 84).data.some(each => each)")
    assert drawn
    page.click("#camera_button")
    page.locator("#camera_button", has_text="Start").wait_for()
    assert page.inner_text("#camera_said") == ""


def test_a_camera_that_falls_silent_is_said_and_starts_again(page, monkeypatch):
    page.click("#camera_button")
    page.locator("#label", has_text=NAMES[0]).wait_for()
    monkeypatch.setattr(camera, "SILENCE_S", 0.2)
    page.evaluate("() => { window.send = Camera.prototype.send; Camera.prototype.send = () => {} }")
    page.locator("#camera_said", has_text="nothing came from the camera for 0.2 s").wait_for()
    monkeypatch.undo()
    page.evaluate("() => { Camera.prototype.send = window.send }")
    page.click("#camera_button")
    page.locator("#label", has_text=NAMES[0]).wait_for()
    page.click("#camera_button")
    assert page.inner_text("#camera_said") == ""


@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_wider_than_the_page(page, media, width):
    page.set_viewport_size({"width": width, "height": 900})
    choose(page, media / "long <i>.webm")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
