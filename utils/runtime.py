"""What a process has: its place among others, its cores, and its output. Nothing here imports Paddle."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from video_zoo.utils.errors import InputError
from video_zoo.utils.paths import PROJECT


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


# Instructions that decide how a processor computes float32, bfloat16 and int8, as Linux names them: x86, then ARM.
_INSTRUCTIONS = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"),
    *("asimddp", "i8mm", "bf16", "sve"),
)
_FLAGS = ("flags", "Features")  # the fields of /proc/cpuinfo that list them, on x86 and ARM


def _processor_fields() -> dict[str, str]:
    """What Linux tells of the first processor; {} where the system does not tell."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return dict(reversed([tuple(map(str.strip, line.split(":", 1))) for line in lines if ":" in line]))
    return {}


def describe_processor() -> dict[str, Any]:
    """{"processor": its name, "instructions": {name: whether it has them}}; none where the system does not tell."""
    fields = _processor_fields()
    name, words = platform.processor() or platform.machine(), " ".join(fields.get(x, "") for x in _FLAGS).split()
    known = {each: each in words for each in _INSTRUCTIONS} if fields else {}
    return {"processor": fields.get("model name", name), "instructions": known}


def needs_mkl_type() -> bool:
    """Whether MKL takes this processor for one without AVX2, which it has: MKL knows Intel's names alone."""
    fields = _processor_fields()
    return fields.get("vendor_id") in ("AuthenticAMD", "HygonGenuine") and "avx2" in fields.get("flags", "").split()


def memory_bytes() -> int | None:
    """Memory that this process may have: the machine's, and on Linux the limit of its control group; None: unknown."""
    sizes = []
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):  # no control groups, or "max": no limit
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(sizes, default=None)


def has_nvidia_driver() -> bool:
    """Whether there may be an NVIDIA GPU; Paddle knows, and takes longer."""
    return bool(shutil.which("nvidia-smi")) or Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def describe_versions() -> str:
    """The project's version, Paddle's and its build, and Python's. Paddle's package is asked, which imports nothing."""
    from importlib.metadata import PackageNotFoundError, version  # here, as it takes time

    paddle = "no Paddle"
    for package, build in (("paddlepaddle", "CPU"), ("paddlepaddle-gpu", "GPU")):
        with contextlib.suppress(PackageNotFoundError):
            paddle = f"Paddle {version(package)} ({build} build)"
    project = PROJECT / "pyproject.toml"  # which an installation has not
    if project.exists():
        own = re.search(r'^version = "(.*)"$', project.read_text(encoding="utf-8"), re.MULTILINE)[1]
    else:
        own = version("video-classification-zoo")
    return f"video_zoo {own}, {paddle}, Python {platform.python_version()}"


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
