"""deploy/triton.py writes and reads nothing outside its folders, whatever a description says."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
GOOD = {
    "model": "TSM",
    "input": {"name": "clips", "shape": [-1, 8, 3, 32, 32]},
    "output": {"name": "probabilities", "shape": [-1, 2]},
    "programs": {"onnx": {"fp32": "model.onnx"}},
    "checksums": {"model.onnx": hashlib.sha256(b"a program").hexdigest()},
    "labels": ["jump rope", "漢字"],
}


@pytest.fixture
def write(tmp_path):
    """Runs the tool on a description; returns the folder in which it may write."""
    spec = importlib.util.spec_from_file_location("triton", ROOT / "deploy/triton.py")
    triton = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(triton)
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported/model.onnx").write_text("a program")

    def run(description: object) -> Path:
        (tmp_path / "exported/inference.yaml").write_text(yaml.safe_dump(description), encoding="utf-8")
        triton.main(tmp_path / "exported", tmp_path / "models", "onnx")
        return tmp_path / "models"

    return run


def test_a_good_description_is_written(write):
    folder = write(GOOD)
    assert (folder / "tsm/1/model.onnx").read_text() == "a program"
    assert (folder / "tsm/labels.txt").read_text(encoding="utf-8") == "jump rope\n漢字\n"


@pytest.mark.parametrize(
    "change",
    [
        {"model": name}
        for name in ("../outside", "/tmp/outside", "a/b", "..", "", 3, None, 'x"\nbackend: "y', "x" * 5000)
    ]
    + [{"programs": {"onnx": {"fp32": name}}} for name in ("../secret.onnx", "/etc/passwd", 3)]
    + [{"programs": None}, {"labels": ["a\nb"]}, {"labels": [1]}, {"labels": []}, {"labels": None}]
    + [{"input": {"name": 'x"', "shape": [-1, 8]}}, {"input": {"name": "x", "shape": [-1, "8 ] }"]}}, {"input": 3}],
)
def test_what_is_no_plain_name_is_refused(write, tmp_path, change):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="inference.yaml is damaged: ") as caught:
        write({**GOOD, **change})
    assert sorted(tmp_path.iterdir()) == before and len(str(caught.value)) < 500
    with pytest.raises(SystemExit, match="inference.yaml is damaged: "):
        write([change])
