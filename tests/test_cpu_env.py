"""How Paddle is set up for a CPU."""

import os

import pytest

from video_zoo.utils import cpu_env, runtime


@pytest.mark.parametrize(
    ("vendor", "flags", "needs"),
    [
        ("AuthenticAMD", "fpu sse2 avx avx2", True),
        ("HygonGenuine", "avx2 fma", True),
        ("AuthenticAMD", "fpu sse2 avx", False),
        ("GenuineIntel", "fpu avx2 avx512f", False),
        (None, None, False),
    ],
)
def test_the_processors_that_mkl_does_not_know(monkeypatch, vendor, flags, needs):
    fields = {"vendor_id": vendor, "flags": flags} if vendor else {}
    monkeypatch.setattr(runtime, "_processor_fields", lambda: fields)
    assert runtime.needs_mkl_type() == needs


@pytest.mark.parametrize(
    ("needs", "before", "after", "told"),
    [(True, None, "5", True), (False, None, None, False), (True, "4", "4", False)],
)
def test_mkl_is_told_of_avx2(monkeypatch, needs, before, after, told):
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "")  # so that it is put back
    monkeypatch.delenv("MKL_DEBUG_CPU_TYPE")
    if before:
        monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", before)
    monkeypatch.setattr(cpu_env, "needs_mkl_type", lambda: needs)
    assert cpu_env.set_mkl_type() == told
    assert os.environ.get("MKL_DEBUG_CPU_TYPE") == after


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX"])
def test_own_settings_of_the_memory_stay(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert not cpu_env.keep_memory()


class _OpenMP:
    def __init__(self):
        self.set = []

    def kmp_set_blocktime(self, milliseconds):
        self.set.append(milliseconds)


@pytest.fixture
def clock(monkeypatch):
    """{"now": seconds, "waited": seconds for a core}, which the tests move on."""
    times = {"now": 100.0, "waited": 7.0}
    for name in ("KMP_BLOCKTIME", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cpu_env, "compute_threads", lambda: 2)
    monkeypatch.setattr(cpu_env, "_waited_s", lambda: times["waited"])
    monkeypatch.setattr(cpu_env.time, "monotonic", lambda: times["now"])
    return times


def test_threads_sleep_while_others_want_the_cores(monkeypatch, clock, tmp_path):
    openmp = _OpenMP()
    monkeypatch.setattr(cpu_env.ctypes, "CDLL", lambda path: openmp)
    library = tmp_path / "libiomp5.so"
    library.touch()
    cores = cpu_env.Cores(library)
    assert cores
    said = []
    # Seconds of the clock, and of them waited for a core -> what the threads were told by then.
    for seconds, waited in ((2, 0), (2, 0.1), (2, 1.0), (0.5, 0.5), (2, 0.2), (2, 0.1), (3, 0.0), (2, 0.1), (2, 0.3)):
        clock["now"], clock["waited"] = clock["now"] + seconds, clock["waited"] + waited
        cores.share()
        said.append(list(openmp.set))
    assert said == [[], [], [0], [0], [0], [0], [0, 200], [0, 200], [0, 200, 0]]


@pytest.mark.parametrize("why", ["own setting", "one thread", "no library", "no figures"])
def test_threads_are_left_alone(monkeypatch, clock, tmp_path, why):
    library = tmp_path / "libiomp5.so"
    if why == "own setting":
        monkeypatch.setenv("KMP_BLOCKTIME", "30")
    if why == "one thread":
        monkeypatch.setattr(cpu_env, "compute_threads", lambda: 1)
    if why == "no figures":
        monkeypatch.setattr(cpu_env, "_waited_s", lambda: None)
    if why != "no library":
        library.touch()
    cores = cpu_env.Cores(library)
    clock["now"], clock["waited"] = clock["now"] + 9, clock["waited"] + 9
    cores.share()
    assert not cores
