"""deploy/triton.py: the repository fits its program, and nothing outside of the folders is read or written."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from video_zoo.engine.deployment import Deployment

ROOT = Path(__file__).resolve().parents[1]
GOOD = {
    "model": "TSM",
    "input": {"name": "clips", "shape": [-1, 8, 3, 32, 32]},
    "output": {"name": "probabilities", "shape": [-1, 2]},
    "programs": {"onnx": {"fp32": "model.onnx"}},
    "checksums": {"model.onnx": hashlib.sha256(b"a program").hexdigest()},
    "labels": ["jump rope", "漢字"],
}
# What is no plain YAML, or too much of it
NO_DESCRIPTIONS = {
    "an alias": "a: &a [1]\nb: *a\n",
    "a merge key": "a: {<<: {b: 1}}\n",
    "an object": "a: !!python/object/apply:os.system ['true']\n",
    "a tag": "a: !!int ''\n",
    "a list": "[\n",
    "levels": "[" * 600,
    "bytes": "a: 1\n" + "#" * (8 << 20),
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
        text = description if isinstance(description, str) else yaml.safe_dump(description)
        (tmp_path / "exported/inference.yaml").write_text(text, encoding="utf-8")
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
    + [
        {"programs": None},
        {"checksums": None},
        {"checksums": ["model.onnx"]},
        {"labels": ["a\nb"]},
        {"labels": [1]},
        {"labels": []},
        {"labels": None},
    ]
    + [{"input": {"name": 'x"', "shape": [-1, 8]}}, {"input": {"name": "x", "shape": [-1, "8 ] }"]}}, {"input": 3}],
)
def test_what_is_no_plain_name_is_refused(write, tmp_path, change):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="inference.yaml is damaged: ") as caught:
        write({**GOOD, **change})
    assert sorted(tmp_path.iterdir()) == before and len(str(caught.value)) < 500
    with pytest.raises(SystemExit, match="inference.yaml is damaged: "):
        write([change])


@pytest.mark.parametrize("kind", NO_DESCRIPTIONS)
def test_what_is_no_plain_yaml_is_refused(write, tmp_path, kind):
    with pytest.raises(SystemExit, match=r"inference\.yaml is damaged: ") as caught:
        write(NO_DESCRIPTIONS[kind])
    assert not (tmp_path / "models").exists() and len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["1/model.onnx", "labels.txt", "config.pbtxt"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe", "file"])
def test_what_lies_in_the_place_of_a_file_is_replaced(write, tmp_path, name, kind):
    victim, place = tmp_path / "victim", tmp_path / "models/tsm" / name
    victim.write_text("precious")
    place.parent.mkdir(parents=True)
    if kind == "link":
        place.symlink_to(victim)
    elif kind == "dangling link":
        place.symlink_to(tmp_path / "new")
    elif kind == "hard link":
        os.link(victim, place)
    else:
        os.mkfifo(place) if kind == "pipe" else place.write_text("of an earlier run")
    folder = write(GOOD)
    assert victim.read_text() == "precious" and not (tmp_path / "new").exists()
    assert all((folder / "tsm" / each).is_file() for each in ("1/model.onnx", "labels.txt", "config.pbtxt"))
    assert not place.is_symlink() and place.read_bytes()


@pytest.mark.parametrize("name", ["tsm", "tsm/1"])
def test_a_link_in_place_of_a_folder_is_refused(write, tmp_path, name):
    victim, place = tmp_path / "victim", tmp_path / "models" / name
    victim.mkdir()
    place.parent.mkdir(parents=True)
    place.symlink_to(victim)
    with pytest.raises(SystemExit, match=f"^error: {place} is a link: remove it$"):
        write(GOOD)
    assert not list(victim.iterdir())


# --- the command


def written_programs(folder: Path) -> dict[str, dict[str, str]]:
    """Writes inference.yaml and the files of two programs; kind -> precision -> file."""
    programs = {
        "openvino": {"fp32": "openvino_fp32.xml"},
        "onnx": {"fp32": "model.onnx", "fp16": "model_fp16.onnx"},
    }
    for name in ("openvino_fp32.xml", "openvino_fp32.bin", "model.onnx", "model_fp16.onnx"):
        (folder / name).write_bytes(b"a program" + name.encode())
    Deployment(folder, "TSM", ["a", "b"], (8, 3, 224, 224), programs).write()
    return programs


@pytest.mark.parametrize(
    ("word", "kind", "precision", "files"),
    [
        ("onnx", "onnx", "fp32", ["model.onnx"]),
        ("onnx_fp16", "onnx", "fp16", ["model.onnx"]),
        ("openvino", "openvino", "fp32", ["model.bin", "model.xml"]),
    ],
)
def test_a_triton_repository_fits_its_program(run_cli, tmp_path, word, kind, precision, files):
    programs = written_programs(tmp_path)
    script = shutil.copy(ROOT / "deploy/triton.py", tmp_path)  # nothing of the project is beside it
    result = run_cli(str(script), str(tmp_path), str(tmp_path / "models"), word)
    assert result.returncode == 0, result.stderr
    folder, program = tmp_path / "models/tsm", tmp_path / programs[kind][precision]
    assert sorted(path.name for path in (folder / "1").iterdir()) == files
    assert (folder / "1" / f"model{program.suffix}").read_bytes() == program.read_bytes()
    assert (folder / "labels.txt").read_text() == "a\nb\n"
    config = (folder / "config.pbtxt").read_text()
    backend = {"onnx": "onnxruntime", "openvino": "openvino"}[kind]
    assert f'backend: "{backend}"' in config
    assert json.loads(re.search(r"TYPE_UINT8 dims: (\[.*?\])", config)[1]) == [8, 3, 224, 224]


@pytest.mark.parametrize("file", ["openvino_fp32.bin", "model.onnx"])
def test_a_changed_bit_of_a_program_is_found(run_cli, tmp_path, file):
    """Before anything is copied."""
    written_programs(tmp_path)
    (tmp_path / file).write_bytes(b"a progran")
    kind = "onnx" if file.endswith(".onnx") else "openvino"
    result = run_cli("deploy/triton.py", str(tmp_path), str(tmp_path / "models"), kind)
    wanted = f"error: {tmp_path / file} is damaged: copy the folder again, or export it again"
    assert (result.returncode, result.stderr) == (1, wanted + "\n") and not (tmp_path / "models").exists()


@pytest.mark.parametrize("kind", ["paddle", "other"])
def test_a_kind_that_is_not_there_is_said(run_cli, tmp_path, kind):
    written_programs(tmp_path)
    result = run_cli("deploy/triton.py", str(tmp_path), str(tmp_path / "models"), kind)
    assert result.returncode == 1 and "it has openvino, onnx, and onnx, onnx_fp16 (of" in result.stderr
    assert not (tmp_path / "models").exists()
