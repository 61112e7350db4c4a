"""The three commands, as a user types them, on moving shapes with a tiny network."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from visualdl import LogReader

from video_zoo.configs.schema import Config
from video_zoo.models import MODELS
from video_zoo.utils.cli import model_sections
from video_zoo.utils.config import load
from video_zoo.utils.fluid_vars import VariableStore

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = model_sections(MODELS)
FLAGS = {
    "FLAGS_fast_eager_deletion_mode": "1",
    "FLAGS_eager_delete_tensor_gb": "0.0",
    "FLAGS_fraction_of_gpu_memory_to_use": "0.98",
    "FLAGS_no_such_thing": "1",
}
CONFIG = """
MODEL: {{name: TSM, num_classes: 4, seg_num: 4, num_layers: 18, base_width: 8, class_names: "{data}/label.txt"}}
TRAIN:
  filelist: "{data}/train.list"
  short_size: 32
  target_size: 32
  batch_size: 6
  epoch: 2
  learning_rate: 0.02
  flip: False
  num_reader_threads: 2
VALID: {{filelist: "{data}/val.list", short_size: 32, target_size: 32, batch_size: 4}}
TEST: {{filelist: "{data}/val.list", short_size: 32, target_size: 32, batch_size: 4}}
INFER: {{filelist: "{data}/infer.list", short_size: 32, target_size: 32}}
"""


@pytest.fixture(scope="module")
def config(moving_shapes, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(CONFIG.format(data=moving_shapes))
    return path


@pytest.fixture(scope="module")
def trained(config, run_cli, tmp_path_factory):
    """A finished training: its folder and its output."""
    folder = tmp_path_factory.mktemp("trained")
    result = run_cli(
        *("train.py", "--model_name=tsm", f"--config={config}", "--pretrain=none", f"--save_dir={folder}"),
        *("--log_interval=1", "--no_use_pyreader", "--enable_ce=True"),
        **FLAGS,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout


def test_train_says_what_it_does(trained):
    output = trained[1]
    number, percent = r"\d+\.\d{6}", r"\d+\.\d\d"
    line = rf"\[TRAIN\] Epoch 1, iter 2  Loss: {number}, top1_acc: {percent}, top5_acc: 100\.00, [\d.]+ videos/s, "
    assert re.search(line, output)
    assert "[TRAIN] Epoch 1 training finished, average time: " in output
    assert re.search(rf"\[TEST\] Finish  Loss: {number}, top1_acc: .* over 9 videos", output)
    assert "on CPU, 2 threads" in output
    assert "FLAGS_" not in output
    details = (trained[0] / "train.log").read_text()
    assert "FLAGS_eager_delete_tensor_gb=0.0 is in force" in details
    assert "FLAGS_fraction_of_gpu_memory_to_use=0.98 has no effect on a CPU" in details
    assert "FLAGS_no_such_thing=1 is ignored: this Paddle has no such flag" in details
    assert "--no_use_pyreader has no effect" in output
    assert re.search(r"^kpis\ttrain_cost_card1\t[\d.]+\nkpis\ttrain_speed_card1\t[\d.]+$", output, re.MULTILINE)


def test_train_leaves_checkpoints_and_curves(trained):
    folder = trained[0]
    ours = ["TSM_best", "TSM_epoch0", "TSM_epoch1", "config.yaml", "curves.jsonl", "train.log", "visualdl"]
    assert sorted(path.name for path in folder.iterdir()) == ours
    names = VariableStore(folder / "TSM_epoch1").names()
    assert {"conv1_weights", "fc_0.w_0", "fc_0.b_0_velocity_0", "@LR_DECAY_COUNTER@", "checkpoint.json"} <= names
    curves = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    reader = LogReader(file_path=str(next((folder / "visualdl").glob("vdlrecords.*.log"))))
    for phase, steps in (("train", [0, 1, 2, 3, 4, 5]), ("valid", [3, 6])):
        tags = ["loss", "top1", "top5", "reader_ms", "compute_ms"] + ["learning_rate"] * (phase == "train")
        for tag in tags:
            assert [point.id for point in reader.get_data("scalar", f"{phase}/{tag}")] == steps, (phase, tag)
        assert [point["step"] for point in curves if point.get("phase") == phase] == steps


def test_a_checkpoint_tells_what_it_was_trained_with(trained, config, moving_shapes):
    info = json.loads((trained[0] / "TSM_epoch0/checkpoint.json").read_text())
    assert info["model"] == "TSM" and info["classes"] == ["down", "left", "right", "up"] and info["loss_scale"] == {}
    assert info["MODEL"]["base_width"] == 8 and info["TRAIN"]["learning_rate"] == 0.02
    assert (info["epoch"], info["iteration"], info["global_step"]) == (1, 0, 3) and len(info["list"]) == 16
    settings, given = (load(str(path), Config, models=SECTIONS) for path in (trained[0] / "config.yaml", config))
    assert json.loads(json.dumps(dataclasses.asdict(settings.TRAIN))) == info["TRAIN"]
    assert settings.TRAIN.pretrain == "none" and settings.TRAIN.enable_ce  # the flags, too
    assert settings.VALID == given.VALID


def test_the_log_is_in_a_file_with_the_date(trained):
    """From its first line on; `kpis` lines are no log."""
    lines = (trained[0] / "train.log").read_text().splitlines()
    assert all(re.match(r"\[(DEBUG|INFO|WARNING): \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\]: ", line) for line in lines)
    said = [line.partition("]: ")[2] for line in trained[1].splitlines() if line.startswith("[")]
    assert [line.partition("]: ")[2] for line in lines if not line.startswith("[DEBUG")] == said
    assert said[0].startswith("--no_use_pyreader has no effect") and len(said) > 20


def test_resumed_training_equals_one_in_a_piece(trained, config, run_cli, tmp_path):
    result = run_cli(
        *("train.py", f"--config={config}", f"--save_dir={tmp_path}", f"--resume={trained[0]}/TSM_epoch0"),
        "--valid_interval=0",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "62 momenta, from epoch 1, iter 0, step 3" in result.stdout
    resumed, whole = VariableStore(tmp_path / "TSM_epoch1"), VariableStore(trained[0] / "TSM_epoch1")
    assert resumed.names() == whole.names()
    assert [name for name in whole.names() - {"checkpoint.json"} if resumed.raw(name) != whole.raw(name)] == []


def test_resuming_a_v15_folder_goes_on_at_its_learning_rate(trained, config, run_cli, tmp_path):
    shutil.copytree(trained[0] / "TSM_epoch0", tmp_path / "v15")
    (tmp_path / "v15/checkpoint.json").unlink()
    result = run_cli(
        *("train.py", f"--config={config}", f"--save_dir={tmp_path}/out", f"--resume={tmp_path}/v15", "--epoch=1"),
        *("--valid_interval=0", "--pretrain=nowhere"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "--pretrain is not looked at" in result.stdout
    assert "62 momenta, from epoch 0, iter 0, step 3" in result.stdout
    assert json.loads((tmp_path / "out/TSM_epoch0/checkpoint.json").read_text())["global_step"] == 6


def test_sigterm_ends_a_training_in_order(config, tmp_path):
    command = [sys.executable, "train.py", f"--config={config}", f"--save_dir={tmp_path}", "--pretrain=none"]
    with subprocess.Popen([*command, "--epoch=1000"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as training:
        sent, output = False, []
        for line in training.stdout:
            output.append(line)
            if "iter 0" in line and not sent:  # Paddle is loaded, and the readers are at work
                training.send_signal(signal.SIGTERM)
                sent = True
        assert training.wait(60) == 143
    assert not list(tmp_path.glob(".*"))
    place = re.search(r"stopped in epoch \d+, before iter \d+: (.*) is where --resume=", output[-1]).group(1)
    assert VariableStore(place).info()["global_step"] > 0
    assert (tmp_path / "train.log").read_text().splitlines()[-1].endswith(output[-1].partition("]: ")[2].rstrip())


def test_test_counts_every_video(trained, config, run_cli, tmp_path):
    common = ("--model_name=TSM", f"--config={config}", f"--save_dir={tmp_path}")
    result = run_cli("test.py", *common, f"--weights={trained[0]}/TSM_best")
    assert result.returncode == 0, result.stderr
    best = json.loads((trained[0] / "TSM_best/checkpoint.json").read_text())["best_top1"]
    finish = re.search(r"\[EVAL\] eval finished\.  .* top1_acc: ([\d.]+), .* over 9 of 9 videos", result.stdout)
    assert float(finish.group(1)) == pytest.approx(100 * best, abs=0.006)


def test_infer_writes_both_results(trained, config, run_cli, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "weights"), "gztar", trained[0], "TSM_best")
    result = run_cli(
        *("infer.py", f"--config={config}", f"--weights={archive}", f"--save_dir={tmp_path}", "--infer_topk=3"),
    )
    assert result.returncode == 0, result.stderr
    content = (tmp_path / "TSM_infer_result.pkl").read_bytes()
    assert content[:1] == b"("  # protocol 0 has no header
    rows = pickle.loads(content)
    assert len(rows) == 9
    names = ["down", "left", "right", "up"]
    for row, (video, probabilities, classes) in zip(
        map(json.loads, (tmp_path / "TSM_infer_result.jsonl").read_text().splitlines()), rows
    ):
        assert (
            len(classes) == 3 and probabilities == sorted(probabilities, reverse=True) and sum(probabilities) <= 1.0001
        )
        assert row["video"] == video
        assert [(top["class"], top["name"], top["probability"]) for top in row["top"]] == [
            (index, names[index], probability) for index, probability in zip(classes, probabilities)
        ]
    assert re.search(r"^backwards\.mp4\n +\d+\.\d\d%  (down|left|right|up)$", result.stdout, re.MULTILINE)


def test_infer_keeps_the_others_when_a_video_is_bad(trained, config, run_cli, moving_shapes, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "my.list").write_text(f"{moving_shapes}/backwards.mp4\n{tmp_path}/text.mp4\nmissing.mp4 3\n")
    result = run_cli(
        *("infer.py", f"--config={config}", f"--weights={trained[0]}/TSM_best", f"--filelist={tmp_path}/my.list"),
        *(f"--save_dir={tmp_path}", "--engine=paddle"),
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: 2 of 3 videos of ")
    assert "text.mp4 (line 2): it is no video" in result.stderr
    assert "missing.mp4 (line 3): there is no such file" in result.stderr
    assert [
        row["video"] for row in map(json.loads, (tmp_path / "TSM_infer_result.jsonl").read_text().splitlines())
    ] == [f"{moving_shapes}/backwards.mp4"]


def test_script_works_from_any_folder(trained, config, moving_shapes, tmp_path):
    script = ROOT / "scripts/test/test_tsm.sh"
    environment = {
        **os.environ,
        "ZOO_VENV": "none",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WEIGHTS": f"{trained[0]}/TSM_epoch1",
    }
    command = ["bash", str(script), f"--config={config}", "--batch_size=9", "--use_gpu=False", f"--save_dir={tmp_path}"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "[EVAL] Batch 0  Loss: " in result.stdout and "over 9 of 9 videos" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.py", "--model_nam=TSM"], "unrecognized arguments: --model_nam=TSM"),
        (
            ["train.py", "--config=configs/tsn.txt", "--model_name=TSM"],
            "two models at once: configs/tsn.txt is of TSN, and --model_name is TSM",
        ),
        (["train.py", "--set", "TRAIN.batchsize=4"], "no key TRAIN.batchsize; did you mean batch_size?"),
        (["train.py", "--model_name=TMS"], "no model named 'TMS'; did you mean TS"),
        (["test.py", "--config={config}", "--weights={trained}/TSM_best", "--use_gpu=True"], "--use_gpu=True, but "),
        (["test.py", "--set", "TEST.filelist=no.list"], "no list no.list (TEST.filelist)"),
        (["infer.py", "--filelist={data}/infer.list", "--weights=nowhere"], "no weights at nowhere"),
        (["infer.py", "--filelist={data}/infer.list"], "without a network"),
        (["infer.py", "--config={config}", "--weights={trained}"], "holds no weights of this TSM"),
        (
            ["test.py", "--config={config}", "--weights={trained}/TSM_best", "--set", "MODEL.num_classes=5"],
            "names 4 classes, and MODEL.num_classes is 5",
        ),
        (["train.py", "--config={config}", "--resume={trained}/TSM_epoch1"], "has had its 2 epochs"),
        (["train.py", "--config={config}"], "no weights are published for this network"),
    ],
)
def test_bad_input_is_one_message(arguments, message, trained, config, moving_shapes, run_cli, tmp_path):
    places = {"data": moving_shapes, "config": config, "trained": trained[0]}
    cache = {"PADDLE_WEIGHTS_HOME": str(tmp_path), "PADDLE_WEIGHTS_MIRROR": tmp_path.as_uri()}
    result = run_cli(*(argument.format(**places) for argument in arguments), **cache)
    assert result.returncode in (1, 2)
    assert message.lower() in result.stderr.lower()
    assert result.stderr.startswith("error: ") and "Traceback" not in result.stderr + result.stdout
