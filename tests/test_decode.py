"""Frames out of video files, whole, damaged and hostile. The media are made here; codecs: test_selective.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import decode_all, make_audio, make_video, moving, noise, zero_packets

from video_zoo.datareader.decode import VideoError, decode_video
from video_zoo.datareader.sampling import segment_indices

ROOT = Path(__file__).resolve().parents[1]
FRAMES = 24


class Choices:
    """Chooses as a reader does, and notes the counts it was called with."""

    def __init__(self, choose=lambda count: segment_indices(count, 8)):
        self.choose, self.counts = choose, []

    def __call__(self, count: int) -> list[int]:
        self.counts.append(count)
        return self.choose(count)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def clip(folder) -> Path:
    """An H.264 mp4 with B-frames and one keyframe."""
    return make_video(folder / "clip.mp4", noise(FRAMES, 32, 48))


@pytest.fixture(scope="module")
def cut(folder) -> Path:
    """An mp4 whose header, in front, promises 60 frames; the file ends in the middle of them."""
    options = {"movflags": "faststart"}
    path = make_video(folder / "cut.mp4", noise(60, 64, 64), codec_options={"g": "5"}, file_options=options)
    data = path.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")
    path.write_bytes(data[: len(data) * 2 // 3])
    return path


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("extension", ["mp4", "mkv", "avi", "ts"])
@pytest.mark.parametrize("decoder", ["auto", "pyav", "opencv"])
def test_chosen_frames_equal_those_of_a_full_decode(folder, codec, extension, decoder):
    path = make_video(folder / f"{codec}.{extension}", noise(FRAMES, 32, 48))
    everything = decode_all(path)
    choose = Choices()
    frames = decode_video(path, choose, decoder=decoder).frames
    assert len(everything) == FRAMES and choose.counts[-1] == FRAMES
    assert np.array_equal(np.stack(frames), everything[segment_indices(FRAMES, 8)])
    assert all(frame.dtype == np.uint8 for frame in frames)


@pytest.mark.parametrize("indices", [[5], [7, 7, 7], [23, 0, 11, 0], list(range(24)), [0, 23]])
def test_repeats_and_order_are_kept(clip, indices):
    frames = decode_video(clip, lambda count: indices).frames
    assert np.array_equal(np.stack(frames), decode_all(clip)[indices])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=12))
def test_any_choice_equals_a_full_decode(clip, indices):
    assert np.array_equal(np.stack(decode_video(clip, lambda count: indices).frames), decode_all(clip)[indices])


def test_colours_are_rgb(folder):
    red = np.zeros((4, 32, 32, 3), np.uint8)
    red[..., 0] = 255
    for frame in decode_video(make_video(folder / "red.mp4", red), lambda count: [0, 3]).frames:
        assert frame[16, 16, 0] > 200 and frame[16, 16, 2] < 50


def test_a_good_video_is_chosen_from_once(clip):
    choose = Choices()
    decode_video(clip, choose)
    assert choose.counts == [FRAMES]


def test_what_is_kept_is_made_of_each_chosen_frame_once(clip):
    shapes = []
    decoded = decode_video(clip, lambda count: [4, 4, 9], lambda frame: shapes.append(frame.shape) or len(shapes))
    assert decoded == ([1, 1, 2], FRAMES, None)
    assert shapes == [(32, 48, 3)] * 2


@pytest.mark.parametrize("codec, file_format", [("libx264", "h264"), ("mpeg4", "m4v")])
@pytest.mark.parametrize("decoder", ["pyav", "opencv"])
def test_a_stream_that_does_not_say_its_length_gives_v15s_frames(folder, codec, file_format, decoder):
    path = make_video(folder / f"stream.{file_format}", noise(FRAMES, 32, 48), codec, file_format)
    choose = Choices()
    frames = decode_video(path, choose, decoder=decoder).frames
    assert choose.counts[-1] == FRAMES
    assert np.array_equal(np.stack(frames), decode_all(path)[segment_indices(FRAMES, 8)])


# --- damage


@pytest.fixture(scope="module")
def long(folder) -> Path:
    """An mp4 of 60 frames, groups of 20, its header in front."""
    options = {"movflags": "faststart"}
    return make_video(folder / "long.mp4", moving(60), codec_options={"g": "20"}, file_options=options)


@pytest.mark.parametrize("extension", ["mp4", "mkv", "webm"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_video_that_is_cut_off_gives_the_frames_before_and_is_named(tmp_path, extension, share):
    codec = "libvpx-vp9" if extension == "webm" else "libx264"
    options = {"movflags": "faststart"} if extension == "mp4" else {}
    codec_options = {"cpu-used": "8"} if extension == "webm" else {}
    path = tmp_path / f"v.{extension}"
    data = make_video(path, moving(60), codec, codec_options=codec_options, file_options=options).read_bytes()
    everything = decode_all(path)
    cut = tmp_path / f"cut.{extension}"
    cut.write_bytes(data[: int(share * len(data))])
    choose = Choices()
    decoded = decode_video(cut, choose)
    assert "cut off" in decoded.damage
    assert 60 * share / 6 < decoded.num_frames <= 60
    assert decoded.num_frames == choose.counts[-1]
    assert np.array_equal(np.stack(decoded.frames), everything[segment_indices(decoded.num_frames, 8)])


def zeroed(path: Path, place: int) -> Path:
    """The video with zeros where a packet begins, `place` of 60 packets into it."""
    bad = path.with_name(f"zeroed{place}.mp4")
    bad.write_bytes(zero_packets(path, [place], 40))
    return bad


@pytest.mark.parametrize("place", [15, 25, 35, 50])
def test_frames_before_the_damage_are_the_good_ones(long, place):
    bad, everything = zeroed(long, place), decode_all(long)
    decoded = decode_video(bad, range)  # all of them, so that the damage is met
    assert "damaged" in decoded.damage
    assert 1 <= decoded.num_frames < 60
    assert np.array_equal(np.stack(decoded.frames), everything[: decoded.num_frames])
    again = decode_video(bad, range)
    assert again.damage == decoded.damage and np.array_equal(np.stack(again.frames), np.stack(decoded.frames))


@pytest.mark.parametrize("place", [15, 35])
def test_the_decoder_of_v15_passes_over_damage(long, place):
    decoded, everything = decode_video(zeroed(long, place), range, decoder="opencv"), decode_all(long)
    assert decoded.damage is None and decoded.num_frames == len(decoded.frames) == 59
    assert np.array_equal(decoded.frames[:10], everything[:10])
    assert np.array_equal(decoded.frames[-20:], everything[-20:])


def test_damage_that_shows_in_a_header_is_named_wherever_it_is(long):
    decoded = decode_video(zeroed(long, 50), lambda count: [0, 10, 20])
    assert "damaged" in decoded.damage and decoded.num_frames < 60
    assert np.array_equal(np.stack(decoded.frames), decode_all(long)[[0, 10, 20]])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_damage_the_frames_are_whole_or_there_is_a_video_error(long, data):
    """Bytes changed, zeroed or cut anywhere but in the header; and the same answer the second time."""
    content = bytearray(long.read_bytes())
    start = content.find(b"mdat") + 4
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(start, len(content) - 1))
        content[place : place + data.draw(st.integers(1, 60))] = data.draw(st.binary(max_size=60))
    bad = long.with_name("bad.mp4")
    bad.write_bytes(content[: data.draw(st.integers(len(content) // 4, len(content)))])
    answers = []
    for _ in range(2):
        try:
            decoded = decode_video(bad, range)
        except VideoError as error:
            answers.append(str(error))
        else:
            answers.append((decoded.num_frames, decoded.damage, b"".join(map(bytes, decoded.frames))))
            assert len(decoded.frames) == decoded.num_frames > 0
            assert {frame.shape for frame in decoded.frames} == {(64, 96, 3)}
    assert answers[0] == answers[1]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_header_never_does_more_than_a_video_error(long, data):
    content = bytearray(long.read_bytes())
    header = content.find(b"mdat")
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, header))] = data.draw(st.integers(0, 255))
    bad = long.with_name("bad header.mp4")
    bad.write_bytes(content)
    try:
        decoded = decode_video(bad, lambda count: segment_indices(count, 8))
    except VideoError as error:
        assert str(error)
    else:
        assert len(decoded.frames) == 8


def damaged(folder: Path, kind: str) -> Path:
    """A file, or none, that gives no frame."""
    path = folder / f"{kind}.mp4"
    whole = make_video(folder / "whole.mp4", noise(8, 32, 32)).read_bytes()  # its header is behind the frames
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("This is no video.\n" * 50)
    elif kind == "folder":
        path.mkdir(exist_ok=True)
    elif kind == "sound":
        make_audio(path)
    elif kind == "header alone":
        path.write_bytes(whole[:40])
    elif kind == "no header":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "zeros":
        path.write_bytes(bytes(5000))
    elif kind == "header without frames":
        data = make_video(folder / "front.mp4", noise(8, 32, 32), file_options={"movflags": "faststart"}).read_bytes()
        path.write_bytes(data[: data.find(b"mdat") + 4])
    elif kind == "playlist":  # FFmpeg would open what it names
        path.write_text("#EXTM3U\n#EXTINF:1,\nwhole.mp4\n#EXT-X-ENDLIST\n")
    elif kind == "long name":
        return folder / f"{'x' * 300}.mp4"
    elif kind == "zero byte in its name":
        return folder / "a\0b.mp4"
    return path


REASONS = {
    "missing": "no such file",
    "empty": "the file is empty",
    "text": "it is no video",
    "folder": "it is a folder",
    "sound": "there is no video in it",
    "header alone": "it is no video",
    "no header": "it is no video",
    "zeros": "it is no video",
    "header without frames": "not one frame can be decoded",
    "playlist": "a list of other files|it is no video",
    "long name": "too long",
    "zero byte in its name": "no such file",
}


@pytest.mark.parametrize("kind", REASONS)
def test_what_gives_no_frames_is_a_video_error_that_says_why(tmp_path, kind):
    for decoder in ("auto", "pyav", "opencv"):
        with pytest.raises(VideoError, match=REASONS[kind]) as error:
            decode_video(damaged(tmp_path, kind), lambda count: [0], decoder=decoder)
        assert kind != "header without frames" or decoder == "opencv" or "cut off" in str(error.value)


def test_nothing_but_our_own_message_is_printed(tmp_path, cut):
    """In a process of its own: OpenCV reads how much to say when it is imported."""
    paths = [damaged(tmp_path, kind) for kind in REASONS if "zero byte" not in kind] + [cut]
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from video_zoo.datareader.decode import VideoError, decode_video\n"
        "from video_zoo.datareader.images import decode_images\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        decode_video(Path(name), lambda count: [0, count - 1])\n"
        "    except VideoError:\n        print('bad')\n"
        "for data in (b'', bytes(100), b'\\xff\\xd8\\xff\\xe0' + bytes(100), b'\\x89PNG\\r\\n\\x1a\\n' + bytes(100)):\n"
        "    try:\n        decode_images([data], lambda count: [0], bytes)\n"
        "    except VideoError:\n        print('bad')\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["bad"] * (len(paths) - 1 + 4)


@pytest.mark.parametrize(
    "name",
    [
        "with space.mp4",
        'it\'s "quoted".mp4',
        "ünïcode 漢字 🎥.mp4",
        "100% %03d.mp4",
        "a#b?c&d=e.mp4",
        "[a]{b}*.mp4",
        "12:30.mp4",
        "file:x.mp4",
        "pipe:0",
        "-y.mp4",
        "no_extension",
        "wrong.jpg",
    ],
)
def test_any_file_name(tmp_path, monkeypatch, clip, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(clip.read_bytes())
    expected = decode_all(clip)[3]
    for path in (tmp_path / name, Path(name)):
        assert np.array_equal(decode_video(path, lambda count: [3]).frames[0], expected)


@pytest.mark.parametrize("decoder", ["auto", "opencv"])
def test_a_name_that_is_no_text(tmp_path, decoder):
    path = make_video(tmp_path / "a.mp4", noise(4))
    odd = tmp_path / os.fsdecode(b"\xff\xfe.mp4")
    path.rename(odd)
    assert len(decode_video(odd, lambda count: [0], decoder=decoder).frames) == 1
