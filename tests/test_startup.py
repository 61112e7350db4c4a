"""The first moments of a command: signals, standard streams, and what libraries would report of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINES = {
    signal.SIGINT: "stopped.\n",
    signal.SIGTERM: "stopped by SIGTERM.\n",
    signal.SIGHUP: "stopped by SIGHUP.\n",
}
# Python imports it by itself, before the script. It sends a signal to the process when a module is to be imported.
SIGNAL_AT_IMPORT = """
import os, sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == os.environ["AT"]:
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))
sys.meta_path.insert(0, Finder)
"""


@pytest.fixture
def end_at(tmp_path):
    """Runs a command that gets a signal at the import of a module: (exit code, stdout, stderr)."""
    (tmp_path / "sitecustomize.py").write_text(SIGNAL_AT_IMPORT)

    def run(script: str, module: str, number: int) -> tuple[int, str, str]:
        variables = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "AT": module, "SIGNAL": str(int(number))}
        command = [sys.executable, script, "--help"]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize("number", LINES)
@pytest.mark.parametrize(
    ("script", "module"),
    [
        ("infer.py", "argparse"),
        ("infer.py", "cv2"),
        ("train.py", "paddle"),
        ("dataset/check_videos.py", "numpy"),
    ],
)
def test_a_signal_while_modules_are_imported_is_one_line(end_at, script, module, number):
    assert end_at(script, module, number) == (128 + number, "", LINES[number])


COMMANDS = ["train.py", "test.py", "export.py", "infer.py", "scripts", "dataset"]


@pytest.mark.parametrize("place", COMMANDS)
def test_each_command_begins_before_it_imports_what_takes_time(place):
    """As the text says: the first import of a command is utils/startup.py, and `begin` is called then."""
    paths = sorted((ROOT / place).rglob("*.py")) if (ROOT / place).is_dir() else [ROOT / place]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    commands = [text for text in texts if "\n    cli.run(main)" in text]
    assert commands
    for text in commands:
        first = text.split("from __future__ import annotations\n\n", 1)[1]
        assert first.startswith("from video_zoo.utils import startup\n\nif __name__ == ")
        assert first.splitlines()[3] == "    startup.begin()"


@pytest.mark.contract
def test_sigterm_after_paddles_library_took_it_is_ours(end_at):
    """paddle.framework is one of the first modules that are imported after it did."""
    code, out, said = end_at("train.py", "paddle.framework", signal.SIGTERM)
    assert (code, out, said.splitlines()[-1]) == (143, "", "stopped by SIGTERM.") and "Traceback" not in said


@pytest.mark.parametrize(
    ("gpus", "flags", "logs"),
    [
        ("0", [], None),
        ("0,1", [], "checkpoints"),
        ("0,1", ["--save-dir=x y"], "x y"),
        ("2,3", ["--save_dir", "z"], "z"),
    ],
)
def test_the_kinetics_script_works_where_the_user_stands(tmp_path, gpus, flags, logs):
    """It runs the project's command there; what other ranks say is in the folder of the results."""
    (tmp_path / "python").write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "work").mkdir()
    own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ZOO_VENV": "none", "CUDA_VISIBLE_DEVICES": gpus, "CDPATH": "/"}
    command = ["bash", str(ROOT / "scripts/train/train_tsm.sh"), *flags]
    said = subprocess.check_output(command, cwd=tmp_path / "work", env={**os.environ, **own}, text=True).splitlines()
    assert said[0] == str(tmp_path / "work") and said[-len(flags) :] == (flags or said)
    assert str(ROOT / "train.py") in said and "--model_name=TSM" in said
    found = [word for word in said if word.startswith("--log_dir=")]
    assert found == ([f"--log_dir={logs}/rank_logs"] if logs else [])


STREAMS = """
from video_zoo.utils import startup
startup.begin()
import os, sys
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger, set_up_logging
from video_zoo.utils.runtime import captured_output
def main():
    set_up_logging()
    with open(sys.argv[1], "w") as file:
        logger.info("to nowhere")
        print("to nowhere", sys.stdin.read(), file=sys.stderr)
        os.write(2, b"to nowhere")
        with captured_output() as said:
            os.system("echo from a library")
            file.write(f"{file.fileno() > 2} {said.text()}")
    raise InputError("bad input")
cli.run(main)
"""


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-", "<&-", "< /dev/null"])
def test_standard_streams_that_are_closed_lead_to_nowhere(tmp_path, closed):
    """A file that the command opens must not get a message written into it."""
    command = ["sh", "-c", f'exec "$0" -c "$1" "$2" {closed}', sys.executable, STREAMS, str(tmp_path / "file")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, (tmp_path / "file").read_text()) == (1, "True from a library")
    assert done.stderr.endswith("error: bad input\n") == ("2>&-" not in closed)
