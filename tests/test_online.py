"""Streams followed frame by frame: which frames are taken, breaks and hangs, events, and the files."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import levels, logged, make_audio, make_video, moving
from test_stream import FAST, live_answer, serve  # noqa: F401

from video_zoo.configs.schema import OnlineSection
from video_zoo.datareader import live, online_frames
from video_zoo.datareader.live import Source, Timing
from video_zoo.datareader.online_frames import FrameRate, OnlineFrames
from video_zoo.datareader.timeline import Timeline
from video_zoo.engine import online
from video_zoo.engine.events import Event, EventFinder, EventRules
from video_zoo.engine.online import Follower
from video_zoo.engine.online_files import OnlineFiles
from video_zoo.utils.errors import InputError

NAMES = ["dark", "bright"]
RULES = EventRules(0.0, 0.6, 0.4, 0.0)


class Brightness:
    """Stands in for a network: bright frames are of class 1."""

    def __init__(self, seconds: float = 0.0):
        self.left, self.seen, self._seconds = [], [], seconds

    def step(self, frames):
        time.sleep(self._seconds)
        self.seen.append({name: int(pixels.mean()) for name, pixels in frames.items()})
        return {name: np.float32([0, 20 if pixels.mean() > 127 else -20]) for name, pixels in frames.items()}

    def leave(self, stream):
        self.left.append(stream)


def shrink(frame: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame[:8, :8].transpose(2, 0, 1))


def sources_of(*sources: str | Path, fps: float = 25, **options: object) -> tuple[list[OnlineFrames], threading.Condition]:
    changed = threading.Condition()
    options = {"timing": FAST, "retries": 0, **options}
    return [OnlineFrames(each, shrink, fps, changed, **options) for each in sources], changed


def follow(folder: Path, *sources: str | Path, steps: Brightness | None = None, stop=None, rules=RULES, **options: object):
    """Follows sources; returns the events, the rows of the CSV, the network and the sources."""
    frames, changed = sources_of(*sources, **options)
    steps = steps or Brightness()
    with OnlineFiles(folder, "TSM_online", NAMES) as files:
        follower = Follower(steps, rules, files, NAMES, options.get("fps", 25))
        follower.follow(frames, changed, stop or SimpleNamespace(signal=None))
    return *read(folder), steps, frames


def read(folder: Path):
    events = folder / "TSM_online_events.jsonl"
    if not events.exists():
        return [], []
    with open(folder / "TSM_online_labels.csv", encoding="utf-8", newline="") as file:
        return list(map(json.loads, events.read_text(encoding="utf-8").splitlines())), list(csv.DictReader(file))


def blinking(path: Path, **options) -> Path:
    """2 s dark, 1 s bright, 1 s dark, at 25 frames a second."""
    frames = levels(100, 16, 20) // 8
    frames[50:75] += 200
    return make_video(path, frames, **options)


# --- the frames that are taken


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 700), max_size=60), st.floats(0.2, 60))
def test_frames_are_taken_by_their_times(steps_ms, fps):
    times_s = (np.cumsum([0, *steps_ms]) / 1000).tolist()
    rate = FrameRate(fps)
    taken = [time_s for time_s in times_s if rate.takes(time_s)]
    moments = {int((time_s + 1e-6) * fps) for time_s in times_s}  # each part of 1 / fps s has the first frame in it
    assert taken == [next(time_s for time_s in times_s if int((time_s + 1e-6) * fps) == each) for each in sorted(moments)]


def test_a_file_is_taken_at_the_rate_whatever_its_own_is(tmp_path):
    times_ms = np.cumsum([0] + [30, 50, 40] * 20)
    video = make_video(tmp_path / "v.mp4", levels(61), times_ms=times_ms.tolist())
    _, rows, steps, _ = follow(tmp_path, video, fps=10)
    assert [float(row["time_s"]) for row in rows] == pytest.approx([t / 1000 for t in expected(times_ms, 100)])
    _, rows, _, _ = follow(tmp_path, video, fps=100)
    assert len(rows) == 61


def expected(times_ms, step_ms: int) -> list[int]:
    return [next(t for t in times_ms if t >= tick) for tick in range(0, int(times_ms[-1]) + 1, step_ms)]


def test_a_live_source_has_the_same_events_as_its_file(tmp_path, serve):  # noqa: F811
    video = blinking(tmp_path / "v.ts", codec_options={"x264-params": "keyint=10:bframes=0"})
    of_file, rows, _, _ = follow(tmp_path, video)
    address = serve(live_answer(video.read_bytes()))
    of_stream, live_rows, steps, (frames,) = follow(tmp_path, address, fps=25)
    strip = [{**row, "stream": ""} for row in of_file]
    assert [row["name"] for row in of_file] == ["dark", "bright", "dark"] and of_file[1]["start_s"] == 2.0
    if not frames.left:  # the server does not send at the stream's pace
        assert [{**row, "stream": ""} for row in of_stream] == strip
    assert frames.failure == "the stream ended" and steps.left
