"""The wheel: one package, whole, that works from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("configs", "datareader", "dataset", "engine", "metrics", "models", "scripts", "server", "utils", "video_zoo")
COMMANDS = ("train", "test", "infer", "export", "demo")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this tree, built outside of it."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for file in filter(Path.is_file, ROOT.iterdir()):
        shutil.copy(file, tree)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__", "videos", "*.list"))
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(tree))
    done = subprocess.run([sys.executable, *build], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


def test_it_holds_every_module_and_nothing_called_utils(wheel):
    files = zipfile.ZipFile(wheel)
    names = set(files.namelist())
    about = next(name for name in names if name.endswith("/METADATA"))
    assert "Provides-Extra: demo" in files.read(about).decode() and "video_zoo/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"video_zoo", "video_classification_zoo"}
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            inside = file.relative_to(ROOT / "video_zoo") if folder == "video_zoo" else file.relative_to(ROOT)
            assert f"video_zoo/{inside.as_posix()}" in names
    assert {f"video_zoo/{name}.py" for name in COMMANDS} <= names
    assert {"video_zoo/configs/tsm.txt", "video_zoo/configs/tsm_mit.yaml"} <= names
    assert {"video_zoo/dataset/kinetics/kinetics400_label.txt", "video_zoo/dataset/labels/ucf101.txt"} <= names
    for pages in ("engine/html", "server/html"):
        assert {f"video_zoo/{pages}/{file.name}" for file in (ROOT / pages).iterdir()} <= names


def test_its_commands_work_from_another_folder(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")  # what an installation does, as it has no dependencies here
    away = tmp_path / "away"
    away.mkdir()

    def run(*command: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        return subprocess.run([sys.executable, *command], cwd=away, env=environment, capture_output=True, text=True)

    where = run("-c", "import video_zoo.utils.cli as cli; print(cli.__file__)")
    assert where.stdout.strip() == str(tmp_path / "site/video_zoo/utils/cli.py")
    for name in COMMANDS:
        assert run("-m", f"video_zoo.{name}", "--help").stdout.startswith("usage: ")
    found = run("-m", "video_zoo.infer", "--model_name=TSN", "--use_gpu=False")
    assert found.returncode == 1
    assert found.stderr.startswith("error: no list ./dataset/kinetics/infer.list (INFER.filelist)")
