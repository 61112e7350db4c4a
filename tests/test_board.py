"""Curves: curves.jsonl and VisualDL's, also of a training that goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from media import plant
from tiny import Training, make_batches, make_network, make_scores
from visualdl import LogReader

from video_zoo.engine.board import Board, curves_of, training_of
from video_zoo.engine.checkpoint import State
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file


def points(folder: Path, name: str = "curves.jsonl") -> list[dict]:
    """Without the first line, the training's id."""
    first, *rest = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    assert list(first) == ["training"]
    return rest


def drawn(folder: Path, tag: str) -> list[tuple[int, float, int]]:
    """A curve as VisualDL has it: steps, values, times in milliseconds. It shows one file a folder."""
    (file,) = (folder / "visualdl").iterdir()
    return [(each.id, each.value, each.timestamp) for each in LogReader(file_path=str(file)).get_data("scalar", tag)]


def write(folder: Path, *curve: tuple[str, int, float], training: str = "t1", **keys) -> None:
    """Points (phase, step, loss) of a board, which is closed."""
    folder.mkdir(exist_ok=True)
    board = Board(folder, training, **keys)
    for phase, step, loss in curve:
        board.add(phase, step, make_scores(loss, 0.25, 0.75, 8))
    board.close()


def test_the_board_writes_every_point_twice(tmp_path):
    """A line of curves.jsonl as soon as it comes, and VisualDL's scalar, in percent as the log has it."""
    board = Board(tmp_path, "t1")
    start = time.time()
    for number, (step, loss) in enumerate(((0, 1.5), (1, 1.25), (5, 0.5)), 1):
        board.add("train", step, make_scores(loss, 0.25, 0.75, 8), learning_rate=0.01)
        assert len(points(tmp_path)) == number
    board.add("valid", 5, make_scores(2.0, 0.5, 1.0, 3))
    board.close()

    def curve(tag: str) -> list[tuple[int, float]]:
        return [(step, value) for step, value, _ in drawn(tmp_path, tag)]

    assert curve("train/loss") == [(0, 1.5), (1, 1.25), (5, 0.5)]
    assert curve("train/top1") == [(0, 25.0), (1, 25.0), (5, 25.0)]
    assert [step for step, _ in curve("train/learning_rate")] == [0, 1, 5]
    assert [value for _, value in curve("train/learning_rate")] == pytest.approx([0.01] * 3)
    assert curve("valid/top5") == [(5, 100.0)] and curve("valid/loss") == [(5, 2.0)]
    (file,) = (tmp_path / "visualdl").iterdir()
    tags = set(LogReader(file_path=str(file)).get_tags()["scalar"])
    names = {f"{phase}/{name}" for phase in ("train", "valid") for name in ("loss", "top1", "top5")}
    assert {tag for tag in tags if "/" in tag and not tag.startswith("__")} >= names | {"train/learning_rate"}
    assert not {"train/step", "train/time_s", "train/phase"} & tags
    rows = points(tmp_path)
    assert all(start - 0.001 <= row.pop("time_s") <= time.time() for row in rows)
    assert rows[2] == {"phase": "train", "step": 5, "loss": 0.5, "top1": 0.25, "top5": 0.75, "learning_rate": 0.01}
    assert rows[3] == {"phase": "valid", "step": 5, "loss": 2.0, "top1": 0.5, "top5": 1.0}
    assert {path.name for path in tmp_path.iterdir()} == {"visualdl", "curves.jsonl"}


def test_training_draws_a_curve(tmp_path):
    training = Training(make_network())
    training.state.global_step, training.board = 4, Board(tmp_path, "t1")
    training.run(make_batches(1, 1))
    training.board.close()
    assert [step for step, *_ in drawn(tmp_path, "train/loss")] == [4, 5]
    assert [row["step"] for row in points(tmp_path)] == [4, 5]
    names = {"phase", "step", "time_s", "loss", "top1", "top5", "learning_rate", "reader_ms", "compute_ms"}
    assert all(set(row) == names for row in points(tmp_path))


# --- a training that goes on

TWO_EPOCHS = [("train", 0, 1.0), ("train", 1, 2.0), ("valid", 2, 3.0), ("train", 2, 4.0), ("train", 3, 5.0)]
TWO_EPOCHS += [("valid", 4, 6.0)]


@pytest.mark.parametrize(
    "state, kept",
    [
        (State(epoch=2, iteration=0, global_step=4), 6),  # at the end of the second epoch
        (State(epoch=1, iteration=2, global_step=4), 5),  # before its validation
        (State(epoch=1, iteration=1, global_step=3), 4),
        (State(epoch=1, iteration=0, global_step=2), 3),  # the first epoch's validation is its own
        (State(epoch=0, iteration=2, global_step=2), 2),
        (State(epoch=0, iteration=1, global_step=1), 1),
        (State(), 0),
        (State(epoch=9, iteration=3, global_step=99), 6),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_going_on_cuts_the_points_that_come_again(tmp_path, state, kept, elsewhere):
    """The others keep their times. VisualDL has one file, with each of them once."""
    write(tmp_path / "a", *TWO_EPOCHS)
    before, folder = points(tmp_path / "a"), tmp_path / ("b" if elsewhere else "a")
    write(folder, ("train", 50, 9.0), earlier=tmp_path / "a", state=state)
    assert points(folder)[:-1] == before[:kept]
    assert {path.name for path in folder.iterdir()} == {"visualdl", "curves.jsonl"}
    if elsewhere:
        assert points(tmp_path / "a") == before
    for phase in ("train", "valid"):
        expected = [(row["step"], row["loss"], round(1000 * row["time_s"])) for row in points(folder)]
        if rows := [each for each, row in zip(expected, points(folder)) if row["phase"] == phase]:
            assert drawn(folder, f"{phase}/loss") == rows


def test_a_training_that_is_stopped_again_and_again_has_one_curve(tmp_path):
    for step in range(4):
        state = State(iteration=step + 1, global_step=step)
        write(tmp_path, ("train", step, 0.5), ("train", step + 1, 9.0), earlier=tmp_path, state=state)
    assert [(row["step"], row["loss"]) for row in points(tmp_path)] == [(0, 0.5), (1, 0.5), (2, 0.5), (3, 0.5), (4, 9)]
    assert [step for step, *_ in drawn(tmp_path, "train/loss")] == list(range(5))


def test_a_half_last_line_is_what_a_kill_leaves(tmp_path, log):
    write(tmp_path, *TWO_EPOCHS)
    path = tmp_path / "curves.jsonl"
    whole = path.read_text()
    for cut in (1, 20, len(whole.splitlines()[-1])):
        path.write_text(whole[:-cut])
        write(tmp_path, earlier=tmp_path, state=State(2, 0, 4))
        assert len(points(tmp_path)) == (6 if cut == 1 else 5)  # its newline alone is nothing
    assert log.messages == []


@pytest.mark.parametrize(
    "line",
    ["", "{", "3", "null", "\x00\xff", '{"step": 1}', '{"step": 1, "phase": "train"}']
    + ['{"step": null, "phase": "train", "time_s": 1}', '{"step": 1, "phase": "other", "time_s": 1}']
    + ['{"step": true, "phase": "train", "time_s": 1}', '{"step": -1, "phase": "train", "time_s": 1}', "[" * 100_000]
    + ['{"step": 1, "phase": ["train"], "time_s": 1}', '{"step": 1, "phase": "train", "time_s": NaN}']
    + [f'{{"step": 1, "phase": "train", "time_s": 1{"0" * 400}}}', '{"step": 1, "phase": "train", "time_s": 1e300}']
    + [f'{{"step": 1, "phase": "train", "time_s": 1, "loss": {value}}}' for value in ('"x"', "[1]", "null", "true")]
    + [f'{{"step": 1, "phase": "train", "time_s": 1, "loss": 1{"0" * 400}}}']
    + [f'{{"step": 1, "phase": "train", "time_s": 1, "{name}": 1}}' for name in ("a%", "", "a" * 51, "a/b", "ü")],
)
def test_a_damaged_line_is_left_out_with_a_warning(tmp_path, log, line):
    write(tmp_path, *TWO_EPOCHS)
    path = tmp_path / "curves.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], line, *lines[3:]]) + "\n")
    write(tmp_path, earlier=tmp_path, state=State(2, 0, 4))
    assert path.read_text().splitlines() == lines
    assert log.messages == [f"{path}, line 4 is no point of a curve: left out"]


def test_what_a_future_version_adds_to_a_point_is_kept(tmp_path):
    write(tmp_path, ("train", 0, 1.0))
    path = tmp_path / "curves.jsonl"
    first = json.dumps({"training": "t1", "host": "a"})
    path.write_text(f"{first}\n{json.dumps({**points(tmp_path)[0], 'gradient_norm': 2.5})}\n")
    write(tmp_path, earlier=tmp_path, state=State(iteration=1, global_step=1))
    assert points(tmp_path)[0]["gradient_norm"] == 2.5
    assert [value for _, value, _ in drawn(tmp_path, "train/gradient_norm")] == [2.5]


def test_a_loss_that_is_no_number_is_a_point(tmp_path):
    """As a validation may give it."""
    write(tmp_path, ("valid", 0, float("nan")), ("valid", 1, float("inf")))
    before = (tmp_path / "curves.jsonl").read_text()
    write(tmp_path, earlier=tmp_path, state=State(epoch=2, global_step=2))
    assert (tmp_path / "curves.jsonl").read_text() == before


@pytest.mark.parametrize("earlier", [None, "nowhere", ""])
def test_without_earlier_curves_it_begins(tmp_path, earlier):
    write(tmp_path, ("train", 3, 1.0), earlier=None if earlier is None else tmp_path / earlier, state=State(1, 0, 3))
    assert [row["step"] for row in points(tmp_path)] == [3]


def test_the_curves_of_a_training_are_found_by_its_id(tmp_path):
    """Wherever in the folder they were set aside."""
    assert curves_of(tmp_path, "t1") is None and curves_of(tmp_path / "nowhere", "t1") is None
    for training in ("t1", "t2", "t3"):
        write(tmp_path, training=training)
    for training in ("t1", "t2", "t3"):
        path = curves_of(tmp_path, training)
        assert training_of(path) == training and (path.name == "curves.jsonl") is (training == "t3")
    assert curves_of(tmp_path, "t4") is None


def test_a_training_goes_on_after_another_one_in_its_folder(tmp_path):
    write(tmp_path, ("train", 0, 1.0), ("train", 1, 1.0))
    write(tmp_path, ("train", 0, 2.0), training="t2")
    write(tmp_path, ("train", 1, 3.0), earlier=tmp_path, state=State(0, 1, 1))
    assert [(row["step"], row["loss"]) for row in points(tmp_path)] == [(0, 1.0), (1, 3.0)]
    assert [row["loss"] for row in points(tmp_path, curves_of(tmp_path, "t2").name)] == [2.0]
    assert [value for _, value, _ in drawn(tmp_path, "train/loss")] == [1.0, 3.0]


def test_of_several_curves_that_were_set_aside_the_last_one_goes_on(tmp_path):
    write(tmp_path, ("train", 0, 1.0))
    write(tmp_path, training="t2")
    write(tmp_path, ("train", 1, 1.0), earlier=tmp_path, state=State(0, 1, 1))
    write(tmp_path, training="t3")
    write(tmp_path, ("train", 2, 1.0), earlier=tmp_path, state=State(0, 2, 2))
    assert [row["step"] for row in points(tmp_path)] == [0, 1, 2]


def test_of_curves_that_were_set_aside_the_longest_goes_on_whatever_the_clock_said(tmp_path):
    write(tmp_path, ("train", 0, 1.0))
    os.utime(tmp_path / "curves.jsonl", (2e9, 2e9))
    write(tmp_path, training="t2")
    write(tmp_path, ("train", 1, 1.0), earlier=tmp_path, state=State(0, 1, 1))
    os.utime(tmp_path / "curves.jsonl", (1e9, 1e9))
    write(tmp_path, training="t3")
    write(tmp_path, ("train", 2, 1.0), earlier=tmp_path, state=State(0, 2, 2))
    assert [row["step"] for row in points(tmp_path)] == [0, 1, 2]


def test_a_training_that_went_back_has_its_own_curves(tmp_path):
    """They begin with the points of before, and the other training's stay."""
    write(tmp_path, *TWO_EPOCHS)
    before = (tmp_path / "curves.jsonl").read_text()
    write(tmp_path, ("train", 2, 7.0), training="t2", branch_of="t1", earlier=tmp_path, state=State(1, 0, 2))
    assert [row["loss"] for row in points(tmp_path)] == [1.0, 2.0, 3.0, 7.0] and curves_of(tmp_path, "t2").exists()
    assert curves_of(tmp_path, "t1").read_text() == before


def test_a_link_in_the_place_of_visualdls_file_is_not_followed(tmp_path, monkeypatch):
    """Nor one that appears after what lay there was removed, with VisualDL's own name of any second."""
    victim, begun = tmp_path / "victim", int(time.time())
    victim.write_text("precious")

    def planted(path):
        for second in range(begun, begun + 100):
            plant("link", path.parent / f"visualdl/vdlrecords.{second:010d}.log", victim)
        return atomic_file(path)

    write(tmp_path / "a", ("train", 0, 1.0))
    plant("link", tmp_path / "a/visualdl/vdlrecords.1.log", victim)
    monkeypatch.setattr("video_zoo.engine.board.atomic_file", planted)
    write(tmp_path / "a", ("train", 1, 1.0))
    assert victim.read_text() == "precious"
    files = list((tmp_path / "a/visualdl").iterdir())
    assert len(files) == 101 and sum(not path.is_symlink() for path in files) == 1


@pytest.mark.parametrize("kind", ["link", "dangling link"])
def test_nothing_is_removed_from_where_a_link_leads(tmp_path, kind):
    write(tmp_path / "a", ("train", 0, 1.0))
    (tmp_path / "a/visualdl").rename(tmp_path / "victim")
    before = list((tmp_path / "victim").iterdir())
    plant(kind, tmp_path / "a/visualdl", tmp_path / "victim")
    write(tmp_path / "a", ("train", 1, 1.0))
    assert list((tmp_path / "victim").iterdir()) == before and not (tmp_path / "new").exists()
    assert drawn(tmp_path / "a", "train/loss") and not (tmp_path / "a/visualdl").is_symlink()


def test_curves_without_an_end_are_none(tmp_path):
    for target in ("/dev/zero", tmp_path / "pipe"):
        (tmp_path / "curves.jsonl").unlink(missing_ok=True)
        (tmp_path / "curves.jsonl").symlink_to(target)
        os.mkfifo(tmp_path / "pipe") if target != "/dev/zero" else None
        assert training_of(tmp_path / "curves.jsonl") is None and curves_of(tmp_path, "t1") is None


# --- an earlier training's curves


@pytest.mark.parametrize("apart_s", [0, 100])
def test_an_earlier_trainings_curves_are_set_aside(tmp_path, log, apart_s):
    """With their time in the name; a third training leaves both, also of one second."""
    contents = []
    for number in range(3):
        write(tmp_path, ("train", 0, float(number)), training=f"t{number}")
        contents.append((tmp_path / "curves.jsonl").read_text())
        for path in (tmp_path / "curves.jsonl", tmp_path / "visualdl"):
            os.utime(path, (1e9 + apart_s * number,) * 2)
    aside = sorted(tmp_path.glob("curves.*-*.jsonl"))
    assert [path.read_text() for path in aside] == contents[:2]
    assert all(re.fullmatch(r"curves\.\d{8}-\d{6}_?\.jsonl", path.name) for path in aside)
    boards = [path for path in tmp_path.glob("visualdl*") if path.name != "visualdl"]
    assert len(boards) == 2 and all(len(list(path.iterdir())) == 1 for path in boards)
    assert [row["loss"] for row in points(tmp_path)] == [2.0]
    assert [value for _, value, _ in drawn(tmp_path, "train/loss")] == [2.0]
    assert len(log.messages) == 4 and all(
        "the curves of an earlier training are now in" in line for line in log.messages
    )


@pytest.mark.parametrize("first", ["", "{", "3", "null", "[]", "{}", "\x00\xff", '{"step": 0, "phase": "train"}', None])
def test_curves_without_an_id_belong_to_no_training(tmp_path, first):
    """Of a version before ids, or damaged, or a folder of that name: they are set aside."""
    write(tmp_path, ("train", 0, 1.0))
    path = tmp_path / "curves.jsonl"
    if first is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_text("\n".join([first, *path.read_text().splitlines()[1:]]))
    before = None if first is None else path.read_bytes()
    assert training_of(path) is None and curves_of(tmp_path, "t1") is None
    write(tmp_path, ("train", 1, 2.0), earlier=tmp_path, state=State(0, 1, 1))
    assert training_of(path) == "t1" and [row["step"] for row in points(tmp_path)] == [1]
    (aside,) = tmp_path.glob("curves.*-*.jsonl")
    assert aside.is_dir() if before is None else aside.read_bytes() == before
    assert [step for step, *_ in drawn(tmp_path, "train/loss")] == [1]


def test_going_on_with_another_trainings_curve_sets_the_folders_aside(tmp_path):
    write(tmp_path / "a", ("train", 0, 1.0), ("train", 1, 1.0))
    write(tmp_path / "b", ("train", 0, 2.0), training="t2")
    write(tmp_path / "b", ("train", 1, 3.0), earlier=tmp_path / "a", state=State(0, 1, 1))
    assert [(row["step"], row["loss"]) for row in points(tmp_path / "b")] == [(0, 1.0), (1, 3.0)]
    (aside,) = (tmp_path / "b").glob("curves.*-*.jsonl")
    assert training_of(aside) == "t2" and [row["loss"] for row in points(tmp_path / "b", aside.name)] == [2.0]
    assert [value for _, value, _ in drawn(tmp_path / "b", "train/loss")] == [1.0, 3.0]


@pytest.mark.parametrize("other", ["link", "copy"])
def test_the_same_curves_in_another_place_are_the_same(tmp_path, other):
    """Nothing is set aside."""
    write(tmp_path / "a", ("train", 0, 1.0))
    if other == "link":
        (tmp_path / "link").symlink_to("a")
    else:
        shutil.copytree(tmp_path / "a", tmp_path / "copy")
    write(tmp_path / "a", ("train", 1, 2.0), earlier=tmp_path / other, state=State(0, 1, 1))
    assert [row["loss"] for row in points(tmp_path / "a")] == [1.0, 2.0]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"visualdl", "curves.jsonl"}


# --- places that cannot be written


def test_a_full_disk_is_an_input_error(tmp_path):
    board = Board(tmp_path, "t1")

    class Full:
        name = str(tmp_path / "curves.jsonl")

        def write(self, text):
            raise OSError(28, "No space left on device")

        def close(self):
            raise OSError(28, "No space left on device")

    board._file.close()
    board._file = Full()
    with pytest.raises(InputError, match=r"cannot write .*curves\.jsonl: No space left on device"):
        board.add("train", 0, make_scores(1.0, 0.0, 0.0, 1))
    with pytest.raises(InputError, match=r"cannot write the curves: No space left on device"):
        board.close()
    board._writer.close()
