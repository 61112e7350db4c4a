"""What makes Paddle quick on a CPU, set around its import by paddle_env.py. Every setting of a person's own wins.

The figures behind each are in benchmark/RESULTS.md, "Training on CPUs".
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from video_zoo.utils.runtime import compute_threads, needs_mkl_type

_MKL_TYPE = "MKL_DEBUG_CPU_TYPE"
_OWN_WAITING = ("KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_WAIT_POLICY")
_AVX2 = "5"  # of MKL's kinds of processors
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's malloc.h
_SPIN_MS, _SLEEP_MS = 200, 0  # how long OpenMP's threads spin before they sleep; 200 is its default
_BUSY, _IDLE = 0.1, 0.02  # shares of the time that the main thread waited for a core
_LOOK_S = 1.0


def set_mkl_type() -> bool:
    """Tells MKL that an AMD or Hygon processor has AVX2, before Paddle loads it, on Linux; returns whether it did."""
    if os.environ.get(_MKL_TYPE) or not needs_mkl_type():
        return False
    os.environ[_MKL_TYPE] = _AVX2
    return True


def keep_memory() -> bool:
    """Lets glibc keep the memory of freed tensors for the next ones; returns whether it does.

    Otherwise each large tensor is new memory, whose pages the system clears one by one when they are first written:
    that is most of the time of an addition.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc" in tunables or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # no glibc
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))


class Cores:
    """Lets OpenMP's threads sleep at once where they wait for one another, as long as other programs want the cores.

    On an idle machine spinning is quicker. On a busy one, a thread that spins keeps the one it waits for off its core.
    Linux tells how long a thread waited for a core; elsewhere, and where a person has chosen, nothing is done.

    Args:
        openmp: Paddle's library of it.
    """

    def __init__(self, openmp: Path):
        waited = _waited_s()
        self._library, self._spins, self._looked = None, True, (time.monotonic(), waited or 0.0)
        own = compute_threads() == 1 or any(name in os.environ for name in _OWN_WAITING)
        if not own and openmp.is_file() and waited is not None:
            self._library = ctypes.CDLL(str(openmp))

    def __bool__(self) -> bool:
        """Whether it can tell, and do something about it."""
        return self._library is not None

    def share(self) -> None:
        """To be called between steps, by the thread that computes."""
        now, (looked, before) = time.monotonic(), self._looked
        if self._library is None or now - looked < _LOOK_S:
            return
        waited = _waited_s() or 0.0
        share, self._looked = (waited - before) / (now - looked), (now, waited)
        spins = share < _BUSY if self._spins else share < _IDLE
        if spins != self._spins:
            self._spins = spins
            self._library.kmp_set_blocktime(_SPIN_MS if spins else _SLEEP_MS)


def _waited_s() -> float | None:
    """Seconds that this thread could have computed and had no core; None where the system does not tell."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return None
