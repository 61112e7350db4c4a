"""What reader processes need of the operating system: a clock, shared memory, signals, and how a process has ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import util
from multiprocessing.connection import Connection
from multiprocessing.heap import Arena
from pathlib import Path

from video_zoo.utils.errors import InputError
from video_zoo.utils.locks import locked_leftover, take_lock
from video_zoo.utils.stop import SIGNALS

LOST = 255  # the exit code of a process when the fork server, which would tell it, has been killed
_MARK = "zoo"  # in a folder of multiprocessing's: it is one of ours
_claims: list[int] = []  # locks that are held until the process ends


class WorkClock:
    """Seconds that this process has been at work, for one that looks at the clock again and again.

    While the process is stopped (Ctrl-Z, a paused container, a suspended machine), the time between two looks is long:
    of that, `longest_s` seconds count. So no limit of time has been passed when the process goes on.
    """

    def __init__(self, longest_s: float):
        self._longest_s = longest_s
        self._now_s, self._looked = 0.0, time.monotonic()

    def now(self) -> float:
        """In seconds since the clock was made."""
        looked = time.monotonic()
        self._now_s += min(looked - self._looked, self._longest_s)
        self._looked = looked
        return self._now_s


def claim_process_folder() -> None:
    """Marks the folder in which multiprocessing keeps the sockets of this process as one of ours, and removes those of
    processes of ours that were killed."""
    folder = Path(util.get_temp_dir())
    mark = folder / _MARK
    if mark.exists():
        return
    for other in folder.parent.glob(f"pymp-*/{_MARK}"):
        with contextlib.suppress(OSError), locked_leftover(other):
            shutil.rmtree(other.parent, ignore_errors=True)
    with contextlib.suppress(OSError):
        descriptor, unlocked = tempfile.mkstemp(dir=folder)
        os.close(descriptor)
        if (lock := take_lock(unlocked)) is not None:
            _claims.append(lock)
        os.rename(unlocked, mark)  # whoever sees the mark finds it locked


def shared_memory(size: int, no_processes: str) -> Arena:
    """So many bytes that all processes share: a file that has no name, of which nothing is left over.

    Args:
        no_processes: how messages name the setting that reads without processes.

    Raises InputError: there is no room for them. Without a check, the first write to what is missing ends the process.
    """
    try:
        memory = Arena(size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(memory.fd, 0, size)
        return memory
    except OSError as error:
        place = error.filename or f"/dev/shm, or in {tempfile.gettempdir()} where that is too small"
        raise InputError(
            f"reader processes share {size / 1e6:.1f} MB, which cannot be written in {place}:"
            f" {error.strerror or error}. Smaller batches need less; {no_processes} reads in the main process."
        ) from error


def at_end(pipe: Connection) -> bool:
    """Whether the process at the other end of a pipe has ended; what it has sent is lost."""
    try:
        while pipe.poll():
            pipe.recv_bytes()
    except (EOFError, OSError):
        return True
    return False


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped (SIGSTOP), as far as the system tells."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def cause_of(code: int | None) -> str:
    """Why a process with this exit code has ended, for a message."""
    if code == LOST:
        return "the fork server, which starts them, was killed, perhaps because memory ran out"
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else str(-code)
        return f"killed by {name}{', perhaps because memory ran out' if -code == signal.SIGKILL else ''}"
    return f"exit code {code}"


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Holds Ctrl-C, SIGTERM and SIGHUP back while the block runs. What is started in it holds them back, too: the fork
    server for as long as it runs, so that a SIGHUP to the whole group does not end it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def main_script_hidden() -> Iterator[None]:
    """A process that is started while the block runs does not import the main script, which may import Paddle.

    multiprocessing has new processes import the file or the module that sys.modules["__main__"] says it is.
    """
    main = vars(sys.modules["__main__"])
    hidden = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(hidden)
