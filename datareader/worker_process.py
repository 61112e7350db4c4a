"""What runs in a reader process; workers.py is the other end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any, Callable, NamedTuple

import cv2
import numpy as np

from video_zoo.datareader.decode import VideoError
from video_zoo.utils.stop import SIGNALS

_REASON_LENGTH = 500
# The network goes first on a core that both want, as its threads wait for each other: predictions of 720p videos then
# come 1.2 times as fast on 2 cores (benchmark/RESULTS.md).
_NICENESS = 10


class Raised(NamedTuple):
    """An exception of `read` on its way to the main process."""

    error: Exception
    traceback: str


def serve(
    tasks: Connection,
    results: Connection,
    read: Callable[..., Any],
    memory: Any,
    shape: tuple[int, ...] | None,
    ahead: int,
) -> None:
    """What a reader process does until its pipe is closed."""
    if hasattr(os, "nice"):  # Windows has none
        os.nice(_NICENESS)
    cv2.setNumThreads(1)  # the processes are the parallelism
    for number in SIGNALS:  # Ctrl-C and a lost terminal's SIGHUP reach the whole group; the main process ends this one
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # of the moment of the start, see signals_held_back
    threading.Thread(target=_end_with_parent, daemon=True).start()
    slots = slots_of(memory, shape, ahead)
    with contextlib.suppress(EOFError, OSError):  # the main process has ended
        results.send_bytes(pickle.dumps(None))  # ready
        while True:
            slot, task = tasks.recv()
            try:
                result = call(read, task, slots[slot])
                data = pickle.dumps(result)
            except Exception as error:
                data = pickle.dumps(Raised(_portable(error), traceback.format_exc()))
            results.send_bytes(data)


def _portable(error: Exception) -> Exception:
    """The exception, or if it cannot be pickled, one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception's own code runs here, and may raise anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def slots_of(memory: Any, shape: tuple[int, ...] | None, count: int) -> list[np.ndarray | None]:
    """The `count` uint8 arrays of a block of shared memory; Nones if there is no block."""
    return [None] * count if memory is None else list(np.frombuffer(memory.buffer, np.uint8).reshape(count, *shape))


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def call(read: Callable[..., Any], task: tuple, array: np.ndarray | None) -> Any:
    """What `read` returns, or the VideoError it raises."""
    try:
        return read(*task) if array is None else read(*task, array)
    except VideoError as error:
        return VideoError(str(error)[:_REASON_LENGTH])
