"""v1.5's pickled videos: those of Python 2 and 3, damaged ones, and ones that hold code."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.v15_pickles import read_pickle


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
    + [("v", 1, None), (b"\xff", 1, JPEGS), ("v", float("nan"), JPEGS), ("v", 1, [1, 2]), {"a": 1, "b": 2, "c": 3}],
)
def test_a_pickle_of_something_else(tmp_path, video):
    with pytest.raises(VideoError, match="no .video id, label, frames. pickle"):
        read_pickle(write(tmp_path, pickle.dumps(video)))


def test_a_label_beyond_64_bits_is_a_video_error(tmp_path):
    for label in (10**20, -(10**20)):
        with pytest.raises(VideoError, match="its label has more than 64 bits"):
            read_pickle(write(tmp_path, pickle.dumps(("v", label, JPEGS), 2)))


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
