"""Clocks that jump: one time line for windows, durations and files that are written."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import decode_all, make_config, make_video, moving, remux

from video_zoo.datareader import open_reader
from video_zoo.datareader.sampling import Windows
from video_zoo.datareader.selective import PacketVideo
from video_zoo.datareader.timeline import LONGEST_STEP_S, Timeline
from video_zoo.datareader.video_list import Video
from video_zoo.dataset.video_encode import Form, prepare
from video_zoo.dataset.video_probe import duration_of, examine
from video_zoo.engine.annotate import annotate
from video_zoo.engine.results import Prediction

FRAMES = 50  # 2 seconds


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("timeline")
    for name, codec in (("one.ts", "libx264"), ("one.mpg", "mpeg2video"), ("one.mkv", "libvpx-vp9")):
        options = {"deadline": "realtime", "cpu-used": "8"} if codec == "libvpx-vp9" else {"bf": "2", "g": "12"}
        make_video(folder / name, moving(FRAMES, 32, 48), codec, codec_options=options)
    for kind in ("ts", "mpg"):
        (folder / f"joined.{kind}").write_bytes(2 * (folder / f"one.{kind}").read_bytes())

    def jump_back(number: int, packet: av.Packet) -> None:
        packet.dts = number
        packet.pts = number + (40 * number if number < 30 else 40 * (number - 30) + 20)

    remux(folder / "one.mkv", folder / "back.mkv", jump_back)
    return folder


def times_of_file(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.array([float(frame.pts * frame.time_base) for frame in container.decode(video=0)])


@pytest.mark.parametrize("decoder", ["auto", "opencv"])
@pytest.mark.parametrize("name, seconds", [("joined.ts", 4), ("joined.mpg", 4), ("back.mkv", 2)])
def test_windows_cover_a_video_whose_clock_jumps_back(recordings, log, name, seconds, decoder):
    path = recordings / name
    keys = {"videos": [Video(str(path), None, 1)], "windows": Windows(1.0, 1.0)}
    with open_reader("infer", make_config("infer", "", decoder=decoder), **keys) as reader:
        spans = [span for batch in reader for span in batch.spans]
    assert np.allclose(spans, [(second, second + 1) for second in range(seconds)], atol=0.06)
    assert not reader.damaged and not reader.failures
    assert f"{name}: its clock jumps once; its times go on behind that" in log.text


@pytest.mark.parametrize(
    "name, parts, what",
    [("one.ts", 1, None), ("joined.ts", 2, "counter and clock"), ("joined.mpg", 2, "clock")],
)
@pytest.mark.parametrize("quick", [False, True])
def test_a_joined_video_is_no_damaged_one(recordings, name, parts, what, quick):
    facts = examine(str(recordings / name), 8, quick)
    assert (facts.status, facts.frames, facts.discontinuity) == ("ok", parts * FRAMES, what)
    assert (round(facts.duration_s, 3), round(facts.fps, 3)) == (2 * parts, 25)


@pytest.mark.parametrize("name", ["joined.ts", "joined.mpg"])
def test_a_video_written_anew_goes_on_behind_the_jump(recordings, tmp_path, name):
    target = tmp_path / "new.mp4"
    outcome = prepare(str(recordings / name), str(target), str(tmp_path / "half.mp4"), Form(32, 12, 30))
    assert outcome.damage is None and outcome.jumps == 1
    assert np.allclose(np.diff(times_of_file(target)), 0.04, atol=1e-4)


@pytest.mark.parametrize("name", ["joined.ts", "joined.mpg"])
def test_an_annotated_video_goes_on_behind_the_jump(recordings, tmp_path, log, name):
    """And the predictions of windows behind it are shown there."""
    target, last = tmp_path / "new.mp4", Prediction("a", [0], [1.0], (3.0, 4.0))
    assert annotate(recordings / name, target, [last], ["a"]) is None
    assert np.allclose(np.diff(times_of_file(target)), 0.04, atol=1e-4)
    assert f"{name}: its clock jumps once; its times go on behind that" in log.text
    before, after = decode_all(recordings / name).astype(int), decode_all(target)
    drawn = np.abs(before - after).mean(axis=(1, 2, 3)) > 10
    assert drawn.tolist() == [False] * 75 + [True] * 25


def test_a_clock_that_jumps_ahead_in_a_transport_stream(recordings, tmp_path):
    """By 26 hours; in a file whose times were written once for all of it, a picture may stand for a minute."""

    def ahead(seconds: int):
        def change(number: int, packet: av.Packet) -> None:
            late = number >= 24
            packet.pts += late * int(seconds / packet.time_base)
            packet.dts += late * int(seconds / packet.time_base)

        return change

    path = remux(recordings / "one.ts", tmp_path / "ahead.ts", ahead(26 * 3600))
    with PacketVideo(path) as video:
        times_s, jumps = video.times()
        assert abs(duration_of(times_s) - 2) < 0.1 and jumps == 1
    path = remux(recordings / "one.mkv", tmp_path / "still.mkv", ahead(60))
    with PacketVideo(path) as video:
        times_s, jumps = video.times()
        assert abs(duration_of(times_s) - 62 * 50 / 49) < 0.1 and jumps == 0


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_reordered_pictures_in_avi(tmp_path, codec):
    """The container has no times of presentation; what is written has steps as even as the source's."""
    path = make_video(tmp_path / "a.avi", moving(FRAMES, 32, 48), codec, codec_options={"bf": "2", "g": "12"})
    target = tmp_path / "new.mp4"
    prepare(str(path), str(target), str(tmp_path / "half.mp4"), Form(32, 12, 30))
    assert np.allclose(times_of_file(target), 0.04 * np.arange(FRAMES), atol=1e-4)


def test_a_picture_may_stand_long_in_ogg(tmp_path):
    """It is a file, though FFmpeg says of its times what it says of a transport stream's."""
    options = {"deadline": "realtime", "auto-alt-ref": "0"}
    path = make_video(
        tmp_path / "a.ogg", moving(6, 32, 48), "libvpx", codec_options=options, times_ms=range(0, 90_000, 15_000)
    )
    with PacketVideo(path) as video:
        times_s, jumps = video.times()
    assert not jumps and times_s[-1] == pytest.approx(75, abs=16)


# --- the rule


jumps_ms = st.integers(-(10**8), -3000) | st.integers(10_001 + 60, 10**8)
steps_ms = st.lists(st.integers(20, 60), min_size=20, max_size=50)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(jumps_ms, steps_ms), min_size=1, max_size=3))
def test_times_go_on_behind_every_jump(parts):
    """Within each part they are its own; the first frame of the next one follows after the usual step."""
    timeline, stamp, expected, found = Timeline(0.001, LONGEST_STEP_S), 0, [], []
    for jump, steps in parts:
        stamp += jump
        expected += (sorted(expected[-33:])[len(expected[-33:]) // 2 :][:1]) + steps
        for step in (0, *steps):
            stamp += step
            found.append(timeline.add(stamp))
    assert np.allclose(np.diff(found), np.array(expected) / 1000, atol=1e-9)
    assert timeline.jumps == len(parts) - 1


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.booleans())
def test_a_recording_joined_with_itself(first, second, is_float):
    """However short it is: no time comes twice."""
    unit = 0.04 if is_float else 1
    timeline = Timeline(1 if is_float else 0.04)
    times = [timeline.add(unit * number + 7) for length in (first + 1, second + 1) for number in range(length)]
    assert np.allclose(times, 0.04 * np.arange(first + second + 2)) and timeline.jumps == 1


def test_neighbours_with_each_others_stamps_are_no_jump():
    timeline = Timeline(0.04)
    stamps = [0, 1, 2, 4, 3, 5, 8, 7, 6, 9, None, 11, 11, 12]
    times = [timeline.add(stamp) for stamp in stamps]
    assert np.allclose(times, 0.04 * np.array([0, 1, 2, 4, 3, 5, 8, 7, 6, 9, 10, 11, 11, 12]))
    assert timeline.jumps == 0


def test_a_clock_that_stays_behind_has_jumped():
    timeline = Timeline(0.04)
    times = [timeline.add(stamp) for stamp in [*range(100), *(90 + number / 4 for number in range(40))]]
    assert timeline.jumps == 1 and np.allclose(times[-24:], 0.04 * (100 + np.arange(24) / 4))
