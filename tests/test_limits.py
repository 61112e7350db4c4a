"""Numbers and lists of any size: what cannot be computed is one message, and what is long is not slow."""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media import make_config, make_list

from video_zoo.datareader import open_reader
from video_zoo.datareader.inputs import find_inputs
from video_zoo.datareader.sampling import Windows
from video_zoo.datareader.stream import StreamReader
from video_zoo.dataset.check_videos import Labels, judge_all, write_report
from video_zoo.dataset.video_lists import Entry, read_any_list
from video_zoo.dataset.video_probe import VideoFacts
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.paths import RealPaths

LARGE = {"model": {"num_classes": 4, "seg_num": 10_000}, "short_size": 16384, "target_size": 16384}


def test_clips_that_cannot_fit_into_memory_are_refused(tmp_path):
    """Before anything is reserved, with what they would take."""
    config = make_config("train", make_list(tmp_path / "a.list", ["a.mp4 1"]), batch_size=1_000_000, **LARGE)
    with pytest.raises(InputError, match=r"TRAIN\.batch_size = 1000000: .* takes [\d,]+\.\d GB, and this machine has"):
        open_reader("train", config)
    config = make_config("infer", "", **LARGE)
    with pytest.raises(InputError, match=r"10000 frames of 16384 x 16384 pixels .* GB"):
        StreamReader(config, "0", Windows(1.0, 1.0))


@pytest.mark.parametrize("text", ["9" * 30, "9" * 5000, "1000000001"])
@pytest.mark.parametrize("kind", [cli.count, cli.positive_int, cli.at_most(cli.count, 51)])
def test_a_flags_number_has_a_limit(kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match="is more than"):
        kind(text)


def test_a_flags_limit_is_allowed():
    assert cli.at_most(cli.count, 51)("51") == 51 and cli.count("0001000000000") == cli.LARGEST_NUMBER
    with pytest.raises(argparse.ArgumentTypeError, match="^52 is more than 51$"):
        cli.at_most(cli.count, 51)("52")
    with pytest.raises(argparse.ArgumentTypeError, match="no number of seconds"):
        cli.seconds("1e300")


# --- long lists


def test_a_video_that_a_list_has_very_often(tmp_path):
    """Its lines are not compared with each other."""
    entries = [Entry(line, "=a.mp4", line % 2, "/=a.mp4", "/=a.mp4") for line in range(1, 50_001)]
    rows = judge_all(entries, {"/=a.mp4": VideoFacts("ok", frames=9)}, Labels(2, [], False), 8)
    assert [row.status for row in rows[:2]] == ["mislabelled"] * 2
    assert rows[0].reason == "line 2 gives the same video label 0"
    assert rows[-1].reason == "line 1 gives the same video label 1; line 2 has the same video"
    write_report(str(tmp_path / "report.csv"), rows[:3])
    with open(tmp_path / "report.csv", newline="") as file:
        assert [row[1] for row in csv.reader(file)] == ["path", *["'=a.mp4"] * 3]  # it is no formula


def test_spaces_in_a_line_cost_no_time(tmp_path):
    (tmp_path / "a.list").write_text("a" + " " * 200_000 + "b c.mp4 1\n")
    entries, untidy = read_any_list(str(tmp_path / "a.list"))
    assert entries[0].label == 1 and len(entries[0].path) == 200_008 and untidy == {}


names = st.sampled_from(["a", "b", "link", "up", "loop", "..", ".", "gone"])


@given(st.lists(names, min_size=1, max_size=5).map("/".join))
def test_real_paths_are_those_of_the_system(tmp_path_factory, path):
    """With links to files and folders, upwards, in a circle, and to nothing."""
    root = tmp_path_factory.getbasetemp() / "real paths"
    if not root.exists():
        (root / "a/b").mkdir(parents=True)
        (root / "b").touch()
        for link, target in (("link", "a"), ("a/link", "../b"), ("a/up", ".."), ("loop", "loop"), ("gone", "nowhere")):
            (root / link).symlink_to(target)
    real_path = RealPaths()
    for each in (f"{root}/{path}", os.path.abspath(f"{root}/{path}"), f"{root}/{path}/"):
        assert real_path(each) == real_path(each) == os.path.realpath(each)


def test_a_folders_real_path_is_looked_up_once(tmp_path, monkeypatch):
    for number in range(30):
        (tmp_path / f"{number:02}.mp4").touch()
    (tmp_path / "link.mp4").symlink_to("00.mp4")
    asked: list[str] = []
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: asked.append(path) or real(path))
    found = find_inputs([f"{tmp_path}/*.mp4", str(tmp_path / "05.mp4")]).videos
    assert [Path(video.path).name for video in found] == [f"{number:02}.mp4" for number in range(30)]
    assert len(asked) < 6
