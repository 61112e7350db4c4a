"""v1.5's pickled videos: those of Python 2 and 3, damaged ones, and ones that hold code."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.v15_pickles import read_pickle
from video_zoo.utils import safe_pickles
from video_zoo.utils.errors import InputError
from video_zoo.utils.safe_pickles import read_arrays


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pickles")


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
    st.integers(-(2**63), 2**63 - 1),
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
    + [("v", 1, None), (b"\xff", 1, JPEGS), ("v", float("nan"), JPEGS), ("v", 1, [1, 2]), {"a": 1, "b": 2, "c": 3}]
    + [
        (None, 1, JPEGS),
        (1.5, 1, JPEGS),
        (10**20, 1, JPEGS),
        ("v", 1.5, JPEGS),
        ("v", [1], JPEGS),
        ("v", "1" * 21, JPEGS),
    ]
    + [("v", 1, {b"a": 1}), ("v", 1, b"ab")],
)
def test_a_pickle_of_something_else(tmp_path, video):
    with pytest.raises(VideoError, match="no .video id, label, frames. pickle"):
        read_pickle(write(tmp_path, pickle.dumps(video)))


def test_a_label_beyond_64_bits_is_a_video_error(tmp_path):
    for label in (10**20, -(10**20)):
        with pytest.raises(VideoError, match="its label has more than 64 bits"):
            read_pickle(write(tmp_path, pickle.dumps(("v", label, JPEGS), 2)))


def test_numbers_may_be_text_and_the_other_way_round(tmp_path):
    for video in ((7, 3, JPEGS), (b"7", b"3", JPEGS), ("7", "3", tuple(JPEGS))):
        assert read_pickle(write(tmp_path, pickle.dumps(video, 2))) == ("7", 3, JPEGS)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_lists_that_repeat_each_other_are_not_written_out(tmp_path, place):
    """As text they would have 10^7 items, in a file of 250 bytes."""
    nested: object = "x"
    for _ in range(7):
        nested = [nested] * 10
    video: list = ["v", 1, JPEGS]
    video[place] = nested
    with pytest.raises(VideoError, match="no .video id, label, frames. pickle: its"):
        read_pickle(write(tmp_path, pickle.dumps(tuple(video), 2)))


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


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
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
        damaged_bytes[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(whole)))
    read_or_video_error(write(folder, bytes(damaged_bytes[:end])))


MEGABYTE = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)  # text
ENCODE = b"c_codecs\nencode\n"
BOMBS = {
    "an index of the memo": (b"Nr" + struct.pack("<I", 2**31) + b".", "numbers an object 2,147,483,648"),
    "an index as text": (b"Np2000000000\n.", "numbers an object 2,000,000,000"),
    "bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 6 << 30) + b".", "cut off"),
    "text": (b"\x80\x04\x8d" + struct.pack("<Q", 6 << 30) + b".", "cut off"),
    "a bytearray": (b"\x80\x05\x96" + struct.pack("<Q", 6 << 30) + b".", "cut off"),
    "a number": (b"\x8b" + struct.pack("<I", 2**31 - 1) + b".", "cut off"),
    "a frame": (b"\x80\x04\x95" + struct.pack("<Q", 6 << 30) + b".", "truncated|exhausted"),
    "sets": (b"\x80\x04(" + b"\x8f" * 2001 + b"l.", "more than 2,000 parts"),
    "the same bytes again": (
        b"\x80\x02" + ENCODE + b"q\x00" + MEGABYTE + b"q\x01X\x06\0\0\0latin1q\x02]"
        b"(" + b"h\x00h\x01h\x02\x86R" * 100 + b"e.",
        "it repeats its content",
    ),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_pickle_takes_no_more_memory_than_its_size_allows(tmp_path, monkeypatch, case):
    monkeypatch.setattr(safe_pickles, "_MOST_OPCODES", 2000)
    data, reason = BOMBS[case]
    path = write(tmp_path, data)
    tracemalloc.start()
    try:
        with pytest.raises(VideoError, match=reason):
            read_pickle(path)
        with pytest.raises(InputError, match=reason):
            read_arrays(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_arrays_that_share_their_bytes_cannot_be_more_than_the_file(tmp_path):
    array = np.zeros(1 << 16, np.uint8)
    dtype, data, make = np.dtype("u1"), array.tobytes(), array.__reduce__()[0]

    class Same:
        def __reduce__(self):
            return make, (np.ndarray, (0,), b"b"), (1, (1 << 16,), dtype, False, data)

    write(tmp_path, pickle.dumps({str(number): Same() for number in range(20)}, protocol=2))
    with pytest.raises(InputError, match="it repeats its content, to more than its own size"):
        read_arrays(tmp_path / "video.pkl")


@pytest.mark.parametrize("read, error", [(read_pickle, VideoError), (read_arrays, InputError)])
def test_only_regular_files_are_read(tmp_path, read, error):
    """Others have no end, or wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "link2").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link", "link2"):
        with pytest.raises(error, match="it is no regular file"):
            read(tmp_path / name)


def test_a_pickle_that_is_too_large(tmp_path):
    with (tmp_path / "large.pkl").open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(VideoError, match="its 1,073,741,825 bytes are more than the 1,073,741,824 allowed"):
        read_pickle(tmp_path / "large.pkl")
