"""Reader processes: order, how far they read ahead, and what happens when one is slow, killed, or cannot start."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver, heap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import SECTIONS, logged
from worker_tasks import (
    DiesOnArrival,
    act,
    all_but_the_first_hang,
    count_calls,
    dies_the_first_time,
    double,
    fill,
    fill_and_mark,
    fill_half_and_die_the_first_time,
    first_waits,
    hangs_the_first_time,
    long_reason,
    much,
    odd_is_bad,
    pattern,
    process,
    process_and_modules,
    stops_at_three,
    three_breaks,
    three_dies,
    three_hangs,
    two_reasons,
    wait_for,
)

from video_zoo.configs.schema import ModelSection
from video_zoo.datareader import worker_system, workers
from video_zoo.datareader.clip_reader import ClipReader
from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.transforms import EvalTransform, TrainTransform
from video_zoo.datareader.video_list import Video
from video_zoo.datareader.views import View
from video_zoo.datareader.workers import Task, WorkerPool
from video_zoo.utils.errors import InputError
from video_zoo.utils.stop import SIGNALS

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 60  # of a test that would wait for ever


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


def runs(pid: int) -> bool:
    """Whether there is such a process; one that has ended and was not collected does not count."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def results_of(pool: WorkerPool, tasks: list[tuple]) -> list:
    return [done.result for done in pool.map(tasks)]


def tasks(count: int, *others: object) -> list[tuple]:
    return [(number, *others) for number in range(count)]


# --- order, and how far they read ahead


@pytest.mark.parametrize("workers", [0, 2])
def test_each_task_comes_back_with_its_result_in_order(pools, workers):
    pools.append(pool := WorkerPool(double, workers, ahead=5))
    assert list(pool.map(tasks(200))) == [((number,), 2 * number, None) for number in range(200)]
    assert list(pool.map(tasks(3))) == [((0,), 0, None), ((1,), 2, None), ((2,), 4, None)]
    assert list(pool.map([])) == []


def test_order_is_kept_when_a_later_task_ends_first(pools, tmp_path):
    pools.append(pool := WorkerPool(first_waits, 2, ahead=4))
    assert results_of(pool, tasks(6, tmp_path / "mark")) == list(range(6))


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(-1, 8))
def test_without_processes_nothing_is_read_ahead(count, ahead):
    taken = []
    source = ((taken.append(number) or (number,)) for number in range(count))
    for done, _ in enumerate(WorkerPool(double, 0, ahead).map(source), 1):
        assert len(taken) == done
    assert len(taken) == count


@pytest.mark.parametrize("ahead", [0, 3])
def test_with_processes_no_more_is_taken_than_ahead(pools, ahead):
    taken = []
    pools.append(pool := WorkerPool(double, 2, ahead))
    for done, _ in enumerate(pool.map((taken.append(n) or (n,)) for n in range(20))):
        assert len(taken) == min(done + max(ahead, 1), 20)
    assert len(taken) == 20


def test_more_tasks_may_wait_than_a_process_is_sent_at_once(pools):
    pools.append(pool := WorkerPool(double, 1, ahead=1000))
    assert results_of(pool, tasks(1500)) == [2 * number for number in range(1500)]


def test_no_more_processes_start_than_there_are_tasks(pools):
    before = len(multiprocessing.active_children())
    pools.append(pool := WorkerPool(process, 5, ahead=8))
    assert len(multiprocessing.active_children()) == before  # none before it is needed
    assert len(set(results_of(pool, tasks(1)))) == 1
    assert len(multiprocessing.active_children()) == before + 1


@pytest.mark.parametrize("ahead, expected", [(5, [0, 1, 2, 3, 4]), (1, [3, 1, 4, 0, 2]), (2, [1, 3, 0, 2, 4])])
def test_results_come_in_the_tasks_order_as_far_as_they_are_there(pools, ahead, expected):
    pools.append(pool := WorkerPool(double, 2, ahead))
    given = [Task((number,), (number,)) for number in (3, 1, 4, 0, 2)]
    assert [done.task.args[0] for done in pool.run(given)] == expected


class Follow:
    """Tasks of one place each, and of place 0 further ones, one after the other, each when the last is done."""

    def __init__(self, places: int, further: int):
        self.tasks = [Task((f"place {place}",), (place, 0)) for place in range(places)]
        self.further = further

    def __iter__(self) -> Follow:
        return self

    def __next__(self) -> Task:
        if not self.tasks:
            raise StopIteration
        return self.tasks.pop(0)

    def take(self, name: str) -> None:
        if name in ("place 0", "further") and self.further:
            self.tasks.insert(0, Task(("further",), (0, self.further), stay=True))
            self.further -= 1


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_that_stay_are_done_by_one_process_and_nothing_in_between(pools, workers):
    pools.append(pool := WorkerPool(count_calls, workers, ahead=6))
    source, results = Follow(20, 8), []
    for done in pool.run(source):
        source.take(done.result[0])
        results.append(done.result)
    names = [name for name, *_ in results]
    assert names == ["place 0", *8 * ["further"], *(f"place {place}" for place in range(1, 20))]
    further = results[1:9]
    assert len({pid for _, pid, _ in further}) == 1
    counts = [count for _, _, count in further]
    assert counts == list(range(counts[0], counts[0] + 8))
    assert len({pid for _, pid, _ in results}) == workers


# --- what comes back


@pytest.mark.parametrize("workers", [0, 2])
def test_a_video_error_is_a_result(pools, workers):
    pools.append(pool := WorkerPool(odd_is_bad, workers, ahead=3))
    results = results_of(pool, tasks(6))
    assert results[::2] == [0, 2, 4]
    assert [(type(result), str(result)) for result in results[1::2]] == [(VideoError, f"no {n}") for n in (1, 3, 5)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_long_reason_is_cut(pools, workers):
    pools.append(pool := WorkerPool(long_reason, workers, ahead=100))
    assert {str(result) for result in results_of(pool, tasks(100))} == {"é" * 500}


@pytest.mark.parametrize("workers", [0, 2])
def test_any_other_exception_comes_through(pools, workers):
    pools.append(pool := WorkerPool(three_breaks, workers, ahead=3))
    results = []
    with pytest.raises(ZeroDivisionError, match="three") as caught:
        for done in pool.map(tasks(6)):
            results.append(done.result)
    assert results == [0, 1, 2]
    if workers:  # with the lines of the other process
        assert "in three_breaks" in str(caught.value.__cause__) and "worker_tasks.py" in str(caught.value.__cause__)
    assert results_of(pool, tasks(3)) == [0, 1, 2]  # and the pool goes on


def test_an_exception_that_does_not_travel_is_named_all_the_same(pools):
    pools.append(pool := WorkerPool(two_reasons, 1, ahead=1))
    with pytest.raises(Exception, match="one and the other"):
        list(pool.map(tasks(1)))


def test_an_exception_of_the_tasks_themselves_comes_through(pools):
    pools.append(pool := WorkerPool(double, 2, ahead=3))
    with pytest.raises(ZeroDivisionError):
        list(pool.map((1 // (3 - number),) for number in range(6)))
    assert results_of(pool, tasks(3)) == [0, 2, 4]


def test_results_larger_than_a_pipe(pools):
    pools.append(pool := WorkerPool(much, 2, ahead=6))
    assert results_of(pool, tasks(9, 300_000)) == [str(number) * 300_000 for number in range(9)]


@pytest.mark.parametrize(
    "length",
    [1500, 4000],
)
def test_long_paths_travel_there_and_back(pools, length):
    """64 of them together are longer than a pipe."""
    paths = [(f"{number:04d}" + "p" * length, 1) for number in range(150)]
    pools.append(pool := WorkerPool(much, 1, ahead=150))
    assert results_of(pool, paths) == [path for path, _ in paths]


def test_a_second_pass_at_the_same_time_is_refused_and_the_first_goes_on(pools):
    pools.append(pool := WorkerPool(double, 1, ahead=2))
    first = pool.map(tasks(5))
    assert next(first).result == 0
    with pytest.raises(RuntimeError, match="another pass"):
        results_of(pool, tasks(3))
    assert [done.result for done in first] == [2, 4, 6, 8]
    assert results_of(pool, tasks(3)) == [0, 2, 4]


def test_a_pass_that_goes_on_after_close_ends_with_an_error(pools):
    pools.append(pool := WorkerPool(double, 1, ahead=2))
    first = pool.map(tasks(5))
    assert next(first).result == 0
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        list(first)


def test_a_pass_that_was_abandoned_does_not_end_the_next_ones_processes(pools):
    pools.append(pool := WorkerPool(double, 1, ahead=2))
    first = pool.map(tasks(5))
    assert next(first).result == 0
    pool.close()
    second = pool.map(tasks(5))
    assert next(second).result == 0
    first.close()
    assert [done.result for done in second] == [2, 4, 6, 8]


def test_a_process_that_is_stopped_is_replaced_and_costs_no_result(pools, tmp_path):
    pools.append(pool := WorkerPool(stops_at_three, 2, ahead=4, timeout_s=1))
    with logged() as lines:
        assert results_of(pool, tasks(8, tmp_path / "mark")) == list(range(8))
    assert lines == ["a reader process was ended (it was stopped); another goes on with its videos"]


def test_of_a_time_in_which_the_process_was_stopped_little_counts(monkeypatch):
    looks = iter([10.0, 10.4, 11.0, 3611.0, 3611.5])
    monkeypatch.setattr("video_zoo.datareader.worker_system.time.monotonic", lambda: next(looks))
    clock = worker_system.WorkClock(1.0)
    assert np.allclose([clock.now() for _ in range(4)], [0.4, 1.0, 2.0, 2.5])


@pytest.mark.parametrize("workers, ahead, shape", [(0, 4, (7,)), (1, 1, (7,)), (2, 3, (2, 3, 20, 30)), (2, 50, (7,))])
def test_arrays_come_back_whole(pools, workers, ahead, shape):
    pools.append(pool := WorkerPool(fill, workers, ahead, shape=shape))
    for _ in range(2):
        for number, done in enumerate(pool.map(tasks(60))):
            assert done.result == number
            assert done.array.dtype == np.uint8 and np.array_equal(done.array, pattern(number, shape))
    assert number == 59


def test_an_array_stays_until_the_next_result_is_taken(pools, tmp_path):
    """The other processes have written all the others meanwhile."""
    pools.append(pool := WorkerPool(fill_and_mark, 2, ahead=3, shape=(50,)))
    for number, done in enumerate(pool.map(tasks(8, tmp_path))):
        others = [tmp_path / str(later) for later in range(number + 1, min(number + 3, 8))]
        assert wait_for(lambda others=others: all(map(Path.exists, others)), 30)
        assert np.array_equal(done.array, pattern(number, (50,)))


@pytest.mark.parametrize("training", [True, False])
def test_what_travels_to_the_processes_arrives_whole(pools, tmp_path, training):
    """A ClipReader with its transform, and the VideoError it raises there."""
    sizes = (16, 16, False)
    transform = TrainTransform(*sizes, True, True) if training else EvalTransform(*sizes)
    read = ClipReader(ModelSection(), SECTIONS["test"](target_size=16), [View(2, 1, 1, transform)], tmp_path, 0)
    pools.append(pool := WorkerPool(read, 1, ahead=1, shape=(1, 2, 3, 16, 16)))
    (result,) = results_of(pool, [(Video("missing.mp4", 0, 1), 0, 0)])
    assert isinstance(result, VideoError) and "no such file" in str(result)


# --- processes that hang, are killed, or do not start


@pytest.mark.parametrize("how", ["in Python", "in C"])
def test_a_task_over_its_time_is_given_up_and_its_process_replaced(pools, tmp_path, how):
    pools.append(pool := WorkerPool(three_hangs, 2, ahead=6, timeout_s=1))
    results = results_of(pool, tasks(12, how, tmp_path))
    late = results.pop(3)
    assert isinstance(late, VideoError) and str(late) == "it took longer than decode_timeout_s, 1 seconds"
    assert [number for number, _ in results] == [0, 1, 2, *range(4, 12)]
    (hung,) = (int(path.name) for path in tmp_path.iterdir())  # once: it is not tried again
    assert not runs(hung)
    assert [number for number, _ in results_of(pool, tasks(3, how, tmp_path))] == [0, 1, 2]


def test_the_time_is_counted_anew_for_each_task(pools):
    """Four that take longer together than one may."""
    pools.append(pool := WorkerPool(time.sleep, 1, ahead=8, timeout_s=1.5))
    assert results_of(pool, [(0.4,)] * 4) == [None] * 4


def test_any_time_may_be_allowed(pools):
    pools.append(pool := WorkerPool(double, 1, ahead=2, timeout_s=1e12))
    assert results_of(pool, tasks(2)) == [0, 2]


def test_a_process_killed_once_costs_no_result(pools, tmp_path):
    pools.append(pool := WorkerPool(dies_the_first_time, 2, ahead=6))
    with logged() as lines:
        assert results_of(pool, tasks(30, tmp_path, {3, 4, 17})) == list(range(30))
    assert {path.name for path in tmp_path.iterdir()} == {"3", "4", "17"}
    assert len(lines) == 3 and all("killed by SIGKILL, perhaps because memory ran out" in line for line in lines)


def test_a_clip_half_written_is_written_anew(pools, tmp_path):
    pools.append(pool := WorkerPool(fill_half_and_die_the_first_time, 1, ahead=4, shape=(40,)))
    for number, done in enumerate(pool.map(tasks(8, tmp_path))):
        assert done.result == number and np.array_equal(done.array, pattern(number, (40,)))


@pytest.mark.parametrize(
    "how, cause",
    [(signal.SIGKILL, "killed by SIGKILL, perhaps because memory ran out"), (signal.SIGSEGV, "killed by SIGSEGV")]
    + [(-5, "exit code 5")],
)
def test_a_task_that_costs_two_processes_is_given_up(pools, how, cause):
    pools.append(pool := WorkerPool(three_dies, 2, ahead=5))
    results = results_of(pool, tasks(10, how))
    assert isinstance(results[3], VideoError)
    assert str(results.pop(3)) == f"the process that read it was ended 2 times ({cause})"
    assert results == [0, 1, 2, *range(4, 10)]


def test_processes_killed_from_outside_cost_no_result(pools):
    pools.append(pool := WorkerPool(process, 2, ahead=8))
    killed = set()
    for number, done in enumerate(pool.map(tasks(200))):
        assert isinstance(done.result, int), done.result
        if number % 60 == 20 and runs(done.result):
            os.kill(done.result, signal.SIGKILL)
            killed.add(done.result)
    assert number == 199 and killed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_lost_terminal_are_left_to_the_main_process(pools, number):
    """A terminal sends the signal to all of them."""
    pools.append(pool := WorkerPool(three_dies, 1, ahead=4))
    with logged() as lines:
        assert results_of(pool, tasks(6, number)) == list(range(6))
    assert lines == []


def test_a_process_killed_between_two_passes_is_replaced(pools):
    pools.append(pool := WorkerPool(process, 1, ahead=4))
    (first,) = set(results_of(pool, tasks(4)))
    os.kill(first, signal.SIGKILL)
    assert wait_for(lambda: not runs(first))
    (second,) = set(results_of(pool, tasks(4)))
    assert second != first


@pytest.mark.parametrize(
    "how, cause", [("raises", "exit code 1"), ("exits", "exit code 7"), ("is killed", "killed by SIGKILL")]
)
def test_processes_that_cannot_start_are_an_input_error_and_no_hang(pools, tmp_path, how, cause):
    pools.append(pool := WorkerPool(DiesOnArrival(tmp_path, 1000, how), 2, ahead=4))
    with pytest.raises(InputError, match=rf"end before they begin \({cause}.*num_reader_threads=0"):
        list(pool.map(tasks(20)))
    assert wait_for(lambda: not any(runs(int(path.name.split()[1])) for path in tmp_path.iterdir()))
    assert len(list(tmp_path.iterdir())) < 10


def test_a_process_that_fails_to_start_is_started_again(pools, tmp_path):
    pools.append(pool := WorkerPool(DiesOnArrival(tmp_path, 2, "exits"), 1, ahead=4))
    assert results_of(pool, tasks(6)) == [0, 2, 4, 6, 8, 10]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture(scope="module")
def one_pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(act, 2, ahead=4, shape=(30,), timeout_s=30)
    yield pool
    pool.close()


actions = st.lists(st.sampled_from(["quick"] * 6 + ["slow", "slow", "bad", "bad", "dies once", "dies"]), max_size=16)


@settings(max_examples=6, deadline=None)
@given(actions)
def test_whatever_happens_every_task_has_its_result_in_its_turn(one_pool, tmp_path_factory, actions):
    marks = tmp_path_factory.mktemp("marks")
    number = -1
    for number, done in enumerate(one_pool.map((n, action, marks) for n, action in enumerate(actions))):
        assert done.task == (number, actions[number], marks)
        if actions[number] in ("bad", "dies"):
            assert isinstance(done.result, VideoError)
            assert str(done.result).startswith({"bad": f"bad {number}", "dies": "the process"}[actions[number]])
        else:
            assert done.result == number and np.array_equal(done.array, pattern(number, (30,)))
    assert number == len(actions) - 1


# --- how they end


def test_close_ends_the_processes(pools):
    before = set(multiprocessing.active_children())
    pools.append(pool := WorkerPool(process, 2, ahead=4))
    pids = set(results_of(pool, tasks(8)))
    assert os.getpid() not in pids and all(runs(pid) for pid in pids)
    pool.close()
    assert not any(runs(pid) for pid in pids)
    pool.close()  # once more does no harm
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_a_pass_left_in_the_middle_ends_the_processes(pools, tmp_path, how):
    pools.append(pool := WorkerPool(all_but_the_first_hang, 2, ahead=50))
    results = pool.map(tasks(100, tmp_path))
    assert next(results).result == 0
    assert wait_for(lambda: len(list(tmp_path.iterdir())) == 2, 30)
    if how == "closed":
        results.close()
    del results
    assert not any(runs(int(path.name)) for path in tmp_path.iterdir())
    assert results_of(pool, tasks(1, tmp_path)) == [0]  # and nothing of the pass is left


def test_the_folder_of_the_fork_server_is_marked_as_ours(pools):
    """So that it can be removed if this process is killed."""
    pools.append(pool := WorkerPool(double, 1, ahead=1))
    assert len(list(pool.map(tasks(1)))) == 1
    if "forkserver" in multiprocessing.get_all_start_methods():
        assert (Path(multiprocessing.util.get_temp_dir()) / "zoo").is_file()


def test_the_folders_of_multiprocessing_go_with_their_process(tmp_path, monkeypatch):
    def begin() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="pymp-", dir=tmp_path)))
        return made[-1]

    def claim_and_be_killed() -> None:
        if not (child := os.fork()):
            try:
                worker_system.claim_process_folder()
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)

    made: list[Path] = []
    monkeypatch.setattr(worker_system.util, "get_temp_dir", lambda: str(made[-1]))
    others, first = begin(), begin()
    claim_and_be_killed()
    assert (first / "zoo").exists()
    second = begin()
    worker_system.claim_process_folder()
    assert sorted(tmp_path.iterdir()) == sorted([others, second])
    assert [path.name for path in second.iterdir()] == ["zoo"]
    begin()
    claim_and_be_killed()
    assert second.exists()  # its process goes on


def test_reader_processes_do_not_import_paddle(pools):
    pools.append(pool := WorkerPool(process_and_modules, 1, ahead=1))
    ((pid, modules),) = results_of(pool, tasks(1))
    assert pid != os.getpid()
    assert "video_zoo" in modules and "paddle" not in modules


JOBS = """
import os, sys, time

def hang(folder, array):
    (folder / str(os.getpid())).touch()
    time.sleep(600)

def nap(number, seconds):
    time.sleep(seconds)
    return number

def modules(number):
    return sorted(name for name in sys.modules if name in ("heavy", "video_zoo.datareader.clip_reader"))
"""
HEAVY_SCRIPT = """
import sys
from multiprocessing import forkserver
import heavy, jobs
from video_zoo.datareader.workers import Task, WorkerPool

pool = WorkerPool(jobs.modules, 2, ahead=4)
print({name for done in pool.map([(number,) for number in range(4)]) for name in done.result})
print(sys.modules["__main__"].__file__, __spec__ and __spec__.name)
server = forkserver._forkserver._forkserver_pid
print(open(f"/proc/{server}/status").read().split("SigBlk:")[1].split()[0] if server else "none")
pool.close()
"""


@pytest.mark.parametrize("how", ["file", "module"])
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_nothing_that_a_process_imports_imports_paddle(tmp_path, how, method):
    """A process does not import the main script, which has Paddle at its top, and needs no guard."""
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "heavy.py").write_text(f"open({str(tmp_path / 'marks')!r}, 'a').write('imported ')\n")
    only = f"import multiprocessing\nmultiprocessing.get_all_start_methods = lambda: [{method!r}]\n"
    (tmp_path / "main.py").write_text(only + HEAVY_SCRIPT)
    command = ["main.py"] if how == "file" else ["-m", "main"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    modules, main, held_back = done.stdout.splitlines()
    assert modules == "{'video_zoo.datareader.clip_reader'}" or method == "spawn" and modules == "set()"
    assert (tmp_path / "marks").read_text() == "imported "
    assert main.split() == [str(tmp_path / "main.py"), str(None if how == "file" else "main")]
    if method == "forkserver":  # it holds signals back from its first moment on
        assert all(int(held_back, 16) >> number - 1 & 1 for number in SIGNALS)


NAPS = """
import signal
import jobs
from video_zoo.datareader import workers
from video_zoo.utils.log import set_up_logging

set_up_logging()
signal.signal(signal.SIGHUP, lambda *_: None)
workers._LOOK_S, workers._LONGEST_S = 0.1, 0.2
for done in workers.WorkerPool(jobs.nap, 2, ahead=4, timeout_s=1).map([(number, 0.1) for number in range(8)]):
    print(done.result, flush=True)
"""


def test_signals_to_all_processes_cost_no_task(tmp_path):
    """A closed terminal's SIGHUP, then a stop, as by Ctrl-Z, or where a container is paused: no time counts then."""
    (tmp_path / "main.py").write_text(NAPS)
    (tmp_path / "jobs.py").write_text(JOBS)
    command, environment = [sys.executable, "main.py"], {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as main:
        try:
            lines = [main.stdout.readline()]
            os.killpg(main.pid, signal.SIGHUP)
            lines.append(main.stdout.readline())
            os.killpg(main.pid, signal.SIGSTOP)
            time.sleep(1.3)
            os.killpg(main.pid, signal.SIGCONT)
            assert "".join([*lines, *main.stdout]) == "".join(f"{number}\n" for number in range(8))
        finally:
            main.kill()


SCRIPT = """
import sys
from pathlib import Path
import jobs
from video_zoo.datareader.workers import Task, WorkerPool

for _ in WorkerPool(jobs.hang, 2, ahead=4, shape=(1000,)).map([(Path(sys.argv[1]),)] * 4):
    pass
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda end: end.name)
def test_no_process_outlives_the_main_one(tmp_path, end):
    """Also one that is in the middle of a video, and nothing waits for that. Ctrl-C reaches all of them."""
    script, pids, errors = tmp_path / "main.py", tmp_path / "pids", tmp_path / "errors"
    script.write_text(SCRIPT)
    (tmp_path / "jobs.py").write_text(JOBS)
    pids.mkdir()
    command, environment = [sys.executable, str(script), str(pids)], {**os.environ, "PYTHONPATH": str(ROOT)}
    with errors.open("w") as file:
        main = subprocess.Popen(command, stderr=file, env=environment, start_new_session=True)
    try:
        assert wait_for(lambda: len(list(pids.iterdir())) == 2, 30)
        workers = [int(path.name) for path in pids.iterdir()]
        assert all(runs(pid) for pid in workers)
        os.killpg(main.pid, end) if end == signal.SIGINT else main.send_signal(end)
        assert main.wait(20) != 0
        assert wait_for(lambda: not any(runs(pid) for pid in workers))
        assert len(list(pids.iterdir())) == 2  # none was started once more
        assert errors.read_text().count("Traceback") == (end == signal.SIGINT)  # the main process's own
    finally:
        main.kill()
        main.wait(20)
        for pid in filter(runs, (int(path.name) for path in pids.iterdir())):
            os.kill(pid, signal.SIGKILL)


# --- what the system refuses


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no fork server here")
def test_a_killed_fork_server_costs_nothing_and_no_process_of_before_writes_to_shared_memory(pools, tmp_path, log):
    pools.append(pool := WorkerPool(hangs_the_first_time, 2, ahead=2, shape=(8,)))
    source = pool.map((number, tmp_path) for number in range(2))

    def kill_when_both_hang():
        assert wait_for(lambda: len([path for path in tmp_path.iterdir() if path.read_text()]) == 2, 30)
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)

    thread = threading.Thread(target=kill_when_both_hang)
    thread.start()
    results = [(done.result, done.array.copy()) for done in source]
    thread.join()
    assert [result for result, _ in results] == [0, 1]
    assert all(np.array_equal(array, pattern(number, (8,))) for number, array in results)
    assert wait_for(lambda: not any(runs(int(path.read_text())) for path in tmp_path.iterdir()))
    assert "a reader process was ended (the fork server, which starts them, was killed" in log.text


def test_memory_that_is_not_there_is_said(monkeypatch):
    def read() -> None:
        with pytest.raises(InputError) as error:
            results_of(WorkerPool(fill, 1, ahead=4, shape=(1000, 1000)), tasks(2))
        said.append(str(error.value))

    said: list[str] = []
    place = rf"/dev/shm, or in {tempfile.gettempdir()} where that is too small"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        read()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: exec("raise OSError(28, 'No space left on device')"))
    read()
    monkeypatch.setattr(heap.Arena, "_choose_dir", lambda self, size: "/nowhere")
    read()
    begin, end = (
        "reader processes share 4.0 MB, which cannot be written in ",
        (". Smaller batches need less; --set SECTION.num_reader_threads=0 reads in the main process."),
    )
    assert said[:2] == [f"{begin}{place}: {why}{end}" for why in ("File too large", "No space left on device")]
    assert said[2].startswith(f"{begin}/nowhere/pym-") and said[2].endswith(f": No such file or directory{end}")


@pytest.mark.parametrize("error", [EOFError("unexpected EOF"), OSError(24, "Too many open files"), EOFError()])
def test_a_process_that_cannot_be_started_is_said(monkeypatch, error):
    def start(*_):
        raise error

    monkeypatch.setattr(workers._Worker, "__init__", start)
    with pytest.raises(InputError, match="no reader process can be started: .*(EOF|open files).*num_reader_threads=0"):
        results_of(WorkerPool(double, 1, ahead=1), tasks(1))
