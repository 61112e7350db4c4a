"""Training in two processes on this machine's CPU, as the launcher starts them, or with what it tells them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from preloaded import ONE_THREAD, PRELOADED, Fork, rank_environments

from video_zoo.utils.fluid_vars import VariableStore

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
MODEL:
  {{name: TSM, num_classes: 4, seg_num: 2, num_layers: 18, base_width: 8, dropout: 0, class_names: "{data}/label.txt"}}
TRAIN:
  filelist: "{data}/train.list"
  short_size: 32
  target_size: 32
  batch_size: 5
  epoch: 2
  learning_rate: 0.002
  decay_epochs: [1]
  num_reader_threads: 1
VALID: {{filelist: "{data}/val.list", short_size: 32, target_size: 32, batch_size: 4, num_reader_threads: 1}}
"""


@pytest.fixture(scope="module")
def config(moving_shapes, tmp_path_factory) -> Path:
    """16 videos: three batches of five, two and three a rank, and one of one, of which a rank has none."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(CONFIG.format(data=moving_shapes))
    return path


def command(config: Path, folder: Path, *flags: str) -> list[str]:
    fixed = (f"--config={config}", f"--save_dir={folder}", "--pretrain=none", "--use_gpu=False", "--log_interval=1")
    return ["train.py", *fixed, *flags]


def launcher(folder: Path) -> list[str]:
    logs = f"--log_dir={folder.parent}/logs_{folder.name}"
    return [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node=2", logs]


def launch(config: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess:
    """Two ranks, of Paddle's launcher."""
    keys = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120}
    run = [*launcher(folder), *command(config, folder, *flags)]
    return subprocess.run(run, env={**os.environ, **ONE_THREAD}, **keys)


def launch_by_script(config: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess:
    """A rank for each visible GPU, as the script starts them; there is no GPU here, so each is a CPU process."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **ONE_THREAD, "ZOO_VENV": "none", "PATH": path, "CUDA_VISIBLE_DEVICES": "0,1"}
    keys = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120}
    run = ["bash", "scripts/train/train_tsm.sh", *command(config, folder, *flags)[1:]]
    return subprocess.run(run, env=environment, **keys)


def train(config: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess:
    """One process."""
    return PRELOADED.run(command(config, folder, *flags))


def start_ranks(config: Path, folder: Path, *flags: str) -> list[Fork]:
    """Two ranks, with the variables that the launcher gives them, without its process."""
    return [PRELOADED.start(command(config, folder, *flags), environment=each) for each in rank_environments()]


def points(folder: Path, phase: str) -> list[dict]:
    rows = map(json.loads, (folder / "curves.jsonl").read_text().splitlines())
    return [row for row in rows if row.get("phase") == phase]


def assert_weights_close(one: Path, other: Path, tolerance: float) -> None:
    """Every weight, statistic and momentum differs by less than `tolerance` of the variable's largest value."""
    left, right = VariableStore(one), VariableStore(other)
    assert left.names() == right.names()
    for name in left.names() - {"checkpoint.json"}:
        expected = left.read(name)
        np.testing.assert_allclose(
            right.read(name), expected, rtol=0, atol=tolerance * np.abs(expected).max(), err_msg=name
        )


@pytest.mark.contract
def test_two_ranks_follow_one_process(config, tmp_path):
    """BatchNorm is frozen: each rank would see the statistics of its own clips. All else is the same, up to float32."""
    frozen = ("--set", "TRAIN.freeze_batch_norm=True")
    for run, name in ((train, "1"), (launch_by_script, "2")):
        result = run(config, tmp_path / name, *frozen)
        assert result.returncode == 0, result.stdout + result.stderr
    assert "2 processes work together" in result.stdout
    assert_weights_close(tmp_path / "1/TSM_epoch1", tmp_path / "2/TSM_epoch1", 1e-4)
    for phase, count in (("train", 8), ("valid", 2)):
        alone, together = points(tmp_path / "1", phase), points(tmp_path / "2", phase)
        assert [row["step"] for row in together] == [row["step"] for row in alone] and len(alone) == count
        for key in ("top1", "top5", "learning_rate"):
            assert [row.get(key) for row in together] == [row.get(key) for row in alone]
        assert [row["loss"] for row in together] == pytest.approx([row["loss"] for row in alone], rel=1e-4)
    files = {path.name for path in (tmp_path / "1").iterdir()}
    assert {path.name for path in (tmp_path / "2").iterdir()} == files | {"rank_logs"}


def test_the_validation_of_two_ranks_is_that_of_one(config, tmp_path):
    """With a learning rate of 0 the weights are the same to the bit; the statistics are the first rank's. Batches of
    other sizes are added up in another order."""
    still = ("--learning_rate=0", "--epoch=1", "--set", "TRAIN.freeze_batch_norm=True")
    assert train(config, tmp_path / "1", *still).returncode == 0
    assert [rank.wait() for rank in start_ranks(config, tmp_path / "2", *still)] == [0, 0]
    (alone,), (together,) = (points(tmp_path / f"{ranks}", "valid") for ranks in (1, 2))
    assert [together[key] for key in ("top1", "top5")] == [alone[key] for key in ("top1", "top5")]
    assert together["loss"] == pytest.approx(alone["loss"], rel=1e-6)


def test_a_training_may_go_on_with_another_number_of_ranks(config, tmp_path):
    frozen = ("--epoch=5", "--valid_interval=0", "--set", "TRAIN.freeze_batch_norm=True")
    assert train(config, tmp_path / "1", *frozen).returncode == 0
    ranks = start_ranks(config, tmp_path / "2", *frozen)
    next(line for line in ranks[0].stdout if "Epoch 0, iter 1" in line)
    for rank in ranks:
        rank.send_signal(signal.SIGTERM)  # as the launcher tells them
    assert [rank.wait(60) for rank in ranks] == [128 + signal.SIGTERM] * 2
    log = (tmp_path / "2/train.log").read_text()
    assert re.search(r"stopped in epoch \d, before iter \d: \S+/TSM_epoch\S+ is where", log), log
    result = train(config, tmp_path / "2", *frozen, "--resume=auto")
    assert result.returncode == 0, result.stderr
    assert_weights_close(tmp_path / "1/TSM_epoch4", tmp_path / "2/TSM_epoch4", 1e-3)


def test_a_rank_that_ends_ends_all_with_its_message(config, moving_shapes, tmp_path):
    """One bad video, which only one of the ranks reads."""
    (tmp_path / "text.mp4").write_text("no video")
    lines = [f"{moving_shapes}/{line}" for line in (moving_shapes / "train.list").read_text().splitlines()[:9]]
    (tmp_path / "bad.list").write_text("\n".join([*lines, f"{tmp_path}/text.mp4 1"]))
    result = launch(config, tmp_path / "o", "--set", f"TRAIN.filelist={tmp_path}/bad.list")
    assert result.returncode != 0
    output = result.stdout + result.stderr
    assert "error: 1 of 10 videos of " in output and "text.mp4 (line 10): it is no video" in output, output


def test_a_killed_rank_ends_all(config, tmp_path):
    process = subprocess.Popen(
        [*launcher(tmp_path / "o"), *command(config, tmp_path / "o", "--epoch=999")],
        **{"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True},
    )
    next(line for line in process.stdout if "Epoch 0, iter 1" in line)
    environments = {int(path.parent.name): path for path in Path("/proc").glob("[0-9]*/environ")}
    ranks = [pid for pid, path in environments.items() if _is_rank(path, "1", tmp_path)]
    os.kill(min(ranks), signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    time.sleep(1)
    assert not [path for path in Path("/proc").glob("[0-9]*/environ") if _is_rank(path, "0", tmp_path)]


def _is_rank(environ: Path, rank: str, folder: Path) -> bool:
    """Whether a process is that rank of a training into `folder`."""
    try:
        words = (environ.parent / "cmdline").read_bytes().split(b"\0")
        entries = environ.read_bytes().split(b"\0")
    except OSError:
        return False
    ours = any(word.startswith(f"--save_dir={folder}".encode()) for word in words)
    return ours and f"PADDLE_TRAINER_ID={rank}".encode() in entries


def test_a_batch_smaller_than_the_ranks_is_refused(config, tmp_path):
    for rank in start_ranks(config, tmp_path / "o", "--batch_size=1"):
        assert "TRAIN.batch_size = 1 is that of all 2 processes together" in rank.stdout.read()
        assert rank.wait() == 1


def test_sync_batch_norm_needs_gpus(config, tmp_path):
    result = train(config, tmp_path, "--set", "TRAIN.sync_batch_norm=True")
    assert result.returncode == 1 and result.stderr.startswith("error: TRAIN.sync_batch_norm needs GPUs")
