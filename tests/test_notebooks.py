"""The notebooks: their code runs, with few videos and one pass over them, and their outputs are stored."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
from preloaded import PRELOADED

ROOT = Path(__file__).resolve().parents[1]
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL = "VIDEOS, EPOCHS = 4, 1"
MOST_BYTES = 150_000  # of a notebook with its outputs and pictures


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def run_cell(code: str, scope: dict) -> object:
    """Runs a cell's code; the value of its last line is displayed, as a notebook does it."""
    tree = ast.parse(code)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), scope)
    value = eval(compile(last, "cell", "eval"), scope) if last else None
    return value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)


def run_command(line: str, folder: Path) -> None:
    """Runs `!python -m video_zoo.NAME ...`."""
    python, option, module, *flags = shlex.split(line.removeprefix("!").replace("\\\n", " "))
    assert (python, option) == ("python", "-m")
    script = ROOT / f"{module.removeprefix('video_zoo.')}.py"
    done = PRELOADED.run([str(script), *flags], timeout=300, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_its_code_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    for cell in code_cells(path):
        code = "".join(cell["source"])
        if "parameters" in cell["metadata"].get("tags", ()):
            assert re.match(r"VIDEOS, EPOCHS = \d+, \d+  #", code)
            code = SMALL
        run_command(code, tmp_path) if code.startswith("!") else run_cell(code, scope)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_its_outputs_are_stored(path):
    cells = code_cells(path)
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs and path.stat().st_size < MOST_BYTES
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    text = json.dumps(outputs)
    assert not any(output["output_type"] == "error" for output in outputs)
    assert "%|" not in text, "a progress bar: see CONTRIBUTING.md"
    assert "/tmp/" not in text and "/home/" not in text and "/root/" not in text
