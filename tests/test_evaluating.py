"""test.py as a user runs it: an evaluation of a list, in any engine, that can be stopped and goes on."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from preloaded import PRELOADED, ROOT, rank_environments

SIZES = ("--set", "TEST.short_size=32", "--set", "TEST.target_size=32", "--set", "TEST.num_reader_threads=0")


@pytest.fixture
def evaluated(place, moving_shapes, run_cli, tmp_path):
    """Runs test.py of the tiny network on the 9 validation clips, into tmp_path; returns the process."""

    def run(*flags: str, code: int = 0, weights: str = "weights"):
        common = (f"--config={place}/tiny.yaml", f"--weights={place}/{weights}", f"--filelist={moving_shapes}/val.list")
        result = run_cli("test.py", *common, *SIZES, f"--save_dir={tmp_path}", *flags)
        assert result.returncode == code, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result

    return run


def read(folder: Path) -> tuple[dict, list[dict]]:
    """eval.json and the rows of predictions.csv."""
    with open(folder / "eval/predictions.csv", encoding="utf-8", newline="") as file:
        return json.loads((folder / "eval/eval.json").read_text()), list(csv.DictReader(file))


FILES = {"eval.json", "predictions.csv", "per_class.csv", "confusion.csv", "report.html"}


def test_an_evaluation_counts_every_video_once_and_says_how_it_came_about(evaluated, moving_shapes, place, tmp_path):
    result = evaluated("--batch_size=2", "--order", "reverse", "shuffle")
    said, rows = read(tmp_path)
    assert {path.name for path in (tmp_path / "eval").iterdir()} == FILES
    listed = [line.split() for line in (moving_shapes / "val.list").read_text().splitlines()]
    assert [(row["video"], row["label"]) for row in rows] == list(map(tuple, listed))
    right = sum(row["rank"] == "1" for row in rows)
    for order in ("natural", "reverse", "shuffle"):
        end = "" if order == "natural" else f"_{order}"
        assert said["scores"][order]["top1"]["value"] == sum(row[f"rank{end}"] == "1" for row in rows) / 9
    assert said["headline"] == f"top-1 {right / 9:.4f} on 9 of 9 videos, 4 of 4 classes"
    assert f"{said['headline']}; {tmp_path}/eval/report.html" in result.stdout
    assert "over 9 of 9 videos" in result.stdout and f"top1_acc: {100 * right / 9:.2f}" in result.stdout
    assert said["weights"]["name"] == f"{place}/weights" and len(said["weights"]["sha256"]) == 64
    assert said["engine"]["name"] == "paddle" and f"Paddle {said['paddle']}, " in said["engine"]["description"]
    assert said["list"]["videos"] == 9 and said["model"] == "TSM"
    assert not (tmp_path / "eval.partial").exists()
    one_by_one = evaluated("--batch_size=1", "--log_interval=0")
    assert "[EVAL] Batch" not in one_by_one.stdout
    again, rows_again = read(tmp_path)
    assert [row["predicted"] for row in rows_again] == [row["predicted"] for row in rows]
    assert again["scores"]["natural"]["loss"]["value"] == pytest.approx(
        said["scores"]["natural"]["loss"]["value"], 1e-5
    )


def test_an_evaluation_that_is_stopped_goes_on_with_the_same_digits(evaluated, place, moving_shapes, tmp_path):
    evaluated("--batch_size=1", "--save_dir", f"{tmp_path}/whole")
    common = (f"--config={place}/tiny.yaml", f"--weights={place}/weights", f"--filelist={moving_shapes}/val.list")
    flags = (*SIZES, f"--save_dir={tmp_path}", "--batch_size=1", "--set", "TEST.num_reader_threads=1")
    with PRELOADED.start(["test.py", *common, *flags]) as process:
        for line in process.stdout:
            if "[EVAL] Batch 2" in line:
                process.send_signal(signal.SIGTERM)
                break
        assert re.search(r"stopped by SIGTERM. .*; to go on: python test.py .* --resume=auto\n$", process.stdout.read())
        assert process.wait() == 143
    assert not (tmp_path / "eval").exists()
    (tmp_path / "same").symlink_to(f"{place}/weights")
    result = evaluated("--batch_size=1", "--resume=auto", f"--weights={tmp_path}/same")
    assert "going on with batch " in result.stdout and "[EVAL] Batch 0" not in result.stdout
    whole, parts = read(tmp_path / "whole"), read(tmp_path)
    assert parts[1] == whole[1] and parts[0]["scores"] == whole[0]["scores"]
    for flags, left in ((["--resume=auto"], 0), (["--resume=auto", "--order=reverse"], 9), ([], 9)):
        result = evaluated("--batch_size=1", *flags)
        assert result.stdout.count("[EVAL] Batch ") == left
        assert ("nothing is left to do" in result.stdout) == (not left)


def test_a_deployment_folder_is_measured_in_the_engine_that_will_run_it(exported, evaluated, tmp_path):
    evaluated()
    expected = read(tmp_path)[1]
    for engine in ("onnxruntime", "openvino"):
        result = evaluated(f"--engine={engine}", weights="exported")
        said, rows = read(tmp_path)
        assert "Paddle 3" not in result.stdout and said["paddle"] is None  # it was not started
        assert said["engine"]["name"] == engine and said["weights"]["name"].endswith("exported")
        assert [row["predicted"] for row in rows] == [row["predicted"] for row in expected]
        for row, other in zip(rows, expected):
            assert float(row["probability"]) == pytest.approx(float(other["probability"]), abs=1e-4)


def test_the_views_of_a_deployment_folder_are_those_of_its_config(exported, place, run_cli):
    weights, sizes = f"--weights={place}/exported", ("--set", "TEST.short_size=32", "--set", "TEST.target_size=32")
    result = run_cli("test.py", weights, "--show_views=9,40,32", *sizes)
    (view,) = json.loads(result.stdout)["views"]
    assert view["frames"] == [1, 5] and view["crop"][2:] == [32, 32]
    result = run_cli("test.py", weights, "--protocol=dense10x3", "--show_views=9,40,32")
    assert result.returncode == 1 and "exported with other settings than the flags give" in result.stderr
    assert " a clip of 2 x 224 px" in run_cli("test.py", weights, "--list_protocols").stdout


def test_videos_that_fail_are_named_beside_the_number(evaluated, moving_shapes, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    lines = [f"{moving_shapes}/{line}" for line in (moving_shapes / "val.list").read_text().splitlines()[:3]]
    (tmp_path / "bad.list").write_text("\n".join([f"{tmp_path}/text.mp4 1", *lines]))
    flags = (f"--filelist={tmp_path}/bad.list", "--batch_size=1")
    result = evaluated(*flags, code=1)
    assert "1 of 4 videos of " in result.stderr and not (tmp_path / "eval").exists()
    result = evaluated(*flags, "--set", "TEST.max_bad_videos=0.5")
    said, rows = read(tmp_path)
    assert len(rows) == 3 and "on 3 of 4 videos (1 failed)" in said["headline"]
    (failed,) = said["videos"]["failed"]
    assert failed["video"] == f"{tmp_path}/text.mp4" and "it is no video" in failed["reason"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--order", "reverse", "--set", "TEST.seg_num=1"], "--order: a clip of one frame has no other order"),
        (["--engine=paddel"], "no engine named 'paddel'"),
        (["--filelist={folder}/no.list"], "no list {folder}/no.list (TEST.filelist)"),
        (["--filelist={folder}/unlabelled.list"], "unlabelled.list, line 1: "),
        (["--save_dir={folder}/foreign"], "foreign/eval holds letter.txt, and would be replaced"),
        (["--save_dir={folder}/linked"], "it is a link"),
        (["--compare", "{folder}", "{folder}/foreign/eval"], "{folder}"),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_lost(evaluated, moving_shapes, tmp_path, flags, message):
    (tmp_path / "unlabelled.list").write_text(f"{moving_shapes}/backwards.mp4\n")
    (tmp_path / "foreign/eval").mkdir(parents=True)
    (tmp_path / "foreign/eval/letter.txt").write_text("dear")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/eval").symlink_to("../foreign/eval")
    result = evaluated(*(flag.format(folder=tmp_path) for flag in flags), code=1)
    assert result.stderr.startswith("error: ") and message.format(folder=tmp_path) in result.stderr
    assert [path.name for path in (tmp_path / "foreign/eval").iterdir()] == ["letter.txt"]


def test_a_folder_whose_name_is_no_text_is_compared(evaluated, tmp_path):
    evaluated()
    folder = tmp_path / "a\udcff"
    folder.mkdir()
    (tmp_path / "eval").rename(folder / "eval")
    command = [sys.executable, "test.py", "--compare", folder / "eval", folder / "eval", f"--save_dir={tmp_path}"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and f"{tmp_path}/a\\udcff/eval" in result.stdout, result.stderr
    assert (tmp_path / "compare/compare.html").exists()


def test_an_earlier_evaluation_stays_until_the_new_one_is_there(evaluated, tmp_path):
    evaluated()
    before = {path.name: path.read_bytes() for path in (tmp_path / "eval").iterdir()}
    evaluated("--filelist=no.list", code=1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "eval").iterdir()} == before


def test_two_processes_share_a_list(evaluated, place, moving_shapes, tmp_path):
    """Nine videos in batches of two: the last one is the first process's alone."""
    evaluated("--batch_size=2", f"--save_dir={tmp_path}/alone")
    flags = (f"--config={place}/tiny.yaml", f"--weights={place}/weights", f"--filelist={moving_shapes}/val.list")
    command = ["test.py", *flags, *SIZES, "--batch_size=2", f"--save_dir={tmp_path}", "--use_gpu=False"]
    first, second = (PRELOADED.start(command, environment=each) for each in rank_environments())
    assert "over 9 of 9 videos" in first.stdout.read() and "over 9" not in second.stdout.read()
    assert (first.wait(), second.wait()) == (0, 0)
    assert not (tmp_path / "eval.partial").exists()
    alone, together = read(tmp_path / "alone"), read(tmp_path)
    assert together[1] == alone[1] and together[0]["scores"] == alone[0]["scores"]
