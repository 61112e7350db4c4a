"""Starts Paddle: threads, memory flags, device. Call `start_paddle` before anything imports Paddle."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import warnings
import zlib  # noqa: F401  must be loaded before Paddle 2.6, whose library exports an inflate of its own
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger

try:
    import resource
except ImportError:  # Windows
    resource = None


@dataclass(frozen=True)
class Launch:
    """This process among those that `python -m paddle.distributed.launch` started: its number among all of them and
    among those of this machine, and how many there are of both. One process alone is number 0 of 1."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def of_environment(cls) -> Launch:
        """What the launcher has put into the environment. Raises InputError if it makes no sense."""
        names = {
            "rank": "PADDLE_TRAINER_ID",
            "size": "PADDLE_TRAINERS_NUM",
            "local_rank": "PADDLE_RANK_IN_NODE",
            "local_size": "PADDLE_LOCAL_SIZE",
        }
        try:
            launch = cls(**{key: int(os.environ[name]) for key, name in names.items() if os.environ.get(name)})
        except ValueError:
            launch = cls(rank=-1)
        if not 0 <= launch.rank < launch.size or launch.local_size < 1:
            given = ", ".join(f"{name}={os.environ.get(name)}" for name in names.values())
            raise InputError(f"the launcher's environment makes no sense: {given}")
        return launch


ALONE = Launch()


def start_paddle(use_gpu: bool | None) -> bool:
    """Imports Paddle with all cores at work, chooses the device and logs it with the FLAGS_* in force.

    Args:
        use_gpu: True insists on a GPU, False on the CPU; None takes a GPU if there is one.

    Returns: whether the device is a GPU.

    Raises:
        InputError: a GPU is insisted on and there is none, or this Paddle was not built for the one there is.
    """
    launch = Launch.of_environment()
    # The launcher sets 1 where nothing is set.
    if os.environ.get("OMP_NUM_THREADS", "") in (("", "1") if launch.size > 1 else ("",)):
        os.environ["OMP_NUM_THREADS"] = str(max(1, usable_cores() // launch.local_size))
    added = _add_allocator(use_gpu)
    paddle = _import_paddle()
    gpus = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    if use_gpu and not gpus:
        raise InputError(_no_gpu(paddle))
    on_gpu = gpus > 0 if use_gpu is None else use_gpu
    paddle.set_device("gpu" if on_gpu else "cpu")  # the launcher says which GPU; without one, the first
    logger.info("Paddle %s on %s", paddle.__version__, _describe_device(paddle, use_gpu, on_gpu, gpus))
    for line in describe_flags(paddle, on_gpu, added):
        logger.info(line)
    if on_gpu:
        _check_kernels(paddle)
    return on_gpu


def compute_threads() -> int:
    """Threads that compute on a CPU: OMP_NUM_THREADS, or all cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else usable_cores()


def usable_cores() -> int:
    """Cores this process may use: its affinity, and on Linux the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no control groups, or "max": no quota
        return cores


def gpu_memory() -> str:
    """For a log line: the most GPU memory that Paddle's tensors took so far; nothing on a CPU."""
    import paddle

    if not paddle.get_device().startswith("gpu"):
        return ""
    return f", {paddle.device.cuda.max_memory_allocated() / 1e9:.1f} GB of GPU memory"


def peak_memory() -> str:
    """The most memory that this process took so far, on the GPU as what Paddle's tensors took and what it reserved."""
    import paddle

    parts = []
    if paddle.get_device().startswith("gpu"):
        used, reserved = paddle.device.cuda.max_memory_allocated(), paddle.device.cuda.max_memory_reserved()
        parts.append(f"GPU {used / 1e9:.1f} GB ({reserved / 1e9:.1f} reserved)")
    if resource is not None:
        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes
        parts.append(f"main {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.1f} GB")
    return ", ".join(parts)


def describe_flags(paddle, on_gpu: bool, added: dict[str, str]) -> list[str]:
    """One line for each FLAGS_* of the environment: in force, without effect, unknown or not understood."""
    lines = []
    for name, value in sorted(os.environ.items()):
        if not name.startswith("FLAGS_"):
            continue
        try:
            actual = paddle.get_flags(name)[name]
        except ValueError:
            lines.append(f"{name}={value} is ignored: this Paddle has no such flag")
            continue
        if not _same(value, actual):
            lines.append(f"{name}={value} is ignored: not a value it takes; in force is {actual}")
        elif "gpu" in name and not on_gpu:
            lines.append(f"{name}={value} has no effect on a CPU")
        else:
            lines.append(f"{name}={value} is in force" + (f" ({added[name]})" if name in added else ""))
    return lines


def _add_allocator(use_gpu: bool | None) -> dict[str, str]:
    """Sets the allocator that FLAGS_fraction_of_gpu_memory_to_use needs. Returns what was added, and why."""
    fraction, allocator = "FLAGS_fraction_of_gpu_memory_to_use", "FLAGS_allocator_strategy"
    if use_gpu is False or not has_nvidia_driver() or fraction not in os.environ or allocator in os.environ:
        return {}
    os.environ[allocator] = "naive_best_fit"
    return {allocator: f"added: {fraction} needs it"}


def has_nvidia_driver() -> bool:
    """Whether there may be an NVIDIA GPU; Paddle knows, and takes longer."""
    return bool(shutil.which("nvidia-smi")) or Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


class Captured:
    """What came out while `captured_output` was open."""

    def __init__(self, file: IO[bytes]):
        self._file = file

    def text(self) -> str:
        self._file.seek(0)
        return self._file.read().decode("utf-8", "replace").strip()


@contextlib.contextmanager
def captured_output() -> Iterator[Captured]:
    """Keeps what libraries write to stdout and stderr, also from C++, off the terminal while the block runs."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
    for stream in streams:
        stream.flush()
    with tempfile.TemporaryFile() as file:
        kept = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in kept:
                os.dup2(file.fileno(), number)
            yield Captured(file)
        finally:
            for stream in streams:
                stream.flush()
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)


def _check_kernels(paddle) -> None:
    """A GPU that is newer than the build has none of its kernels, which shows at the first of them."""
    try:
        (paddle.ones([1]) + 1).numpy()
    except Exception as error:  # Paddle's own classes, or SystemError
        if not re.search("no kernel image|NoKernelImage", str(error)):
            raise
        capability = ".".join(map(str, paddle.device.cuda.get_device_capability()))
        raise InputError(
            f"Paddle {paddle.__version__} has no kernels for this GPU ({paddle.device.cuda.get_device_name()}, compute"
            f" capability {capability}). The build on PyPI has those for 6.1 to 8.9; Paddle's own site has newer"
            " builds (Paddle 3, CUDA 12), which this project takes as they are. --use_gpu=False computes on the CPU."
        ) from error


def _import_paddle():
    # The last is what our own line about the device says.
    for noise in ("No ccache found", "When training, we now always track", "You are using GPU version Paddle, but"):
        warnings.filterwarnings("ignore", message=noise)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):  # Paddle warns of OMP_NUM_THREADS > 1, which is meant here
        import paddle
    # Paddle takes SIGTERM for itself, and ends without a `finally`.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    for line in said.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line and "OpenBlas" not in line:
            print(line, file=sys.stderr)
    return paddle


def _describe_device(paddle, use_gpu: bool | None, on_gpu: bool, gpus: int) -> str:
    if on_gpu:
        launch = Launch.of_environment()
        which = f" (rank {launch.rank} of {launch.size})" if launch.size > 1 else f" (the first of {gpus})"
        return f"GPU {paddle.device.cuda.get_device_name()}" + (which if gpus > 1 or launch.size > 1 else "")
    reason = "no GPU is visible" if paddle.is_compiled_with_cuda() else "this Paddle is a CPU build"
    if use_gpu is False:
        reason = "asked for"
    return f"CPU, {os.environ['OMP_NUM_THREADS']} threads ({reason})"


def _same(text: str, value: object) -> bool:
    if isinstance(value, bool):
        return text.lower() in (("1", "true", "yes", "t", "y") if value else ("0", "false", "no", "f", "n"))
    if isinstance(value, (int, float)):
        try:
            return abs(float(text) - value) <= 1e-6 * max(1.0, abs(value))
        except ValueError:
            return False
    return text == str(value)


def _no_gpu(paddle) -> str:
    if not paddle.is_compiled_with_cuda():
        return (
            f"--use_gpu=True, but this Paddle ({paddle.__version__}) is built for CPUs. Install the CUDA build with"
            " `bash scripts/setup_env.sh --gpu`, or leave --use_gpu out."
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hint = f" CUDA_VISIBLE_DEVICES is {visible!r}." if visible is not None else ""
    return f"--use_gpu=True, but no GPU is visible.{hint} See what nvidia-smi says, or leave --use_gpu out for the CPU."
