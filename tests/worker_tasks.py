"""What the reader processes of test_workers.py call. They import this module, as functions travel by name, and it
imports little: no pytest, no hypothesis."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from video_zoo.datareader.decode import VideoError

FOREVER_S = 600


def wait_for(condition, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def double(number: int) -> int:
    return 2 * number


def first_waits(number: int, mark: Path) -> int:
    """Task 0 ends only after task 1."""
    if number == 1:
        mark.touch()
    if number == 0 and not wait_for(mark.exists, 30):
        return -1
    return number


def odd_is_bad(number: int) -> int:
    if number % 2:
        raise VideoError(f"no {number}")
    return number


def three_breaks(number: int) -> int:
    if number == 3:
        raise ZeroDivisionError("three")
    return number


def die(how: int) -> None:
    """By a signal, if that is one, else with the negative exit code."""
    if how < 0:
        os._exit(-how)
    os.kill(os.getpid(), how)


def three_dies(number: int, how: int) -> int:
    if number == 3:
        die(how)
    return number


def dies_the_first_time(number: int, marks: Path, deadly: set[int]) -> int:
    mark = marks / str(number)
    if number in deadly and not mark.exists():
        mark.touch()
        die(signal.SIGKILL)
    return number


def three_hangs(number: int, how: str, pids: Path) -> tuple[int, int]:
    if number == 3:
        (pids / str(os.getpid())).touch()
        if how == "in Python":
            time.sleep(FOREVER_S)
        else:  # no Python code runs then in this process, signal handlers and other threads neither
            ctypes.PyDLL(None).sleep(FOREVER_S)
    return number, os.getpid()


def all_but_the_first_hang(number: int, pids: Path) -> int:
    if number:
        (pids / str(os.getpid())).touch()
        time.sleep(FOREVER_S)
    return number


def process_and_modules(number: int) -> tuple[int, set[str]]:
    return os.getpid(), {name.partition(".")[0] for name in sys.modules}


def process(number: int) -> int:
    return os.getpid()


_CALLS: list[object] = []


def count_calls(name: str) -> tuple[str, int, int]:
    """The task, its process, and the how manieth of that one."""
    _CALLS.append(name)
    time.sleep(0.01)
    return name, os.getpid(), len(_CALLS)


def much(number: int, length: int) -> str:
    return str(number) * length


def long_reason(number: int) -> None:
    raise VideoError("é" * 100_000)


def pattern(number: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def fill(number: int, array: np.ndarray) -> int:
    array[:] = pattern(number, array.shape)
    return number


def fill_and_mark(number: int, marks: Path, array: np.ndarray) -> int:
    fill(number, array)
    (marks / str(number)).touch()
    return number


def fill_half_and_die_the_first_time(number: int, marks: Path, array: np.ndarray) -> int:
    mark = marks / str(number)
    if number == 3 and not mark.exists():
        mark.touch()
        array[: len(array) // 2] = 77
        die(signal.SIGKILL)
    return fill(number, array)


def act(number: int, action: str, marks: Path, array: np.ndarray) -> int:
    if action == "slow":
        time.sleep(0.02)
    if action == "dies" or action == "dies once" and not (marks / str(number)).exists():
        (marks / str(number)).touch()
        die(signal.SIGKILL)
    if action == "bad":
        raise VideoError(f"bad {number}")
    return fill(number, array)


class TwoReasons(Exception):
    """Pickles, and cannot be unpickled: its __init__ has not one argument."""

    def __init__(self, first: str, second: str):
        super().__init__(f"{first} and {second}")


def two_reasons(number: int) -> None:
    raise TwoReasons("one", "the other")


class DiesOnArrival:
    """A callable that ends a process that unpickles it, the first `times` times."""

    def __init__(self, starts: Path, times: int, how: str):
        self.arguments = starts, times, how

    def __reduce__(self):
        return arrive, self.arguments


def arrive(starts: Path, times: int, how: str):
    number = sum(1 for _ in starts.iterdir())
    if number < times:
        (starts / f"{number} {os.getpid()}").touch()
        if how == "raises":
            raise RuntimeError("not in this process")
        die(-7 if how == "exits" else signal.SIGKILL)
    return double


def stops_at_three(number: int, mark: Path) -> int:
    """As a process that the system does not let go on."""
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGSTOP)
    return number


def hangs_the_first_time(number: int, marks: Path, array: np.ndarray) -> int:
    mark = marks / str(number)
    if not mark.exists():
        mark.write_text(str(os.getpid()))
        time.sleep(FOREVER_S)
    return fill(number, array)
