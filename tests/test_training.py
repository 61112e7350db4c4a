"""What a training tells: where the time goes, what went wrong, and what a script wants to know."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from video_zoo.engine.reader_watch import ReaderWatch
from video_zoo.engine.training_checks import say_first_loss, say_small_training
from video_zoo.metrics.metric import Scores
from video_zoo.utils.fluid_vars import VariableStore

CONFIG = """
MODEL: {{name: TSM, num_classes: 4, seg_num: 2, num_layers: 18, base_width: 8, class_names: "{data}/label.txt"}}
TRAIN:
  filelist: "{data}/train.list"
  short_size: 32
  target_size: 32
  batch_size: 4
  epoch: 2
  num_reader_threads: 0
VALID: {{filelist: "{data}/val.list", short_size: 32, target_size: 32, batch_size: 4, num_reader_threads: 0}}
"""


@pytest.fixture(scope="module")
def train(moving_shapes, run_cli, tmp_path_factory):
    """Runs train.py on 16 videos."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(CONFIG.format(data=moving_shapes))

    def run(folder: Path, *flags: str, **environment: str):
        fixed = (f"--config={path}", f"--save_dir={folder}", "--pretrain=none", "--log_interval=1")
        return run_cli("train.py", *fixed, *flags, **environment)

    return run


def assert_error(result, *parts: str) -> None:
    assert result.returncode == 1 and result.stderr.startswith("error: "), result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    for part in parts:
        assert part in result.stderr


def test_a_loss_that_is_not_finite_names_the_step_the_clips_and_the_last_good_checkpoint(train, tmp_path):
    result = train(tmp_path, "--learning_rate=1e25", "--save_interval_iters=9")
    assert_error(result, "The last good checkpoint: there is none yet", "at learning rate 1e+25")
    assert re.search(r"the loss is (nan|inf) in epoch \d, iter \d \(step \d\)", result.stderr)
    assert re.search(r"The batch: (\S*train/\S+\.mp4(, |\. )){4}The last", result.stderr), result.stderr
    assert result.stderr.removeprefix("error: ").strip() in (tmp_path / "train.log").read_text()


def test_no_checkpoint_is_made_of_weights_that_are_not_finite(train, tmp_path):
    """The loss may still be: Paddle bounds it."""
    flags = ("--save_interval_iters=1", "--set=TRAIN.keep_checkpoints=1")
    assert_error(train(tmp_path, *flags, "--learning_rate=1e38"), "The last good checkpoint: ")
    left = list(tmp_path.glob("TSM_*"))
    assert len(left) <= 1
    for folder in left:
        store = VariableStore(folder)
        assert all(np.isfinite(store.read(name)).all() for name in store.names() - {"checkpoint.json"})


@pytest.mark.parametrize("share, warnings", [(0.29, 0), (0.31, 1)])
def test_a_slow_reader_is_said_once_with_what_helps(log, share, warnings):
    """The first steps, in which the readers start, do not count."""
    watch = ReaderWatch()
    for number in range(100):
        watch.add(9.0 if number < 5 else share, 1 - share)
    assert len(log.messages) == warnings
    for message in log.messages:
        assert "waits for it 31% of the time" in message
        assert "TRAIN.num_reader_threads" in message and "dataset/prepare_videos.py" in message


def test_kpis_lines_are_v15s(train, tmp_path):
    result = train(tmp_path, "--enable_ce=True", "--epoch=1")
    cost, speed = re.findall(r"^kpis\ttrain_(?:cost|speed)_card1\t(\S+)$", result.stdout, re.MULTILINE)
    finished = re.search(r"training finished, average time: (\S+)  Loss: (\S+),", result.stdout)
    assert float(cost) == pytest.approx(float(finished[2]), abs=1e-6)
    assert float(speed) == pytest.approx(float(finished[1]), abs=1e-4)


def test_a_label_that_is_no_class_is_named_before_the_first_step(train, moving_shapes, tmp_path):
    for section, number in (("TRAIN", 3), ("VALID", 2)):
        lines = (moving_shapes / "train.list").read_text().splitlines()[:4]
        lines[number - 1] = lines[number - 1].rsplit(" ", 1)[0] + " 4"
        (tmp_path / "bad.list").write_text("".join(f"{moving_shapes}/{line}\n" for line in lines))
        result = train(tmp_path / "o", f"--set={section}.filelist={tmp_path}/bad.list")
        assert_error(result, f"bad.list, line {number}: label 4 is not one of the 4 classes", "count from 1?")
        assert "[TRAIN]" not in result.stdout


def test_a_place_that_cannot_be_written_is_said(train, tmp_path):
    (tmp_path / "file").write_text("")
    assert_error(train(tmp_path / "file" / "below"), "cannot write to the folder")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "train.log").mkdir()
    assert_error(train(tmp_path / "o"), "cannot write", "train.log")


@pytest.mark.parametrize("amp", ["fp16", "bf16"])
def test_mixed_precision_on_a_cpu_has_no_effect_and_says_so(train, tmp_path, amp):
    result = train(tmp_path, "--epoch=1", "--valid_interval=0", f"--set=TRAIN.amp={amp}")
    assert result.returncode == 0 and f"TRAIN.amp = {amp} has no effect" in result.stdout
    assert "Warning" not in result.stderr


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--set=TRAIN.amp=fp8"], "choose from off, fp16, bf16"),
        (["--set=TRAIN.lr_schedule=step"], "choose from piecewise, cosine"),
        (["--set=TRAIN.accumulate_steps=0"], "must be at least 1"),
        (["--set=TRAIN.clip_grad_norm=0"], "must be at least 1e-06"),
        (["--set=TRAIN.warmup_epoch=1"], "no key TRAIN.warmup_epoch; did you mean warmup_epochs?"),
        (["--resume=nowhere"], "no weights at nowhere"),
        (["--set=TRAIN.decay_epochs=[2, 1]"], "must ascend"),
        (["--set=MODEL.num_classes=5"], "names 4 classes, and MODEL.num_classes is 5"),
        (["--set=VALID.best_metric=los"], "VALID.best_metric: no metric named 'los'; did you mean loss?"),
    ],
)
def test_what_cannot_be_trained_is_one_message(train, tmp_path, flags, message):
    assert_error(train(tmp_path, *flags), message)


def test_the_config_says_which_value_decides(train, tmp_path):
    """Of losses, the lowest."""
    assert train(tmp_path, "--set=VALID.best_metric=loss", "--epoch=3").returncode == 0
    points = map(json.loads, (tmp_path / "curves.jsonl").read_text().splitlines())
    losses = [point["loss"] for point in points if point.get("phase") == "valid"]
    assert len(losses) == 3 and VariableStore(tmp_path / "TSM_best").info()["best_loss"] == min(losses)


def test_every_new_key_trains(train, tmp_path):
    keys = ("lr_schedule=cosine", "warmup_epochs=0.5", "base_batch_size=8", "batch_norm_decay=0", "clip_grad_norm=20")
    keys += ("accumulate_steps=2", "channels_last=True", "freeze_batch_norm=True", "keep_checkpoints=1")
    result = train(tmp_path, *(f"--set=TRAIN.{key}" for key in keys))
    assert result.returncode == 0, result.stderr
    assert "learning rate: 0.005, which is 0.01 times 4 clips a step over base_batch_size 8" in result.stdout
    assert re.search(r"Epoch 1 training finished.*memory: main \d\.\d GB", result.stdout)


@pytest.mark.parametrize("flags", [[], ["--verbose"]])
def test_train_log_has_what_the_terminal_has_with_verbose(train, tmp_path, flags):
    result = train(tmp_path, "--epoch=1", *flags)
    said = [line.split("]: ", 1)[1] for line in result.stdout.splitlines() if line.startswith("[")]
    kept = [line.split("]: ", 1)[1] for line in (tmp_path / "train.log").read_text().splitlines()]
    details = [line for line in kept if line.startswith(("MODEL: name='TSM' ", "TRAIN: ", "VALID: ", "on this CPU: "))]
    assert len(details) == 4 and said == [line for line in kept if flags or line not in details]


FEW = (
    "fewer than 5 videos to train with: down (4), left (4), right (4), up (4). A network hardly"
    " learns a class from so few",
    "9 videos to validate with: 5 of 9 right would mean an accuracy of 27% to 81% (95%)",
)


@pytest.mark.parametrize("order, frozen", [((), False), (("--set=TRAIN.freeze_batch_norm = True",), True)])
def test_without_weights_batch_norm_is_frozen_by_the_command_line_alone(train, moving_shapes, tmp_path, order, frozen):
    """What is warned of is said where a training begins, not where it goes on. A mean far from the frames' makes the
    features of a network with frozen BatchNorm, and so the first loss, large."""
    config, out = tmp_path / "frozen.yaml", tmp_path / "out"
    config.write_text(
        CONFIG.format(data=moving_shapes).replace("epoch: 2", "decay_epochs: []\n  freeze_batch_norm: True")
    )
    strange = (f"--config={config}", "--set=MODEL.image_mean=[-9, -9, -9]", *order)
    result = train(out, *strange, "--epoch=1", "--learning_rate=0")
    assert result.returncode == 0, result.stderr
    said = [line.partition("]: ")[2] for line in result.stdout.splitlines() if line.startswith("[WARNING")]
    changed, loss = "TRAIN.freeze_batch_norm is now False, and the config says True", "the first loss is "
    expected = [*FEW, loss] if frozen else [changed, *FEW]
    assert len(said) == len(expected) and all(map(str.startswith, said, expected)), said
    assert ("BatchNorm is frozen" in result.stdout) == frozen
    assert f"freeze_batch_norm: {str(frozen).lower()}" in (out / "config.yaml").read_text()
    means = VariableStore(out / "TSM_epoch0").read("bn_conv1_mean")
    assert means.any() != frozen
    if frozen:
        flags = (*strange, "--epoch=2", "--learning_rate=0", "--resume=auto")
        goes_on = train(out, *flags)
        assert goes_on.returncode == 0 and "[WARNING" not in goes_on.stdout, goes_on.stdout


@pytest.mark.parametrize(
    "train_labels, valid_labels, lines",
    [
        ([0] * 5 + [1] * 5 + [2] * 5, [0, 1, 2] * 7, []),
        (
            [0] * 5 + [1] * 4,
            None,
            ["than 5 videos to train with: b (4).", "1 of 3 classes (MODEL.num_classes) have no"],
        ),
        ([0] * 5 + [1] * 5, [2] * 20, ["in the validation, but not in the training, so never right: c"]),
        ([None] * 15, [None] * 19, ["19 videos to validate with: 10 of 19 right would mean an accuracy of 32% to 73%"]),
        ([0, 1, 2] * 5, [0], ["1 video to validate with: 1 of 1 right would mean an accuracy of 21% to 100%"]),
    ],
)
def test_what_is_said_of_lists(log, train_labels, valid_labels, lines):
    say_small_training(train_labels, valid_labels, 3, ["a", "b", "c"])
    assert len(log.messages) == len(lines), log.messages
    assert all(line in said for line, said in zip(lines, log.messages))


@pytest.mark.parametrize(
    "loss, samples, said",
    [
        (5.3, 16, None),
        (6.9, 16, None),
        (0.0, 0, None),
        (7.5, 16, "the first loss is 7.50; that of a new last layer of 400 classes is about ln(400) = 5.99"),
        (2.0, 16, "It may mean a last layer that has been trained already"),
    ],
)
def test_a_first_loss_far_from_the_one_of_guessing_is_said(log, loss, samples, said):
    say_first_loss(Scores({"loss": loss}, samples, ""), 400)
    assert [said in line for line in log.messages] == ([True] if said else [])
