"""Which Paddle scripts/setup_env.sh installs, and from where: with a made-up nvidia-smi and made-up wheels."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PADDLE = "https://www.paddlepaddle.org.cn/packages/stable"
TOOLS = (
    *("bash", "awk", "basename", "cat", "cksum", "cmp", "cp", "dirname", "env", "flock", "grep", "head", "ln"),
    *("mkdir", "mktemp", "mv", "paste", "rm", "sed", "sort", "tail", "tee", "tr", "uname"),
)
OLD_DRIVER = 'Field "compute_cap" is not a valid field to query.'

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the script is for bash")


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def nvidia_smi(folder: Path, capabilities: list[str] | None, driver: str) -> None:
    """A nvidia-smi that lists these GPUs; None: it knows no compute_cap, as before driver 510; []: no GPU."""
    lines = [f"{each}, {driver}" for each in capabilities or []]
    known = (
        f"printf '%s\\n' '{OLD_DRIVER}'; exit 2" if capabilities is None else "\n".join(map("echo '{}'".format, lines))
    )
    if capabilities == []:
        known = "echo 'No devices were found'; exit 6"
    program(
        folder / "nvidia-smi",
        f"""case "$*" in
        *compute_cap*) {known} ;;
        *driver_version*) {"exit 6" if capabilities == [] else f"echo {driver}"} ;;
        *) echo 'No devices were found' ;;
        esac""",
    )


def wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """A made-up wheel with one module, which says its version."""
    folder.mkdir(exist_ok=True)
    known, dist = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{known}.py": f"version = {version!r}\n",
        f"{dist}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{dist}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{each},,\n" for each in [*files, f"{dist}/RECORD"])
    with zipfile.ZipFile(folder / f"{known}-{version}-py3-none-any.whl", "w") as archive:
        for each, text in {**files, f"{dist}/RECORD": record}.items():
            archive.writestr(each, text)


BACKEND = """
import zipfile
def build_editable(folder, *rest):
    with zipfile.ZipFile(folder + "/zoo-1-py3-none-any.whl", "w") as archive:
        archive.writestr("zoo-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: zoo\\nVersion: 1\\n")
        archive.writestr("zoo-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr("zoo-1.dist-info/RECORD", "")
    return "zoo-1-py3-none-any.whl"
"""


class Machine:
    """A clone whose other requirements are one made-up package, and what its set-up says and does."""

    def __init__(self, folder: Path):
        self.clone, self.bin, self.log = folder / "clone", folder / "bin", folder / "pip.txt"
        for each in ("scripts", "requirements"):
            shutil.copytree(ROOT / each, self.clone / each)
        for each in ("common", "dev", "export", "export26"):
            (self.clone / f"requirements/{each}.txt").write_text("zoo-other\n")
        project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        (self.clone / "pyproject.toml").write_text(project)
        (self.clone / "backend.py").write_text(BACKEND)
        self.bin.mkdir()
        # Without a nvidia-smi of this machine: a PATH of links to what the script calls.
        for each in TOOLS:
            found = shutil.which(each)
            if found:
                (self.bin / each).symlink_to(found)
        self.environment = {"PATH": str(self.bin), "PYTHON": str(self.bin / "python"), "HOME": str(folder)}
        self.environment.update({"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1", "PIP_TIMEOUT": "5"})

    def pretend_pip(self) -> None:
        """Environments whose pip only notes what it is asked for."""
        fake = f"""case "$*" in
        "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; : > "$3/bin/activate" ;;
        "-m pip install "*) shift 3; echo "$*" >> {self.log} ;;
        *sysconfig*) echo {self.clone} ;;
        --version) echo Python 3.11 ;;
        esac"""
        program(self.bin / "python", fake)
        (self.clone / "nvidia/cudnn/lib").mkdir(parents=True)  # what paddlepaddle-gpu 2.6.2 loads
        (self.clone / "nvidia/cudnn/lib/libcudnn.so.8").touch()

    def real_pip(self) -> None:
        """Environments with this Python's own pip, as making one with ensurepip takes seconds."""
        found = Path(sysconfig.get_paths()["purelib"], "pip")
        make = f'{sys.executable} -m venv --without-pip "$3" && ln -s {found} "$3"/lib/python*/site-packages/'
        program(self.bin / "python", f'if [ "$1 $2" = "-m venv" ]; then {make}; else exec {sys.executable} "$@"; fi')

    def set_up(self, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(self.clone / "scripts/setup_env.sh"), *flags]
        environment = {**self.environment, **environment}
        return subprocess.run(
            command, cwd=self.clone.parent, env=environment, capture_output=True, text=True, timeout=120
        )

    def kind(self) -> str:
        """Of the environment that is ready; "" if none is."""
        ready = self.clone / ".venv/ready"
        lines = ready.read_text().splitlines() if ready.exists() else []
        return lines[0].partition(" ")[2] if len(lines) > 1 else ""

    def installed(self, module: str) -> str:
        """The version of a made-up package."""
        python = self.clone / ".venv/bin/python"
        return subprocess.check_output([python, "-c", f"import {module}; print({module}.version)"], text=True).strip()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# Which build


@pytest.mark.parametrize(
    ("capabilities", "driver", "flag", "kind", "said"),
    [
        (["8.9"], "535.183.01", "", "gpu", "GPU of compute capability 8.9: taking Paddle 2.6.2 for CUDA 11.8"),
        (["6.1"], "450.80.02", "gpu", "gpu", "taking Paddle 2.6.2"),
        (["9.0"], "525.60.13", "", "gpu3-cu129", "capability 9.0: taking Paddle 3.3.1 for CUDA 12.9"),
        (["9.0"], "580.159.03", "gpu", "gpu3-cu129", "taking Paddle 3.3.1 for CUDA 12.9"),
        (["10.0"], "575.51.03", "", "gpu3-cu129", "capability 10.0: taking"),
        (["12.0"], "580.82", "", "gpu3-cu129", "capability 12.0: taking"),
        (["8.0"], "535.183.01", "paddle3", "gpu3-cu129", "taking Paddle 3.3.1 for CUDA 12.9"),
        (["7.5"], "535.183.01", "paddle3", "gpu3-cu126", "taking Paddle 3.3.1 for CUDA 12.6"),
        (["7.0", "9.0"], "535.183.01", "", "gpu3-cu126", "capability 7.0 9.0: taking Paddle 3.3.1 for CUDA 12.6"),
        (["12.0", "8.6"], "575.51.03", "", "gpu3-cu129", "capability 8.6 12.0: taking Paddle 3.3.1 for CUDA 12.9"),
        (["7.0", "12.0"], "575.51.03", "", "gpu3-cu129", "warning: it has no kernels for the older ones"),
        (["5.2"], "535.183.01", "", "cpu", "warning: no build has kernels for a GPU of compute capability 5.2"),
        (None, "470.82.01", "", "gpu", "does not say the GPU's compute capability: taking Paddle 2.6.2"),
        (["[N/A]"], "535.183.01", "paddle3", "gpu3-cu129", "does not say the GPU's compute capability"),
        ([], "", "", "cpu", "nvidia-smi finds no GPU (No devices were found): taking Paddle 3.3.1 for CPUs"),
        ([], "", "gpu", "gpu", "nvidia-smi finds no GPU"),
    ],
)
def test_the_build_is_chosen_by_the_gpus(machine, capabilities, driver, flag, kind, said):
    nvidia_smi(machine.bin, capabilities, driver)
    command = ["bash", str(ROOT / "scripts/gpu_build.sh"), flag]
    done = subprocess.run(command, env=machine.environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{kind}\n"), done.stderr
    assert said in done.stderr and "error" not in done.stderr


def test_without_nvidia_smi_there_is_nothing_to_say(machine):
    for flag, kind in (("", "cpu"), ("gpu", "gpu"), ("paddle3", "gpu3-cu129")):
        command = ["bash", str(ROOT / "scripts/gpu_build.sh"), flag]
        done = subprocess.run(command, env=machine.environment, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == (f"{kind}\n", "")


@pytest.mark.parametrize(
    ("capabilities", "driver", "flag", "parts"),
    [
        (["9.0"], "520.61.05", "", ["520.61.05 is too old for Paddle 3.3.1 for CUDA 12.9", "525.60.13 or newer"]),
        (["12.0"], "570.86.10", "", ["driver 570.86.10 is too old", "575.51.03 or newer"]),
        (["7.5"], "470.82.01", "--paddle3", ["525.60.13 or newer", "Paddle 2.6.2 for CUDA 11.8, which runs"]),
        (None, "470.82.01", "--paddle3", ["525.60.13 or newer", "which runs with it (--gpu)"]),
        (["7.5"], "440.33.01", "", ["440.33.01 is too old for Paddle 2.6.2 for CUDA 11.8", "450.80.02 or newer"]),
        (["5.2"], "535.183.01", "--gpu", ["no build has kernels for a GPU of compute capability 5.2"]),
    ],
)
def test_what_cannot_run_is_one_message_and_makes_nothing(machine, capabilities, driver, flag, parts):
    machine.pretend_pip()
    nvidia_smi(machine.bin, capabilities, driver)
    done = machine.set_up(*filter(None, [flag]))
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1, done.stderr
    assert all(part in errors[0] for part in [*parts, "setup_env.sh --cpu"])
    assert not (machine.clone / ".venv").exists() and not machine.log.exists()


# What is installed


@pytest.mark.parametrize(
    ("capability", "flags", "kind", "alone", "file", "export"),
    [
        ("8.6", [], "gpu", "", "gpu.txt", "export26.txt"),
        ("9.0", [], "gpu3-cu129", f"-i {PADDLE}/cu129/ paddlepaddle-gpu==3.3.1", "gpu3.txt", "export.txt"),
        ("7.5", ["--paddle3"], "gpu3-cu126", f"-i {PADDLE}/cu126/ paddlepaddle-gpu==3.3.1", "gpu3.txt", "export.txt"),
        ("9.0", ["--cpu"], "cpu", "", "cpu.txt", "export.txt"),
        ("9.0", ["--paddle26"], "paddle26", "", "paddle26.txt", "export26.txt"),
    ],
)
def test_paddle_alone_comes_from_its_own_index(machine, capability, flags, kind, alone, file, export):
    machine.pretend_pip()
    nvidia_smi(machine.bin, [capability], "580.82")
    done = machine.set_up(*flags, "--dev")
    assert done.returncode == 0 and machine.kind() == kind, done.stderr
    *first, rest, own = [line.partition("off ")[2] for line in machine.log.read_text().splitlines()]
    assert first == ([f"--no-deps {alone}"] if alone else [])
    assert [Path(each).name for each in rest.split()] == ["-r", file, "-r", "dev.txt", "-r", export]
    assert own == "-q --no-deps -e ."
    machine.log.unlink()
    assert machine.set_up().returncode == 0 and not machine.log.exists()  # it is ready, and stays of its kind


def test_an_older_build_on_a_newer_gpu_is_replaced_when_asked(machine):
    machine.pretend_pip()
    assert machine.set_up("--gpu").returncode == 0 and machine.kind() == "gpu"
    nvidia_smi(machine.bin, ["9.0"], "580.82")
    assert machine.set_up().returncode == 0 and machine.kind() == "gpu"
    done = machine.set_up("--gpu")
    assert machine.kind() == "gpu3-cu129" and "was made for gpu: making it anew" in done.stdout
    assert sorted(each.name for each in machine.clone.glob(".venv*")) == [".venv", ".venv.lock"]


def test_two_environments_are_made_at_one_time(machine):
    machine.pretend_pip()
    python, places = machine.bin / "python", (".venv-a", ".venv-b")
    both_begun = " ] && [ -e ".join(f"{machine.clone / each}/ready" for each in places)
    wait = f"for each in $(seq 100); do [ -e {both_begun} ] && break; sleep 0.1; done; [ -e {both_begun} ] || exit 1"
    python.write_text(python.read_text().replace("\n", f'\ncase "$*" in "-m venv "*) {wait} ;; esac\n', 1))
    for each in ("seq", "sleep"):
        (machine.bin / each).symlink_to(shutil.which(each))
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda place: machine.set_up("--cpu", ZOO_VENV=place), places))
    assert [each.returncode for each in both] == [0, 0], both


# From where, with pip itself


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder "pip's", the index for everything, and beside it one with Paddle and what pretends to be the rest."""
    wheel(tmp_path / "pip's", "zoo-other", "1")
    wheel(tmp_path / "pip's", "zoo-dependency", "1")
    wheel(tmp_path / "pip's", "paddlepaddle", "3.3.1")
    wheel(tmp_path / "paddle's", "paddlepaddle-gpu", "3.3.1", requires="zoo-dependency")
    wheel(tmp_path / "paddle's", "zoo-dependency", "99")
    return tmp_path


@pytest.fixture
def served(wheels: Path) -> Iterator[str]:
    """Paddle's folder as an index: its URL."""
    for each in (wheels / "paddle's").glob("*.whl"):
        project = wheels / "index" / each.name.partition("-")[0].replace("_", "-")
        project.mkdir(parents=True, exist_ok=True)
        shutil.copy(each, project)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(wheels / "index"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_an_index_of_ones_own_gives_paddle_and_nothing_else(machine, wheels, served):
    machine.real_pip()
    own = wheels / "own"  # pip's index, as a folder index
    for each in (wheels / "pip's").glob("*.whl"):
        project = own / each.name.partition("-")[0].replace("_", "-")
        project.mkdir(parents=True, exist_ok=True)
        shutil.copy(each, project)
        (project / "index.html").write_text(f'<!DOCTYPE html><a href="{each.name}">{each.name}</a>')
    done = machine.set_up("--paddle3", PADDLE_INDEX=served, PIP_INDEX_URL=own.as_uri())
    assert done.returncode == 0 and machine.kind() == "gpu3-cu129", done.stdout + done.stderr
    versions = {each: machine.installed(each) for each in ("paddlepaddle_gpu", "zoo_other", "zoo_dependency")}
    assert versions == {"paddlepaddle_gpu": "3.3.1", "zoo_other": "1", "zoo_dependency": "1"}


def test_a_folder_of_wheels_is_enough_without_a_network(machine, wheels):
    machine.real_pip()
    wheel(wheels / "paddle's", "zoo-other", "1")
    nowhere = "http://127.0.0.1:9/simple"
    done = machine.set_up("--paddle3", PADDLE_INDEX="paddle's", PIP_NO_INDEX="1", PIP_INDEX_URL=nowhere)
    assert done.returncode == 0 and machine.kind() == "gpu3-cu129", done.stdout + done.stderr
    assert machine.installed("paddlepaddle_gpu") == "3.3.1"


def test_no_network_is_one_message_and_leaves_what_was_there(machine, wheels):
    machine.real_pip()
    local = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (wheels / "pip's").as_uri()}
    made = machine.set_up("--cpu", **local)
    assert made.returncode == 1 and made.stderr.count("error: ") == 1, made.stderr
    assert "error: pip cannot install what .venv needs (see above)" in made.stderr and "openvino" in made.stdout
    assert "  python -m pip download -d wheels -f wheels -r requirements/cpu.txt setuptools wheel\n" in made.stderr
    assert not (machine.clone / ".venv").exists()
    wheel(wheels / "pip's", "openvino", "2026.1")
    made = machine.set_up("--cpu", **local)
    assert made.returncode == 0 and machine.kind() == "cpu", made.stdout + made.stderr
    done = machine.set_up("--paddle3", "--dev", PADDLE_INDEX="http://127.0.0.1:9/")
    assert done.returncode == 1 and done.stderr.count("error: ") == 1, done.stderr
    assert "error: pip cannot reach an index" in done.stderr
    assert '  python -m pip download -d wheels --no-deps -i "$PADDLE_INDEX" paddlepaddle-gpu==3.3.1\n' in done.stderr
    assert (
        "  python -m pip download -d wheels -f wheels -r requirements/gpu3.txt -r requirements/dev.txt" in done.stderr
    )
    assert "PIP_NO_INDEX=1 PADDLE_INDEX=wheels bash scripts/setup_env.sh --paddle3 --dev\n" in done.stderr
    assert machine.kind() == "cpu" and machine.installed("paddlepaddle") == "3.3.1"  # and works
    assert sorted(each.name for each in machine.clone.glob(".venv*")) == [".venv", ".venv.lock"]


def test_an_index_that_is_nothing_is_one_message(machine):
    done = machine.set_up("--paddle3", PADDLE_INDEX="gone/")
    assert (done.returncode, done.stderr) == (1, "error: PADDLE_INDEX=gone/ is neither a URL nor a folder\n")
