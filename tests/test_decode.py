"""Frames out of videos and pickles, whole, damaged and hostile. The media are made here."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import decode_all, encode_images, levels, make_audio, make_video, noise

from datareader.decode import VideoError, decode_jpegs, decode_video, read_pickle
from datareader.sampling import segment_indices

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
def test_chosen_frames_equal_those_of_a_full_decode(folder, codec, extension):
    path = make_video(folder / f"{codec}.{extension}", noise(FRAMES, 32, 48))
    everything = decode_all(path)
    choose = Choices()
    frames = decode_video(path, choose)
    assert len(everything) == FRAMES and choose.counts[-1] == FRAMES
    assert np.array_equal(np.stack(frames), everything[segment_indices(FRAMES, 8)])
    assert all(frame.dtype == np.uint8 for frame in frames)


@pytest.mark.parametrize("indices", [[5], [7, 7, 7], [23, 0, 11, 0], list(range(24)), [0, 23]])
def test_repeats_and_order_are_kept(clip, indices):
    frames = decode_video(clip, lambda count: indices)
    assert np.array_equal(np.stack(frames), decode_all(clip)[indices])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=12))
def test_any_choice_equals_a_full_decode(clip, indices):
    assert np.array_equal(np.stack(decode_video(clip, lambda count: indices)), decode_all(clip)[indices])


def test_colours_are_rgb(folder):
    red = np.zeros((4, 32, 32, 3), np.uint8)
    red[..., 0] = 255
    for frame in decode_video(make_video(folder / "red.mp4", red), lambda count: [0, 3]):
        assert frame[16, 16, 0] > 200 and frame[16, 16, 2] < 50


def test_a_good_video_is_chosen_from_once(clip):
    choose = Choices()
    decode_video(clip, choose)
    assert choose.counts == [FRAMES]


def test_a_video_that_ends_early_gives_v15s_frames(cut):
    """v1.5 decodes what there is, and takes its places from that number."""
    everything = decode_all(cut)
    assert 5 < len(everything) < 55
    choose = Choices()
    frames = decode_video(cut, choose)
    assert choose.counts == [60, len(everything)]
    assert np.array_equal(np.stack(frames), everything[segment_indices(len(everything), 8)])


@pytest.mark.parametrize("codec, file_format", [("libx264", "h264"), ("mpeg4", "m4v")])
def test_a_stream_that_does_not_say_its_length_gives_v15s_frames(folder, codec, file_format):
    path = make_video(folder / f"stream.{file_format}", noise(FRAMES, 32, 48), codec, file_format)
    choose = Choices()
    frames = decode_video(path, choose)
    assert choose.counts[0] != FRAMES and choose.counts[1:] == [FRAMES]
    assert np.array_equal(np.stack(frames), decode_all(path)[segment_indices(FRAMES, 8)])


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
    elif kind == "long name":
        return folder / f"{'x' * 300}.mp4"
    elif kind == "zero byte in its name":
        return folder / "a\0b.mp4"
    return path


REASONS = {
    "missing": "no such file",
    "empty": "the file is empty",
    "text": "it is no video",
    "folder": "no such file",
    "sound": "it is no video",
    "header alone": "it is no video",
    "no header": "it is no video",
    "zeros": "it is no video",
    "header without frames": "not one frame",
    "long name": "too long",
    "zero byte in its name": "no such file",
}


@pytest.mark.parametrize("kind", REASONS)
def test_what_gives_no_frames_is_a_video_error_that_says_why(tmp_path, kind):
    with pytest.raises(VideoError, match=REASONS[kind]):
        decode_video(damaged(tmp_path, kind), lambda count: [0])


def test_nothing_but_our_own_message_is_printed(tmp_path, cut):
    """In a process of its own: OpenCV reads how much to say when it is imported."""
    paths = [damaged(tmp_path, kind) for kind in REASONS if "zero byte" not in kind] + [cut]
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from datareader.decode import VideoError, decode_jpegs, decode_video\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        decode_video(Path(name), lambda count: [0, count - 1])\n"
        "    except VideoError:\n        print('bad')\n"
        "for data in (b'', bytes(100), b'\\xff\\xd8\\xff\\xe0' + bytes(100), b'\\x89PNG\\r\\n\\x1a\\n' + bytes(100)):\n"
        "    try:\n        decode_jpegs([data], lambda count: [0])\n"
        "    except VideoError:\n        print('bad')\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["bad"] * (len(paths) - 1 + 4)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95, 0.999])
def test_an_mp4_cut_anywhere_gives_the_full_decodes_frames_or_a_video_error(tmp_path, cut, share):
    path = tmp_path / "cut.mp4"
    path.write_bytes(cut.read_bytes()[: int(share * cut.stat().st_size)])
    try:
        frames = decode_video(path, lambda count: segment_indices(count, 8))
    except VideoError:
        assert share < 0.7
    else:
        everything = decode_all(path)
        assert np.array_equal(np.stack(frames), everything[segment_indices(len(everything), 8)])


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
        assert np.array_equal(decode_video(path, lambda count: [3])[0], expected)


# --- pickles

JPEGS = [b"first frame", b"\xff\xd8\x00\x80second\n"]


def python2_pickle(protocol: int, video_id: bytes = b"v_\xc3\xbc", label: int = 3) -> bytes:
    """What Python 2's pickle writes of (str, int, [str, str]), byte for byte."""
    if protocol == 0:

        def text(value: bytes) -> bytes:
            return b"S" + repr(value)[1:].encode() + b"\n"

        items = b"".join(text(jpeg) + b"p%d\na" % (number + 2) for number, jpeg in enumerate(JPEGS))
        return b"(" + text(video_id) + b"p0\nI%d\n(lp1\n" % label + items + b"tp9\n."

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    items = b"".join(text(jpeg) + b"q" + bytes([number + 2]) for number, jpeg in enumerate(JPEGS))
    id_bytes = b"U" + bytes([len(video_id)]) + video_id + b"q\x00"
    values = id_bytes + b"K" + bytes([label]) + b"]q\x01(" + items + b"e"
    return b"\x80\x02" + values + b"\x87q\x09." if protocol == 2 else b"(" + values + b"tq\x09."


def write(folder: Path, data: bytes) -> Path:
    path = folder / "video.pkl"
    path.write_bytes(data)
    return path


@pytest.mark.contract
@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_pickles_of_python_2(tmp_path, protocol):
    assert read_pickle(write(tmp_path, python2_pickle(protocol))) == ("v_ü", 3, JPEGS)


@pytest.mark.contract
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("video_id", ["v_ü", "v_ü".encode()])
def test_pickles_of_python_3(tmp_path, protocol, video_id):
    path = write(tmp_path, pickle.dumps((video_id, 3, JPEGS), protocol=protocol))
    assert read_pickle(path) == ("v_ü", 3, JPEGS)


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(-(2**70), 2**70),
    st.lists(st.binary(min_size=1), max_size=4),
    st.sampled_from([tuple, list]),
    st.integers(0, 5),
)
def test_what_is_pickled_is_read(folder, video_id, label, jpegs, container, protocol):
    path = write(folder, pickle.dumps(container([video_id, label, container(jpegs)]), protocol=protocol))
    assert read_pickle(path) == (video_id, label, jpegs)


class Hostile:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("place", ["whole", "id", "label", "frame"])
@pytest.mark.parametrize("function", [os.system, os.mkdir, eval, exec])
def test_code_in_a_pickle_is_not_run(tmp_path, protocol, place, function):
    mark = tmp_path / "mark"
    code = {os.system: f"mkdir {mark}", os.mkdir: str(mark)}.get(function, f"__import__('os').mkdir({str(mark)!r})")
    call = Hostile(function, code)
    video = {"whole": call, "id": (call, 1, JPEGS), "label": ("v", call, JPEGS), "frame": ("v", 1, [call])}[place]
    data = pickle.dumps(video, protocol=protocol)
    with pytest.raises(VideoError, match="names code, .*never run"):
        read_pickle(write(tmp_path, data))
    assert not mark.exists()
    pickle.loads(data)  # the plain module does run it: the test's own check
    assert mark.exists()


@pytest.mark.parametrize("codec", ["bz2", "rot13", "utf-8"])
def test_the_one_call_that_is_allowed_takes_latin1_alone(tmp_path, codec):
    data = b"\x80\x02X\x01\x00\x00\x00vK\x01]c_codecs\nencode\nX\x01\x00\x00\x00aX%c\x00\x00\x00%b\x86Ra\x87."
    good = write(tmp_path, data % (6, b"latin1"))
    assert read_pickle(good) == ("v", 1, [b"a"])
    with pytest.raises(VideoError, match=codec):
        read_pickle(write(tmp_path, data % (len(codec), codec.encode())))


@pytest.mark.parametrize(
    "video",
    [None, 3, "text", [], ("v", 1), ("v", 1, JPEGS, 4), ("v", "x", JPEGS), ("v", None, []), ("v", 1, ["text"])]
    + [("v", 1, None), (b"\xff", 1, JPEGS), ("v", float("nan"), JPEGS), ("v", 1, [1, 2]), {"a": 1, "b": 2, "c": 3}],
)
def test_a_pickle_of_something_else(tmp_path, video):
    with pytest.raises(VideoError, match="no .video id, label, frames. pickle"):
        read_pickle(write(tmp_path, pickle.dumps(video)))


def test_a_pickle_that_is_not_there(tmp_path):
    with pytest.raises(VideoError, match="No such file"):
        read_pickle(tmp_path / "missing.pkl")
    with pytest.raises(VideoError, match="directory"):
        read_pickle(tmp_path)


def read_or_video_error(path: Path) -> None:
    try:
        video_id, label, jpegs = read_pickle(path)
    except VideoError:
        return
    assert isinstance(video_id, str) and isinstance(label, int) and all(isinstance(jpeg, bytes) for jpeg in jpegs)


# Without "r": Python's own unpickler makes as much room as the number behind that opcode says.
harmless = st.integers(0, 255).filter(lambda byte: byte != ord("r"))


@settings(max_examples=200, deadline=None)
@given(st.lists(harmless, max_size=60).map(bytes))
def test_garbage_is_a_video_error(folder, data):
    read_or_video_error(write(folder, data))
    read_or_video_error(write(folder, b"\x80\x02" + data))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_pickle_is_read_or_is_a_video_error(folder, data):
    video = ("v", 1, [b"aaaaaaaaaa", b"bb", b"\x00\x01"])
    whole = data.draw(
        st.sampled_from([pickle.dumps(video, protocol=n) for n in range(6)] + [python2_pickle(n) for n in range(3)])
    )
    damaged_bytes = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        damaged_bytes[data.draw(st.integers(0, len(whole) - 1))] = data.draw(harmless)
    end = data.draw(st.integers(0, len(whole)))
    read_or_video_error(write(folder, bytes(damaged_bytes[:end])))


# --- images


def test_images_decode_as_chosen():
    frames = levels(6)
    frames[:, :, :10, 0] = 200  # not grey: the order of the colours shows
    decoded = decode_jpegs(encode_images(frames), lambda count: [count - 1, 0, 0, 3])
    assert np.array_equal(np.stack(decoded), frames[[5, 0, 0, 3]])


def test_jpegs_decode_nearly_to_what_they_were():
    frames = np.broadcast_to(np.linspace(0, 255, 40)[None, None, :, None], (2, 32, 40, 3)).astype(np.uint8)
    decoded = decode_jpegs(encode_images(frames, ".jpg"), lambda count: [0, 1])
    assert np.abs(np.stack(decoded).astype(int) - frames).max() < 8


def test_a_grey_image_becomes_rgb():
    data = cv2.imencode(".png", np.full((8, 9), 7, np.uint8))[1].tobytes()
    (frame,) = decode_jpegs([data], lambda count: [0])
    assert frame.shape == (8, 9, 3) and (frame == 7).all()


@pytest.mark.parametrize("data", [b"", b"\x00", b"no image", b"\xff\xd8\xff\xe0" + bytes(50), "cut png", "huge png"])
def test_an_image_that_is_none_is_named(data):
    good = encode_images(levels(1))[0]
    if data == "cut png":
        data = good[:20]
    elif data == "huge png":
        data = good[:16] + struct.pack(">II", 100_000, 100_000) + good[24:]
    with pytest.raises(VideoError, match="frame 1 is no image"):
        decode_jpegs([good, data], lambda count: [0, 1])


def test_an_image_that_is_not_chosen_is_not_looked_at():
    good = encode_images(levels(1))[0]
    assert len(decode_jpegs([b"bad", good], lambda count: [1])) == 1


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_garbage_images_are_video_errors(data):
    with pytest.raises(VideoError, match="frame 0"):
        decode_jpegs([data], lambda count: [0])


def test_no_images_at_all():
    with pytest.raises(VideoError, match="holds no frames"):
        decode_jpegs([], lambda count: [0])
