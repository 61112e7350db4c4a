"""Reader processes: order, how far they read ahead, and how they end, whatever ends them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datareader.decode import VideoError
from datareader.kinetics_reader import ClipReader
from datareader.transforms import EvalTransform, TrainTransform
from datareader.video_list import Video
from datareader.workers import WorkerPool
from utils.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 60  # of a test that would otherwise wait for ever


@pytest.fixture(autouse=True)
def limit():
    """Turns a hang into a failure."""

    def fail(*_):
        raise AssertionError(f"still waiting after {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pools() -> Iterator[list[WorkerPool]]:
    """Closes what is put in."""
    opened: list[WorkerPool] = []
    yield opened
    for pool in opened:
        pool.close()


def wait_for(condition, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def runs(pid: int) -> bool:
    """Whether there is such a process; one that has ended and was not collected does not count."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# What the processes call: functions of a module, because they travel by name.


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


def three_kills(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def process_and_modules(number: int) -> tuple[int, set[str]]:
    return os.getpid(), {name.partition(".")[0] for name in sys.modules}


def tasks(count: int, *others: object) -> list[tuple]:
    return [(number, *others) for number in range(count)]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_task_comes_back_with_its_result_in_order(pools, workers):
    pools.append(pool := WorkerPool(double, workers, ahead=5))
    assert list(pool.map(tasks(30))) == [((number,), 2 * number) for number in range(30)]
    assert list(pool.map(tasks(3))) == [((0,), 0), ((1,), 2), ((2,), 4)]
    assert list(pool.map([])) == []


def test_order_is_kept_when_a_later_task_ends_first(pools, tmp_path):
    pools.append(pool := WorkerPool(first_waits, 2, ahead=4))
    assert [result for _, result in pool.map(tasks(6, tmp_path / "mark"))] == list(range(6))


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(-1, 8))
def test_without_processes_nothing_is_read_ahead(count, ahead):
    taken = []
    for done, _ in enumerate(WorkerPool(double, 0, ahead).map((taken.append(n) or (n,)) for n in range(count)), 1):
        assert len(taken) == done
    assert len(taken) == count


@pytest.mark.parametrize("ahead", [1, 3, 8])
def test_with_processes_no_more_is_taken_than_ahead(pools, ahead):
    taken = []
    pools.append(pool := WorkerPool(double, 2, ahead))
    for done, _ in enumerate(pool.map((taken.append(n) or (n,)) for n in range(20))):
        assert len(taken) == min(done + ahead, 20)
    assert len(taken) == 20


@pytest.mark.parametrize("workers", [0, 2])
def test_a_video_error_is_a_result(pools, workers):
    pools.append(pool := WorkerPool(odd_is_bad, workers, ahead=3))
    results = [result for _, result in pool.map(tasks(6))]
    assert results[::2] == [0, 2, 4]
    assert [(type(result), str(result)) for result in results[1::2]] == [(VideoError, f"no {n}") for n in (1, 3, 5)]


@pytest.mark.parametrize("workers", [0, 2])
def test_any_other_exception_comes_through(pools, workers):
    pools.append(pool := WorkerPool(three_breaks, workers, ahead=3))
    results = []
    with pytest.raises(ZeroDivisionError, match="three"):
        results.extend(result for _, result in pool.map(tasks(6)))
    assert results == [0, 1, 2] or results == []
    assert [result for _, result in pool.map(tasks(3))] == [0, 1, 2]  # and the pool goes on


def test_a_killed_process_is_an_input_error_and_no_hang(pools):
    pools.append(pool := WorkerPool(three_kills, 2, ahead=4))
    with pytest.raises(InputError, match="reader process was killed.*num_reader_threads.*buf_size"):
        list(pool.map(tasks(20)))
    assert [result for _, result in pool.map(tasks(3))] == [0, 1, 2]  # with processes started anew


def test_close_ends_the_processes(pools):
    pools.append(pool := WorkerPool(process_and_modules, 2, ahead=4))
    pids = {pid for _, (pid, _) in pool.map(tasks(8))}
    assert os.getpid() not in pids and all(runs(pid) for pid in pids)
    pool.close()
    assert wait_for(lambda: not any(runs(pid) for pid in pids))
    pool.close()  # once more does no harm
    assert not multiprocessing.active_children()


def test_no_process_starts_before_it_is_needed(pools):
    before = multiprocessing.active_children()
    pools.append(WorkerPool(double, 2, ahead=4))
    assert multiprocessing.active_children() == before


def test_a_pass_left_in_the_middle_leaves_nothing_under_way(pools):
    pools.append(pool := WorkerPool(double, 2, ahead=50))
    results = pool.map(tasks(100))
    assert next(results) == ((0,), 0)
    results.close()
    assert list(pool.map(tasks(2))) == [((0,), 0), ((1,), 2)]


def test_reader_processes_do_not_import_paddle(pools):
    pools.append(pool := WorkerPool(process_and_modules, 1, ahead=1))
    ((_, (pid, modules)),) = pool.map(tasks(1))
    assert pid != os.getpid()
    assert "datareader" in modules and "paddle" not in modules


def test_nothing_that_a_process_imports_imports_paddle():
    """A process imports the main script too."""
    script = (
        "import runpy, sys\nimport datareader\n"
        "for name in ('train.py', 'test.py', 'infer.py'):\n    runpy.run_path(name, run_name='__mp_main__')\n"
        "print(sorted(name for name in sys.modules if name in ('paddle', 'datareader.kinetics_reader')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "['datareader.kinetics_reader']"


@pytest.mark.parametrize("training", [True, False])
def test_what_travels_to_the_processes_arrives_whole(pools, tmp_path, training):
    """A ClipReader with its transform, and the VideoError it raises there."""
    sizes = (16, 16, False)
    transform = TrainTransform(*sizes, True, True) if training else EvalTransform(*sizes)
    pools.append(pool := WorkerPool(ClipReader("mp4", tmp_path, 2, 1, transform, 0), 1, ahead=1))
    ((_, result),) = pool.map([(Video("missing.mp4", 0, 1), 0)])
    assert isinstance(result, VideoError) and "no such file" in str(result)


def test_a_big_result_travels(pools):
    pools.append(pool := WorkerPool(np.ones, 1, ahead=1))
    ((_, array),) = pool.map([((8, 3, 224, 224),)])
    assert array.shape == (8, 3, 224, 224) and array.sum() == array.size


SCRIPT = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from datareader.workers import WorkerPool

def busy(seconds, folder):
    (folder / str(os.getpid())).touch()
    time.sleep(seconds)

if __name__ == "__main__":
    folder, seconds = Path(sys.argv[2]), float(sys.argv[3])
    for _ in WorkerPool(busy, 2, ahead=4).map([(seconds, folder)] * 2):
        pass
"""


@pytest.mark.parametrize("end, busy_s", [(signal.SIGKILL, 600), (signal.SIGTERM, 600), (signal.SIGINT, 1)])
def test_no_process_outlives_the_main_one(tmp_path, end, busy_s):
    """Also one that is in the middle of a video; only Ctrl-C waits for that."""
    script, pids = tmp_path / "main.py", tmp_path / "pids"
    script.write_text(SCRIPT)
    pids.mkdir()
    command = [sys.executable, str(script), str(ROOT), str(pids), str(busy_s)]
    main = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: len(list(pids.iterdir())) == 2, 30)
        workers = [int(path.name) for path in pids.iterdir()]
        assert all(runs(pid) for pid in workers)
        main.send_signal(end)
        assert main.wait(20) != 0
        assert wait_for(lambda: not any(runs(pid) for pid in workers))
    finally:
        main.kill()
        main.wait(20)
        for pid in filter(runs, (int(path.name) for path in pids.iterdir())):
            os.kill(pid, signal.SIGKILL)
