"""Predictions as JSON, a table and v1.5's pickle; and the result files of passes that end early and go on."""

from __future__ import annotations

import csv
import json
import math
import os
import pickle
import pickletools
import signal
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import PLANTS, plant

from video_zoo.engine.page import Page
from video_zoo.engine.result_files import ResultFiles
from video_zoo.engine.results import Prediction, format_table, from_json, to_json, top_classes, write_pickle
from video_zoo.utils.errors import InputError
from video_zoo.utils.texts import cell

NAMES = ["zero", 'eins, "1"', "zwölf\nzeilen", "漢\r字"]
WHOLE = [
    Prediction("clips/ü 漢.mp4", [2, 0, 1], [0.75, 0.2, 0.04]),
    Prediction("b, or not.mp4", [1, 2, 3], [0.7, 0.1 + 0.2, 1e-9]),
    Prediction("twice.mp4", [3, 1, 0], [0.5, 0.25, 0.2]),
    Prediction("twice.mp4", [3, 1, 0], [0.5, 0.25, 0.2]),
    Prediction("d.mp4", [0, 1, 2], [1.0, 0.0, 0.0]),
    Prediction("twice.mp4", [3, 1, 0], [0.5, 0.25, 0.2]),
]
CLIPS = np.random.default_rng(0).integers(0, 256, (1, 2, 3, 8, 8), dtype=np.uint8)
files_ids = st.text(st.characters(exclude_categories=(), exclude_characters="\0"), max_size=9)


def windows_of(video: str, count: int = 3) -> list[Prediction]:
    return [Prediction(video, [n % 4, 3 - n % 4], [0.75, 0.25], (n * 1.5, n * 1.5 + 2)) for n in range(count)]


def open_files(folder: Path, resume: bool = False, settings=None, names=NAMES, page: bool = False) -> ResultFiles:
    page = Page(folder / "page.html", names, "title", 4) if page else None
    settings = {"model": "TSM", "window": [1, 2]} if settings is None else settings
    return ResultFiles(folder, "TSM_result", names, settings=settings, resume=resume, page=page)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_all(folder: Path, rows: list[Prediction], page: bool = False) -> dict[str, bytes]:
    with open_files(folder, page=page) as files:
        for row in rows:
            files.add([row], CLIPS)
        files.finish()
    return content(folder)


# --- a prediction


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.integers(1, 12))
def test_top_classes_equal_a_sorted_reference(values, topk):
    row = np.array(values, np.float32)
    order = sorted(range(len(values)), key=lambda index: (-values[index], index))[:topk]
    expected = Prediction("v", order, [float(values[index]) for index in order], (1.0, 2.0))
    assert top_classes("v", row, topk, (1.0, 2.0)) == expected
    assert top_classes("v", row, topk).span is None


@given(
    st.text(st.characters(exclude_categories=())),
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), max_size=5),
    st.none() | st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
)
def test_a_line_of_json_gives_the_prediction_back(video, top, span):
    """Also with a name that is no text."""
    prediction = Prediction(video, [index for index, _ in top], [each for _, each in top], span)
    line = to_json(prediction, NAMES)
    assert line.index(b"\n") == len(line) - 1
    assert from_json(line) == prediction


def test_the_json_has_the_names_and_times():
    line = to_json(Prediction("ü.mp4", [3, 1], [0.75, 0.25], (12.0, 14.5)), NAMES)
    assert "ü.mp4" in line.decode() and "漢" in line.decode()
    top = [{"class": 3, "name": NAMES[3], "probability": 0.75}, {"class": 1, "name": NAMES[1], "probability": 0.25}]
    assert json.loads(line) == {"video": "ü.mp4", "start_s": 12.0, "end_s": 14.5, "top": top}
    assert list(json.loads(to_json(WHOLE[0], NAMES))) == ["video", "top"]


def test_the_table():
    rows = [Prediction("ü 漢.mp4", [2, 0], [0.75, 0.2]), Prediction("b", [0, 1], [1.0, 1e-9], (12, 14.04))]
    names = ["zero", "eins", "zwölf"]
    assert format_table(rows, names) == (
        "ü 漢.mp4\n   75.00%  zwölf\n   20.00%  zero\nb  12.0-14.0 s\n  100.00%  zero\n    0.00%  eins"
    )
    assert format_table(rows, names, topk=1).count("\n") == 3
    assert format_table([], names) == ""


@pytest.mark.contract
@pytest.mark.parametrize("rows", [[], WHOLE[:1], WHOLE])
def test_the_pickle_is_v15s(tmp_path, rows):
    path = tmp_path / "deep" / "TSM_infer_result.pkl"
    write_pickle(path, iter(rows))
    data = path.read_bytes()
    assert pickle.loads(data) == [(row.video_id, row.probabilities, row.classes) for row in rows]
    assert all(code.proto == 0 for code, *_ in pickletools.genops(data))
    assert all([type(part) for part in row] == [str, list, list] for row in pickle.loads(data))


def test_a_pickle_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.pkl"
    path.write_text("old")
    with pytest.raises((pickle.PicklingError, AttributeError)):
        write_pickle(path, [*WHOLE, Prediction("v", [0], [lambda: None])])
    assert content(tmp_path) == {"result.pkl": b"old"}
    with pytest.raises(InputError, match="cannot write"):
        write_pickle(path / "result.pkl", WHOLE)


# --- the files


def test_the_files_of_a_pass_of_whole_videos(tmp_path):
    with open_files(tmp_path / "new") as files:
        files.add(WHOLE[:4])
        files.add(WHOLE[4:])
        assert files.rows == 6
        paths = files.finish()
    assert [path.name for path in paths] == ["TSM_result.jsonl", "TSM_result.csv", "TSM_result.pkl"]
    assert sorted(content(tmp_path / "new")) == sorted([*(path.name for path in paths), "TSM_result.settings.json"])
    assert [from_json(line) for line in paths[0].read_bytes().splitlines()] == WHOLE
    assert [row[0] for row in pickle.loads(paths[2].read_bytes())] == [row.video_id for row in WHOLE]


def test_windows_have_times_and_no_pickle(tmp_path):
    rows = windows_of("a") + windows_of("b", 1)
    written = write_all(tmp_path, rows)
    assert sorted(written) == ["TSM_result.csv", "TSM_result.jsonl", "TSM_result.settings.json"]
    assert [from_json(line) for line in written["TSM_result.jsonl"].splitlines()] == rows
    table = list(csv.DictReader(written["TSM_result.csv"].decode().splitlines()))
    assert [(row["video"], row["start_s"], row["end_s"]) for row in table[2:]] == [
        ("a", "3.0", "5.0"),
        ("b", "0.0", "2.0"),
    ]


def test_times_are_whole_milliseconds(tmp_path):
    written = write_all(tmp_path, [Prediction("a", [0], [1.0], (1 / 3, 2 / 3))])
    assert b'"start_s": 0.333, "end_s": 0.667' in written["TSM_result.jsonl"]


@settings(deadline=None, max_examples=40)
@given(st.lists(files_ids, min_size=1, max_size=5), st.lists(files_ids, min_size=7, max_size=7), st.integers(1, 7))
def test_the_csv_is_read_back(videos, names, topk):
    """At most five classes, whatever is in the names; what is no text is escaped, and a formula marked."""
    rows = [Prediction(video, list(range(topk)), [1 / topk] * topk) for video in videos]
    with tempfile.TemporaryDirectory() as folder:
        with open_files(Path(folder), names=names) as files:
            files.add(rows)
            files.finish()
        with open(Path(folder, "TSM_result.csv"), encoding="utf-8", newline="") as file:
            header, *table = csv.reader(file)
    kept = min(topk, 5)
    numbered = [f"{name}_{n}" for n in range(1, kept + 1) for name in ("class", "name", "probability")]
    assert header == ["video", "start_s", "end_s", *numbered]

    def readable(text: str) -> str:
        return cell(text).encode("utf-8", "backslashreplace").decode()

    for row, video in zip(table, videos):
        assert row[:3] == [readable(video), "", ""]
        assert row[3::3] == [str(index) for index in range(kept)] and row[4::3] == list(map(readable, names[:kept]))
        assert [float(text) for text in row[5::3]] == [1 / topk] * kept
    assert len(table) == len(videos)


def test_rows_are_on_the_disk_as_they_come_and_old_results_stay(tmp_path):
    before = write_all(tmp_path, WHOLE[:1])
    with open_files(tmp_path) as files:
        for count, row in enumerate(WHOLE, 1):
            files.add([row])
            lines = (tmp_path / "TSM_result.partial.jsonl").read_bytes().splitlines()
            assert [from_json(line) for line in lines[1:]] == WHOLE[:count]
            with open(tmp_path / "TSM_result.partial.csv", encoding="utf-8", newline="") as file:
                assert [line[0] for line in csv.reader(file)][1:] == [each.video_id for each in WHOLE[:count]]
    assert {name: data for name, data in content(tmp_path).items() if "partial" not in name} == before
    assert json.loads(lines[0]) == {"settings": {"model": "TSM", "window": [1, 2]}}


def test_without_resume_old_rows_are_replaced(tmp_path):
    with open_files(tmp_path, page=True) as files:
        files.add(WHOLE, np.repeat(CLIPS, 6, axis=0))
    with open_files(tmp_path, page=True) as files:
        assert files.rows == 0 and not files.done
        files.add(WHOLE[:1], CLIPS)
        files.finish()
    assert content(tmp_path) == write_all_again(WHOLE[:1], page=True)


@pytest.mark.parametrize(("earlier", "there"), [("none", 0), ("stopped", 3), ("ended", 5)])
def test_a_pass_without_predictions_touches_nothing(tmp_path, earlier, there):
    """Neither results, nor the rows and the page of a pass that was stopped, nor an empty folder."""
    with open_files(tmp_path, page=True) as files:
        if earlier != "none":
            files.add(WHOLE, np.repeat(CLIPS, 6, axis=0))
        if earlier == "ended":
            files.finish()
    before = content(tmp_path)
    with open_files(tmp_path, page=True, settings={"other": 1}) as files:
        assert list(files.predictions()) == [] and files.finish() == []
    assert content(tmp_path) == before and len(before) == there


def test_two_passes_do_not_write_the_same_page(tmp_path):
    """Of different results; each has its own then."""
    page = tmp_path / "page.html"
    with ResultFiles(tmp_path, "a", NAMES, settings={}, resume=False, page=Page(page, NAMES, "a")) as files:
        files.add(WHOLE[:1], CLIPS)
        second = ResultFiles(tmp_path, "b", NAMES, settings={}, resume=False, page=Page(page, NAMES, "b"))
        with pytest.raises(InputError, match=r"page\.html is being written by another process"), second:
            pass
        files.finish()
    assert "<title>a" in page.read_text(encoding="utf-8")
    with second:
        second.add(WHOLE[:1], CLIPS)
        second.finish()
    assert "<title>b" in page.read_text(encoding="utf-8") and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("end", ["jsonl", "csv"])
@pytest.mark.parametrize("kind", PLANTS)
def test_what_lies_in_the_place_of_a_partial_file_is_not_written_to(tmp_path, end, kind):
    victim, place = tmp_path / "victim", tmp_path / "out" / f"TSM_result.partial.{end}"
    victim.write_text("precious")
    place.parent.mkdir()
    plant(kind, place, victim)
    with open_files(tmp_path / "out") as files:
        if end == "jsonl":
            with pytest.raises(InputError, match=r"cannot write .*partial\.jsonl: it is a link, a pipe.*; remove it"):
                files.add(WHOLE)
        else:  # it is begun anew
            files.add(WHOLE)
            files.finish()
    if end == "csv":
        assert content(tmp_path / "out") == write_all_again(WHOLE)
    assert victim.read_text() == "precious" and not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", PLANTS)
def test_what_takes_the_place_of_the_rows_is_not_read(tmp_path, kind):
    """While the pass goes on: a private file would become a result that others can read."""
    victim, place = tmp_path / "victim", tmp_path / "out/TSM_result.partial.jsonl"
    victim.write_text("a first line\nprecious\n")
    with open_files(tmp_path / "out") as files:
        files.add(WHOLE)
        place.unlink()
        plant(kind, place, victim)
        with pytest.raises(OSError, match="it is a link, a pipe or a device, or has a second name; remove it"):
            next(files.predictions())
        with pytest.raises(InputError, match=r"cannot write .*partial\.jsonl: it is a link, a pipe.*; remove it"):
            files.finish()
    assert {path.suffixes[0] for path in place.parent.iterdir()} == {".partial"}


def test_a_killed_pass_keeps_each_batch(tmp_path):
    before = write_all(tmp_path, WHOLE[:1])
    child = os.fork()
    if not child:
        with open_files(tmp_path, page=True) as files:
            files.add(WHOLE[:2], np.repeat(CLIPS, 2, axis=0))
            files.add(WHOLE[2:3], CLIPS)
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert {name: data for name, data in content(tmp_path).items() if "partial" not in name} == before
    with open_files(tmp_path, resume=True, page=True) as files:
        assert files.rows == 3 and files.remaining([row.video_id for row in WHOLE]) == [3, 4, 5]
        files.add(WHOLE[3:], np.repeat(CLIPS, 3, axis=0))
        files.finish()
    assert content(tmp_path) == write_all_again(WHOLE, page=True)


def write_all_again(rows: list[Prediction], page: bool = False) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return write_all(Path(folder), rows, page)


LISTS = {
    "whole": (WHOLE, [row.video_id for row in WHOLE]),
    "windows": (
        windows_of("a") + windows_of("twice", 2) + windows_of("twice", 2) + windows_of("c", 1) + windows_of("a"),
        ["a", "twice", "twice", "c", "a"],
    ),
}


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(LISTS)), st.floats(0, 1), st.booleans(), st.integers(1, 4))
def test_a_pass_cut_off_anywhere_and_resumed_equals_a_straight_one(kind, where, page, batch):
    """To the byte, the page with its strips; a video that the list has twice is there twice."""
    rows, videos = LISTS[kind]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_files(folder, page=page) as files:
            for row in rows:
                files.add([row], CLIPS)
        partial = folder / "TSM_result.partial.jsonl"
        data = partial.read_bytes()
        partial.write_bytes(data[: round(where * len(data))])
        with open_files(folder, resume=True, page=page) as files:
            left = files.remaining(videos)
            assert left == list(range(len(videos) - len(left), len(videos)))
            assert sum(files.done.values()) == len(videos) - len(left)
            todo = rows[files.rows :]
            assert len([row for row in todo if not row.span or row.span[0] == 0]) == len(left)
            for first in range(0, len(todo), batch):
                part = todo[first : first + batch]
                files.add(part, np.repeat(CLIPS, len(part), axis=0))
            files.finish()
        assert content(folder) == write_all_again(rows, page)


def test_what_is_left_counts_how_often_a_video_is_listed(tmp_path):
    with open_files(tmp_path) as files:
        files.add(WHOLE[2:5])
    with open_files(tmp_path, resume=True) as files:
        assert files.done == {"twice.mp4": 2, "d.mp4": 1} and "d.mp4" in files.done
        assert files.remaining(["twice.mp4", "new", "d.mp4", "twice.mp4", "twice.mp4", "d.mp4"]) == [1, 4, 5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "TSN", "window": [1, 2]}, "model: TSM -> TSN. Give"),
        ({"model": "TSM"}, r"window: \[1, 2\] -> None. Give"),
        (
            {"model": "TSM", "window": [1, 3], "at": {"depth": 18}},
            r"at.depth: None -> 18; window: \[1, 2\] -> \[1, 3\]",
        ),
    ],
)
def test_other_settings_are_named(tmp_path, settings, message):
    with open_files(tmp_path) as files:
        files.add(WHOLE)
    before = content(tmp_path)
    with (
        pytest.raises(InputError, match=f"partial.jsonl was made with other settings: {message}"),
        open_files(tmp_path, resume=True, settings=settings),
    ):
        pass
    assert content(tmp_path) == before


def test_the_same_settings_may_be_tuples(tmp_path):
    with open_files(tmp_path) as files:
        files.add(WHOLE)
    with open_files(tmp_path, resume=True, settings={"window": (1, 2), "model": "TSM"}) as files:
        assert files.rows == 6


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b"no json\n", 3),
        (b"[]\n", 3),
        (b'{"video": "a"}\n', 3),
        (b'{"video": 1, "top": []}\n', 3),
        (b'{"video": "a", "top": [{"class": 4, "probability": 0.5}]}\n', 3),
        (b'{"video": "a", "top": [{"class": 0, "probability": NaN}]}\n', 3),
        (b'{"video": "a", "top": [{"class": 0, "probability": 1' + b"0" * 400 + b"}]}\n", 3),
        (b'{"video": "a", "top": [{"class": 1e400, "probability": 0.5}]}\n', 3),
        (b'{"video": "a", "top": [{"class": true, "probability": 0.5}]}\n', 3),
        (b'{"video": "a", "top": [{"class": "1", "probability": 0.5}]}\n', 3),
        (b'{"video": "a", "top": [], "start_s": 1' + b"0" * 400 + b', "end_s": 2}\n', 3),
        (b'{"video": "a", "top": [{"class": 0, "probability": "0.5"}]}\n', 3),
        (b'{"video": "a", "top": [], "start_s": "1", "end_s": 2}\n', 3),
        (b'{"video": "a", "top": [], "end_s": 2}\n', 3),
        (b'{"video": ' + b"[" * 10_000 + b"}\n", 3),
        (b"\0" * 20 + b"\n", 3),
        (b"\xff\n", 3),
    ],
)
def test_a_damaged_line_is_named_and_nothing_is_lost(tmp_path, line, number):
    with open_files(tmp_path) as files:
        files.add(WHOLE)
    path = tmp_path / "TSM_result.partial.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], line, *lines[2:]]))
    before = content(tmp_path)
    with pytest.raises(InputError, match=f"partial.jsonl:{number}: damaged"), open_files(tmp_path, resume=True):
        pass
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "line",
    [b"{}\n", b'{"video": "a", "top": []}\n', b"[1]\n", b'{"settings": 3}\n', b"\n"]
    + [b'{"settings": ' + each + b"}\n" for each in (b"[" * 10_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"9" * 5000)],
)
def test_a_file_without_settings_cannot_go_on(tmp_path, line):
    (tmp_path / "TSM_result.partial.jsonl").write_bytes(line)
    with pytest.raises(InputError, match="partial.jsonl:1: no settings"), open_files(tmp_path, resume=True):
        pass


def test_probabilities_that_are_not_finite(tmp_path):
    with open_files(tmp_path) as files:
        with pytest.raises(InputError, match=r"b\.mp4: the probabilities are not finite: the weights are not sound"):
            files.add([WHOLE[0], Prediction("b.mp4", [0], [math.nan])])
        assert files.rows == 0


def test_two_passes_do_not_write_the_same_files(tmp_path):
    with open_files(tmp_path) as files:
        files.add(WHOLE[:2])
        for resume in (False, True):
            with pytest.raises(InputError, match="is being written by another process"), open_files(tmp_path, resume):
                pass
        files.add(WHOLE[2:])
        files.finish()
    assert content(tmp_path) == write_all_again(WHOLE)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"), open_files(tmp_path / "file"):
        pass


@pytest.mark.parametrize("blocked", ["TSM_result.jsonl", "TSM_result.csv", "TSM_result.pkl", "page.html"])
def test_an_end_that_fails_can_be_repeated(tmp_path, blocked):
    (tmp_path / blocked / "in the way").mkdir(parents=True)
    with open_files(tmp_path, page=True) as files:
        for row in WHOLE:
            files.add([row], CLIPS)
        with pytest.raises(InputError, match=f"cannot write .*{blocked}"):
            files.finish()
    assert not any(path.name.endswith(".tmp") for path in tmp_path.iterdir())
    (tmp_path / blocked / "in the way").rmdir()
    (tmp_path / blocked).rmdir()
    with open_files(tmp_path, resume=True, page=True) as files:
        assert files.remaining([row.video_id for row in WHOLE]) == []
        files.finish()
    assert content(tmp_path) == write_all_again(WHOLE, page=True)


def test_memory_does_not_grow_with_the_list(tmp_path):
    rows = [Prediction("some/video.mp4", list(range(4)), [0.1] * 4)] * 50
    tracemalloc.start()
    try:
        with open_files(tmp_path) as files:
            for _ in range(40):
                files.add(rows)
            files.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(pickle.loads((tmp_path / "TSM_result.pkl").read_bytes())) == 2000
    assert peak < 300_000  # of files of 1 MB
