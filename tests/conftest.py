"""What all tests share. Paddle is started once, as the command lines start it, and only if a test needs it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
os.environ["OMP_NUM_THREADS"] = "2"  # the golden values' bits depend on it
os.environ["PADDLE_WEIGHTS_MIRROR"] = "http://127.0.0.1:9"  # nothing listens there: no test reaches the network

from utils.log import logger
from utils.runtime import start_paddle

start_paddle(use_gpu=False)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests in the background


@pytest.fixture
def log(caplog, monkeypatch):
    """The lines of the log, whatever an earlier test did to the logger."""
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "propagate", False)
    caplog.set_level(logging.INFO, logger=logger.name)
    return caplog


@pytest.fixture(scope="session")
def run_cli():
    """Runs a command line of the repository's root as a user would; returns the finished process, output as text."""

    def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def moving_shapes(tmp_path_factory, run_cli) -> Path:
    """A small moving shapes: 16 training and 9 validation clips of 32 px."""
    folder = tmp_path_factory.mktemp("data") / "moving shapes"
    sizes = ("--train=16", "--val=9", "--size_px=32", "--frames=8")
    result = run_cli("dataset/moving_shapes/make_moving_shapes.py", f"--out={folder}", *sizes)
    assert result.returncode == 0, result.stderr
    return folder
