"""How Paddle is started: threads, memory flags, device; and what a process knows of itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_zoo.utils import paddle_env, runtime
from video_zoo.utils.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
FRACTION, ALLOCATOR = "FLAGS_fraction_of_gpu_memory_to_use", "FLAGS_allocator_strategy"


@pytest.fixture(autouse=True)
def no_flags(monkeypatch):
    """No FLAGS_* of the outside; what a test sets is gone after it."""
    for name in [name for name in os.environ if name.startswith("FLAGS_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv(ALLOCATOR, raising=False)
    yield
    os.environ.pop(ALLOCATOR, None)


class FakePaddle:
    """Knows these flags, and holds these values, whatever the environment says."""

    def __init__(self, **flags: object):
        self.flags = flags

    def get_flags(self, name: str) -> dict[str, object]:
        if name not in self.flags:
            raise ValueError(f"Flag {name} cannot get its value through this function.")
        return {name: self.flags[name]}


# What is said of the flags


def test_each_flag_of_the_environment_has_its_line(monkeypatch):
    paddle = FakePaddle(
        **{FRACTION: 0.98, ALLOCATOR: "naive_best_fit", "FLAGS_check_nan_inf": False, "FLAGS_unset": 1},
        FLAGS_eager_delete_tensor_gb=0.0,
    )
    monkeypatch.setenv(FRACTION, "0.98")
    monkeypatch.setenv(ALLOCATOR, "naive_best_fit")
    monkeypatch.setenv("FLAGS_eager_delete_tensor_gb", "0.0")
    monkeypatch.setenv("FLAGS_check_nan_inf", "perhaps")
    monkeypatch.setenv("FLAGS_gone", "1")
    monkeypatch.setenv("OTHER", "1")
    monkeypatch.setattr(paddle_env, "paddle", paddle)
    assert paddle_env.describe_flags(True, {ALLOCATOR: "added: for a test"}) == [
        "FLAGS_allocator_strategy=naive_best_fit is in force (added: for a test)",
        "FLAGS_check_nan_inf=perhaps is ignored: not a value it takes; in force is False",
        "FLAGS_eager_delete_tensor_gb=0.0 is in force",
        "FLAGS_fraction_of_gpu_memory_to_use=0.98 is in force",
        "FLAGS_gone=1 is ignored: this Paddle has no such flag",
    ]
    on_cpu = paddle_env.describe_flags(False, {})
    assert on_cpu[0] == "FLAGS_allocator_strategy=naive_best_fit is in force"
    assert on_cpu[3] == "FLAGS_fraction_of_gpu_memory_to_use=0.98 has no effect on a CPU"
    assert paddle_env.describe_flags(False, {ALLOCATOR: "added: for a test"}) == on_cpu[1:]  # it is a GPU's


def test_no_flags_no_lines(monkeypatch):
    monkeypatch.setattr(paddle_env, "paddle", FakePaddle(FLAGS_unset=1))
    assert paddle_env.describe_flags(True, {}) == []


@pytest.mark.parametrize("value", [True, False])
def test_words_for_true_and_false(value):
    right, wrong = ("1", "true", "True", "yes", "T", "y"), ("0", "false", "False", "no", "F", "n")
    if not value:
        right, wrong = wrong, right
    assert all(paddle_env._same(text, value) for text in right)
    assert not any(paddle_env._same(text, value) for text in (*wrong, "", "2", "maybe"))


@given(value=st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.booleans())
def test_a_value_written_out_is_the_same(value):
    assert paddle_env._same(str(value), value)
    if not isinstance(value, str):
        assert not paddle_env._same("not a value", value)


@given(value=st.floats(-1e6, 1e6))
def test_another_number_is_not_the_same(value):
    assert not paddle_env._same(str(value + max(1.0, abs(value))), value)


# The allocator that v1.5's memory fraction needs


@pytest.mark.parametrize(
    ("driver", "fraction", "allocator", "added"),
    [
        (True, "0.98", None, True),
        (False, "0.98", None, False),
        (True, None, None, False),
        (True, "0.98", "auto_growth", False),
    ],
)
def test_the_allocator_is_added_when_it_is_needed(monkeypatch, driver, fraction, allocator, added):
    monkeypatch.setattr(paddle_env, "has_nvidia_driver", lambda: driver)
    for name, value in ((FRACTION, fraction), (ALLOCATOR, allocator)):
        if value is not None:
            monkeypatch.setenv(name, value)
    said = paddle_env._add_allocator()
    assert said == ({ALLOCATOR: f"added: {FRACTION} needs it"} if added else {})
    assert os.environ.get(ALLOCATOR) == ("naive_best_fit" if added else allocator)


def test_a_driver_is_seen_by_its_tool(monkeypatch):
    monkeypatch.setattr(runtime, "Path", lambda path: SimpleNamespace(exists=lambda: False))
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    assert not runtime.has_nvidia_driver()
    monkeypatch.setattr(runtime.shutil, "which", lambda name: f"/usr/bin/{name}" if name == "nvidia-smi" else None)
    assert runtime.has_nvidia_driver()


@pytest.mark.parametrize("device", ["/dev/nvidiactl", "/dev/dxg"])
def test_a_driver_is_seen_by_its_device(monkeypatch, device):
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    monkeypatch.setattr(runtime, "Path", lambda path: SimpleNamespace(exists=lambda: path == device))
    assert runtime.has_nvidia_driver()


# Threads


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000\n", 6),
        ("200000 100000\n", 2),
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("900000 100000\n", 6),
        ("nonsense\n", 6),
        (None, 6),
    ],
)
def test_usable_cores(monkeypatch, tmp_path, quota, cores):
    path = tmp_path / "cpu.max"
    if quota is not None:
        path.write_text(quota)
    monkeypatch.setattr(runtime, "Path", lambda name: path if name == "/sys/fs/cgroup/cpu.max" else None)
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    assert runtime.usable_cores() == cores


def test_usable_cores_where_there_is_no_affinity(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "Path", lambda name: tmp_path / "missing")
    monkeypatch.delattr(runtime.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(runtime.os, "cpu_count", lambda: 3)
    assert runtime.usable_cores() == 3
    monkeypatch.setattr(runtime.os, "cpu_count", lambda: None)
    assert runtime.usable_cores() == 1


# Without Paddle, and with a launcher's environment that makes no sense


@pytest.mark.parametrize("where", ["", "launcher"])
def test_what_keeps_paddle_from_being_started_is_one_message(tmp_path, where):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    if where:
        environment["PADDLE_TRAINERS_NUM"] = "0"
    else:
        (tmp_path / "paddle.py").write_text("raise ImportError('No module named paddle')")
        environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])
    command = [sys.executable, str(ROOT / "train.py"), f"--config={ROOT}/configs/tsm.txt"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stderr.startswith("error: "), done.stderr
    if where:
        assert "the launcher's environment makes no sense" in done.stderr
    else:
        assert "a package is missing or broken" in done.stderr and "bash scripts/setup_env.sh" in done.stderr


# Several processes

LAUNCH = ("PADDLE_TRAINER_ID", "PADDLE_TRAINERS_NUM", "PADDLE_RANK_IN_NODE", "PADDLE_LOCAL_SIZE")


def launched(monkeypatch, *values: str | None) -> runtime.Launch:
    """What is read from the launcher's variables."""
    for name, value in zip(LAUNCH, values):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    return runtime.Launch.of_environment()


@pytest.mark.parametrize("values", [(None,) * 4, ("",) * 4, ("0", "1", "0", "1"), ("0", None, None, None)])
def test_without_a_launcher_a_process_is_alone(monkeypatch, values):
    assert launched(monkeypatch, *values) == runtime.ALONE == runtime.Launch(0, 1, 0, 1)


def test_the_launcher_says_who_this_is(monkeypatch):
    assert launched(monkeypatch, "5", "8", "1", "4") == runtime.Launch(rank=5, size=8, local_rank=1, local_size=4)


@pytest.mark.parametrize(
    "values",
    [
        ("8", "8", "0", "8"),
        ("-1", "8", "0", "8"),
        ("1", None, None, None),
        ("0", "0", "0", "1"),
        ("0", "-2", "0", "1"),
        ("x", "8", "0", "8"),
        ("0", "two", "0", "2"),
        ("0", "2", "", "0"),
        ("0", "2", "0", "-1"),
        ("0.5", "2", "0", "2"),
    ],
)
def test_a_launchers_environment_that_makes_no_sense(monkeypatch, values):
    with pytest.raises(InputError, match="^the launcher's environment makes no sense: ") as caught:
        launched(monkeypatch, *values)
    assert all(f"{name}={value}" in str(caught.value) for name, value in zip(LAUNCH, values))


@pytest.mark.parametrize(
    "size, local_size, before, threads",
    [
        (None, None, None, "6"),
        (None, None, "1", "1"),
        (None, None, "3", "3"),
        ("2", "2", "1", "3"),
        ("2", "2", None, "3"),
        ("8", "4", "1", "1"),
        ("16", "8", "1", "1"),
        ("2", "2", "4", "4"),
    ],
)
def test_the_processes_of_a_machine_share_its_cores(monkeypatch, size, local_size, before, threads):
    """The launcher sets OMP_NUM_THREADS=1 where nothing is set; a person's own number stays."""
    launched(monkeypatch, "0" if size else None, size, None, local_size)
    monkeypatch.setattr(paddle_env, "usable_cores", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", before or "")
    monkeypatch.setenv("GLOG_minloglevel", "")
    monkeypatch.delenv("GLOG_minloglevel")
    paddle_env._set_up_launched()
    assert os.environ["OMP_NUM_THREADS"] == threads
    assert ("GLOG_minloglevel" in os.environ) == bool(size)


@pytest.mark.parametrize(
    "size, gpus, said",
    [(None, 1, "GPU X"), (None, 4, "GPU X (the first of 4)"), ("4", 4, "GPU X (rank 2 of 4)")]
    + [("4", 1, "GPU X (rank 2 of 4)")],
)
def test_which_gpu_it_is(monkeypatch, size, gpus, said):
    launch = launched(monkeypatch, "2" if size else None, size, None, size)
    paddle = SimpleNamespace(device=SimpleNamespace(cuda=SimpleNamespace(get_device_name=lambda: "X")))
    monkeypatch.setattr(paddle_env, "paddle", paddle)
    assert paddle_env._describe_device(launch, None, True, gpus) == said


# Memory


def test_memory_on_a_cpu():
    assert paddle_env.gpu_memory() == ""
    assert re.fullmatch(r"main \d+\.\d GB", paddle_env.peak_memory())


def test_memory_on_a_gpu(monkeypatch):
    cuda = SimpleNamespace(max_memory_allocated=lambda: 1.26e9, max_memory_reserved=lambda: 2e9)
    paddle = SimpleNamespace(get_device=lambda: "gpu:0", device=SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(paddle_env, "paddle", paddle)
    assert paddle_env.gpu_memory() == ", 1.3 GB of GPU memory"
    assert re.fullmatch(r"GPU 1\.3 GB \(2\.0 reserved\), main \d+\.\d GB", paddle_env.peak_memory())
    monkeypatch.setattr(paddle_env, "resource", None)  # Windows
    assert paddle_env.peak_memory() == "GPU 1.3 GB (2.0 reserved)"


# No GPU


@pytest.mark.parametrize(
    ("cuda", "visible", "parts"),
    [
        (False, None, ["is built for CPUs", "bash scripts/setup_env.sh --gpu", "leave --use_gpu out"]),
        (True, None, ["no GPU is visible. See what nvidia-smi says", "leave --use_gpu out"]),
        (True, "", ["CUDA_VISIBLE_DEVICES is ''.", "leave --use_gpu out"]),
        (True, "7", ["CUDA_VISIBLE_DEVICES is '7'.", "leave --use_gpu out"]),
    ],
)
def test_the_message_without_a_gpu_says_what_to_do(monkeypatch, cuda, visible, parts):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    paddle = SimpleNamespace(is_compiled_with_cuda=lambda: cuda, __version__="9.9")
    monkeypatch.setattr(paddle_env, "paddle", paddle)
    said = paddle_env._no_gpu()
    assert said.startswith("--use_gpu=True, but ")
    assert all(part in said for part in parts)


BODY = """
from video_zoo.utils.paddle_env import start_paddle
import paddle
from video_zoo.utils import cli
from video_zoo.utils.log import be_verbose, set_up_logging
def main():
    be_verbose(True)
    set_up_logging()
    start_paddle(False)
    print(paddle.get_device(), paddle.ones([2]).sum().item())
    be_verbose(False)
    set_up_logging()
    print("not verbose")
    start_paddle(None)
    print(paddle.get_device())
    start_paddle(True)
cli.run(main)
"""


def test_paddle_starts_on_the_cpu_and_insists_on_a_gpu_in_vain():
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", ALLOCATOR)}
    environment.update({"CUDA_VISIBLE_DEVICES": "", FRACTION: "0.98", "FLAGS_check_nan_inf": "1", "FLAGS_gone": "1"})
    environment["FLAGS_max_inplace_grad_add"] = "x"
    done = subprocess.run(
        [sys.executable, "-c", BODY],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = [line.partition("]: ")[2] or line for line in done.stdout.splitlines()]
    assert done.returncode == 1, done.stderr
    assert lines[0].startswith("Paddle ")
    assert lines[0].endswith(f" on CPU, {runtime.usable_cores()} threads (asked for)")
    assert "FLAGS_check_nan_inf=1 is in force" in lines
    assert f"{FRACTION}=0.98 has no effect on a CPU" in lines
    assert "FLAGS_gone=1 is ignored: this Paddle has no such flag" in lines
    assert "cpu 2.0" in lines and "cpu" in lines
    warned = "FLAGS_max_inplace_grad_add=x is ignored: not a value it takes; in force is "
    assert [line.startswith(warned) for line in lines[lines.index("not verbose") + 2 : -1]] == [True]
    errors = done.stderr.splitlines()  # a driver without a GPU may say so in a line before
    assert errors[-1].startswith("error: --use_gpu=True, but ") and "leave --use_gpu out" in errors[-1]
    assert "OMP_NUM_THREADS" not in done.stderr and "Traceback" not in done.stderr


# What libraries say


def test_captured_output_holds_back_what_c_writes(capfd):
    os.write(1, b"before\n")
    with runtime.captured_output() as said:
        os.write(1, b"from C\n")
        os.write(2, b"an error\n")
        assert said.text() == "from C\nan error"
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("before\nafter\n", "")


def test_captured_output_ends_with_an_error(capfd):
    with pytest.raises(ValueError), runtime.captured_output():
        raise ValueError
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"


@pytest.mark.parametrize(("asked", "threads"), [("3", 3), ("", 2), ("0", 2), ("many", 2)])
def test_threads_that_compute(monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(runtime, "usable_cores", lambda: 2)
    assert runtime.compute_threads() == threads


# A GPU that this Paddle was not built for


def fake_gpu(error: Exception):
    """A Paddle whose first kernel fails so."""

    def ones(shape):
        raise error

    cuda = SimpleNamespace(get_device_capability=lambda: (9, 0), get_device_name=lambda: "NVIDIA H100 80GB HBM3")
    return SimpleNamespace(__version__="2.6.2", ones=ones, device=SimpleNamespace(cuda=cuda))


@pytest.mark.parametrize(
    "said",
    [
        "parallel_for failed: cudaErrorNoKernelImageForDevice: no kernel image is available on the device",
        "(External) CUDA error(209), no kernel image is available for execution on the device.",
        "Unsupported GPU architecture",
    ],
)
def test_a_gpu_without_kernels_is_one_message(monkeypatch, said):
    monkeypatch.setattr(paddle_env, "paddle", fake_gpu(SystemError(said)))
    expected = r"no kernels for this GPU \(NVIDIA H100 80GB HBM3, compute capability 9.0\).*setup_env.sh --gpu"
    with pytest.raises(InputError, match=expected):
        paddle_env._check_kernels()


def test_another_error_of_a_gpu_is_not_hidden(monkeypatch):
    monkeypatch.setattr(paddle_env, "paddle", fake_gpu(SystemError("out of memory")))
    with pytest.raises(SystemError, match="out of memory"):
        paddle_env._check_kernels()


# A GPU that Paddle does not use, of which Paddle says nothing


def start_without_gpu(monkeypatch, tmp_path, lists: str, use_gpu: bool | None = None, count=None) -> list[str]:
    """What is warned of with a nvidia-smi that lists this; `count`: of a Paddle for GPUs."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{lists}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    cuda = SimpleNamespace(device_count=count)
    paddle = SimpleNamespace(
        __version__="9.9",
        is_compiled_with_cuda=lambda: count is not None,
        device=SimpleNamespace(cuda=cuda),
        set_device=lambda name: None,
    )
    monkeypatch.setattr(paddle_env, "paddle", paddle)
    monkeypatch.setattr(paddle_env, "_prepare_cpu", list)
    said = []
    monkeypatch.setattr(paddle_env.logger, "warning", said.append)
    assert not paddle_env.start_paddle(use_gpu)
    return said


def old_driver() -> int:
    raise OSError("(External) CUDA error(35), CUDA driver version is insufficient for CUDA runtime version.")


GPU = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0)"


@pytest.mark.parametrize(
    ("count", "why"),
    [
        (None, "is built for CPUs"),
        (lambda: 0, "sees none: the driver may be too old for it"),
        (old_driver, "sees none: the driver may be too old for it"),
    ],
)
def test_a_gpu_that_paddle_does_not_use_is_said(monkeypatch, tmp_path, count, why):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (said,) = start_without_gpu(monkeypatch, tmp_path, GPU, count=count)
    assert said.startswith(f"nvidia-smi lists a GPU, but this Paddle (9.9) {why}, so the CPU computes.")
    assert "bash scripts/setup_env.sh --gpu" in said and "--use_gpu=False" in said and "\n" not in said


@pytest.mark.parametrize(
    ("lists", "use_gpu", "visible"), [("No devices were found", None, None), (GPU, False, None), (GPU, None, "")]
)
def test_a_cpu_that_is_meant_is_not_warned_of(monkeypatch, tmp_path, lists, use_gpu, visible):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert start_without_gpu(monkeypatch, tmp_path, lists, use_gpu) == []
