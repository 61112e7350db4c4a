"""Windows over videos: which there are, their frames to the bit, how much is decoded, and bad videos."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import decode_all, make_config, make_video, moving, zero_packets

from video_zoo.datareader import clip_reader, open_reader
from video_zoo.datareader.batches import Batch
from video_zoo.datareader.clip_reader import ClipReader
from video_zoo.datareader.reader import TooManyBadVideos, VideoReader
from video_zoo.datareader.sampling import Cuts, Span, Windows, segment_indices
from video_zoo.datareader.selective import PacketVideo
from video_zoo.datareader.transforms import EvalTransform, Size
from video_zoo.datareader.video_list import Video
from video_zoo.datareader.views import View
from video_zoo.utils.errors import InputError

FRAMES = 120  # 4.8 seconds
GOP = {"x264-params": "scenecut=0:keyint=20:min-keyint=20"}


def add_audio(path: Path, frames: np.ndarray) -> Path:
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=44100)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            for _ in range(2):
                sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                sound.rate = 44100
                container.mux(audio.encode(sound))
        container.mux(video.encode())
        container.mux(audio.encode())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("windows")
    frames = moving(FRAMES, 24, 32)
    rng = np.random.default_rng(0)
    varying = np.cumsum(rng.choice([20, 40, 120], FRAMES))
    still = np.concatenate([np.arange(20) * 40, 3000 + np.arange(30) * 40])  # more than two seconds of one picture
    make_video(folder / "plain.mp4", frames, codec_options=GOP)
    make_video(folder / "one_gop.mkv", frames)
    make_video(folder / "varying.mkv", frames, codec_options=GOP, times_ms=varying.tolist())
    make_video(folder / "still.mp4", frames[:50], codec_options=GOP, times_ms=still.tolist())
    make_video(folder / "late.mp4", frames, codec_options=GOP, times_ms=(5000 + 40 * np.arange(FRAMES)).tolist())
    make_video(folder / "late.ts", frames, codec_options=GOP)
    make_video(folder / "pictures.avi", frames, codec="mjpeg", pix_fmt="yuvj420p")
    make_video(folder / "late_pictures.avi", frames)  # H.264, whose last frames the decoder gives at its end
    make_video(folder / "short.mp4", frames[:7], codec_options=GOP)
    make_video(folder / "one_frame.mp4", frames[:1])
    add_audio(folder / "sound.mp4", frames)
    (folder / "text.mp4").write_text("This is no video.")
    cut = (folder / "one_gop.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(cut[: len(cut) * 6 // 10])
    (folder / "damaged.mp4").write_bytes(zero_packets(folder / "plain.mp4", [70], 40))
    return folder


def reader_of(
    paths: list[Path], window_s: float, stride_s: float | None = None, model: dict | None = None, **keys
) -> VideoReader:
    videos = [Video(str(path), None, number) for number, path in enumerate(paths, 1)]
    windows = Windows(window_s, window_s if stride_s is None else stride_s)
    return open_reader("infer", make_config("infer", "", model, **keys), videos=videos, windows=windows)


def read(paths: Path | list[Path], *times_s: float, **keys: object) -> list[Batch]:
    with reader_of(paths if isinstance(paths, list) else [paths], *times_s, **keys) as reader:
        return list(reader)


def flat(batches: list[Batch]) -> list[tuple[str, tuple[float, float], bytes]]:
    """(id, span, clip) of each window."""
    return [each for batch in batches for each in zip(batch.ids, batch.spans, map(np.ndarray.tobytes, batch.clips))]


def window_frames(
    times_s: list[float], window_s: float, stride_s: float, seg_num: int, seglen: int
) -> list[tuple[Span, list[int]]]:
    """Each window of a video and the numbers of its clip's frames."""
    cuts = Cuts(times_s, Windows(window_s, stride_s))
    return [(cut.span, [cut.first + n for n in segment_indices(cut.num_frames, seg_num, seglen)]) for cut in cuts]


def times_of(path: Path) -> list[Fraction]:
    """Of a full decode's frames, from the first on."""
    with av.open(str(path)) as container:
        times = sorted(frame.pts * frame.time_base for frame in container.decode(video=0))
    return [time - times[0] for time in times]


def spans_of(end_s: float, window_s: float, stride_s: float) -> list[tuple[float, float]]:
    """As the rule has it."""
    spans = []
    for number in count():
        start_s = number * stride_s
        if start_s >= end_s - 1e-6:
            return spans
        if start_s + window_s <= end_s - 1e-6:
            spans.append((start_s, start_s + window_s))
            continue
        if number == 0 or end_s - start_s >= window_s / 2 - 1e-6:
            spans.append((start_s, end_s))
        return spans


def expected(path: Path, window_s: float, stride_s: float, seg_num: int = 2, seglen: int = 1):
    """The windows by a full decode: OpenCV's frames, PyAV's times."""
    frames, times = decode_all(path), times_of(path)
    assert len(frames) == len(times)
    transform = EvalTransform(16, 16, keep_aspect=False).draw(Size(*frames.shape[2:0:-1]))
    step = times[-1] / (len(times) - 1) if len(times) > 1 else Fraction(1, 25)
    result = []
    for start_s, end_s in spans_of(float(times[-1] + step), window_s, stride_s):
        inside = [number for number, time in enumerate(times) if start_s - 1e-6 <= time < end_s - 1e-6]
        inside = inside or [max(number for number, time in enumerate(times) if time < start_s)]
        chosen = [inside[number] for number in segment_indices(len(inside), seg_num, seglen)]
        clip = np.stack([transform(np.ascontiguousarray(frames[number])) for number in chosen])
        result.append((str(path), (start_s, end_s), clip.tobytes()))
    return result


def same(ours, theirs) -> bool:
    """To the bit; of the spans, to the rounding."""
    return (
        [each[0] for each in ours] == [each[0] for each in theirs]
        and np.allclose([each[1] for each in ours], [each[1] for each in theirs], atol=1e-9, rtol=0)
        and [each[2] for each in ours] == [each[2] for each in theirs]
    )


# --- which windows, which frames


@pytest.mark.parametrize(
    "end_s, window_s, stride_s, spans",
    [
        (10, 4, 4, [(0, 4), (4, 8), (8, 10)]),
        (9.96, 4, 4, [(0, 4), (4, 8)]),
        (8, 4, 4, [(0, 4), (4, 8)]),
        (1, 4, 4, [(0, 1)]),
        (9, 4, 2, [(0, 4), (2, 6), (4, 8), (6, 9)]),
        (11, 2, 5, [(0, 2), (5, 7), (10, 11)]),
        (10.96, 2, 5, [(0, 2), (5, 7)]),
        (9, 2, 5, [(0, 2), (5, 7)]),
    ],
)
def test_the_windows_of_a_video(end_s, window_s, stride_s, spans):
    times = [number / 25 for number in range(round(end_s * 25))]
    found = window_frames(times, window_s, stride_s, 2, 1)
    assert np.allclose([window for window, _ in found], spans)
    for (start_s, stop_s), indices in found:
        assert all(start_s - 1e-6 <= times[index] < stop_s - 1e-6 for index in indices)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 900), min_size=0, max_size=60),
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.integers(1, 9),
    st.integers(1, 3),
)
def test_windows_hold_the_frames_presented_in_them(steps_ms, window_ms, stride_ms, seg_num, seglen):
    times_ms = np.cumsum([0, *steps_ms]).tolist()
    times, window_s, stride_s = [each / 1000 for each in times_ms], window_ms / 1000, stride_ms / 1000
    end_ms = times_ms[-1] + (Fraction(times_ms[-1], len(steps_ms)) if times_ms[-1] else 40)
    found = window_frames(times, window_s, stride_s, seg_num, seglen)
    assert np.allclose([window for window, _ in found], spans_of(float(end_ms) / 1000, window_s, stride_s))
    for number, (window, indices) in enumerate(found):
        start, end = number * stride_ms, round(window.end_s * 1000, 6)
        inside = [place for place, time in enumerate(times_ms) if start <= time < min(start + window_ms, end_ms)]
        inside = inside or [max(place for place, time in enumerate(times_ms) if time < start)]
        assert indices == [inside[place] for place in segment_indices(len(inside), seg_num, seglen)], (start, end)


def test_windows_of_any_number_are_worked_out_when_they_are_asked_for():
    cuts = Cuts([0.0, 50_000.0, 100_000.0], Windows(0.001, 0.001))
    assert len(cuts) == 150_000_000
    first, second = cuts[75_000_000:75_000_002]
    assert np.allclose(first.span, (75_000, 75_000.001)) and first[1:] == second[1:] == (1, 1)
    assert cuts[-1].first == 2 and math.isclose(cuts[-1].span.end_s, 150_000)


def test_an_only_frame_lasts_a_25th_of_a_second(folder):
    assert window_frames([0.0], 2, 2, 3, 1) == [((0.0, 0.04), [0, 0, 0])]
    assert same(flat(read(folder / "one_frame.mp4", 2.0)), expected(folder / "one_frame.mp4", 2, 2))


CASES = [
    "plain.mp4",
    "one_gop.mkv",
    "varying.mkv",
    "still.mp4",
    "late.mp4",
    "late.ts",
    "pictures.avi",
    "sound.mp4",
    "late_pictures.avi",
]


@pytest.mark.parametrize("window_s, stride_s", [(1.0, 1.0), (0.5, 0.2), (0.3, 0.7), (100.0, 3.0)])
@pytest.mark.parametrize("name", CASES)
def test_clips_are_those_of_a_full_decode(folder, name, window_s, stride_s):
    theirs = expected(folder / name, window_s, stride_s)
    assert same(flat(read(folder / name, window_s, stride_s)), theirs)
    assert len(theirs) > 8 or stride_s > 0.2


def test_each_way_of_reading_is_tested(folder):
    def unclear(name: str) -> bool:
        with PacketVideo(folder / name) as video:
            return video.table.unclear is not None

    assert not any(map(unclear, ["plain.mp4", "one_gop.mkv", "late.mp4", "sound.mp4"]))
    assert all(map(unclear, ["pictures.avi", "late_pictures.avi", "cut.mkv"]))


@pytest.mark.parametrize("name", ["plain.mp4", "pictures.avi"])
def test_several_frames_at_each_place(folder, name):
    model = {"seg_num": 3, "seglen": 2}
    batches = read(folder / name, 0.4, model=model)
    assert batches[0].clips.shape == (2, 6, 3, 16, 16) and batches[0].clips.dtype == np.uint8
    assert same(flat(batches), expected(folder / name, 0.4, 0.4, 3, 2))


@pytest.mark.parametrize("name", ["plain.mp4", "varying.mkv", "pictures.avi"])
def test_opencv_alone_gives_the_same(folder, name):
    assert same(flat(read(folder / name, 0.5, 0.3, decoder="opencv")), expected(folder / name, 0.5, 0.3))


def test_a_file_shorter_than_a_window_and_of_fewer_frames_than_segments(folder):
    model = {"seg_num": 9}
    assert same(flat(read(folder / "short.mp4", 5.0, model=model)), expected(folder / "short.mp4", 5, 5, 9))


# --- batches


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("buf_size", [1, 20])
def test_batches_hold_the_windows_of_all_videos_in_order(folder, monkeypatch, workers, buf_size):
    monkeypatch.setattr("video_zoo.datareader.reader.usable_cores", lambda: 2)
    names = ["short.mp4", "pictures.avi", "text.mp4", "plain.mp4", "short.mp4", "late.ts", "one_frame.mp4"]
    paths = [folder / name for name in names]
    keys = {"batch_size": 4, "num_reader_threads": workers, "buf_size": buf_size}
    with reader_of(paths, 0.5, 0.25, **keys) as reader:
        batches = list(reader)
        again = flat(list(reader))
        assert len(reader) == 7
        assert [failure.video.path for failure in reader.failures] == [str(folder / "text.mp4")]
        reader.max_bad_videos = 0.5
        reader.check_failures()
        reader.max_bad_videos = 0.1
        with pytest.raises(TooManyBadVideos, match="1 of 7 videos cannot be read"):
            reader.check_failures()
    assert {len(batch.ids) for batch in batches[:-1]} == {4} and 1 <= len(batches[-1].ids) <= 4
    for batch in batches:
        assert len(batch.clips) == len(batch.labels) == len(batch.spans) == len(batch.ids) == batch.global_batch_size
        assert (batch.labels == -1).all()
    theirs = [each for path in paths if path.name != "text.mp4" for each in expected(path, 0.5, 0.25)]
    assert same(flat(batches), theirs) and same(again, theirs)


def test_a_pass_that_is_left_early_leaves_no_processes(folder, monkeypatch):
    monkeypatch.setattr("video_zoo.datareader.reader.usable_cores", lambda: 2)
    before = set(multiprocessing.active_children())
    with reader_of([folder / "plain.mp4", folder / "pictures.avi"], 0.1, num_reader_threads=2) as reader:
        batches = iter(reader)
        next(batches)
        assert set(multiprocessing.active_children()) - before
        batches.close()
        assert set(multiprocessing.active_children()) <= before


def test_names_that_are_not_utf8(folder, tmp_path):
    path = tmp_path / os.fsdecode(b"a \xff\n'\".mp4")
    shutil.copy(folder / "short.mp4", path)
    broken = tmp_path / os.fsdecode(b"\xfe.mp4")
    broken.write_text("no video")
    with reader_of([path, broken], 5.0) as reader:
        assert [batch.ids for batch in reader] == [[str(path)]]
    assert [failure.video.path for failure in reader.failures] == [str(broken)]


# --- how much is decoded


class Counter:
    """Counts what passes through generators."""

    def __init__(self):
        self.number = 0

    def over(self, generate):
        def counting(*args):
            for each in generate(*args):
                self.number += 1
                yield each

        return counting


def test_a_window_in_the_middle_is_decoded_from_the_keyframe_before(folder, monkeypatch):
    packets = Counter()
    monkeypatch.setattr(PacketVideo, "_packets", packets.over(PacketVideo._packets))
    config = make_config("infer", "")
    view = View.of(config, "infer", "center_crop")
    read = ClipReader(config.MODEL, config.INFER, [view], Path(), 0, Windows(0.4, 0.4))
    chunk = read(Video(str(folder / "plain.mp4"), None, 1), 0, 10, np.empty((1, 2, 3, 16, 16), np.uint8))
    assert np.allclose([sample.span for sample in chunk.samples], [(4.0, 4.4)]) and chunk.total == 12
    assert 0 < packets.number <= 20  # the group of pictures that begins at 4.0 s


@pytest.mark.parametrize("longest_s", [0.0, 5.0])
def test_an_unclear_file_is_decoded_twice_whatever_its_length(folder, monkeypatch, longest_s):
    """Also where a task is over before its first window is through."""
    monkeypatch.setattr(clip_reader, "_LONGEST_TASK_S", longest_s)
    frames = Counter()
    monkeypatch.setattr(PacketVideo, "decode_all", frames.over(PacketVideo.decode_all))
    ours = flat(read(folder / "pictures.avi", 0.4, 0.15))
    assert frames.number <= 2 * FRAMES
    assert same(ours, expected(folder / "pictures.avi", 0.4, 0.15))


def test_a_table_is_read_once_for_a_videos_tasks(folder, monkeypatch):
    tables = []
    whole = PacketVideo._read_table
    monkeypatch.setattr(PacketVideo, "_read_table", lambda self, **how: tables.append(1) or whole(self, **how))
    assert len(flat(read([folder / "plain.mp4", folder / "pictures.avi"], 0.2, 0.1))) > 60
    assert len(tables) == 2


# --- damage


def test_windows_before_the_damage_are_kept(folder):
    whole = flat(read(folder / "plain.mp4", 0.4))
    with reader_of([folder / "damaged.mp4"], 0.4) as reader:
        ours = flat(list(reader))
    assert not reader.failures
    (damaged,) = reader.damaged
    frames = int(damaged.reason.split("; ")[1].split()[0])
    assert "whole frames are used" in damaged.reason and 40 <= frames <= 70
    assert len(ours) == math.ceil((frames - 5) / 10)
    full = frames // 10
    assert full >= 4 and [each[1:] for each in ours[:full]] == [each[1:] for each in whole[:full]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_file(folder, workers):
    whole = flat(read(folder / "one_gop.mkv", 0.2))
    with reader_of([folder / "cut.mkv", folder / "short.mp4"], 0.2, num_reader_threads=workers) as reader:
        ours = flat(list(reader))
    (damaged,) = reader.damaged
    frames = int(damaged.reason.split("; ")[1].split()[0])
    mine = [each for each in ours if each[0].endswith("cut.mkv")]
    assert 10 < frames < FRAMES and frames // 5 <= len(mine) <= frames // 5 + 1
    assert [each[1:] for each in mine[: frames // 5]] == [each[1:] for each in whole[: frames // 5]]
    assert len(ours) > len(mine)  # the other video is read


def test_damage_can_be_skipped(folder):
    with reader_of([folder / "damaged.mp4", folder / "short.mp4"], 0.4, on_damage="skip") as reader:
        names = {name for batch in reader for name in batch.ids}
    assert [Path(failure.video.path).name for failure in reader.failures] == ["damaged.mp4"] and not reader.damaged
    assert str(folder / "short.mp4") in names


def test_a_video_that_fails_on_the_way_keeps_its_first_windows(folder, monkeypatch, log):
    whole, calls = PacketVideo.decode_selected, []

    def failing(self, wanted):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        return whole(self, wanted)

    monkeypatch.setattr(PacketVideo, "decode_selected", failing)
    with reader_of([folder / "plain.mp4", folder / "short.mp4"], 0.2) as reader:
        ours = flat(list(reader))
    assert [each[0] for each in ours] == 8 * [str(folder / "plain.mp4")] + [str(folder / "short.mp4")]
    assert "from 1.60 s on: OSError: [Errno 5] Input/output error" in reader.failures[0].reason
    assert "plain.mp4: from 1.60 s on" in log.text


def test_what_turns_out_unclear_on_the_way_is_read_in_order(folder, monkeypatch):
    whole, calls = PacketVideo.decode_selected, []

    def unclear(self, wanted):
        calls.append(1)
        if len(calls) == 2:
            raise clip_reader.Unclear("not as promised")
        return whole(self, wanted)

    monkeypatch.setattr(PacketVideo, "decode_selected", unclear)
    ours = flat(read([folder / "plain.mp4", folder / "short.mp4"], 0.2))
    assert len(calls) == 3
    assert same(ours, expected(folder / "plain.mp4", 0.2, 0.2) + expected(folder / "short.mp4", 0.2, 0.2))


# --- what is refused


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": {"format": "pkl"}}, "MODEL.format is pkl"),
        ({"window_s": 0.0}, "a window of 0 seconds"),
        ({"window_s": -1.0}, "a window of -1 seconds"),
        ({"window_s": math.inf}, "a window of inf seconds"),
        ({"stride_s": math.nan}, "a stride of nan seconds"),
        ({"stride_s": 0.0}, "a stride of 0 seconds"),
        ({"window_s": 1e-7}, "a window of 1e-07 seconds is far shorter than a frame; 0.001 is the least"),
        ({"stride_s": 1e-4}, "a stride of 0.0001 seconds is far shorter than a frame"),
        ({"window_s": 60.0, "stride_s": 0.1}, "600 windows of 60 seconds would overlap.* a stride of 0.12 seconds"),
        ({"target_size": 20}, "INFER.target_size = 20 does not fit"),
        ({"paths": []}, "no videos are given"),
    ],
)
def test_what_cannot_be_read_so_is_refused(folder, change, message):
    with pytest.raises(InputError, match=message):
        reader_of(**{"paths": [folder / "plain.mp4"], "window_s": 1.0, **change})
