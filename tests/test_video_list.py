"""List files: what a line means, and what is said of a wrong one."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_zoo.configs.schema import Config, InferSection
from video_zoo.datareader import open_reader, video_list
from video_zoo.datareader.sampling import Windows
from video_zoo.datareader.video_list import Video, check_label, listed_videos, read_video_list, resolve
from video_zoo.utils.errors import InputError
from video_zoo.utils.paths import PROJECT


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("lists")


def read(folder: Path, text: str, labelled: bool = True, frame_folders: bool = False) -> list[Video]:
    """With 10 classes."""
    path = folder / "some.list"
    path.write_bytes(text.encode())
    keys = {"num_classes": 10, "labelled": labelled, "frame_folders": frame_folders}
    return read_video_list(str(path), key="TRAIN.filelist", **keys)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a.mp4 3\n", [("a.mp4", 3, 1)]),
        ("a.mp4 3", [("a.mp4", 3, 1)]),
        ("my clips/a b  c.mp4 3\n", [("my clips/a b  c.mp4", 3, 1)]),
        ("a.mp4\t3\n", [("a.mp4", 3, 1)]),
        ("a\tb.mp4 \t 3 \t\n", [("a\tb.mp4", 3, 1)]),
        ("\n a.mp4 0\n \n\t\nb.mp4 9\n\n", [("a.mp4", 0, 2), ("b.mp4", 9, 5)]),
        ("a.mp4 1\r\nb c.mp4 2\r\n", [("a.mp4", 1, 1), ("b c.mp4", 2, 2)]),
        ("漢字 ü.mp4 1\n", [("漢字 ü.mp4", 1, 1)]),
        ("\ufeffa.mp4 1\n", [("a.mp4", 1, 1)]),  # as Windows' editor saves it
        ("a\u2028b.mp4 1\na\x0cb.mp4 2\n", [("a\u2028b.mp4", 1, 1), ("a\x0cb.mp4", 2, 2)]),
        ("run 12 3\n", [("run 12", 3, 1)]),
    ],
)
def test_lines_with_labels(folder, text, expected):
    assert read(folder, text) == [Video(*each) for each in expected]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a.mp4\n", [("a.mp4", None, 1)]),
        ("a b.mp4\n\nc.mp4\n", [("a b.mp4", None, 1), ("c.mp4", None, 3)]),
        ("a.mp4 3\nb.mp4\n", [("a.mp4", 3, 1), ("b.mp4", None, 2)]),
        ("a.mp4 999\n", [("a.mp4", 999, 1)]),  # nobody looks at it
        ("12\n", [("12", None, 1)]),
    ],
)
def test_lines_without_labels(folder, text, expected):
    assert read(folder, text, labelled=False) == [Video(*each) for each in expected]


@pytest.mark.parametrize("beside", ["the list", "the current folder"])
def test_a_file_whose_name_ends_in_a_number_is_no_label(tmp_path, monkeypatch, beside):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (tmp_path if beside == "the list" else here).joinpath("take 2").touch()
    assert read(tmp_path, "take 2\ntake 3\n", labelled=False) == [Video("take 2", None, 1), Video("take", 3, 2)]
    assert read(tmp_path, "take 2\n", labelled=True) == [Video("take", 2, 1)]


@pytest.mark.parametrize("line", ["b.mp4", "b.mp4 x", "b.mp4 1.5", "7", "b.mp4,3"])
def test_a_missing_label_is_named_with_its_line(folder, line):
    with pytest.raises(InputError, match=r"some\.list, line 3: .*" + re.escape(line) + ".*has no label"):
        read(folder, f"a.mp4 1\n\n{line}\n")


@pytest.mark.parametrize("frame_folders", [False, True])
@pytest.mark.parametrize("label", [-1, 10, 400])
def test_a_label_out_of_range_is_named_with_its_line(folder, label, frame_folders):
    lines = f"a 5 9\nb 5 {label}\n"
    with pytest.raises(InputError, match=rf"some\.list, line 2: label {label} .* 10 classes, 0 to 9 .*num_classes"):
        read(folder, lines, frame_folders=frame_folders)


@pytest.mark.parametrize("label, hint", [(-1, False), (10, True), (11, False)])
def test_a_label_that_equals_the_number_of_classes_may_count_from_1(label, hint):
    with pytest.raises(ValueError, match="0 to 9") as caught:
        check_label(label, 10)
    assert ("do its labels count from 1?" in str(caught.value)) == hint


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_labels_below_the_number_of_classes_are_good(num_classes, label):
    if label < num_classes:
        check_label(label, num_classes)
    else:
        with pytest.raises(ValueError, match=rf"label {label} is not one of the {num_classes} classes"):
            check_label(label, num_classes)


@pytest.mark.parametrize("label", ["1" + "0" * 20, "9" * 5000, "-" + "9" * 19])
def test_a_label_beyond_64_bits(folder, label):
    """Nobody looks at it without labels; with them it is one message, which has the line."""
    assert read(folder, f"a.mp4 {label}\n", labelled=False) == [Video("a.mp4", None, 1)]
    assert read(folder, f"a 30 {label}\n", labelled=False, frame_folders=True) == [Video("a", None, 1, 30)]
    with pytest.raises(InputError, match=r"some\.list, line 2: label .* is too large"):
        read(folder, f"a.mp4 1\nb.mp4 {label}\n")
    with pytest.raises(InputError, match=r"some\.list, line 1: .* is not `folder num_frames label`"):
        read(folder, f"a 30 {label}\n", frame_folders=True)
    with pytest.raises(InputError, match=r"some\.list, line 1: "):
        read(folder, f"a {label} 1\n", frame_folders=True)


@pytest.mark.parametrize("word", ["١٢", "1_0", "²", "1.0", "0x1"])
def test_what_other_programs_take_for_a_number_is_no_label(folder, word):
    assert read(folder, f"a.mp4 {word}\n", labelled=False) == [Video(f"a.mp4 {word}", None, 1)]
    with pytest.raises(InputError, match="has no label"):
        read(folder, f"a.mp4 {word}\n")


@pytest.mark.parametrize("beside", [False, True])
def test_names_that_end_in_a_number_are_found_among_many(tmp_path, monkeypatch, beside):
    """Also when the folder has been listed meanwhile, which then answers for every further name."""
    (tmp_path / "here/v").mkdir(parents=True)
    (tmp_path / "v").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = tmp_path if beside else tmp_path / "here"
    for name in ("take 2", "take.mp4 12"):
        (folder / "v" / name).touch()
    os.symlink("nowhere", folder / "v/gone 3")
    asked = []
    monkeypatch.setattr(os.path, "exists", lambda path, exists=os.path.exists: asked.append(path) or exists(path))
    text = "".join(f"v/x{n}.mp4 {n}\n" for n in range(500)) + "v/take 2\nv/take.mp4 12\nv/gone 3\n./v/take 2\n"
    videos = read(tmp_path, text, labelled=False)
    assert videos[:500] == [Video(f"v/x{n}.mp4", n, n + 1) for n in range(500)]
    last = [("v/take 2", None), ("v/take.mp4 12", None), ("v/gone", 3), ("./v/take 2", None)]
    assert [(video.path, video.label) for video in videos[500:]] == last
    assert len(asked) < 100  # not one question a line


def test_a_long_list_has_a_heartbeat(folder, monkeypatch):
    said = []
    monkeypatch.setattr(video_list, "heartbeat", lambda what: said.append(what) or contextlib.nullcontext())
    read(folder, "a.mp4 1\n")
    assert said == [f"reading the list {folder / 'some.list'}"]


# --- folders of images


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a 300 3\n", [("a", 3, 1, 300)]),
        ("my clips/a b  c 300 3", [("my clips/a b  c", 3, 1, 300)]),
        ("\n a\t1\t0 \n\t\nb \t 20 \t 9\t\r\n", [("a", 0, 2, 1), ("b", 9, 4, 20)]),
        ("take 2 30 1\n", [("take 2", 1, 1, 30)]),
        ("漢字 ü 7 1\n", [("漢字 ü", 1, 1, 7)]),
    ],
)
def test_folders_with_labels(folder, text, expected):
    assert read(folder, text, frame_folders=True) == [Video(*each) for each in expected]
    assert read(folder, text, labelled=False, frame_folders=True) == [Video(*each) for each in expected]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a 300\n", [("a", None, 1, 300)]),
        ("a b 300\n\nc\t20 \n", [("a b", None, 1, 300), ("c", None, 3, 20)]),
        ("a 300\nb 20 999\n", [("a", None, 1, 300), ("b", 999, 2, 20)]),  # nobody looks at the label
    ],
)
def test_folders_without_labels(folder, text, expected):
    assert read(folder, text, labelled=False, frame_folders=True) == [Video(*each) for each in expected]


@pytest.mark.parametrize(
    "labelled, line",
    [(True, line) for line in ("a 3", "a x 3", "a 3 x", "a 3 1.5", "7 8")]
    + [(False, line) for line in ("a x", "a 1.5")]
    + [(labelled, line) for labelled in (True, False) for line in ("a", "7")],
)
def test_a_line_of_another_form_is_named(folder, labelled, line):
    form = "`folder num_frames label`" if labelled else "`folder num_frames`"
    with pytest.raises(InputError) as caught:
        read(folder, f"good 3 1\n\n{line}\n", labelled, frame_folders=True)
    assert f"some.list, line 3: '{line}' is not {form} (MODEL.format is frames)" in str(caught.value)


def test_a_folder_whose_name_ends_in_a_number_needs_no_label(tmp_path):
    """As a file's (above): what is there decides."""
    for name in ("take 2", "take 0"):
        (tmp_path / name).mkdir()
    videos = read(tmp_path, "take 2 30\ntake 0 20\n", labelled=False, frame_folders=True)
    assert videos == [Video("take 2", None, 1, 30), Video("take 0", None, 2, 20)]


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("num_frames", [0, -5])
def test_a_folder_of_no_images_is_named(folder, labelled, num_frames):
    with pytest.raises(InputError, match=rf"some\.list, line 1: .*gives the folder {num_frames} frames"):
        read(folder, f"a {num_frames} 1\n", labelled, frame_folders=True)


# --- the list itself


@pytest.mark.parametrize("text", ["", "\n \n\t\r\n"])
def test_an_empty_list(folder, text):
    with pytest.raises(InputError, match=r"some\.list \(TRAIN\.filelist\) is empty"):
        read(folder, text)


def test_a_missing_list_names_the_key_and_the_remedy():
    with pytest.raises(InputError) as caught:
        read_video_list("no/such.list", num_classes=4, labelled=True, key="VALID.filelist")
    for part in ("no/such.list", "VALID.filelist", "`path label`", "docs/data.md", "--set VALID.filelist=PATH"):
        assert part in str(caught.value)


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_list_at_all_names_the_key(nothing):
    with pytest.raises(InputError, match=r"set INFER\.filelist\. Videos need no list with --input=WHAT"):
        read_video_list(nothing, num_classes=4, labelled=False, key="INFER.filelist")


def test_without_a_list_there_is_input_for_predictions_alone():
    for key, said in (("INFER.filelist", True), ("TRAIN.filelist", False)):
        with pytest.raises(InputError) as caught:
            read_video_list("no/such.list", num_classes=4, labelled=False, key=key)
        assert ("--input=WHAT" in str(caught.value)) == said


@pytest.mark.parametrize("windows", [None, Windows(1, 1)])
def test_a_list_of_which_nothing_is_there_is_said_before_anything_starts(tmp_path, monkeypatch, windows):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/my.list").write_text("\nv/1.mp4 0\nv/2.mp4 0\n")
    config = Config(INFER=InferSection(filelist="lists/my.list", num_reader_threads=0))

    def read_all():
        videos = listed_videos("lists/my.list", 400, "INFER.filelist") if windows else None
        open_reader("infer", config, videos=videos, windows=windows).close()

    with pytest.raises(InputError) as caught:
        read_all()
    assert str(caught.value) == (
        "no video of the list lists/my.list can be found, of 2; the first is v/1.mp4 in line 2 (looked for in"
        f" {tmp_path} and {tmp_path}/lists and {PROJECT})"
    )
    (tmp_path / "lists/v").mkdir()
    (tmp_path / "lists/v/2.mp4").touch()
    read_all()


@pytest.mark.parametrize("kind", ["a folder", "not UTF-8"])
def test_what_is_no_text_file_is_named(tmp_path, kind):
    path = tmp_path / "odd.list"
    path.mkdir() if kind == "a folder" else path.write_bytes(b"caf\xe9.mp4 1\n")
    with pytest.raises(InputError, match=r"cannot read the list .*odd\.list \(TEST\.filelist\)"):
        read_video_list(str(path), num_classes=4, labelled=True, key="TEST.filelist")


def test_paths_are_looked_for_here_and_then_beside_the_list(tmp_path, monkeypatch):
    here, beside = tmp_path / "here", tmp_path / "beside"
    for each in (here, beside):
        each.mkdir()
    monkeypatch.chdir(here)
    for place in (here / "both.mp4", beside / "both.mp4", beside / "sub.mp4"):
        place.touch()
    assert resolve("both.mp4", beside).resolve() == here / "both.mp4"
    assert resolve("sub.mp4", beside) == beside / "sub.mp4"
    assert resolve("nowhere.mp4", beside) == beside / "nowhere.mp4"
    assert resolve(str(tmp_path / "x.mp4"), beside) == tmp_path / "x.mp4"


@pytest.mark.parametrize("path", ["x" * 300, "x" * 5000])
def test_a_path_that_no_file_can_have_is_just_not_there(tmp_path, path):
    assert resolve(path, tmp_path) == tmp_path / path
    assert read(tmp_path, f"{path} 3\n", labelled=False) == [Video(path, 3, 1)]


# Any text of one line. What begins or ends with space cannot be told from the line's own.
paths = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\ufeff"), min_size=1, max_size=30)
    .map(str.strip)
    .filter(bool)
)
entries = st.tuples(paths, st.integers(0, 9), st.sampled_from([" ", "\t", "   "]), st.integers(0, 2))


@settings(deadline=None)
@given(st.lists(entries, min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_is_written_is_read(folder, entries, newline, last_newline):
    lines, expected = [], []
    for path, label, space, blank_lines in entries:
        lines += [" "] * blank_lines + [f"{path}{space}{label}{space}"]
        expected.append(Video(path, label, len(lines)))
    text = newline.join(lines) + (newline if last_newline else "")
    assert read(folder, text) == expected


@settings(deadline=None)
@given(st.lists(paths.filter(lambda path: not path[-1].isdigit()), min_size=1, max_size=8))
def test_what_is_written_without_labels_is_read(folder, paths):
    assert read(folder, "\n".join(paths), labelled=False) == [Video(path, None, n) for n, path in enumerate(paths, 1)]


@settings(deadline=None)
@given(st.lists(st.tuples(entries, st.integers(1, 999)), min_size=1, max_size=8), st.booleans())
def test_what_is_written_of_folders_is_read(folder, entries, labelled):
    """Of those without labels, names that end in a number or a space would be ambiguous."""
    lines, expected = [], []
    for (path, label, space, blank_lines), num_frames in entries:
        path += "" if labelled else "_"
        label = label if labelled else None
        lines += [" "] * blank_lines + [f"{path}{space}{num_frames}{f'{space}{label}' if labelled else ''}{space}"]
        expected.append(Video(path, label, len(lines), num_frames))
    assert read(folder, "\n".join(lines), labelled, frame_folders=True) == expected


@pytest.mark.parametrize("form", ["labels", "no labels", "frames"])
def test_a_list_as_long_as_kinetics(folder, form):
    numbers = {"labels": " 7", "no labels": "", "frames": " 300 7"}[form]
    videos = read(
        folder, f"train/some class/abcdefghijk.mp4{numbers}\n" * 240_000, form != "no labels", form == "frames"
    )
    assert len(videos) == 240_000
    assert videos[-1] == Video(
        "train/some class/abcdefghijk.mp4",
        None if form == "no labels" else 7,
        240_000,
        300 if form == "frames" else None,
    )
