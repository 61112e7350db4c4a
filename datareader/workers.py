"""Reader processes: tasks in, results out in the same order, a bounded number of them under way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Callable

import cv2

from datareader.decode import VideoError
from utils.errors import InputError

_read: Callable[..., Any] | None = None  # in a reader process: what it calls


class WorkerPool:
    """Calls `read(*task)` in other processes.

    The processes are started anew (not forked: Paddle's threads and CUDA do not survive a fork), on first use, and end
    with the main process, however it ends.

    Args:
        read: a picklable callable.
        workers: processes; 0 calls `read` in this process.
        ahead: results under way or waiting, at most; this bounds the memory.
    """

    def __init__(self, read: Callable[..., Any], workers: int, ahead: int):
        self._read = read
        self._workers = workers
        self._ahead = max(ahead, 1)
        self._executor: ProcessPoolExecutor | None = None

    def map(self, tasks: Iterable[tuple]) -> Iterator[tuple[tuple, Any]]:
        """Each task and its result, in order; a VideoError that `read` raised is the result.

        Raises InputError if a reader process is killed.
        """
        if not self._workers:
            for task in tasks:
                yield task, _call(self._read, task)
            return
        executor = self._start()
        under_way: deque[tuple[tuple, Future]] = deque()
        try:
            for task in tasks:
                under_way.append((task, executor.submit(_work, task)))
                if len(under_way) >= self._ahead:
                    task, future = under_way.popleft()
                    yield task, future.result()
            while under_way:
                task, future = under_way.popleft()
                yield task, future.result()
        except BrokenProcessPool:
            self.close()
            raise InputError(
                "a reader process was killed, perhaps because memory ran out; try fewer processes (num_reader_threads)"
                " or a smaller buf_size"
            ) from None
        finally:
            for _, future in under_way:
                future.cancel()

    def close(self) -> None:
        """Ends the processes."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def _start(self) -> ProcessPoolExecutor:
        if self._executor is None:
            method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
            context = multiprocessing.get_context(method)
            if method == "forkserver":
                context.set_forkserver_preload(["datareader.kinetics_reader"])
            self._executor = ProcessPoolExecutor(self._workers, context, _start_worker, (self._read,))
        return self._executor


def _start_worker(read: Callable[..., Any]) -> None:
    global _read
    _read = read
    cv2.setNumThreads(1)  # the processes are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process ends the workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(task: tuple) -> Any:
    return _call(_read, task)


def _call(read: Callable[..., Any], task: tuple) -> Any:
    try:
        return read(*task)
    except VideoError as error:
        return error
