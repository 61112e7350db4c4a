"""dataset/cut_events.py: recordings with events become folders of classes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from video_zoo.datareader.class_folders import split_class_folders
from video_zoo.datareader.decode import decode_video
from video_zoo.dataset.cut_events import Event, between, cut_all, read_events
from video_zoo.dataset.moving_shapes.make_moving_shapes import FPS
from video_zoo.dataset.moving_shapes.make_streams import Stretch, write_stream
from video_zoo.utils.errors import InputError

STRETCHES = [Stretch(None, 0, 30), Stretch("left", 30, 60), Stretch("up", 60, 90), Stretch(None, 90, 140)]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for name in ("a", "b"):
        write_stream(folder / f"{name}.mp4", STRETCHES, 32, 2, np.random.default_rng(1))
    (folder / "b.jsonl").write_text(json.dumps({"name": "left", "start_s": 0.5, "end_s": 9, "confidence": 1}) + "\n")
    return folder


def frames_of(path, chosen=lambda count: range(count)):
    return decode_video(path, chosen).frames


def test_each_event_is_a_clip_of_its_class_and_what_is_between_is_nothing(recordings, tmp_path):
    counts = cut_all(str(recordings), tmp_path / "out", True)
    assert counts == {"left": 2, "up": 1, "nothing": 2}
    found = split_class_folders(str(tmp_path / "out"), 0, 0)
    assert found.names == ["left", "nothing", "up"]
    clips = {name: sorted((tmp_path / "out" / name).iterdir()) for name in found.names}
    assert [len(frames_of(path)) for path in clips["left"]] == [30, 140 - 13]  # the second from 0.5 s, frame 13, on
    assert [len(frames_of(path)) for path in clips["nothing"]] == [30, 49]
    whole = np.stack(frames_of(recordings / "a.mp4")).astype(int)
    nearest = [np.abs(whole - clip).mean((1, 2, 3)).argmin() for clip in frames_of(clips["up"][0])]
    assert nearest == list(range(60, 90))


def test_without_nothing_only_events_are_cut(recordings, tmp_path):
    assert cut_all(str(recordings), tmp_path / "out", False) == {"left": 2, "up": 1}
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["left", "up"]


def test_what_is_between_events_that_overlap():
    events = [Event("a", 1, 9), Event("b", 2, 3), Event("a", 9.5, 10)]
    assert between(events, 12) == [Event("nothing", 0, 1), Event("nothing", 10, 12)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"name": "a", "start_s": 2, "end_s": 1}', "from 2 s to 1 s"),
        ('{"name": "../a", "start_s": 0, "end_s": 1}', "cannot be that of a folder"),
        ('{"start_s": 0, "end_s": 1}', "does not say name"),
        ("name,0,1", "Expecting value"),
        ('{"name": "a", "start_s": "0", "end_s": 1}', "start_s is '0'"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_written(recordings, tmp_path, line, said):
    path = tmp_path / "a.jsonl"
    path.write_text('{"name": "a", "start_s": 0, "end_s": 1}\n' + line + "\n")
    with pytest.raises(InputError, match="a.jsonl:2: .*" + said):
        read_events(path)
    (tmp_path / "a.mp4").write_bytes((recordings / "a.mp4").read_bytes())
    with pytest.raises(InputError, match=said):
        cut_all(str(tmp_path), tmp_path / "out", True)
    assert not (tmp_path / "out").exists()


def test_recordings_without_events_are_an_error(tmp_path):
    with pytest.raises(InputError, match=r"NAME\.jsonl"):
        cut_all(str(tmp_path), tmp_path / "out", False)
    assert FPS == 25  # what the numbers of frames above count with
