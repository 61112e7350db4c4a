"""Streams followed frame by frame: which frames are taken, breaks and hangs, events, and the files."""

from __future__ import annotations

import csv
import json
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
from preloaded import PRELOADED
from test_stream import FAST, live_answer, serve  # noqa: F401

from video_zoo import infer
from video_zoo.configs.schema import Config, OnlineSection
from video_zoo.datareader import live, online_frames
from video_zoo.datareader.live import Source
from video_zoo.datareader.online_frames import OnlineFrames
from video_zoo.datareader.pace import FrameRate
from video_zoo.datareader.timeline import Timeline
from video_zoo.engine.events import Event, EventFinder, EventRules
from video_zoo.engine.online import Follower
from video_zoo.engine.online_files import OnlineFiles
from video_zoo.engine.online_pictures import StreamVideos, Window
from video_zoo.engine.settings import Trained
from video_zoo.models import TSMSection, TSNSection
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


def sources_of(
    *sources: str | Path, fps: float = 25, **options: object
) -> tuple[list[OnlineFrames], threading.Condition]:
    changed = threading.Condition()
    options = {"timing": FAST, "retries": 0, **options}
    return [OnlineFrames(each, shrink, fps, changed, **options) for each in sources], changed


def follow(
    folder: Path, *sources: str | Path, steps: Brightness | None = None, stop=None, rules=RULES, **options: object
):
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
    assert taken == [
        next(time_s for time_s in times_s if int((time_s + 1e-6) * fps) == each) for each in sorted(moments)
    ]


def test_a_file_is_taken_at_the_rate_whatever_its_own_is(tmp_path):
    times_ms = np.cumsum([0] + [30, 50, 40] * 20)
    video = make_video(tmp_path / "v.mp4", levels(61), times_ms=times_ms.tolist())
    _, rows, steps, _ = follow(tmp_path, video, fps=10)
    assert [float(row["time_s"]) for row in rows] == pytest.approx([t / 1000 for t in expected(times_ms, 100)])
    _, rows, _, _ = follow(tmp_path, video, fps=100)
    assert len(rows) == 61


def expected(times_ms, step_ms: int) -> list[int]:
    return [next(t for t in times_ms if t >= tick) for tick in range(0, int(times_ms[-1]) + 1, step_ms)]


def live_source(monkeypatch, *connections, finite: bool = False, forever: threading.Event | None = None):
    """Makes open_source give sources whose frames are these, one list a connection: seconds to wait, stamp, level."""
    left = list(connections)

    def frames(connection):
        for wait_s, stamp_s, level in connection:
            if wait_s is None:
                forever.wait(20)  # a read that hangs
                continue
            time.sleep(wait_s)
            yield stamp_s, lambda level=level: np.full((16, 20, 3), level, np.uint8)

    def open_it(source, open_s, read_s):
        if not left:
            raise live.SourceError("gone")
        return Source(frames(left.pop(0)), lambda: None, finite, Timeline(longest_s=10))

    monkeypatch.setattr(online_frames, "open_source", open_it)


def test_a_live_source_has_the_same_events_as_its_file(tmp_path, monkeypatch):
    stamps = [number / 50 for number in range(50)]
    bright = [200 * (0.3 < stamp < 0.7) for stamp in stamps]
    make_video(
        tmp_path / "v.mp4",
        np.stack(levels(50))[:, :8] * 0 + np.uint8(bright)[:, None, None, None],
        times_ms=[round(1000 * stamp) for stamp in stamps],
    )
    of_file, rows, _, _ = follow(tmp_path, tmp_path / "v.mp4", fps=10)
    live_source(monkeypatch, [(0.02, stamp, level) for stamp, level in zip(stamps, bright)])
    of_stream, live_rows, _, (frames,) = follow(tmp_path, "0", fps=10)
    assert [row["name"] for row in of_file] == ["dark", "bright", "dark"] and frames.left == 0
    assert [{**row, "stream": ""} for row in of_stream] == [{**row, "stream": ""} for row in of_file]
    assert [row["time_s"] for row in live_rows] == [row["time_s"] for row in rows]


def test_a_network_that_is_too_slow_has_the_newest_frame(tmp_path, monkeypatch):
    live_source(monkeypatch, [(0.005, number / 200, number) for number in range(60)])
    with logged() as lines:
        _, rows, steps, (frames,) = follow(tmp_path, "0", steps=Brightness(0.05), fps=1000)
    assert frames.left + frames.taken == 60 and len(rows) == frames.taken < 30
    assert any("slower than ONLINE.fps" in line for line in lines)


def test_frames_that_come_in_bursts_are_not_left_out(tmp_path, monkeypatch):
    live_source(monkeypatch, [(0.4 * (number % 10 == 0), number / 25, 200) for number in range(40)])
    _, rows, _, (frames,) = follow(tmp_path, "0", steps=Brightness(0.01))
    assert len(rows) == 40 and frames.left == 0


@pytest.mark.parametrize("backlog, step_s, scaling_s", [(100, 0.2, 0.0), (0, 0.0, 0.2)])
def test_a_live_source_does_not_stay_behind(tmp_path, monkeypatch, backlog, step_s, scaling_s):
    """Because frames came all at once at first, or because the thread that reads is slow at scaling."""
    steps, ages_s, begin = Brightness(step_s), [], time.monotonic() - backlog / 25
    made_s = [begin + place / 25 for place in range(backlog + 100)]
    live_source(monkeypatch, ((max(s - time.monotonic(), 0), s - begin, place) for place, s in enumerate(made_s)))
    monkeypatch.setitem(globals(), "shrink", lambda frame, own=shrink: time.sleep(scaling_s) or own(frame))
    steps.seen = SimpleNamespace(append=lambda levels: ages_s.append(time.monotonic() - made_s[levels["0"]]))
    _, _, _, (frames,) = follow(tmp_path, "0", steps=steps)
    assert frames.left > 20 and np.median(ages_s[-5:]) < 1.5


def test_a_live_source_that_runs_faster_than_the_clock_is_followed_to_its_end(tmp_path, monkeypatch):
    live_source(monkeypatch, [(0.005, number / 25, 200) for number in range(200)])
    _, rows, _, _ = follow(tmp_path, "0")
    assert float(rows[-1]["time_s"]) > 7


def test_a_break_stays_where_it_was_when_frames_are_left_out(tmp_path, monkeypatch):
    stamps = [0, 0.04, 0.08, *(500 + number / 20 for number in range(16))]
    live_source(monkeypatch, [(0.05, stamp, 200) for stamp in stamps])
    events, rows, steps, (frames,) = follow(tmp_path, "0", steps=Brightness(0.4), fps=1000)
    assert len(rows) == frames.taken == len(stamps) - frames.left < 10 and len(steps.left) >= 2


def test_a_file_waits_for_a_slow_network(tmp_path):
    video = make_video(tmp_path / "v.mp4", levels(20))
    _, rows, _, (frames,) = follow(tmp_path, video, steps=Brightness(0.01))
    assert len(rows) == 20 and frames.left == 0


def test_a_read_that_hangs_is_left_behind_and_the_source_opened_again(tmp_path, monkeypatch):
    forever = threading.Event()
    hanging = [(0.01, 0.04 * number, 200) for number in range(4)] + [(None, 0, 0), (0, 0.2, 200)]
    live_source(monkeypatch, hanging, [(0.01, 7 + 0.04 * number, 200) for number in range(4)], forever=forever)
    with logged() as lines:
        events, rows, steps, (frames,) = follow(tmp_path, "0", retries=1, fps=25)
    forever.set()
    assert len(rows) == 8 and [event["name"] for event in events] == ["bright", "bright"]
    assert events[1]["start_s"] > events[0]["end_s"] + 0.3 and steps.left[0] == "0"
    assert any("no frame for 0.5 s; connecting again" in line for line in lines)
    assert frames.failure == "gone (after 1 tries to connect again)"


def test_an_address_that_hangs_and_one_that_goes_on(tmp_path, serve):  # noqa: F811
    options = {"x264-params": "keyint=10:bframes=0"}
    content = make_video(tmp_path / "v.ts", moving(50, 32, 32), codec_options=options).read_bytes()
    gone = threading.Event()
    hangs, goes_on = (
        serve(live_answer(content[: len(content) // 2], hold=gone)),
        serve(live_answer(content, pieces=20, pause_s=0.05)),
    )
    with logged() as lines:
        _, rows, _, frames = follow(tmp_path, hangs, goes_on, fps=25)
    gone.set()
    assert all(any(row["stream"] == each.name for row in rows) for each in frames)
    assert frames[0].failure in ("nothing came in time", "no frame for 0.5 s")
    assert max(float(row["time_s"]) for row in rows if row["stream"] == goes_on) > 1.5
    assert not any("Immediate exit" in line for line in lines)


def test_a_process_that_was_stopped_gives_no_source_up(tmp_path, monkeypatch):
    live_source(monkeypatch, [(0, 0, 200), (1, 0.04, 200)], finite=True)
    (frames,), _ = sources_of(tmp_path / "v")
    frames.watch()
    time.sleep(1.5 * FAST.read_s)
    frames.watch()
    assert frames.failure is None and not frames.ended
    frames.close()


def test_a_clock_that_jumps_ends_the_events(tmp_path, monkeypatch):
    stamps = [0, 0.04, 0.08, 500, 500.04, 500.08]
    live_source(monkeypatch, [(0.04, stamp, 200) for stamp in stamps])
    events, rows, steps, _ = follow(tmp_path, "0", fps=1000)
    assert len(events) == 2 and len(rows) == 6 and len(steps.left) >= 2 and float(rows[-1]["time_s"]) < 5


def test_a_live_source_without_times_has_the_clocks(tmp_path, monkeypatch):
    live_source(monkeypatch, [(0.1, None, 200) for _ in range(4)])
    _, rows, _, _ = follow(tmp_path, "0", fps=1000)
    assert float(rows[-1]["time_s"]) >= 0.29


def test_a_file_without_times_says_so(tmp_path, monkeypatch):
    live_source(monkeypatch, [(0, None, 200)], finite=True)
    _, rows, _, (frames,) = follow(tmp_path, tmp_path / "v")
    assert "no times; put it into a container" in frames.failure and not rows


@pytest.mark.parametrize("finite", [True, False])
def test_a_frame_without_a_time_among_others_follows_the_last_one(tmp_path, monkeypatch, finite):
    stamps = [None if number % 5 == 3 else number / 25 for number in range(20)]
    live_source(monkeypatch, [(0.04, stamp, 200) for stamp in stamps], finite=finite)
    events, rows, _, (frames,) = follow(tmp_path, tmp_path / "v" if finite else "0", fps=1000)
    assert len(events) == 1 and frames.failure == (None if finite else "the stream ended")
    assert [float(row["time_s"]) for row in rows] == pytest.approx([number / 25 for number in range(20)], abs=0.002)


def test_an_avi_with_reordered_pictures(tmp_path):
    """Its last frames come out of the decoder without a time of decoding."""
    _, rows, _, (frames,) = follow(
        tmp_path, make_video(tmp_path / "v.avi", moving(30, 32, 32), codec_options={"bf": "2"})
    )
    assert frames.failure is None and len(rows) == 30


def test_one_of_two_sources_that_dies_leaves_the_other(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    make_audio(tmp_path / "a.m4a")
    given = tmp_path / "broken.mp4", make_video(tmp_path / "v.mp4", levels(20)), tmp_path / "a.m4a"
    events, rows, _, frames = follow(tmp_path, *given)
    for each in frames:
        each.close()
    assert [each.failure for each in frames] == ["it is no video, or its header is damaged", None, "no video in it"]
    assert len(rows) == 20 and len(events) == 1


def test_frames_that_change_their_size_are_scaled(tmp_path, monkeypatch):
    live_source(monkeypatch, [(0.01, number / 25, 200) for number in range(4)])
    opened = online_frames.open_source

    def changing(*arguments):
        source = opened(*arguments)
        frames = (
            (stamp, lambda size=8 + 8 * (number > 1): np.full((size, size, 3), 200, np.uint8))
            for number, (stamp, _) in enumerate(source.frames)
        )
        return source._replace(frames=frames)

    monkeypatch.setattr(online_frames, "open_source", changing)
    with logged() as lines:
        events, rows, steps, _ = follow(tmp_path, "0", fps=1000)
    assert len(events) == 1 and len(rows) == 4 and any("8 x 8, and are 16 x 16" in line for line in lines)


def test_duration_ends_a_stream(tmp_path, monkeypatch):
    live_source(monkeypatch, [(0.01, number / 25, 200) for number in range(100)])
    _, rows, _, (frames,) = follow(tmp_path, "0", fps=1000, duration_s=0.4)
    assert frames.failure is None and float(rows[-1]["time_s"]) < 0.4


def test_a_signal_ends_what_is_under_way(tmp_path, monkeypatch):
    live_source(monkeypatch, [(0.01, number / 25, 200) for number in range(1000)])
    stop = SimpleNamespace(signal=None)
    threading.Timer(0.2, lambda: setattr(stop, "signal", signal.SIGINT)).start()
    events, rows, steps, _ = follow(tmp_path, "0", stop=stop, fps=25)
    assert len(events) == 1 and events[0]["end_s"] == pytest.approx(float(rows[-1]["time_s"])) and steps.left == ["0"]


# --- events


def find(times_s, rows, **rules) -> list[Event]:
    rules = {"smoothing_s": 0.0, "start_threshold": 0.6, "end_threshold": 0.4, "min_event_s": 0.0, **rules}
    finder = EventFinder(EventRules(**rules), len(rows[0]), times_s[1] - times_s[0])
    found = [finder.add(time_s, np.float64(row)) for time_s, row in zip(times_s, rows)]
    return [event for event in [*found, finder.close()] if event]


def test_hysteresis_and_the_numbers_of_an_event():
    rows = [(0.5, 0.5), (0.3, 0.7), (0.1, 0.9), (0.45, 0.55), (0.49, 0.51), (0.65, 0.35), (0.5, 0.5)]
    times_s = [each / 10 for each in range(7)]
    events = find(times_s, rows)
    assert [tuple(event[:3]) for event in events] == [(1, 0.1, 0.5), (0, 0.5, 0.6)]
    assert events[0].confidence == pytest.approx((0.7 + 0.9 + 0.55 + 0.51) / 4) and events[0].peak == 0.9


def test_the_start_is_put_back_to_where_the_class_rose():
    times_s = [each / 10 for each in range(40)]
    rows = [(0.95, 0.05)] * 20 + [(0.05, 0.95)] * 20
    (first, second) = find(times_s, rows, smoothing_s=0.3)
    assert (first.end_s, second.start_s, second.end_s) == (2.0, 2.0, 3.9)
    assert len(find(times_s, rows, smoothing_s=0.3, background=0)) == 1
    assert len(find(times_s, rows, smoothing_s=0.3, min_event_s=1.95)) == 1


def test_smoothing_is_by_time_not_by_count():
    slow, fast = ([each / rate for each in range(2 * rate)] for rate in (10, 100))
    ends = [
        find(times, [(0.0, 1.0) if t < 1 else (0.5, 0.5) for t in times], smoothing_s=0.5, end_threshold=0.6)
        for times in (slow, fast)
    ]
    assert ends[0][0].end_s == pytest.approx(ends[1][0].end_s, abs=0.11) and ends[0][0].end_s > 1.5


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=2, max_size=60),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 0.5),
    st.floats(0, 2),
)
def test_events_follow_each_other(weights, one, other, min_event_s, smoothing_s):
    rows = [np.float64(row) + 1e-3 for row in weights]
    times_s = [each / 8 for each in range(len(rows))]
    start, end = max(one, other), min(one, other)
    events = find(
        times_s,
        [row / row.sum() for row in rows],
        smoothing_s=smoothing_s,
        start_threshold=start,
        end_threshold=end,
        min_event_s=min_event_s,
    )
    for event, following in zip(events, [*events[1:], None]):
        assert 0 <= event.start_s <= event.end_s <= times_s[-1] and event.end_s - event.start_s >= min_event_s
        assert start < event.peak <= 1 and event.confidence <= event.peak + 1e-9
        assert following is None or event.end_s <= following.start_s


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"end_threshold": 0.9}, "would end as it starts"),
        (
            {"background": "noting"},
            "= 'noting' is neither a name nor a number of the 2 classes: dark",
        ),
        ({"background": "2"}, "nor a number of the 2 classes"),
    ],
)
def test_rules_that_cannot_be(keys, said):
    with pytest.raises(InputError, match=said):
        EventRules.of(OnlineSection(**keys), NAMES)
    assert EventRules.of(OnlineSection(background="bright"), NAMES).background == 1
    assert EventRules.of(OnlineSection(background="0"), NAMES).background == 0


def test_weights_that_give_no_numbers():
    with pytest.raises(InputError, match="not finite"):
        find([0, 1], [(0.5, 0.5), (np.nan, 0.5)])


# --- the files


def test_nothing_before_the_first_frame_and_whole_rows_on_a_full_disk(tmp_path):
    (tmp_path / "TSM_online_events.jsonl").write_text("before")
    with OnlineFiles(tmp_path, "TSM_online", NAMES):
        pass
    assert (tmp_path / "TSM_online_events.jsonl").read_text() == "before"
    with pytest.raises(InputError, match="cannot write .*partial"), OnlineFiles(tmp_path, "TSM_online", NAMES) as files:
        files.add_label("s", 0, np.float64([0.3, 0.7]))
        files.add_event("s", Event(1, 0, 1, 0.7, 0.8))
        files._jsonl._file = Full(files._jsonl._file)
        assert (tmp_path / "TSM_online_events.jsonl").read_text() == "before"  # until the end
        files.add_event("s", Event(1, 2, 3, 0.7, 0.8))
    events, rows = read(tmp_path)
    assert [event["end_s"] for event in events] == [1] and rows[0]["name"] == "bright"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["TSM_online_events.jsonl", "TSM_online_labels.csv"]


def test_one_file_that_cannot_be_finished_leaves_the_other(tmp_path):
    (tmp_path / "TSM_online_labels.csv").mkdir()
    said = "cannot write .*labels.partial"
    with pytest.raises(InputError, match=said), OnlineFiles(tmp_path, "TSM_online", NAMES) as files:
        files.add_label("s", 0, np.float64([0.3, 0.7]))
        files.add_event("s", Event(1, 0, 1, 0.7, 0.8))
    assert b'"bright"' in (tmp_path / "TSM_online_events.jsonl").read_bytes()


class Full:
    """A file on a disk that is full after 5 bytes more."""

    def __init__(self, file):
        self._file, self._room = file, 5

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, data):
        if not self._room:
            raise OSError(28, "No space left on device")
        written, self._room = self._file.write(data[: self._room]), 0
        return written


def test_names_that_are_formulas_or_no_text(tmp_path):
    with OnlineFiles(tmp_path, "TSM_online", ["=1+1", "b"]) as files:
        files.add_label("a\udcff.mp4", 0, np.float64([0.7, 0.3]))
        files.add_event("a\udcff.mp4", Event(0, 0, 1, 0.7, 0.8))
    events, rows = read(tmp_path)
    assert rows[0]["name"] == "'=1+1" and events[0]["stream"] == "a\udcff.mp4"


def test_only_one_process_writes(tmp_path):
    with OnlineFiles(tmp_path, "TSM_online", NAMES), pytest.raises(InputError, match="another process"):
        OnlineFiles(tmp_path, "TSM_online", NAMES).__enter__()


def test_a_video_keeps_the_size_of_its_first_frame(tmp_path):
    pixels = [np.full((side * 3 // 2, side), 90, np.uint8) for side in (32, 32, 48)]
    with StreamVideos({"s": tmp_path / "s.mp4"}, 8) as videos:
        for number, each in enumerate(pixels):
            videos.add("s", number / 8, each)
    assert videos.written == [tmp_path / "s.mp4"]
    with av.open(str(tmp_path / "s.mp4")) as container:
        assert [(frame.width, frame.time) for frame in container.decode(video=0)] == [(32, 0), (32, 0.125), (32, 0.25)]


# --- as a user types it

UNI = ("--online", "--set", "MODEL.shift=uni", "--engine=paddle")


@pytest.fixture
def online(place, run_cli, tmp_path):
    """Runs infer.py into tmp_path; returns the process, the events and the rows of the CSV."""

    def run(*flags: str, code: int = 0):
        common = (f"--config={place}/tiny.yaml", f"--weights={place}/weights", f"--save_dir={tmp_path}")
        result = run_cli("infer.py", *common, *flags)
        assert result.returncode == code, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result, *read(tmp_path)

    return run


@pytest.mark.contract
def test_two_videos_in_one_process(online, place, tmp_path):
    given = [f"{place}/videos/a b.mp4", f"{place}/videos/deep/录像.mp4"]
    keys = ("--set", "ONLINE.fps=5", "--set", "ONLINE.start_threshold=0.2", "--set", "ONLINE.end_threshold=0.1")
    result, events, rows = online(*UNI, *keys, *(f"--input={each}" for each in given), f"--save_video={tmp_path}/v")
    assert [sum(row["stream"] == each for row in rows) for each in given] == [10, 10]
    assert {event["stream"] for event in events} == set(given)
    assert all(0 <= event["start_s"] <= event["end_s"] <= 2 and event["peak"] > 0.2 for event in events)
    assert "20 frames" in result.stdout and "p50/p95/p99" in result.stdout and "录像.mp4" in result.stdout
    for name in ("a b", "录像"):
        with av.open(f"{tmp_path}/v/{name}.mp4") as container:
            times_s = [frame.time for frame in container.decode(video=0)]
        assert times_s == pytest.approx([float(row["time_s"]) for row in rows if name in row["stream"]], abs=0.002)


def test_ctrl_c_writes_what_is_under_way(place, tmp_path, serve):  # noqa: F811
    video, gone = make_video(tmp_path / "v.ts", moving(50, 32, 32)), threading.Event()
    address = serve(live_answer(video.read_bytes(), hold=gone))
    flags = [*UNI, f"--config={place}/tiny.yaml", f"--weights={place}/weights", f"--save_dir={tmp_path}/out"]
    keys = ["--set", "ONLINE.start_threshold=0.1", "--set", "ONLINE.end_threshold=0", "--set", "ONLINE.min_event_s=0"]
    with PRELOADED.start(["infer.py", *flags, *keys, f"--input={address}"]) as process:
        partial = tmp_path / "out/TSM_online_labels.partial.csv"
        while not partial.exists() or len(partial.read_bytes().splitlines()) < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert process.wait() == 130, said
    gone.set()
    events, rows = read(tmp_path / "out")
    assert "stopping" in said and "Traceback" not in said and events[-1]["stream"] == address
    assert events[-1]["end_s"] == pytest.approx(float(rows[-1]["time_s"]), abs=1e-3)
    assert [path.name for path in (tmp_path / "out").glob("*partial*")] == []


@pytest.mark.parametrize(
    "model, weights, said",
    [
        (
            TSMSection(),
            "w",
            "MODEL.shift is bi, which needs frames of the future. Train a TSM with --set MODEL.shift=uni",
        ),
        (TSNSection(), "w", "TSN cannot follow a stream frame by frame: it needs whole clips"),
        (TSMSection(shift="uni"), None, "no released weights are of a network with MODEL.shift=uni"),
    ],
)
def test_networks_that_cannot_follow_streams(tmp_path, model, weights, said):
    with pytest.raises(InputError, match=said):
        infer.follow(SimpleNamespace(weights=weights), Trained(weights, Config(MODEL=model), NAMES, None), tmp_path)


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--online",), "--online needs --input=WHAT"),
        (("--online", "--filelist=my.list"), "--online needs --input=WHAT"),
        (("--online", "--input=0", "--window_s=2", "--html=p.html"), "knows no --window_s and no --html"),
        (("--online", "--input=0", "--resume=True"), "knows no --resume"),
        (("--show", "--input=0"), "--show is of --online"),
    ],
)
def test_flags_that_do_not_go_together(monkeypatch, capsys, flags, said):
    monkeypatch.setattr("sys.argv", ["infer.py", *flags])
    with pytest.raises(SystemExit, match="2"):
        infer.parse_arguments()
    assert said in capsys.readouterr().err


def test_no_window_without_a_screen(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(InputError, match="--show: .*; --save_video=DIR makes videos instead"):
        Window().__enter__()
