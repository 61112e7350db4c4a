"""The pages docs/adding_*.md: their files are put into a copy of the project, and their commands run there.

They are processes of their own: forks of tests/preloaded.py have the modules of the project itself.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("configs", "datareader", "dataset", "engine", "metrics", "models", "utils", "video_zoo")
_BLOCK = re.compile(r"^```(\w+)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALL = ["--set=MODEL.base_width=8", "--set=MODEL.num_layers=18"]
TINY = {"train.py": ["--epoch=1", "--use_gpu=False", *SMALL], "test.py": ["--use_gpu=False", *SMALL]}


@pytest.fixture
def project(tmp_path, moving_shapes) -> Path:
    """A copy of the project with a small moving shapes."""
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "videos*", "streams", "*.list")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for file in ROOT.glob("*.py"):
        shutil.copy(file, tmp_path)
    shutil.copytree(moving_shapes, tmp_path / "dataset/moving_shapes/videos")
    return tmp_path


def add_files(page: str, project: Path) -> None:
    """Writes a page's files; a block of `diff` changes one that is there, at the one place that has its lines."""
    for kind, name, body in _BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
        path = project / name
        if kind != "diff":
            assert not path.exists(), f"{name} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body if kind == "text" else f"# {name}\n{body}", encoding="utf-8")
            continue
        lines = body.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{page}: {name} has not these lines once:\n{old}"
        path.write_text(text.replace(old, new), encoding="utf-8")


def run(page: str, project: Path, flags: dict[str, list[str]]) -> dict[str, str]:
    """Runs those of a page's commands whose script is a key of `flags`, with these flags; returns what each said."""
    said = {}
    for line in re.findall(r"^    python (.*)$", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE):
        script, *given = shlex.split(line)
        if script in flags:
            command = [sys.executable, script, *given, *flags[script]]
            options = {"cwd": project, "env": {**os.environ, "PYTHONPATH": str(project)}}  # the package is the copy
            done = subprocess.run(command, capture_output=True, text=True, **options)
            assert done.returncode == 0, done.stdout + done.stderr
            said[script] = done.stdout + done.stderr
    return said


def test_a_network(project):
    add_files("adding_model.md", project)
    said = run("adding_model.md", project, TINY)
    assert "[TRAIN] Epoch 0" in said["train.py"] and "top-1" in said["test.py"]


def test_a_metric(project):
    add_files("adding_metric.md", project)
    said = run("adding_metric.md", project, TINY)["train.py"]
    assert said.count("class_mean: ") > 1 and "class_mean" in (project / "mine/curves.jsonl").read_text()


def test_an_engine(project, place):
    """It gives the network's own probabilities."""
    add_files("adding_engine.md", project)
    flags = [f"--config={place}/tiny.yaml", f"--weights={place}/weights", "--use_gpu=False"]
    (project / "clips").mkdir()
    shutil.copy(place / "videos/a b.mp4", project / "clips")  # one: it is slow
    found = {}
    for other in ([], ["--engine=paddle"]):
        said = run("adding_engine.md", project, {"infer.py": [*flags, *other]})["infer.py"]
        assert ("ONNX's reference implementation" in said) is (not other)
        rows = (project / "TSM_infer_result.jsonl").read_text(encoding="utf-8").splitlines()
        found[not other] = [[each["probability"] for each in json.loads(row)["top"]] for row in rows]
    assert len(found[True]) == 1
    np.testing.assert_allclose(found[True], found[False], atol=1e-4)


def test_a_data_set(project):
    add_files("adding_data_set.md", project)
    videos = sorted((project / "dataset/moving_shapes/videos").glob("*/*.mp4"))
    rows = [f"{path.name},{path.stem.split('_')[0]},{path.parent.name}" for path in videos]
    (project / "ANNOTATIONS").mkdir()
    (project / "ANNOTATIONS/tags.csv").write_text("\n".join(["video,class,part", *rows]))
    (project / "VIDEO_DIR").symlink_to("dataset/moving_shapes/videos")
    tiny = [*TINY["train.py"], "--pretrain=none", "--set=TRAIN.target_size=32", "--set=TRAIN.short_size=32"]
    said = run("adding_data_set.md", project, {"dataset/make_list.py": [], "train.py": tiny})
    assert "those of" in said["dataset/make_list.py"] and "[TRAIN] Epoch 0" in said["train.py"]


@pytest.mark.parametrize("page", sorted(path.stem for path in ROOT.glob("docs/adding_*.md") if "_cn" not in path.stem))
def test_the_chinese_page_has_the_same_files(page):
    pages = [(ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in (page, f"{page}_cn")]
    assert _BLOCK.findall(pages[0]) == _BLOCK.findall(pages[1]) != []
