"""A training that is stopped in any way goes on as if it had not been."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from preloaded import PRELOADED
from visualdl import LogReader

ROOT = Path(__file__).resolve().parents[1]
KILLS = 20
EACH_STEP = "--save_interval_iters=1"
CONFIG = """
MODEL: {{name: TSM, num_classes: 4, seg_num: 2, num_layers: 18, base_width: 8, class_names: "{data}/label.txt"}}
TRAIN:
  filelist: "{data}/train.list"
  short_size: 32
  target_size: 32
  batch_size: 3
  epoch: 3
  learning_rate: 0.02
  decay_epochs: [1, 2]
  num_reader_threads: 0
VALID: {{filelist: "{data}/val.list", short_size: 32, target_size: 32, batch_size: 4, num_reader_threads: 0}}
"""


@pytest.fixture(scope="module")
def config(moving_shapes, tmp_path_factory) -> Path:
    """16 videos, 6 steps an epoch."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(CONFIG.format(data=moving_shapes))
    return path


def command(config: Path, folder: Path, *flags: str) -> list[str]:
    fixed = (f"--config={config}", f"--save_dir={folder}", "--pretrain=none", "--log_interval=1")
    return ["train.py", *fixed, *flags]


def train(config: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess:
    return PRELOADED.run(command(config, folder, *flags))


def interrupt(config: Path, folder: Path, at: str, *signals: int, flags: tuple = ()) -> tuple[int, str]:
    """Sends signals to a training when a line with `at` comes; returns its exit code and its output."""
    with PRELOADED.start(command(config, folder, *flags)) as process:
        lines, sent = [], False
        for line in process.stdout:
            lines.append(line)
            if not sent and re.search(at, line):
                for number in signals:
                    process.send_signal(number)
                sent = True
        return process.wait(60), "".join(lines)


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory) -> Path:
    """The folder of a training that nothing stopped."""
    folder = tmp_path_factory.mktemp("straight")
    result = train(config, folder, EACH_STEP)
    assert result.returncode == 0, result.stderr
    return folder


def variables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "checkpoint.json"}


def state(folder: Path) -> dict:
    info = json.loads((folder / "checkpoint.json").read_text())
    del info["saved_s"], info["own_sha256"], info["training"], info["TRAIN"]["epoch"]
    return info


def curve(folder: Path) -> list[tuple]:
    """The points without their times."""
    first, *lines = (folder / "curves.jsonl").read_text().splitlines()
    assert "training" in json.loads(first)
    points = [json.loads(line) for line in lines]
    return [(point["phase"], point["step"], point["loss"], point["top1"]) for point in points]


def assert_alike(folder: Path, straight: Path) -> None:
    """To the bit: weights, statistics, momenta, the state, the best, and the curve, also as VisualDL has it."""
    for name in ("TSM_epoch2", "TSM_best"):
        assert variables(folder / name) == variables(straight / name)
        assert state(folder / name) == state(straight / name)
    assert curve(folder) == curve(straight)
    (file,) = (folder / "visualdl").iterdir()
    drawn = [(record.id, record.value) for record in LogReader(file_path=str(file)).get_data("scalar", "train/loss")]
    assert [step for step, _ in drawn] == list(range(18))
    assert [value for _, value in drawn] == pytest.approx(
        [point[2] for point in curve(straight) if point[0] == "train"]
    )


def test_killed_at_any_moment_and_resumed_gives_the_same_bits(config, straight, tmp_path):
    """SIGKILL, 20 times, at random moments between the end of a start and some steps later; trainings that come to
    their end nevertheless are looked at, and another begins."""
    rng, seen, whole = random.Random(0), set(), {path.name for path in (straight / "TSM_epoch0").iterdir()}
    lines = [json.loads(line) for line in (straight / "curves.jsonl").read_text().splitlines()[1:]]
    longest_s = max((lines[-1]["time_s"] - lines[0]["time_s"]) / 5, 0.45)  # some steps, however busy the machine is
    kills, folder, folders = 0, tmp_path / "0", [tmp_path / "0"]
    while kills < KILLS:
        run = command(config, folder, EACH_STEP, "--resume=auto")
        with PRELOADED.start(run) as process:
            next(line for line in process.stdout if "resuming" in line or "from scratch" in line)
            time.sleep(rng.uniform(0, longest_s))
            process.kill()
        kills += process.returncode == -signal.SIGKILL
        for path in folder.glob("TSM_*"):
            seen.add(path.name)
            there = {file.name for file in path.iterdir() if file.suffix != ".tmp"}  # those go at the next start
            assert there == whole, f"{path} is not whole"
        if process.returncode == 0:
            folder = tmp_path / str(len(folders))
            folders.append(folder)
    assert len(seen) > 5  # the kills fell into different places
    for folder in folders:
        result = train(config, folder, EACH_STEP, "--resume=auto")
        assert result.returncode == 0, result.stdout + result.stderr
        assert_alike(folder, straight)
        assert {path.name for path in folder.glob("TSM_*")} == {path.name for path in straight.glob("TSM_*")}
        assert not [path for path in folder.glob(".*") if path.name != ".lock"]
        assert all({file.name for file in path.iterdir()} == whole for path in folder.glob("TSM_*"))


@pytest.mark.contract
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_saves_and_stops_and_resuming_gives_the_same_bits(config, straight, tmp_path, number):
    code, output = interrupt(config, tmp_path, "Epoch 1, iter 2", number)
    assert code == 128 + number, output
    (place,) = re.findall(r"stopped in epoch 1, before iter \d: (\S+) is where", output)
    assert Path(place).is_dir() and "Traceback" not in output
    result = train(config, tmp_path, f"--resume={place}")
    assert result.returncode == 0, result.stderr
    assert_alike(tmp_path, straight)
    assert not Path(place).exists()  # a newer one is there


def test_a_second_signal_ends_at_once_and_loses_nothing(config, straight, tmp_path):
    code, output = interrupt(config, tmp_path, "Epoch 1, iter 2", *[signal.SIGINT] * 2)
    assert code == 130 and "stopping after this step" in output and "Traceback" not in output
    result = train(config, tmp_path, "--resume=auto")
    assert result.returncode == 0, result.stderr
    assert_alike(tmp_path, straight)


def test_killed_in_the_validation_it_validates_again(config, straight, tmp_path):
    code, _ = interrupt(config, tmp_path, r"\[TEST\] test_iter 0", signal.SIGKILL, flags=(EACH_STEP,))
    assert code == -signal.SIGKILL
    result = train(config, tmp_path, "--resume=auto")
    assert "from epoch 0, iter 6, step 6" in result.stdout
    assert "Epoch 1 training finished" in result.stdout and "Epoch 0 training finished" not in result.stdout
    assert_alike(tmp_path, straight)


def test_auto_begins_goes_on_and_is_done(config, straight, tmp_path):
    result = train(config, tmp_path, "--resume=auto", "--epoch=2")
    assert result.returncode == 0 and "no checkpoint in" in result.stdout
    result = train(config, tmp_path, "--resume=auto")
    assert result.returncode == 0 and "from epoch 2, iter 0, step 12" in result.stdout
    assert_alike(tmp_path, straight)
    result = train(config, tmp_path, "--resume=auto")
    assert result.returncode == 0 and "TSM_epoch2 has had its 3 epochs: nothing is left to do" in result.stdout


def test_keep_checkpoints_bounds_their_number(config, straight, tmp_path):
    assert train(config, tmp_path, "--set", "TRAIN.keep_checkpoints=1").returncode == 0
    assert {path.name for path in tmp_path.glob("TSM_*")} == {"TSM_epoch2", "TSM_best"}
    assert {path.name for path in straight.glob("TSM_*")} == {"TSM_epoch0", "TSM_epoch1", "TSM_epoch2", "TSM_best"}


def test_a_full_disk_is_one_message_and_leaves_the_last_good_one(config, straight, tmp_path):
    """Files of more than 80 kB cannot be written: a checkpoint's largest is 1.2 MB; those of before are whole."""
    assert train(config, tmp_path, "--epoch=1").returncode == 0
    before = variables(tmp_path / "TSM_epoch0")
    limited = "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000));"
    limited += "sys.argv = sys.argv[1:]; sys.path.insert(0, '.'); runpy.run_path('train.py', run_name='__main__')"
    run = [sys.executable, "-c", limited, *command(config, tmp_path, EACH_STEP, "--resume=auto")]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert re.fullmatch(r"error: cannot write \S+/TSM_epoch1_iter1: File too large\n", result.stderr), result.stderr
    assert variables(tmp_path / "TSM_epoch0") == before
    assert {path.name for path in tmp_path.glob("*TSM_*")} == {"TSM_epoch0", "TSM_best"}
    assert train(config, tmp_path, "--resume=auto").returncode == 0
    assert variables(tmp_path / "TSM_epoch2") == variables(straight / "TSM_epoch2")


def test_two_trainings_do_not_share_a_folder(config, tmp_path):
    with PRELOADED.start(command(config, tmp_path, "--epoch=999")) as first:
        next(line for line in first.stdout if "[TRAIN]" in line)
        result = train(config, tmp_path)
        first.kill()
    assert result.returncode == 1 and "is in use: another training writes to it" in result.stderr


def test_auto_goes_on_with_the_last_training_not_with_an_earlier_one(config, straight, tmp_path):
    """A whole training, then another one that is killed before its first checkpoint."""
    assert train(config, tmp_path, "--epoch=2").returncode == 0
    flags = ("--learning_rate=0.5",)
    assert interrupt(config, tmp_path, "Epoch 0, iter 2", signal.SIGKILL, flags=flags)[0] == -signal.SIGKILL
    result = train(config, tmp_path, "--resume=auto")
    assert result.returncode == 0 and "no checkpoint in" in result.stdout, result.stderr
    assert_alike(tmp_path, straight)
    (aside,) = (path for path in tmp_path.glob("curves.*.jsonl") if len(path.read_text().splitlines()) == 15)


def test_what_a_best_score_was_measured_on_counts(config, straight, moving_shapes, tmp_path):
    result = train(
        config, tmp_path, f"--resume={straight}/TSM_epoch1", f"--set=VALID.filelist={moving_shapes}/train.list"
    )
    assert result.returncode == 0 and "the best score so far counts no more: VALID.filelist has other" in result.stdout
    assert (tmp_path / "TSM_best").exists()


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--learning_rate=0.5"], "TRAIN.learning_rate: 0.02 -> 0.5"),
        (["--batch_size=4"], "TRAIN.batch_size: 3 -> 4"),
        (["--set", "MODEL.num_layers=34"], "MODEL.num_layers = 18, and the config says 34"),
        (
            ["--set", "MODEL.num_classes=5", "--set", "MODEL.class_names="],
            "MODEL.num_classes = 4, and the config says 5",
        ),
        (["--set", "MODEL.seg_num=3"], "MODEL.seg_num: 2 -> 3"),
        (["--model_name=TSN", "--set", "MODEL.name=TSN"], "is a checkpoint of TSM, not of TSN"),
        (["--set", "TRAIN.filelist={other}"], "TRAIN.filelist has other videos, labels or another order"),
        ([], "has had its 3 epochs"),
    ],
)
def test_what_does_not_fit_a_checkpoint_is_said(config, straight, moving_shapes, tmp_path, flags, message):
    other = tmp_path / "other.list"
    lines = (moving_shapes / "train.list").read_text().splitlines()
    other.write_text("".join(f"{moving_shapes}/{line}\n" for line in reversed(lines)))
    result = train(
        config, tmp_path / "o", f"--resume={straight}/TSM_epoch2", *(flag.format(other=other) for flag in flags)
    )
    assert result.returncode == 1 and result.stderr.startswith("error: ")
    assert message in result.stderr and "Traceback" not in result.stderr


def test_a_changed_config_may_be_allowed_at_an_epochs_end(config, straight, tmp_path):
    flags = ("--allow_changes=True", "--batch_size=4", "--epoch=4")
    result = train(config, tmp_path, f"--resume={straight}/TSM_epoch2", *flags)
    assert result.returncode == 0 and "TRAIN.batch_size: 3 -> 4" in result.stdout, result.stderr
    assert state(tmp_path / "TSM_epoch3")["global_step"] == 18 + 4
    assert len(curve(tmp_path)) == len(curve(straight)) + 5  # it goes on with the curve, too
    _, output = interrupt(config, tmp_path / "b", "Epoch 1, iter 2", signal.SIGTERM)
    (place,) = re.findall(r"before iter \d: (\S+) is where", output)
    result = train(config, tmp_path / "b", f"--resume={place}", *flags)
    assert result.returncode == 1 and "In the middle of an epoch, its order must stay" in result.stderr


def test_a_new_training_keeps_an_earlier_ones_curves(config, tmp_path):
    assert train(config, tmp_path, "--epoch=1").returncode == 0
    before = (tmp_path / "curves.jsonl").read_text()
    assert train(config, tmp_path, "--epoch=1").returncode == 0
    (aside,) = (path for path in tmp_path.glob("curves.*.jsonl"))
    assert aside.read_text() == before and len(list(tmp_path.glob("visualdl*"))) == 2
    log = (tmp_path / "train.log").read_text()
    assert log.count("training from scratch") == 2 and os.linesep in log


def test_config_yaml_trains_the_same(config, straight, tmp_path):
    result = train(straight / "config.yaml", tmp_path)
    assert result.returncode == 0, result.stderr
    assert variables(tmp_path / "TSM_epoch2") == variables(straight / "TSM_epoch2")
