"""deploy/: what can be copied elsewhere says the same as infer.py."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from video_zoo.utils.runtime import describe_processor

ROOT = Path(__file__).resolve().parents[1]
OTHER_PROCESSOR = "checked on Another; this one differs in avx9\n"


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_example_predicts_what_infer_predicts(run_cli, infer, place, exported, tmp_path, unreported, engine):
    videos = sorted(str(path) for path in (place / "videos").rglob("*.mp4"))
    folder = exported[0]
    if engine == "onnxruntime":
        folder = Path(shutil.copytree(folder, tmp_path / "exported"))
        said = yaml.safe_load((folder / "inference.yaml").read_text(encoding="utf-8"))
        del said["programs"]["openvino"]
        assert said["checked_on"] == describe_processor()
        said["checked_on"] = {"processor": "Another", "instructions": {"avx9": True}}
        (folder / "inference.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    result = run_cli(str(copy_of(ROOT / "deploy/predict.py", tmp_path)), str(folder), *videos)
    assert result.returncode == 0, result.stderr
    said = re.findall(r"^(\S.*\.mp4)\n\s+([\d.]+)%  (\w+)", result.stdout, re.MULTILINE)
    assert (OTHER_PROCESSOR in result.stderr) == (engine == "onnxruntime")
    _, rows = infer("--input", *videos, f"--engine={engine}", weights="exported")
    wanted = [(row["video"], f"{100 * row['top'][0]['probability']:.2f}", row["top"][0]["name"]) for row in rows]
    assert [(video, name) for video, _, name in said] == [(video, name) for video, _, name in wanted]
    assert all(abs(float(one[1]) - float(other[1])) < 2 for one, other in zip(said, wanted))  # OpenCV's colours


@pytest.mark.parametrize(("kind", "files"), [("onnx", ["model.onnx"]), ("openvino", ["model.bin", "model.xml"])])
def test_a_triton_repository_fits_its_program(run_cli, exported, tmp_path, kind, files):
    result = run_cli(
        str(copy_of(ROOT / "deploy/triton.py", tmp_path)), str(exported[0]), str(tmp_path / "models"), kind
    )
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "models/tsm"
    assert sorted(path.name for path in (folder / "1").iterdir()) == files
    assert (folder / "labels.txt").read_text() == "down\nleft\nright\nup\n"
    config = (folder / "config.pbtxt").read_text()
    backend = {"onnx": "onnxruntime", "openvino": "openvino"}[kind]
    assert f'backend: "{backend}"' in config and json.loads(re.search(r"TYPE_UINT8 dims: (\[.*?\])", config)[1]) == [
        2,
        3,
        32,
        32,
    ]
    program = exported[0] / {"onnx": "model.onnx", "openvino": "openvino_fp32.xml"}[kind]
    assert (folder / "1" / f"model{program.suffix}").read_bytes() == program.read_bytes()


def test_a_kind_that_is_not_there_is_said(run_cli, exported, tmp_path):
    result = run_cli("deploy/triton.py", str(exported[0]), str(tmp_path / "models"), "paddle")
    assert result.returncode == 1 and "onnx or openvino will do" in result.stderr and not list(tmp_path.iterdir())


def copy_of(script, folder):
    """The script where nothing of the project is beside it."""
    return Path(shutil.copy(script, folder))
