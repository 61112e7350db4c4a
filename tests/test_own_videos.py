"""A folder of class folders: trained, tested and inferred with the commands of the README."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from media import make_list

from video_zoo.configs.schema import Config, TrainSection, ValidSection
from video_zoo.datareader.own_videos import list_own_videos
from video_zoo.utils import config
from video_zoo.utils.fluid_vars import VariableStore

SMALL = [f"--set=MODEL.{key}" for key in ("num_layers=18", "base_width=8", "seg_num=2")]
SMALL += [f"--set={section}.{key}" for section in ("TRAIN", "VALID") for key in ("short_size=32", "target_size=32")]
SMALL += ["--set=TRAIN.num_reader_threads=0", "--set=VALID.num_reader_threads=0", "--batch_size=4", "--epoch=2"]
FINETUNE = ["train.py", "--model_name=TSM", "--config=configs/tsm_finetune.yaml"]


@pytest.fixture(scope="module")
def videos(moving_shapes, tmp_path_factory) -> Path:
    """12 videos in three classes, one of them with blanks in its name, and a file that is no video."""
    folder = tmp_path_factory.mktemp("own") / "my videos"
    lines = (moving_shapes / "train.list").read_text().splitlines()[:12]
    for number, line in enumerate(lines):
        place = folder / ["tennis serve", "黄昏", "golf"][number % 3]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(moving_shapes / line.rsplit(" ", 1)[0], place / f"clip {number}.mp4")
    (folder / "golf" / "notes.txt").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def other(moving_shapes, run_cli, tmp_path_factory) -> Path:
    """A checkpoint with other classes, to start from."""
    folder = tmp_path_factory.mktemp("other")
    lists = [f"--set={section}.filelist={moving_shapes}/train.list" for section in ("TRAIN", "VALID")]
    classes = ["--set=MODEL.num_classes=4", f"--set=MODEL.class_names={moving_shapes}/label.txt"]
    result = run_cli(*FINETUNE, *SMALL, *lists, *classes, "--pretrain=none", "--epoch=1", f"--save_dir={folder}")
    assert result.returncode == 0, result.stderr
    return folder / "TSM_best"


@pytest.fixture(scope="module")
def tuned(videos, other, run_cli, tmp_path_factory):
    """The folder of a training, and its output."""
    folder = tmp_path_factory.mktemp("tuned")
    result = run_cli(*FINETUNE, *SMALL, f"--data={videos}", f"--pretrain={other}", f"--save_dir={folder}")
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_it_says_what_it_does(videos, other, tuned):
    output = tuned[1]
    assert f"--data={videos}: 3 classes (golf, tennis serve, 黄昏)" in output
    assert "9 videos to train with, 3 to validate with (valid_share 0.2, seed 0)" in output
    assert "left out: 1 .txt" in output
    assert re.search(rf"weights {other}: 100 loaded, 2 skipped, 0 not found", output)
    assert "the last layer starts fresh, for 3 classes" in output
    assert "BatchNorm is frozen" in output
    assert "learning rate: 0.000625, which is 0.01 times 4 clips a step over base_batch_size 64" in output
    assert "best so far: " in output


def test_the_lists_hold_each_video_once(videos, tuned):
    train, valid = ((tuned[0] / "lists" / name).read_text().splitlines() for name in ("train.list", "val.list"))
    assert sorted(line.rsplit(" ", 1)[0] for line in train + valid) == sorted(map(str, videos.glob("*/*.mp4")))
    assert sorted(line.rsplit(" ", 1)[1] for line in valid) == ["0", "1", "2"]
    assert (tuned[0] / "lists/label.txt").read_text() == "golf 0\ntennis serve 1\n黄昏 2\n"


def test_the_config_beside_a_checkpoint_has_the_names_in_it(other, tuned):
    expected = {tuned[0]: ["golf", "tennis serve", "黄昏"], other.parent: ["down", "left", "right", "up"]}
    for folder, names in expected.items():
        assert config.read(str(folder / "config.yaml"))["MODEL"]["class_names"] == names


def test_batch_norm_stays_and_the_rest_learns(other, tuned):
    before, after = VariableStore(other), VariableStore(tuned[0] / "TSM_epoch1")
    for name in ("conv1_weights", "res5b_branch2b_weights"):
        assert not np.array_equal(before.read(name), after.read(name))
    for name in before.names():
        if name.startswith("bn") and "velocity" not in name:
            assert np.array_equal(before.read(name), after.read(name)), name
    assert after.read("fc_0.w_0").shape == (64, 3)


def test_test_and_infer_take_its_config_and_say_its_names(videos, tuned, run_cli, tmp_path):
    folder = tuned[0]
    common = ("--model_name=TSM", f"--config={folder}/config.yaml", f"--weights={folder}/TSM_best")
    sizes = [f"--set={section}.{key}=32" for section in ("TEST", "INFER") for key in ("short_size", "target_size")]
    result = run_cli("test.py", *common, *sizes, f"--save_dir={tmp_path}")
    best = json.loads((folder / "TSM_best/checkpoint.json").read_text())["best_top1"]
    assert f"top1_acc: {100 * best:.2f}" in result.stdout and "over 3 of 3 videos" in result.stdout, result.stderr
    assert "3 videos to test with: 2 of 3 right would mean an accuracy of 21% to 94% (95%)" in result.stdout
    filelist = make_list(tmp_path / "my.list", [str(video) for video in videos.glob("*/*.mp4")])
    result = run_cli("infer.py", *common, *sizes, f"--filelist={filelist}", f"--save_dir={tmp_path}", "--engine=paddle")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in (tmp_path / "TSM_infer_result.jsonl").read_text().splitlines()]
    assert {top["name"] for row in rows for top in row["top"]} == {"golf", "tennis serve", "黄昏"}
    result = run_cli("infer.py", *common, f"--filelist={filelist}", "--set=MODEL.num_classes=400")
    assert result.returncode == 1 and "names 3 classes, and MODEL.num_classes is 400" in result.stderr


def test_the_same_folder_gives_the_same_split_and_can_be_resumed(videos, tuned, run_cli, tmp_path):
    before = (tuned[0] / "lists/val.list").read_text()
    flags = (f"--data={videos}", f"--save_dir={tuned[0]}", "--resume=auto", "--epoch=3")
    result = run_cli(*FINETUNE, *SMALL, *flags)
    assert result.returncode == 1 and "TRAIN.epoch: 2 -> 3" in result.stderr  # the cosine is another one
    result = run_cli(*FINETUNE, *SMALL, *flags, "--allow_changes=True")
    assert result.returncode == 0 and "from epoch 2, iter 0" in result.stdout, result.stderr
    assert (tuned[0] / "lists/val.list").read_text() == before


def test_other_videos_do_not_go_on_with_an_old_training(videos, tuned, run_cli, tmp_path):
    shutil.copytree(tuned[0], tmp_path / "tuned")
    shutil.copytree(videos, tmp_path / "videos")
    shutil.copy(next(videos.glob("golf/*.mp4")), tmp_path / "videos/golf/one more.mp4")
    before = (tmp_path / "tuned/lists/train.list").read_text()
    flags = (f"--data={tmp_path}/videos", f"--save_dir={tmp_path}/tuned", "--resume=auto")
    result = run_cli(*FINETUNE, *SMALL, *flags)
    assert result.returncode == 1 and "videos were added, removed or renamed" in result.stderr
    assert (tmp_path / "tuned/lists/train.list").read_text() == before


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "no class folders in it"),
        (lambda folder: [(folder / name).mkdir(parents=True) for name in "ab"], "no videos ("),
        (lambda folder: folder.write_text(""), "is a file"),
    ],
)
def test_a_folder_that_is_none_is_said(run_cli, tmp_path, make, message):
    make(tmp_path / "data")
    result = run_cli(*FINETUNE, f"--data={tmp_path}/data", f"--save_dir={tmp_path}/o", "--pretrain=none")
    assert result.returncode == 1 and result.stderr.startswith("error: ") and message in result.stderr
    assert "Traceback" not in result.stderr


def test_weights_that_cannot_be_had_are_named(videos, run_cli, tmp_path):
    nowhere = {"PADDLE_WEIGHTS_HOME": str(tmp_path), "PADDLE_WEIGHTS_MIRROR": tmp_path.as_uri()}
    result = run_cli(*FINETUNE, f"--data={videos}", f"--save_dir={tmp_path}", **nowhere)
    assert result.returncode == 1 and "tsm_kinetics" in result.stderr and "--pretrain=PATH" in result.stderr


def test_two_videos_of_a_small_folder_may_be_broken(tmp_path):
    for number in range(10):
        for name in ("golf", "ski"):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / name / f"{number}.mp4").touch()
    found, _ = list_own_videos(str(tmp_path / "data"), Config(), tmp_path / "lists", going_on=False)
    allowed = (found.TRAIN.max_bad_videos * 16, found.VALID.max_bad_videos * 4, found.TEST.max_bad_videos)
    assert allowed == (pytest.approx(2), pytest.approx(2), 0.01)
    strict = Config(TRAIN=TrainSection(max_bad_videos=0), VALID=ValidSection(max_bad_videos=0.75))
    found, _ = list_own_videos(str(tmp_path / "data"), strict, tmp_path / "lists", going_on=False)
    assert (found.TRAIN.max_bad_videos, found.VALID.max_bad_videos) == (0, 0.75)
