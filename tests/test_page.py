"""The HTML page of predictions: its rows, film strips and bars, and what is kept of one that was cut off."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from media import PLANTS, plant

from video_zoo.engine.page import HEIGHT, Page, draw_bar, film_strip
from video_zoo.engine.results import Prediction
from video_zoo.utils.errors import InputError
from video_zoo.utils.texts import one_line

NAMES = ["zero", "<b>eins</b> & 'co'", "zwölf\nzeilen", "漢字", "four", "five"]
VOID = {"meta", "input", "img"}


class Checker(HTMLParser):
    """Counts the elements of a page, collects its text, and fails where tags do not match."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.text = ""
        self.links: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def clips(count: int, size: int = 32, frames: int = 3, seglen: int = 1, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 256, (count, frames * seglen, 3, 1, 1), dtype=np.uint8)
    return np.broadcast_to(values, (count, frames * seglen, 3, size, size)).copy()


def rows(count: int, start: int = 0) -> list[Prediction]:
    return [Prediction(f"{n}.mp4", [1, 2, 0], [0.5, 0.25, 0.125], (n, n + 2)) for n in range(start, start + count)]


def make_page(path: Path, count: int = 3, limit: int = 500, finish: bool = True) -> str:
    page = Page(path, NAMES, "title", limit)
    page.begin()
    page.add(rows(count), clips(count))
    page.finish() if finish else page.close()
    return (page.path if finish else page.partial).read_text(encoding="utf-8")


def strips_of(html: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', html)
    return [
        cv2.imdecode(np.frombuffer(base64.b64decode(each), np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for each in found
    ]


def test_every_text_is_escaped_and_nothing_comes_from_elsewhere(tmp_path):
    page = Page(tmp_path / "new/page.html", NAMES, "TSM <1> & 2", notes=["</style><script>", "a & b"])
    page.begin()
    video = 'a "b" <img src=x onerror=y>\n\r.mp4'
    page.add([Prediction(video, [3, 1, 2], [0.75, 0.2, 0.05], (1, 61.25))], clips(1))
    page.finish()
    html = page.path.read_text(encoding="utf-8")
    checker = Checker(html)
    assert checker.counts["article"] == checker.counts["img"] == checker.counts["script"] == 1
    for text in (video, *NAMES[1:4], "TSM <1> & 2", "</style><script>", "1.0-61.2 s", "75.0%", "1 prediction"):
        assert one_line(text) in checker.text, text
    assert all(link.startswith("data:image/jpeg;base64,") for link in checker.links)
    assert "http" not in html and "@import" not in html and "url(" not in html
    assert [path.name for path in page.path.parent.iterdir()] == ["page.html"]


def test_a_name_leads_to_its_file_and_to_the_window(tmp_path):
    """By a relative path, in which nothing of a name is markup or another kind of address."""
    names = ["javascript:x.mp4", 'a "b" #1?.mp4', "caf\udce9.mp4"]
    files = {name: tmp_path / "videos" / name for name in names}
    page = Page(tmp_path / "new/page.html", NAMES, "title", files=files)
    page.begin()
    page.add([Prediction(name, [1], [1.0]) for name in names])
    page.add([Prediction(names[0], [1], [1.0], (0.5, 62)), Prediction("a stream", [1], [1.0], (0, 2))])
    page.finish()
    links = Checker(page.path.read_bytes().decode()).links
    quoted = ["javascript%3Ax.mp4", "a%20%22b%22%20%231%3F.mp4", "caf%E9.mp4", "javascript%3Ax.mp4#t=0.5,62"]
    assert links == [f"../videos/{name}" for name in quoted]


def test_a_row_is_one_line_and_there_as_it_comes(tmp_path):
    page = Page(tmp_path / "page.html", NAMES, "title")
    page.begin()
    for count in range(1, 4):
        page.add([Prediction("a\nb\rc\u2028.mp4", [2], [1.0])], clips(1))
        lines = page.partial.read_bytes().split(b"\n")
        assert sum(line.startswith(b"<article>") and line.endswith(b"</article>") for line in lines) == count
    page.close()
    assert not page.path.exists()


def test_a_name_that_is_no_text(tmp_path):
    page = Page(tmp_path / "page.html", NAMES, "title")
    page.begin()
    page.add([Prediction("caf\udce9.mp4", [0], [1.0])])
    page.finish()
    assert "caf\\udce9.mp4" in Checker(page.path.read_text(encoding="utf-8")).text


@pytest.mark.parametrize("size", [32, 112, 224])
@pytest.mark.parametrize("seglen", [1, 3])
def test_the_strip_shows_the_first_frame_of_each_segment(size, seglen, tmp_path):
    clip = clips(1, size, frames=4, seglen=seglen, seed=size)
    page = Page(tmp_path / "page.html", NAMES, "title", step=seglen)
    page.begin()
    page.add(rows(1), clip)
    page.finish()
    html = page.path.read_text(encoding="utf-8")
    (strip,) = strips_of(html)
    assert strip.shape == (HEIGHT, 4 * HEIGHT + 3 * 2, 3) and 'alt="4 frames"' in html
    for number, frame in enumerate(clip[0, ::seglen]):
        shown = strip[10:-10, number * (HEIGHT + 2) + 10 :][:, : HEIGHT - 20]
        np.testing.assert_allclose(shown.mean((0, 1)), frame[:, 0, 0], atol=4)  # RGB, not BGR


def test_a_strip_keeps_the_frames_proportions():
    strip = cv2.imdecode(np.frombuffer(film_strip(np.zeros((2, 3, 224, 112), np.uint8)), np.uint8), cv2.IMREAD_COLOR)
    assert strip.shape == (HEIGHT, 2 * HEIGHT // 2 + 2, 3)


@pytest.mark.parametrize(("limit", "said"), [(0, 1), (2, 1), (3, 0), (9, 0)])
def test_after_the_limit_there_are_bars_alone_and_it_is_said(tmp_path, limit, said):
    html = make_page(tmp_path / "page.html", 3, limit)
    assert len(strips_of(html)) == min(limit, 3) and html.count("<article>") == 3
    assert html.count("Film strips end here") == said
    if said:
        assert html.index("Film strips end here") < html.index(f"{limit}.mp4")
        assert html.count("<article>", 0, html.index("Film strips end here")) == limit


def test_bars_are_the_five_first_classes(tmp_path):
    page = Page(tmp_path / "page.html", NAMES, "title")
    page.begin()
    page.add([Prediction("a.mp4", [5, 4, 3, 2, 1, 0], [0.5, 0.3, 0.1, 0.05, 0.03, 0.02])])
    page.finish()
    html = page.path.read_text(encoding="utf-8")
    assert re.findall(r'<i style="width:([\d.]+)%"></i>', html) == ["50.0", "30.0", "10.0", "5.0", "3.0"]
    assert "five" in html and "zero" not in html and "<img" not in html


def test_a_bar_has_a_color_if_it_is_given():
    assert draw_bar("<b>up</b>", 0.123456, "#0b6e99") == (
        '<div class="bar"><span dir="auto"><b>up</b></span><i><i style="width:12.3%;background:#0b6e99"></i></i>'
        "<b>12.3%</b></div>"
    )
    assert "background" not in draw_bar("up", 1.0)


# --- going on


def resume(path: Path, kept: list[Prediction], limit: int = 500) -> str:
    page = Page(path, NAMES, "title", limit)
    page.begin(iter(kept))
    page.finish()
    return page.path.read_text(encoding="utf-8")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_kept_rows_keep_their_strips_and_others_go(tmp_path, count):
    make_page(tmp_path / "page.html", 3, finish=False)
    assert resume(tmp_path / "page.html", rows(count)) == make_page(tmp_path / "straight.html", count)


def test_a_row_that_was_cut_off_comes_without_its_strip(tmp_path):
    make_page(tmp_path / "page.html", 3, finish=False)
    partial = tmp_path / "page.partial.html"
    partial.write_bytes(partial.read_bytes()[:-100])
    html = resume(tmp_path / "page.html", rows(3))
    assert len(strips_of(html)) == 2 and Checker(html).counts["article"] == 3


def test_rows_of_a_run_without_the_page_are_added(tmp_path):
    """In their place, the others keep their strips."""
    make_page(tmp_path / "page.html", 2, finish=False)
    html = resume(tmp_path / "page.html", [*rows(1, 8), *rows(1), *rows(1, 9), *rows(1, 1)])
    assert [bool(strips_of(line)) for line in html.split("\n") if "<article>" in line] == [False, True, False, True]


def test_a_row_of_other_probabilities_is_not_kept(tmp_path):
    make_page(tmp_path / "page.html", 1, finish=False)
    changed = Prediction("0.mp4", [1, 2, 0], [0.5, 0.2, 0.125], (0, 2))
    assert strips_of(resume(tmp_path / "page.html", [changed])) == []


def test_the_limit_counts_kept_rows(tmp_path):
    make_page(tmp_path / "page.html", 3, limit=2, finish=False)
    page = Page(tmp_path / "page.html", NAMES, "title", limit=2)
    page.begin(rows(3))
    page.add(rows(2, 3), clips(2))
    page.finish()
    html = page.path.read_text(encoding="utf-8")
    assert html.count("Film strips end here") == 1 and len(strips_of(html)) == 2 and html.count("<article>") == 5


def test_the_page_has_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "my [page].html"
    path.write_text("old")
    (tmp_path / ".zoo_abcd1234.tmp").touch()  # of a process that was killed
    make_page(path, finish=False)
    assert path.read_text() == "old"
    make_page(path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name] and "<footer>3 predictions" in path.read_text()


@pytest.mark.parametrize("name", ["漢" * 83 + ".html", "a." + "x" * 253])
def test_a_page_whose_name_is_as_long_as_the_file_system_takes(tmp_path, name):
    make_page(tmp_path / name, 3, finish=False)
    assert resume(tmp_path / name, rows(3)) == make_page(tmp_path / "straight.html", 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "straight.html"])


@pytest.mark.parametrize("kind", PLANTS)
def test_what_lies_in_the_place_of_a_partial_page_is_not_written_to(tmp_path, kind):
    victim, place = tmp_path / "victim", tmp_path / "page.partial.html"
    victim.write_text("precious")
    plant(kind, place, victim)
    with pytest.raises(InputError, match="page.partial.html: it is a link"):
        resume(tmp_path / "page.html", rows(1))
    assert victim.read_text() == "precious"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to the folder .*file"):
        make_page(tmp_path / "file/page.html")
