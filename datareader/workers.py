"""Reader processes: tasks in, results out in order, a bounded number of them under way, and no way to hang.

A process that takes too long over a task is ended; one that is stopped, killed, or runs out of memory, is replaced, and
its tasks are done again. The limit is of the time in which the main process works: while that is stopped, so are its
processes. Arrays come back through memory that all processes share.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import multiprocessing
import os
import pickle
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any, Callable, NamedTuple

import numpy as np

from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.worker_process import Raised, call, serve, slots_of
from video_zoo.datareader.worker_system import (
    LOST,
    WorkClock,
    at_end,
    cause_of,
    claim_process_folder,
    is_stopped,
    main_script_hidden,
    shared_memory,
    signals_held_back,
)
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger

# Bytes of tasks in one process's pipe, at most: less than any pipe holds, so that sending one never waits.
_QUEUED_BYTES = 12 << 10
_ATTEMPTS = 2  # a task whose process was killed this often is given up
_STARTS = 3  # processes in a row that end before they are ready
_RESTART_S = 0.1  # between two attempts
_START_S = 120  # for one to be ready
_LOOK_S, _LONGEST_S = 0.5, 1.0  # after which a wait looks around; what counts, at most, between two looks
_JOIN_S = 2  # a process that hangs in the kernel (a dead network disk) cannot be ended: it is left behind


class SettingNames(NamedTuple):
    """How messages name two settings: the one that reads without processes, and the time limit."""

    no_processes: str = "--set SECTION.num_reader_threads=0"
    timeout: str = "decode_timeout_s"


_KEYS = SettingNames()  # a config's


class Task(NamedTuple):
    """What a process is to do.

    Args:
        args: of `read`.
        order: results come in ascending order, of the tasks that are there when one is taken.
        stay: the process whose result was taken last is to do this task, because `read` keeps an open file for it. That
            process gets no later task until this result is taken.
    """

    args: tuple
    order: tuple[int, ...]
    stay: bool = False


class Done(NamedTuple):
    """A task and what came of it.

    task: a Task, but of `map` its arguments.
    result: what `read` returned, or the VideoError it raised.
    array: what `read` wrote; it is valid until the next result is taken. None if no shape was asked for.
    """

    task: Any
    result: Any
    array: np.ndarray | None


class WorkerPool:
    """Calls `read(*task)`, or `read(*task, array)`, in other processes.

    The processes are started anew (not forked: Paddle's threads and CUDA do not survive a fork), on first use, and end
    with the main process, however it ends.

    Args:
        read: a picklable callable. What it returns is small; large results go into `array`.
        workers: processes; 0 calls `read` in this process, where nothing guards against a hang.
        ahead: tasks under way or waiting to be taken, at most.
        shape: of the uint8 array that `read` fills. There are `ahead` of them, and this bounds the memory.
        timeout_s: seconds a task may take, while this process is not stopped; 0: as long as it likes.
        settings: their names, for messages.
    """

    def __init__(
        self,
        read: Callable[..., Any],
        workers: int,
        ahead: int,
        *,
        shape: tuple[int, ...] | None = None,
        timeout_s: float = 0,
        settings: SettingNames = _KEYS,
    ):
        self._read = read
        self._workers = workers
        self._ahead = max(ahead, 1)
        self._shape = shape
        self._timeout_s = timeout_s
        self._settings = settings
        self._crew: _Crew | None = None

    def map(self, tasks: Iterable[tuple]) -> Iterator[Done]:
        """The tasks done, in order; see `run`."""
        with contextlib.closing(self.run(Task(args, (place,)) for place, args in enumerate(tasks))) as results:
            for done in results:
                yield done._replace(task=done.task.args)

    def run(self, tasks: Iterable[Task]) -> Iterator[Done]:
        """The tasks done, in their order. An exception of `read` that is no VideoError comes through. After each result
        the iterator of `tasks` is asked again, also if it had ended: a result may bring new tasks.

        Raises InputError if processes cannot be started, RuntimeError if another pass is under way.
        """
        if not self._workers:
            array = None if self._shape is None else np.empty(self._shape, np.uint8)
            for task in tasks:
                yield Done(task, call(self._read, task.args, array), array)
            return
        if self._crew is None:
            self._crew = _Crew(self._read, self._workers, self._ahead, self._shape, self._timeout_s, self._settings)
        crew = self._crew
        if crew.busy:
            raise RuntimeError("another pass is under way")
        finished = False
        try:
            yield from crew.run(tasks)
            finished = True
        finally:
            if not finished and self._crew is crew:  # tasks are under way that nobody waits for
                self.close()

    def close(self) -> None:
        """Ends the processes at once."""
        if self._crew is not None:
            self._crew.end()
            self._crew = None


class _Worker:
    """A process, the pipes to it, and the numbers of the tasks it has, the one at work first."""

    def __init__(self, context: Any, clock: WorkClock, *job: Any):
        tasks, self.tasks = context.Pipe(duplex=False)
        self.results, results = context.Pipe(duplex=False)
        self.process = context.Process(target=serve, args=(tasks, results, *job), daemon=True)
        self.queue: deque[int] = deque()
        self.sizes: deque[int] = deque()  # of the queue's tasks, in bytes
        self.held: int | None = None  # a task with `stay`: while it is in the crew's `_tasks`, no other may come
        self.ready = self.late = self.stopped = False
        self._clock = clock
        self.since = clock.now()  # when it began what it is doing, or later
        self.process.start()
        tasks.close()
        results.close()

    def send(self, number: int, task: bytes) -> bool:
        """Gives the process a task, unless its pipe is full."""
        if self.queue and sum(self.sizes) + len(task) > _QUEUED_BYTES:
            return False
        if not self.queue and self.ready:
            self.since = self._clock.now()
        self.queue.append(number)
        self.sizes.append(len(task))
        with contextlib.suppress(OSError):  # it has ended; _receive notices
            self.tasks.send_bytes(task)
        return True

    def finish(self) -> int:
        """Takes the number of its first task."""
        self.since = self._clock.now()
        self.sizes.popleft()
        return self.queue.popleft()

    def limit_s(self, timeout_s: float) -> float:
        """Seconds after `since` at which it is overdue."""
        if not self.ready:
            return _START_S
        return timeout_s if self.queue and timeout_s else math.inf

    def end(self) -> None:
        self.process.kill()  # it has nothing to tidy up
        self.process.join(_JOIN_S)
        if self.process.exitcode == LOST and not at_end(self.results):  # it may still write to the shared memory
            with contextlib.suppress(OSError):
                os.kill(self.process.pid, signal.SIGKILL)
        if not self.process.is_alive():
            self.process.close()
        self.tasks.close()
        self.results.close()


class _Crew:
    """The running processes of a pool, and the memory they share."""

    def __init__(
        self,
        read: Callable[..., Any],
        workers: int,
        ahead: int,
        shape: tuple[int, ...] | None,
        timeout_s: float,
        settings: SettingNames,
    ):
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            claim_process_folder()  # where the fork server listens
            resource_tracker.ensure_running()  # which, if it is started later, no longer holds signals back
            context.set_forkserver_preload(["video_zoo.datareader.clip_reader"])
        memory = None
        if shape is not None:
            memory = shared_memory(ahead * int(np.prod(shape)), settings.no_processes)
        self._slots = slots_of(memory, shape, ahead)
        self._free = deque(range(ahead))
        self._job = (read, memory, shape, ahead)
        self._clock = WorkClock(_LONGEST_S)
        self._timeout_s = timeout_s
        self._settings = settings
        self._context = context
        self._size = workers
        self._ended = False
        self._workers: list[_Worker] = []
        self._numbers = 0  # tasks so far, over all passes
        self._failed_starts = 0
        # By number: tasks under way, with their slots; results that came before their turn, and from which process;
        # processes they cost.
        self._tasks: dict[int, tuple[Task, int]] = {}
        self._results: dict[int, tuple[Any, _Worker | None]] = {}
        self._attempts: dict[int, int] = {}
        # Heaps of (order, number): tasks whose result was not taken, and those that no process has.
        self._turns: list[tuple[tuple[int, ...], int]] = []
        self._unsent: list[tuple[tuple[int, ...], int]] = []
        self._last: _Worker | None = None  # which gave the result that was taken last

    def run(self, tasks: Iterable[Task]) -> Iterator[Done]:
        source = iter(tasks)
        while True:
            if self._ended:
                raise RuntimeError("the pool was closed in the middle of a pass")
            self._clock.now()
            self._take_tasks(source)
            self._send()
            if not self._turns:
                return
            number = self._turns[0][1]
            if number not in self._results:
                self._receive()
                continue
            heapq.heappop(self._turns)
            result, self._last = self._results.pop(number)
            task, slot = self._tasks[number]
            self._attempts.pop(number, None)
            if isinstance(result, Raised):
                del self._tasks[number]
                raise result.error from RuntimeError(f"in a reader process:\n{result.traceback}")
            yield Done(task, result, self._slots[slot])
            del self._tasks[number]
            self._free.append(slot)

    @property
    def busy(self) -> bool:
        """Whether a pass is under way."""
        return bool(self._tasks)

    def end(self) -> None:
        self._ended = True
        for worker in self._workers:
            worker.process.kill()
        while self._workers:
            self._workers.pop().end()

    def _take_tasks(self, source: Iterator[Task]) -> None:
        """Takes new tasks while there is room."""
        while self._free:
            task = next(source, None)
            if task is None:
                return
            self._tasks[self._numbers] = (task, self._free.popleft())
            for heap in (self._turns, self._unsent):
                heapq.heappush(heap, (task.order, self._numbers))
            self._numbers += 1

    def _send(self) -> None:
        """Gives the tasks that wait to the processes that have least."""
        while len(self._workers) < min(self._size, len(self._tasks)):
            with signals_held_back(), main_script_hidden():  # Ctrl-C in between would leave a process that nobody knows
                self._workers.append(self._start())
        while self._unsent:
            number = self._unsent[0][1]
            task, slot = self._tasks[number]
            worker = self._choose(task)
            if worker is None or not worker.send(number, pickle.dumps((slot, task.args))):
                return
            if task.stay:
                worker.held = number
            heapq.heappop(self._unsent)

    def _start(self) -> _Worker:
        """Starts a process. A fork server that was killed a moment ago is replaced when the system has noticed."""
        for _ in range(_STARTS - 1):
            with contextlib.suppress(OSError, EOFError):  # EOFError: the fork server has ended
                return _Worker(self._context, self._clock, *self._job)
            time.sleep(_RESTART_S)
        try:
            return _Worker(self._context, self._clock, *self._job)
        except (OSError, EOFError) as error:
            raise InputError(
                f"no reader process can be started: {str(error) or type(error).__name__};"
                f" {self._settings.no_processes} reads in the main process"
            ) from error

    def _choose(self, task: Task) -> _Worker | None:
        """The process for a task; None: not now."""
        if task.stay and self._last in self._workers and not self._last.queue:
            return self._last
        free = (worker for worker in self._workers if worker.held not in self._tasks)
        return min(free, key=lambda worker: len(worker.queue), default=None)

    def _receive(self) -> None:
        """Waits until a process has a result or has ended."""
        ends = {worker.process.sentinel: worker for worker in self._workers}
        pipes = {worker.results: worker for worker in self._workers}
        left_s = min(worker.since + worker.limit_s(self._timeout_s) for worker in self._workers) - self._clock.now()
        for event in wait([*ends, *pipes], max(min(left_s, _LOOK_S), 0)):
            worker = ends.get(event) or pipes[event]
            if worker not in self._workers:
                continue  # replaced a moment ago
            try:
                while worker.results.poll():
                    self._take(worker, worker.results.recv())
            except (EOFError, OSError):
                worker.process.join()
            if not worker.process.is_alive():
                self._replace(worker)
        self._end_overdue()

    def _end_overdue(self) -> None:
        """Ends processes that take too long."""
        now = self._clock.now()
        for worker in list(self._workers):
            overdue = now - worker.since > worker.limit_s(self._timeout_s)
            if overdue and not worker.results.poll():
                worker.stopped = is_stopped(worker.process.pid)
                worker.late = not worker.stopped
                worker.process.kill()
                worker.process.join(_JOIN_S)
                self._replace(worker)

    def _take(self, worker: _Worker, result: Any) -> None:
        if worker.ready:
            self._results[worker.finish()] = (result, worker)
        else:
            worker.since = self._clock.now()
        worker.ready, self._failed_starts = True, 0

    def _replace(self, worker: _Worker) -> None:
        """A process has ended: its first task is to blame, the others are given out again."""
        cause = "it was stopped" if worker.stopped else cause_of(worker.process.exitcode)
        self._workers.remove(worker)
        numbers = list(worker.queue)
        worker.end()
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS:
                raise InputError(
                    f"reader processes end before they begin ({cause}); {self._settings.no_processes} reads"
                    " in the main process, and shows why"
                )
        elif numbers:
            first = numbers[0]
            self._attempts[first] = self._attempts.get(first, 0) + 1
            if worker.late:
                error = VideoError(f"it took longer than {self._settings.timeout}, {self._timeout_s:g} seconds")
                self._results[numbers.pop(0)] = (error, None)
            elif self._attempts[first] >= _ATTEMPTS:
                error = VideoError(f"the process that read it was ended {_ATTEMPTS} times ({cause})")
                self._results[numbers.pop(0)] = (error, None)
            else:
                logger.warning("a reader process was ended (%s); another goes on with its videos", cause)
        for number in numbers:
            heapq.heappush(self._unsent, (self._tasks[number][0].order, number))
