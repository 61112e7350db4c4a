"""deploy/: what can be copied elsewhere says the same as infer.py."""

from __future__ import annotations

import json
import re
import runpy
import shutil
from pathlib import Path

import pytest
import yaml

from video_zoo.engine.deployment import Deployment

ROOT = Path(__file__).resolve().parents[1]


def test_the_example_predicts_what_infer_predicts(run_cli, infer, place, exported, tmp_path):
    videos = sorted(str(path) for path in (place / "videos").rglob("*.mp4"))
    result = run_cli(str(copy_of(ROOT / "deploy/predict.py", tmp_path)), str(exported[0]), *videos)
    assert result.returncode == 0, result.stderr
    said = re.findall(r"^(\S.*\.mp4)\n\s+([\d.]+)%  (\w+)", result.stdout, re.MULTILINE)
    _, rows = infer("--input", *videos, "--engine=openvino", weights="exported")
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


@pytest.mark.parametrize("file", ["openvino_fp32.bin", "model.onnx"])
def test_a_changed_bit_of_a_program_is_found(run_cli, tmp_path, file):
    """Before anything is loaded or copied."""
    programs = {"openvino": {"fp32": "openvino_fp32.xml"}, "onnx": {"fp32": "model.onnx"}}
    for name in ("openvino_fp32.xml", "openvino_fp32.bin", "model.onnx"):
        (tmp_path / name).write_bytes(b"a program")
    Deployment(tmp_path, "TSM", ["a", "b"], (8, 3, 224, 224), programs).write()
    (tmp_path / file).write_bytes(b"a progran")
    kind = "onnx" if file.endswith(".onnx") else "openvino"
    result = run_cli("deploy/triton.py", str(tmp_path), str(tmp_path / "models"), kind)
    wanted = f"error: {tmp_path / file} is damaged: copy the folder again, or export it again"
    assert (result.returncode, result.stderr) == (1, wanted + "\n") and not (tmp_path / "models").exists()
    predict = runpy.run_path(str(ROOT / "deploy/predict.py"))
    said = yaml.safe_load((tmp_path / "inference.yaml").read_text())
    with pytest.raises(SystemExit, match=f"^{wanted}$"):
        predict["load_program"](tmp_path, {kind: programs[kind]}, said["checksums"])


def test_a_kind_that_is_not_there_is_said(run_cli, exported, tmp_path):
    result = run_cli("deploy/triton.py", str(exported[0]), str(tmp_path / "models"), "paddle")
    assert result.returncode == 1 and "onnx or openvino will do" in result.stderr and not list(tmp_path.iterdir())


def copy_of(script, folder):
    """The script where nothing of the project is beside it."""
    return Path(shutil.copy(script, folder))
