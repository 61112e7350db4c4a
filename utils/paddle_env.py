"""Starts Paddle with the right threads and flags: import this module before anything that imports Paddle.

Paddle reads OMP_NUM_THREADS and FLAGS_* once, when it is loaded, so they are set here, and Paddle is imported here.
`start_paddle` then chooses the device.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import io
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import warnings
import zlib  # noqa: F401  must be loaded before Paddle 2.6, whose library exports an inflate of its own
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from video_zoo.utils import cpu_env, stop
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger
from video_zoo.utils.runtime import Launch, has_nvidia_driver, usable_cores
from video_zoo.utils.startup import describe_import_error

try:
    import resource
except ImportError:  # Windows
    resource = None

_FRACTION, _ALLOCATOR = "FLAGS_fraction_of_gpu_memory_to_use", "FLAGS_allocator_strategy"
_NO_VALUE = "not a value it takes"
# Our own line about the device says what the last of these says.
_NOISE = ("No ccache found", "When training, we now always track", "You are using GPU version Paddle, but")


def _set_up_launched() -> None:
    """Sets OMP_NUM_THREADS to this process's share of the cores, and what Paddle's library logs of the exchange with
    other processes, unless a person has set them."""
    try:
        launch = Launch.of_environment()
    except InputError:  # the command line says so
        return
    if launch.size > 1:
        os.environ.setdefault("GLOG_minloglevel", "1")  # without it, it logs each connection
    # The launcher sets 1 where nothing is set.
    if os.environ.get("OMP_NUM_THREADS", "") in (("", "1") if launch.size > 1 else ("",)):
        os.environ["OMP_NUM_THREADS"] = str(max(1, usable_cores() // launch.local_size))


def _add_allocator() -> dict[str, str]:
    """Sets the allocator that FLAGS_fraction_of_gpu_memory_to_use needs. Returns what was added, and why."""
    if not has_nvidia_driver() or _FRACTION not in os.environ or _ALLOCATOR in os.environ:
        return {}
    os.environ[_ALLOCATOR] = "naive_best_fit"
    return {_ALLOCATOR: f"added: {_FRACTION} needs it"}


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """Leaves out what Paddle says on stderr of OMP_NUM_THREADS > 1, which is meant here, and undoes what it does to the
    root logger: its handler would write to the stderr of its import, and hide the log of a program of one's own."""
    for noise in _NOISE:
        warnings.filterwarnings("ignore", message=noise)
    said, root = io.StringIO(), logging.getLogger()
    handlers, level = [*root.handlers], root.level
    try:
        with contextlib.redirect_stderr(said):
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for line in said.getvalue().splitlines():
            if "OMP_NUM_THREADS" not in line and "OpenBlas" not in line:
                print(line, file=sys.stderr)


class _OwnSigterm(importlib.abc.MetaPathFinder):
    """Takes SIGTERM back whenever a module is to be found: Paddle's library takes it for itself in the middle of
    Paddle's import, and would end the process without a `finally`."""

    def __init__(self, handler: Any):
        self._handler = handler

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Finds nothing."""
        if threading.current_thread() is threading.main_thread() and self._handler is not None:  # None: not Python's
            signal.signal(signal.SIGTERM, self._handler)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """While Paddle is imported, a signal ends a command at once: there is nothing yet to tidy up, and an exception that
    gets into Paddle's library becomes another one, or an abort."""
    with stop.ending_at_once():
        finder = _OwnSigterm(signal.getsignal(signal.SIGTERM))
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            finder.find_spec("")


_set_up_launched()
_MKL_IS_TOLD = cpu_env.set_mkl_type()
_ADDED = _add_allocator()
with _own_signals(), _quiet_import():
    try:
        import paddle
    except ImportError as error:
        raise SystemExit(f"error: {describe_import_error(error)}") from error
from video_zoo.utils import onednn  # noqa: E402  imports Paddle


def start_paddle(use_gpu: bool | None) -> bool:
    """Chooses the device and logs it; the FLAGS_* in force are said with --verbose.

    Args:
        use_gpu: True insists on a GPU, False on the CPU; None takes a GPU if there is one.

    Returns: whether the device is a GPU.

    Raises:
        InputError: a GPU is insisted on and there is none, this Paddle was not built for the one there is, or the
            launcher's environment makes no sense.
    """
    launch = Launch.of_environment()
    gpus = _count_gpus()
    if use_gpu and not gpus:
        raise InputError(_no_gpu())
    on_gpu = gpus > 0 if use_gpu is None else use_gpu
    paddle.set_device("gpu" if on_gpu else "cpu")  # the launcher says which GPU; without one, the first
    logger.info("Paddle %s on %s", paddle.__version__, _describe_device(launch, use_gpu, on_gpu, gpus))
    for line in describe_flags(on_gpu, _ADDED):
        logger.log(logging.WARNING if _NO_VALUE in line else logging.DEBUG, line)
    if on_gpu:
        _check_kernels()
        return True
    logger.debug("on this CPU: %s", "; ".join(_prepare_cpu()))
    if use_gpu is None and _lists_gpu():
        logger.warning(_unused_gpu())
    return on_gpu


def _prepare_cpu() -> list[str]:
    """Sets what can be set when Paddle is there; says all that was set, and why."""
    said = ["convolutions by oneDNN"] if onednn.is_there() else []
    if _MKL_IS_TOLD:
        said.append("MKL_DEBUG_CPU_TYPE=5, as its MKL does not know AMD's AVX2")
    if cpu_env.keep_memory():
        said.append("freed memory is kept for the next tensors")
    if cores():
        said.append("waiting threads sleep while other programs want the cores")
    return said or ["Paddle as it is"]


@functools.cache
def cores() -> cpu_env.Cores:
    """Of this process; `share` is called between steps. On a GPU it does nothing."""
    on_cpu = paddle.get_device() == "cpu"
    return cpu_env.Cores(Path(paddle.__file__).parent / "libs" / "libiomp5.so" if on_cpu else Path())


def gpu_memory() -> str:
    """For a log line: the most GPU memory that Paddle's tensors took so far; nothing on a CPU."""
    if not paddle.get_device().startswith("gpu"):
        return ""
    return f", {paddle.device.cuda.max_memory_allocated() / 1e9:.1f} GB of GPU memory"


def peak_memory() -> str:
    """The most memory that this process took so far, on the GPU as what Paddle's tensors took and what it reserved."""
    parts = []
    if paddle.get_device().startswith("gpu"):
        used, reserved = paddle.device.cuda.max_memory_allocated(), paddle.device.cuda.max_memory_reserved()
        parts.append(f"GPU {used / 1e9:.1f} GB ({reserved / 1e9:.1f} reserved)")
    if resource is not None:
        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes
        parts.append(f"main {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.1f} GB")
    return ", ".join(parts)


def describe_flags(on_gpu: bool, added: Mapping[str, str]) -> list[str]:
    """One line for each FLAGS_* of the environment: in force, without effect, unknown or not understood.

    Args:
        added: those that this module has added for a GPU, and why.
    """
    lines = []
    for name, value in sorted(os.environ.items()):
        if not name.startswith("FLAGS_") or name in added and not on_gpu:
            continue
        try:
            actual = paddle.get_flags(name)[name]
        except ValueError:
            lines.append(f"{name}={value} is ignored: this Paddle has no such flag")
            continue
        if not _same(value, actual):
            lines.append(f"{name}={value} is ignored: {_NO_VALUE}; in force is {actual}")
        elif "gpu" in name and not on_gpu:
            lines.append(f"{name}={value} has no effect on a CPU")
        else:
            lines.append(f"{name}={value} is in force" + (f" ({added[name]})" if name in added else ""))
    return lines


def _count_gpus() -> int:
    """GPUs that this Paddle can use; 0 where asking fails, as with a driver that is too old, like Paddle itself."""
    try:
        return paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    except Exception:  # Paddle's own classes
        return 0


def _check_kernels() -> None:
    """A GPU that is newer than the build has none of its kernels, which shows at the first of them."""
    try:
        (paddle.ones([1]) + 1).numpy()
    except Exception as error:  # Paddle's own classes, or SystemError
        if not re.search("no kernel image|NoKernelImage|Unsupported GPU architecture", str(error)):
            raise
        capability = ".".join(map(str, paddle.device.cuda.get_device_capability()))
        raise InputError(
            f"Paddle {paddle.__version__} has no kernels for this GPU ({paddle.device.cuda.get_device_name()}, compute"
            f" capability {capability}). `bash scripts/setup_env.sh --gpu` makes an environment with the build that has"
            " them; --use_gpu=False computes on the CPU."
        ) from error


def _describe_device(launch: Launch, use_gpu: bool | None, on_gpu: bool, gpus: int) -> str:
    if on_gpu:
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


def _no_gpu() -> str:
    if not paddle.is_compiled_with_cuda():
        return (
            f"--use_gpu=True, but this Paddle ({paddle.__version__}) is built for CPUs. Install the build for this GPU"
            " with `bash scripts/setup_env.sh --gpu`, or leave --use_gpu out."
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hint = f" CUDA_VISIBLE_DEVICES is {visible!r}." if visible is not None else ""
    return (
        f"--use_gpu=True, but no GPU is visible.{hint} See what nvidia-smi says (`bash scripts/setup_env.sh --gpu`"
        " checks its driver), or leave --use_gpu out for the CPU."
    )


def _lists_gpu() -> bool:
    """Whether nvidia-smi lists a GPU that nobody has hidden from CUDA."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1") or not shutil.which("nvidia-smi"):
        return False
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return b"GPU " in subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=20).stdout
    return False


def _unused_gpu() -> str:
    """Paddle goes on without a word where it cannot use a GPU."""
    why = "sees none: the driver may be too old for it" if paddle.is_compiled_with_cuda() else "is built for CPUs"
    return (
        f"nvidia-smi lists a GPU, but this Paddle ({paddle.__version__}) {why}, so the CPU computes. `bash"
        " scripts/setup_env.sh --gpu` checks the driver and installs the build for this GPU; --use_gpu=False says"
        " that the CPU is meant."
    )
