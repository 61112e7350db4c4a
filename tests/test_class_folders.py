"""Folders of class folders: what counts as a video, how a class is split, what is written, and what is refused."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_zoo.configs.schema import Config
from video_zoo.datareader.class_folders import VIDEO_EXTENSIONS, ClassFolders, split_class_folders
from video_zoo.datareader.labels import read_class_names
from video_zoo.datareader.own_videos import list_own_videos
from video_zoo.datareader.video_list import read_video_list
from video_zoo.utils.errors import InputError


def make(root: Path, paths: Iterable[str]) -> Path:
    """Empty files, in new folders."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def clips(name: str, count: int, first: int = 0) -> list[str]:
    return [f"{name}/{number}.mp4" for number in range(first, first + count)]


def below(root: Path, videos: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The videos with paths relative to `root`."""
    assert all(os.path.isabs(path) for path, _ in videos)
    return [(os.path.relpath(path, root), label) for path, label in videos]


def found(root: Path) -> list[str]:
    """The relative paths of all videos."""
    return [path for path, _ in below(root, split_class_folders(str(root), 0, 0).train)]


def split(paths: Iterable[str], valid_share: float = 0.3, seed: int = 0) -> ClassFolders:
    """Of a new folder, with paths relative to it."""
    with tempfile.TemporaryDirectory() as root:
        result = split_class_folders(str(make(Path(root), paths)), valid_share, seed)
        return result._replace(train=below(Path(root), result.train), valid=below(Path(root), result.valid))


def message(root: Path, paths: Iterable[str] = (), valid_share: float = 0.2) -> str:
    """What the error says."""
    with pytest.raises(InputError) as caught:
        split_class_folders(str(make(root, paths)), valid_share, 0)
    return str(caught.value)


# Names without a dot: no folder has a file's name, and none is hidden.
words = st.text("abcü漢 7", min_size=1, max_size=4).map(str.strip).filter(bool)
extensions = st.sampled_from([".mp4", ".avi", ".MKV", ".WebM"])
files = st.tuples(st.lists(words, max_size=2), words, extensions).map(
    lambda each: "/".join([*each[0], each[1]]) + each[2]
)
classes = st.dictionaries(words, st.sets(files, min_size=1, max_size=7), min_size=2, max_size=4).filter(
    lambda found: any(len(paths) > 1 for paths in found.values())
)
shares = st.floats(0, 0.99)
seeds = st.integers(-(2**31), 2**31)
on_disk = settings(max_examples=40)  # each makes dozens of files


def paths_of(found: dict[str, set[str]]) -> list[str]:
    return [f"{name}/{path}" for name, paths in found.items() for path in paths]


# --- what counts


def test_videos_are_found_at_any_depth_and_labelled_by_their_class(tmp_path):
    make(
        tmp_path, ["swim/b.mp4", "air drumming/x/y/c.MP4", "air drumming/a.webm", "Zumba/ü 漢.Avi", "swim/x.mp4/d.mov"]
    )
    result = split_class_folders(str(tmp_path), 0, 0)
    assert result.names == ["Zumba", "air drumming", "swim"]
    assert below(tmp_path, result.train) == [
        ("Zumba/ü 漢.Avi", 0),
        ("air drumming/a.webm", 1),
        ("air drumming/x/y/c.MP4", 1),
        ("swim/b.mp4", 2),
        ("swim/x.mp4/d.mov", 2),
    ]
    assert (result.valid, result.ignored, result.without_valid) == ([], {}, [])


@pytest.mark.parametrize("extension", sorted(VIDEO_EXTENSIONS))
def test_an_extension_counts_in_any_case(tmp_path, extension):
    paths = [f"a/1{extension}", f"b/2{extension.upper()}", f"b/3.x{extension.title()}"]
    assert found(make(tmp_path, paths)) == paths


def test_other_files_are_counted_by_extension(tmp_path):
    others = ["a/1.JPG", "b/x/2.jpg", "b/3.mp4.part", "a/notes", "labels.csv", "beside.MP4", "beside.avi"]
    result = split_class_folders(str(make(tmp_path, ["a/1.mp4", "b/1.mp4", *others])), 0, 0)
    assert len(result.train) == 2
    expected = {".jpg": 2, ".part": 1, "no extension": 1, ".csv": 1}
    expected |= {".mp4 (in no class folder)": 1, ".avi (in no class folder)": 1}
    assert result.ignored == expected
    assert list(result.ignored) == sorted(expected)


def test_hidden_files_and_folders_are_left_out(tmp_path):
    hidden = ["a/.1.mp4", "a/._1.mp4", "a/.cache/1.mp4", ".git/1.mp4", ".DS_Store", "b/x/.y/z/1.mp4"]
    result = split_class_folders(str(make(tmp_path, ["a/1.mp4", "b/1.mp4", *hidden])), 0, 0)
    assert below(tmp_path, result.train) == [("a/1.mp4", 0), ("b/1.mp4", 1)]
    assert result.ignored == {}


def test_a_folder_may_itself_be_hidden_relative_or_end_in_a_slash(tmp_path, monkeypatch):
    root = make(tmp_path / ".data" / "clips", ["a/1.mp4", "b/1.mp4"])
    monkeypatch.chdir(root.parent)
    expected = split_class_folders(str(root), 0, 0)
    assert [path for path, _ in expected.train] == [str(root / "a/1.mp4"), str(root / "b/1.mp4")]
    for folder in ("clips", "./clips/", "clips/../clips", f"{root}/"):
        assert split_class_folders(folder, 0, 0) == expected


# --- links


def test_links_are_followed(tmp_path):
    store = make(tmp_path / "store", ["blob", "more/1.mp4", "more/x/2.mp4"])
    root = make(tmp_path / "root", ["a/1.mp4"])
    (root / "a/2.mp4").symlink_to(store / "blob")  # the link's name counts
    (root / "b").symlink_to(store / "more")
    (root / "a/c").symlink_to(store / "more")  # another class has it too
    assert found(root) == ["a/1.mp4", "a/2.mp4", "a/c/1.mp4", "a/c/x/2.mp4", "b/1.mp4", "b/x/2.mp4"]


@pytest.mark.parametrize(
    "target, from_a",
    [(up, ["a/1.mp4", "a/x/2.mp4"]) for up in (".", "..", "../..", "../../..", "loop")]
    + [("../b", ["a/1.mp4", "a/loop/1.mp4", "a/x/2.mp4"]), ("x", ["a/1.mp4", "a/loop/2.mp4"])],
)
def test_a_loop_of_links_ends(tmp_path, target, from_a):
    root = make(tmp_path / "up/root", ["a/1.mp4", "a/x/2.mp4", "b/1.mp4", "../other.mp4", "../../other.mp4"])
    (root / "a/loop").symlink_to(target)
    (root / "b/loop").symlink_to("../a")
    second = "b/loop/loop/2.mp4" if target == "x" else "b/loop/x/2.mp4"
    assert found(root) == from_a + ["b/1.mp4", "b/loop/1.mp4", second]


def test_a_file_that_a_class_reaches_twice_is_never_in_both_parts(tmp_path):
    root = make(tmp_path, ["a/1.mp4", "a/x/2.mp4", "b/1.mp4"])
    for link, target in (("a/2.mp4", "1.mp4"), ("a/y", "x"), ("a/x/3.mp4", "2.mp4"), ("a/z.avi", "x/2.mp4")):
        (root / link).symlink_to(target)
    result = split_class_folders(str(root), 0.5, 0)
    real = [os.path.realpath(path) for path, label in result.train + result.valid if label == 0]
    assert sorted(real) == [str(root / "a/1.mp4"), str(root / "a/x/2.mp4")]
    assert result.ignored == {".mp4 (the same file again)": 3}


def test_what_is_no_file_is_no_video(tmp_path):
    root = make(tmp_path, ["a/1.mp4", "b/1.mp4"])
    (root / "a/gone.mp4").symlink_to("nowhere.mp4")
    (root / "a/circle.avi").symlink_to("circle.avi")
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "b/pipe.avi")
    result = split_class_folders(str(root), 0, 0)
    assert below(root, result.train) == [("a/1.mp4", 0), ("b/1.mp4", 1)]
    assert result.ignored == {".mp4 (no file)": 1, ".avi (no file)": 1 + hasattr(os, "mkfifo")}


# --- the split


@pytest.mark.parametrize(
    "count, valid_share, expected",
    [
        (1, 0.5, 0),
        (2, 0.01, 1),
        (2, 0.99, 1),
        (3, 0.99, 2),
        (5, 0.2, 1),
        (9, 0.2, 2),
        (10, 0.2, 2),
        (7, 0.5, 4),
        (5, 0.5, 2),  # a half rounds to the even number
        (10, 0.0, 0),
        (10, 1e-9, 1),
    ],
)
def test_the_share_is_rounded_and_leaves_none_out(count, valid_share, expected):
    result = split(clips("a", count) + clips("b", 10), valid_share)
    assert [label for _, label in result.valid].count(0) == expected
    assert result.without_valid == (["a"] if count == 1 else [])


@on_disk
@given(classes, shares, seeds)
def test_every_video_is_in_one_part_and_every_class_in_both(found, valid_share, seed):
    result = split(paths_of(found), valid_share, seed)
    assert result.names == sorted(found)
    label = {name: number for number, name in enumerate(result.names)}
    assert sorted(result.train + result.valid) == sorted((path, label[path.split("/")[0]]) for path in paths_of(found))
    for part in (result.train, result.valid):
        assert part == sorted(part, key=lambda video: (video[1], video[0]))
    for name, paths in found.items():
        count, most = [each for _, each in result.valid].count(label[name]), len(paths) - 1
        if not valid_share or not most:
            assert count == 0
        else:
            assert 1 <= count <= most
            assert count in (1, most) or abs(count - valid_share * len(paths)) <= 0.5
    assert result.without_valid == [name for name in result.names if valid_share and len(found[name]) == 1]


@on_disk
@given(classes, shares, seeds)
def test_the_split_is_the_same_in_another_place(found, valid_share, seed):
    paths = paths_of(found)
    assert split(paths, valid_share, seed) == split(reversed(paths), valid_share, seed)


def test_the_split_is_the_same_on_any_machine():
    """As it was when lists were first made so; lists of old runs depend on it."""
    result = split(clips("a", 10) + clips("b c", 5), 0.2, seed=1)
    assert result.valid == [("a/0.mp4", 0), ("a/6.mp4", 0), ("b c/4.mp4", 1)]


@on_disk
@given(classes, shares, seeds, st.data())
def test_a_new_class_or_video_leaves_the_other_classes_alone(found, valid_share, seed, data):
    name, path = data.draw(words), data.draw(files)
    before = split(paths_of(found), valid_share, seed)
    after = split(paths_of(found) + [f"{name}/{path}"], valid_share, seed)
    for part, new in ((before.train, after.train), (before.valid, after.valid)):
        others = [path for path, _ in new if path.split("/")[0] != name]
        assert others == [path for path, _ in part if path.split("/")[0] != name]


def test_a_new_video_moves_at_most_one_other_of_its_class():
    for count in range(2, 30):
        before, after = (split(clips("a", n) + clips("b", 2), 0.3).valid for n in (count, count + 1))
        assert len(set(before) ^ set(after)) <= 2


def test_seeds_and_classes_differ():
    results = [split(clips("a", 20) + clips("b", 20), 0.5, seed) for seed in range(5)]
    parts = [
        frozenset(path[2:] for path, label in result.valid if label == wanted)
        for result in results
        for wanted in (0, 1)
    ]
    assert len(set(parts)) == 10


def test_without_validation_all_are_for_training():
    result = split(clips("a", 1) + clips("b", 3), 0)
    assert [path for path, _ in result.train] == clips("a", 1) + clips("b", 3)
    assert (result.valid, result.without_valid) == ([], [])


# --- lists


def read(path: str, num_classes: int) -> list[tuple[str, int]]:
    videos = read_video_list(path, num_classes=num_classes, labelled=True, key="TRAIN.filelist")
    return [(video.path, video.label) for video in videos]


@on_disk
@given(classes, st.floats(0.01, 0.99), seeds)
def test_what_is_written_is_read(found, valid_share, seed):
    with tempfile.TemporaryDirectory() as folder:
        root = make(Path(folder, " some clips "), paths_of(found))
        result = split_class_folders(str(root), valid_share, seed)
        written = result.write(Path(folder, "new/lists"))
        assert read(written.train, len(found)) == result.train
        assert read(written.valid, len(found)) == result.valid
        assert read_class_names(written.labels) == result.names
        assert sorted(os.listdir(Path(folder, "new/lists"))) == ["label.txt", "train.list", "val.list"]


@pytest.mark.parametrize(
    "path", [" /x.mp4", " x .mp4", "\t.mp4", "take 2/take 3.mp4", "a\u2028b\x0c\x1c\x85.mp4", "\ufeff.avi"]
)
def test_odd_names_are_written_and_read(tmp_path, path):
    root = make(tmp_path / "odd 5 \u2029", [f"a 1/{path}", "b\u2028c/1.mp4"])
    result = split_class_folders(str(root), 0, 0)
    written = result.write(str(tmp_path))
    assert read(written.train, 2) == result.train == [(f"{root}/a 1/{path}", 0), (f"{root}/b\u2028c/1.mp4", 1)]
    assert read_class_names(written.labels) == ["a 1", "b\u2028c"]


def test_without_validation_there_is_no_list_of_it(tmp_path):
    root = make(tmp_path / "clips", clips("a", 3) + clips("b", 3))
    lists = tmp_path / "lists"
    assert split_class_folders(str(root), 0.5, 0).write(lists).valid == str(lists / "val.list")
    result = split_class_folders(str(root), 0, 0)
    assert result.write(lists) == (str(lists / "train.list"), None, str(lists / "label.txt"))
    assert sorted(os.listdir(lists)) == ["label.txt", "train.list"]


@pytest.mark.parametrize("valid_share", [0.0, 0.5])
def test_whether_a_folder_has_the_same_lists(tmp_path, valid_share):
    """One without lists has none that differ."""
    root, lists = make(tmp_path / "clips ü", clips("a", 4) + clips("b", 4)), tmp_path / "lists"
    result = split_class_folders(str(root), valid_share, 0)
    assert result.are_listed_in(lists) and result.are_listed_in(str(tmp_path))
    result.write(lists)
    assert result.are_listed_in(lists) and split_class_folders(str(root), valid_share, 0).are_listed_in(str(lists))
    assert not split_class_folders(str(root), 0.3, 0).are_listed_in(lists)
    make(root, ["a/new.mp4"])
    assert not split_class_folders(str(root), valid_share, 0).are_listed_in(lists)
    (root / "a/new.mp4").unlink()
    assert split_class_folders(str(root), valid_share, 0).are_listed_in(lists)
    (root / "b/3.mp4").unlink()
    assert not split_class_folders(str(root), valid_share, 0).are_listed_in(lists)


def test_a_video_that_moved_to_another_class_or_part_is_listed_anew(tmp_path):
    root, lists = make(tmp_path / "clips", clips("a", 3) + clips("b", 3)), tmp_path / "lists"
    result = split_class_folders(str(root), 0.4, 0)
    result.write(lists)
    (path, label), *others = result.train
    assert not result._replace(train=[(path, label + 1), *others]).are_listed_in(lists)
    assert not result._replace(train=others, valid=[(path, label), *result.valid]).are_listed_in(lists)
    assert not result._replace(valid=[]).are_listed_in(lists)


@pytest.mark.parametrize("name", [" a", "a "])
def test_a_class_name_with_blanks_around_it_is_refused(tmp_path, name):
    result = split_class_folders(str(make(tmp_path / "clips", [f"{name}/1.mp4", "b/1.mp4"])), 0, 0)
    with pytest.raises(InputError, match=rf"label\.txt: not written, class 0 has the name '{name}'"):
        result.write(tmp_path / "lists")
    assert not (tmp_path / "lists").exists()


def test_lists_that_cannot_be_written_are_named(tmp_path):
    result = split_class_folders(str(make(tmp_path, ["a/1.mp4", "b/1.mp4"])), 0, 0)
    with pytest.raises(InputError, match=r"cannot write .*a/1\.mp4/label\.txt"):
        result.write(tmp_path / "a/1.mp4")


# --- what is refused


@pytest.mark.parametrize("folder", ["", "no/such", "zero\0byte"])
def test_a_missing_folder(folder):
    with pytest.raises(InputError, match=f"^{folder}: no such folder; give a folder with a sub-folder of"):
        split_class_folders(folder, 0.2, 0)


def test_a_file_is_no_folder(tmp_path):
    make(tmp_path, ["train.list"])
    with pytest.raises(InputError, match=r"train\.list: is a file; give a folder with a sub-folder of videos"):
        split_class_folders(str(tmp_path / "train.list"), 0.2, 0)


@pytest.mark.parametrize("locked", ["", "a", "b/x"])
def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch, locked):
    """Also below a class: its videos would be missed without a word."""
    make(tmp_path, ["a/1.mp4", "b/x/1.mp4", "b/2.mp4"])
    scandir = os.scandir

    def refuse(path):
        if Path(path) == tmp_path / locked:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    place = re.escape(str(tmp_path / locked))
    with pytest.raises(InputError, match=f"^cannot read the folder {place}: Permission denied; see its permissions$"):
        split_class_folders(str(tmp_path), 0.2, 0)


@pytest.mark.parametrize("paths", [[], [".hidden/1.mp4"], ["readme.txt"]])
def test_a_folder_without_class_folders(tmp_path, paths):
    text = message(tmp_path, paths)
    assert text.startswith(f"{tmp_path}: no class folders in it; the form is FOLDER/CLASS/video.mp4")


def test_videos_in_no_class_folder(tmp_path):
    text = message(tmp_path, ["1.mp4", "2.MKV", "readme.txt"])
    assert text.startswith(f"{tmp_path}: its videos are in no class folder; the form is FOLDER/CLASS/video.mp4")


@pytest.mark.parametrize(
    "parts, extra",
    [
        (["train", "val", "test"], []),
        (["Train", "Validation"], []),
        (["train_256", "val_256"], []),
        (["train"], []),
        (["train", "val"], ["annotations/val.csv"]),
        (["train", "test"], ["test/no class.mp4"]),
    ],
)
def test_classes_one_level_deeper(tmp_path, parts, extra):
    text = message(tmp_path, [f"{part}/{name}/1.mp4" for part in parts for name in ("swim", "yoga")] + extra)
    named = ", ".join(map(repr, sorted(parts)))
    assert text == (
        f"{tmp_path}: {named} look like parts of a data set, with the class folders in them; give one of them,"
        f" as {tmp_path / min(parts)}, or lists: --set TRAIN.filelist=LIST --set VALID.filelist=LIST"
    )


@pytest.mark.parametrize(
    "paths",
    [["train/x/1.mp4", "car/x/1.mp4"], ["train/1.mp4", "test/1.mp4"], ["training hall/x/1.mp4", "valley/1.mp4"]],
)
def test_a_class_may_be_called_train(tmp_path, paths):
    assert found(make(tmp_path, paths)) == sorted(paths)


def test_class_folders_without_videos_are_named(tmp_path):
    text = message(tmp_path, [*clips("good", 2), "a b/1.jpg", "c/.1.mp4", "d/x/notes"])
    assert text.startswith(f"{tmp_path}: no videos (.3gp, .avi, ")
    assert text.endswith(".wmv) in 'a b', 'c', 'd'; add videos, or remove the folder")


@pytest.mark.parametrize("count, end", [(5, "'4'; add"), (6, "'4' and 1 more; add"), (20, "'12' and 15 more; add")])
def test_of_many_class_folders_without_videos_five_are_named(tmp_path, count, end):
    assert f" in {', '.join(map(repr, sorted(map(str, range(count)))[:4]))}, {end} videos" in message(
        tmp_path, [f"{number}/1.txt" for number in range(count)]
    )


def test_a_class_folder_that_leads_up_has_no_videos(tmp_path):
    make(tmp_path, clips("a", 2) + clips("b", 2))
    (tmp_path / "self").symlink_to(".")
    assert "in 'self'; add videos, or remove the folder" in message(tmp_path)


def test_one_class_is_too_few(tmp_path):
    text = message(tmp_path, clips("swim", 3))
    assert text == f"{tmp_path}: only one class folder, 'swim'; at least two are needed"


def test_one_class_that_holds_folders_may_be_the_folder_meant(tmp_path):
    text = message(tmp_path, clips("UCF101/swim", 3) + clips("UCF101/yoga", 3))
    assert text.endswith(f"'UCF101'; at least two are needed; if the classes are in it, give {tmp_path / 'UCF101'}")


def test_one_video_a_class_leaves_none_for_validation(tmp_path):
    text = message(tmp_path, ["a/1.mp4", "b/1.mp4"])
    assert text == f"{tmp_path}: one video a class leaves none for validation; add videos, or set its share to 0"
    assert len(split_class_folders(str(tmp_path), 0, 0).train) == 2


@pytest.mark.parametrize("valid_share", [-0.1, 1, 20, float("nan")])
def test_a_share_out_of_range(tmp_path, valid_share):
    text = message(tmp_path, clips("a", 2) + clips("b", 2), valid_share)
    assert text == f"a share of {valid_share} for validation; it must be 0 or more and below 1, as 0.2"


@pytest.mark.parametrize(
    "path", [b"a/line\nbreak.mp4", b"a/line\rbreak.mp4", b"two\nlines/1.mp4", b"a/caf\xe9.mp4", b"caf\xe9/x/1.mp4"]
)
def test_a_name_that_fits_no_list_is_named(tmp_path, path):
    try:
        make(tmp_path, [*clips("b", 2), os.fsdecode(path)])
    except OSError:
        pytest.skip("the file system refuses such names")
    text = message(tmp_path)
    assert (
        text == f"{str(tmp_path / os.fsdecode(path))!r} does not fit a list, one line of UTF-8 text a video; rename it"
    )
    assert text.isprintable()


def test_a_name_that_fits_no_list_may_be_above(tmp_path):
    assert r"one\nline/a/0.mp4' does not fit a list" in message(tmp_path / "one\nline", clips("a", 2) + clips("b", 2))


def test_names_of_ignored_files_may_be_odd(tmp_path):
    make(tmp_path, [*clips("a", 1), *clips("b", 1), "a/line\nbreak.txt", os.fsdecode(b"b/caf\xe9")])
    assert split_class_folders(str(tmp_path), 0, 0).ignored == {".txt": 1, "no extension": 1}


def test_the_lists_of_a_config_are_found_from_any_folder(tmp_path, monkeypatch):
    make(tmp_path / "data", clips("a", 2) + clips("b", 2))
    monkeypatch.chdir(tmp_path)
    settings, _ = list_own_videos("data", Config(), Path("own/lists"), going_on=False)
    assert settings.TRAIN.filelist == str(tmp_path / "own/lists/train.list")
    assert settings.VALID.filelist == settings.TEST.filelist == str(tmp_path / "own/lists/val.list")


def test_lists_behind_a_link_are_not_replaced(tmp_path):
    data, elsewhere = make(tmp_path / "data", clips("a", 2) + clips("b", 2)), tmp_path / "elsewhere"
    make(elsewhere, ["val.list", "train.list"])
    (tmp_path / "own").mkdir()
    (tmp_path / "own/lists").symlink_to(elsewhere)
    with pytest.raises(InputError, match=r"cannot write to the folder \S+/own/lists: it is a link"):
        list_own_videos(str(data), Config(), tmp_path / "own/lists", going_on=False)
    assert sorted(path.name for path in elsewhere.iterdir()) == ["train.list", "val.list"]
    assert not any(path.stat().st_size for path in elsewhere.iterdir())
