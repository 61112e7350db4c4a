"""What is given to be looked at: files, folders, patterns, addresses and cameras; and a reader of given videos."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import make_config, make_list, make_video, noise

from video_zoo.datareader import open_reader
from video_zoo.datareader.inputs import find_inputs
from video_zoo.datareader.video_list import Video
from video_zoo.utils.errors import InputError


def make(root: Path, paths: Iterable[str]) -> Path:
    """Empty files, in new folders."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def found(*names: str) -> list[str]:
    return [video.path for video in find_inputs(names).videos]


def message(*names: str) -> str:
    with pytest.raises(InputError) as caught:
        find_inputs(names)
    return str(caught.value)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_password_of_an_address_is_not_in_a_message(here):
    for address in ("srt://me:secret@host/a", "rtsps://me:secret@host/v?x=[1]", "srt://h/a?token=secret"):
        assert "secret" not in message(address)


# --- files and folders


def test_videos_are_numbered_in_the_order_given(here):
    make(here, ["b.mp4", "a.dat", "videos/z.mkv", "videos/c/y.MP4", "videos/notes.txt", "videos/.hidden.mp4"])
    assert find_inputs(["b.mp4", "videos", "a.dat"]).videos == [
        Video("b.mp4", None, 1),
        Video("videos/c/y.MP4", None, 2),
        Video("videos/z.mkv", None, 3),
        Video("a.dat", None, 4),
    ]


def test_what_is_given_twice_counts_once(here):
    make(here, ["videos/a.mp4", "videos/b.mp4"])
    (here / "link.mp4").symlink_to("videos/a.mp4")
    assert found("link.mp4", "./videos/a.mp4", "videos", str(here / "videos"), "*/*.mp4") == [
        "link.mp4",
        "videos/b.mp4",
    ]
    assert find_inputs(["0", "rtsp://a/b", "0", "rtsp://a/b"]).streams == ["0", "rtsp://a/b"]


def test_links_are_followed_and_loops_are_not(here):
    make(here, ["store/a.mp4", "videos/b.mp4"])
    (here / "videos/more").symlink_to(here / "store")
    (here / "videos/loop").symlink_to(here / "videos")
    (here / "store/back").symlink_to(here / "videos")
    (here / "alias").symlink_to("videos")
    assert found("videos") == found("videos/**") == ["videos/b.mp4", "videos/more/a.mp4"]
    assert found("alias") == ["alias/b.mp4", "alias/more/a.mp4"]


NAMES = [b"a b.mp4", b"'\"`.mp4", b"two\nlines.mp4", "ü漢.mp4".encode(), b"\xff\xfe.mp4", b"-x.mp4", b"[1]*?.mp4", b"0"]


@pytest.mark.parametrize("name", [os.fsdecode(name) for name in NAMES])
def test_names_of_any_kind(here, name):
    make(here, [name, f"{name}.d/in.mp4"])
    assert found(name) == [name]
    assert found(f"{name}.d") == [f"{name}.d/in.mp4"]
    assert found(f"{name}.d/*.mp4") == [f"{name}.d/in.mp4"]
    assert found(f"{name}.d/**/*.mp4") == [f"{name}.d/in.mp4"]


# --- patterns


TREE = ["v/a.mp4", "v/b.txt", "v/golf/c.mp4", "v/golf/d.avi", "v/x/golf/e.mp4", "v/.f.mp4", "v/.g/h.mp4"]


@pytest.mark.parametrize(
    "pattern, paths",
    [
        ("v/*.mp4", ["v/a.mp4"]),
        ("v/*", ["v/a.mp4", "v/golf/c.mp4", "v/golf/d.avi", "v/x/golf/e.mp4"]),
        ("v/g*", ["v/golf/c.mp4", "v/golf/d.avi"]),
        ("v/**/golf", ["v/golf/c.mp4", "v/golf/d.avi", "v/x/golf/e.mp4"]),
        ("v/**/[ce].mp4", ["v/golf/c.mp4", "v/x/golf/e.mp4"]),
        ("**/*.avi", ["v/golf/d.avi"]),
        ("**", ["v/a.mp4", "v/golf/c.mp4", "v/golf/d.avi", "v/x/golf/e.mp4"]),
        ("?/x/**/golf/*", ["v/x/golf/e.mp4"]),
        ("v/.g/*", ["v/.g/h.mp4"]),
        ("v/.?.mp4", ["v/.f.mp4"]),
    ],
)
def test_patterns(here, pattern, paths):
    make(here, TREE)
    assert found(pattern) == paths
    assert found(str(here / pattern)) == [str(here / path) for path in paths]


words = st.sampled_from(["a", "b", "ab", "c d"])


@settings(max_examples=60, deadline=None)
@given(st.sets(st.tuples(words, words, words).map("/".join), min_size=1), st.lists(st.sampled_from(["*", "a*", "b"])))
def test_a_pattern_finds_what_the_library_finds(tmp_path_factory, files, pattern):
    root = make(tmp_path_factory.mktemp("tree"), [f"{file}.mp4" for file in files])
    pattern = "/".join([*pattern, "**", "*.mp4"])
    theirs = sorted(str(path) for path in root.glob(pattern))
    if theirs:
        assert found(str(root / pattern)) == theirs
    else:
        assert "fit" in message(str(root / pattern))


# --- streams


@pytest.mark.parametrize(
    "name", ["rtsp://u:p@h/1", "RTMP://h/x", "http://h/a.mp4", "https://h/*", "udp://@:1", "0", "12"]
)
def test_streams(here, name):
    assert find_inputs([name]) == ([], [name])


def test_a_file_that_is_there_is_a_file(here):
    make(here, ["0", "http:/h/a.mp4", "a*.mp4", "ab.mp4"])
    assert find_inputs(["0", "http://h/a.mp4", "a*.mp4"]).videos == [
        Video("0", None, 1),
        Video("http://h/a.mp4", None, 2),
        Video("a*.mp4", None, 3),
    ]


# --- what is refused


def test_what_is_not_there_is_named(here):
    make(here, ["full/a.jpg", "full/b.JPG", "full/c", "empty.d/.x.mp4"])
    os.mkfifo(here / "pipe")
    assert "nothing to look at" in message()
    assert message("no.mp4") == "no such file or folder: no.mp4"
    assert message("") == "no such file or folder: ''"
    assert message("no\nfile") == r"no such file or folder: 'no\nfile'"
    assert message("a\0b") == r"no such file or folder: 'a\x00b'"
    assert message("no*.mp4") == "nothing fits the pattern no*.mp4; no file has this name either"
    assert message("full").startswith("no videos in the folder full (.3gp, ")
    assert message("full").endswith("; other files: 2 .jpg, 1 no extension")
    assert message("empty.d").endswith(".wmv)")
    assert message("full/*").endswith("; other files: 2 .jpg, 1 no extension")
    assert message("full/**/x*").startswith("no videos fit the pattern full/**/x*")
    assert "begins with rtsp://" in message("ftp://h/a.mp4")
    assert "1234" in message("1234")
    assert "is no file; a camera is given by its number" in message("pipe")


def test_a_folder_that_cannot_be_read(here):
    make(here, ["v/shut/a.mp4", "v/b.mp4"])
    (here / "v/shut").chmod(0)
    if os.access(here / "v/shut", os.R_OK):
        pytest.skip("root reads everything")
    assert "cannot read the folder" in message("v")


# --- the reader of videos that are given


def test_a_reader_of_given_videos_equals_that_of_a_list(tmp_path):
    names = [str(make_video(tmp_path / f"{name}.mp4", noise(9, seed=place))) for place, name in enumerate("ab")]
    bad = str(make(tmp_path, ["bad.mp4"]) / "bad.mp4")
    videos = find_inputs([names[0], bad, names[1]]).videos
    config = make_config("infer", make_list(tmp_path / "list", [names[0], bad, names[1]]))
    with (
        open_reader("infer", config) as listed,
        open_reader("infer", config, videos=videos) as reader,
    ):
        for theirs, ours in zip(listed, reader):
            assert ours.ids == theirs.ids and np.array_equal(ours.clips, theirs.clips) and ours.spans == ()
        assert len(reader) == 3 and [failure.video for failure in reader.failures] == [videos[1]]
        with pytest.raises(InputError) as caught:
            reader.check_failures()
    assert str(caught.value).startswith("1 of 3 videos cannot be read")
    assert f"  {bad}: the file is empty" in str(caught.value)


def test_a_given_path_is_not_looked_for_beside_the_list(tmp_path):
    make_video(tmp_path / "a.mp4", noise(9))
    config = make_config("infer", make_list(tmp_path / "list", ["a.mp4"]))
    with open_reader("infer", config, videos=[Video("a.mp4", None, 1)]) as reader:
        assert list(reader) == [] and len(reader.failures) == 1
    with pytest.raises(InputError, match="no videos are given"):
        open_reader("infer", config, videos=[])


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
