"""What all tests share. Paddle is started once, as the command lines start it, and only if a test needs it."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from preloaded import PRELOADED, save_time

ROOT = Path(__file__).resolve().parents[1]
os.environ["OMP_NUM_THREADS"] = "2"  # the golden values' bits depend on it
# Several processes share the cores: threads of OpenMP that wait do not keep them: Intel's, and GNU's (PyTorch).
WAITING = {"KMP_BLOCKTIME": "0", "OMP_WAIT_POLICY": "PASSIVE"}
os.environ.update(WAITING)
os.environ["PADDLE_WEIGHTS_MIRROR"] = "http://127.0.0.1:9"  # nothing listens there: no test reaches the network
save_time()

settings.register_profile("any machine", deadline=None)  # no test asserts a time
settings.load_profile("any machine")

from video_zoo.utils.log import logger
from video_zoo.utils.paddle_env import start_paddle

start_paddle(use_gpu=False)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests in the background
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup


SLOW = ("test_export.py", "test_notebooks.py", "test_adding.py", "test_python_page.py")
SLOW += ("test_resume.py", "test_ranks.py", "test_infer.py", "test_contract.py", "test_workers.py")
SLOW += ("test_end_to_end.py", "test_cli.py", "test_models.py", "test_torch_weights.py", "test_selective.py")
SLOW += ("test_setup_env.py", "test_packaging.py", "test_training.py", "test_class_folders.py", "test_own_videos.py")


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that several processes end at about the same time."""
    items.sort(key=lambda item: SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What a test logs of file names that are no text must be text, for the process that collects the reports."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture
def log(caplog, monkeypatch):
    """The lines of the log, those of --verbose too, whatever an earlier test did to the logger."""
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "propagate", False)
    caplog.set_level(logging.DEBUG, logger=logger.name)
    return caplog


@pytest.fixture
def unreported(tmp_path_factory, monkeypatch) -> Iterator[None]:
    """The commands of a test reach no other machine, and write no file to the home folder."""
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as proxy:
        calls, home = [], tmp_path_factory.mktemp("home")
        proxy.process_request = lambda request, address: (calls.append(address), proxy.shutdown_request(request))
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_address[1]}")
        theirs = ("HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "XDG_CACHE_HOME", "CI", "ORT_DISABLE_TELEMETRY")
        for name in theirs:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(home))
        yield
        proxy.shutdown()
        written = [path for path in home.rglob("*") if path.is_file()]  # Paddle makes an empty folder
        assert calls == [] and written == []


@pytest.fixture(scope="session")
def run_cli():
    """Runs a command line in the repository's root; returns the finished process, output as text. It runs in a fork
    that has imported Paddle (preloaded.py), unless there are variables of the environment that count before."""

    def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
        if command[0].endswith(".py") and all(name.startswith("PADDLE_WEIGHTS_") for name in environment):
            return PRELOADED.run(command, timeout=300, environment=environment)
        # Such a command chooses itself how its threads wait (utils/cpu_env.py).
        own = {name: value for name, value in os.environ.items() if name not in WAITING}
        return subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**own, **environment},
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


PLACE_CONFIG = """
MODEL: {{num_classes: 4, seg_num: 2, num_layers: 18, base_width: 8, dropout: 0.0, class_names: "{data}/label.txt"}}
TRAIN: {{filelist: "{data}/train.list"}}
INFER: {{filelist: "{data}/val.list", short_size: 32, target_size: 32, num_reader_threads: 0}}
"""


@pytest.fixture(scope="session")
def place(moving_shapes, tmp_path_factory) -> Path:
    """A folder with tiny.yaml, weights/ of a tiny network, and videos/ with awkward names."""
    from deployed import settled_network
    from media import make_video, moving
    from tiny import values_of

    from video_zoo.utils.fluid_vars import write_folder

    folder = tmp_path_factory.mktemp("place")
    (folder / "tiny.yaml").write_text(PLACE_CONFIG.format(data=moving_shapes))
    (folder / "weights").mkdir()
    write_folder(folder / "weights", values_of(settled_network()))
    (folder / "videos/deep").mkdir(parents=True)
    for number, name in enumerate(("a b.mp4", 'it\'s "ok".mp4', "deep/录像.mp4")):
        make_video(folder / "videos" / name, moving(50, 48, 64, seed=number))
    return folder


@pytest.fixture(scope="session")
def checkpoint(place) -> Path:
    """A folder with a checkpoint of the network of `place`, as training writes it, and nothing else."""
    from deployed import settled_network
    from tiny import values_of

    from video_zoo.configs.schema import Config
    from video_zoo.models import MODELS
    from video_zoo.utils import cli, config
    from video_zoo.utils.fluid_vars import write_folder

    folder = place / "trained/TSM_best"
    folder.mkdir(parents=True)
    settings = config.load(str(place / "tiny.yaml"), Config, models=cli.model_sections(MODELS), model="TSM")
    sections = {each.name: dataclasses.asdict(getattr(settings, each.name)) for each in dataclasses.fields(Config)}
    sections["MODEL"]["class_names"] = "a file of another machine.txt"
    sections["TEST"].update(filelist="lists/val.list", short_size=32, target_size=32)
    info = {"model": "TSM", "classes": ["down", "left", "right", "up"], "epoch": 1, "global_step": 1, "best_top1": 0.5}
    write_folder(folder, values_of(settled_network()), {**info, **sections})
    return folder


@pytest.fixture(scope="session")
def exported(place, run_cli) -> tuple[Path, str]:
    """The deployment folder place/exported, and what export.py said."""
    target = place / "exported"
    common = (f"--config={place}/tiny.yaml", f"--weights={place}/weights", f"--save_dir={target}")
    result = run_cli("export.py", *common, "--fp16=True", "--input", f"{place}/videos")
    assert result.returncode == 0, result.stdout + result.stderr
    return target, result.stdout


@pytest.fixture
def infer(place, run_cli, tmp_path):
    """Runs infer.py into tmp_path; returns the process and the rows of its jsonl."""

    def run(*flags: str, code: int = 0, weights: str = "weights"):
        common = (f"--config={place}/tiny.yaml", f"--weights={place}/{weights}", f"--save_dir={tmp_path}")
        result = run_cli("infer.py", *common, *flags)
        assert result.returncode == code, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        path = tmp_path / "TSM_infer_result.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return result, list(map(json.loads, lines))

    return run
