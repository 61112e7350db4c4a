"""A program that does not compute what the network computes is refused."""

from __future__ import annotations

import numpy as np
import pytest
from deployed import clips as make_clips
from deployed import expected, settled_network
from hypothesis import given
from hypothesis import strategies as st
from tiny import Batch

from video_zoo.engine import parity
from video_zoo.engine.backends.base import Job
from video_zoo.engine.parity import Parity, check_programs
from video_zoo.utils.errors import InputError

FILES = {"openvino": {"fp32": "fp32.xml", "int8": "int8.xml"}}


@pytest.fixture
def check(monkeypatch):
    """Compares the network with programs that change its probabilities so: precision -> function."""
    network = settled_network()

    class Engine:
        name = "openvino"

        def __init__(self, changes):
            self.changes = changes

        def load(self, job):
            if job.precision not in self.changes:
                raise InputError("this CPU has none")
            return lambda clips: self.changes[job.precision](expected(network, clips))

    def run(clips: int = 6, batches=(4, 4), **changes):
        monkeypatch.setattr(parity.ENGINES, "get", lambda name: Engine(changes))
        programs = {"openvino": {name: file for name, file in FILES["openvino"].items() if name in changes}}
        made = [Batch(make_clips(size, seed), None, [], size) for seed, size in enumerate(batches)]
        return check_programs(network, made, clips, programs, Job())

    return run


def same(probabilities):
    return probabilities


def worst_first(probabilities):
    return 1 - probabilities


def test_figures_are_returned(check, log):
    found = check(fp32=same, int8=lambda each: each + np.float32(0.001))
    assert found["openvino fp32"] == {
        "clips": 6,
        "top1_agreement": 1.0,
        "largest_difference": 0.0,
        "mean_top1_difference": 0.0,
    }
    assert found["openvino int8"]["largest_difference"] == pytest.approx(0.001, rel=0.02)
    assert "not compared: this CPU has none" in log.text and "top-1 100.0% the same of 6 clips" in log.text


@pytest.mark.parametrize(("change", "allowed"), [(0.9e-4, True), (1.2e-4, False)])
def test_float32_differs_by_at_most_a_ten_thousandth(check, change, allowed):
    def run():
        check(fp32=lambda each: each + np.float32(change))

    if allowed:
        run()
    else:
        with pytest.raises(InputError, match="computes something else than the network.*Nothing was written"):
            run()


def test_not_a_number_is_refused(check):
    with pytest.raises(InputError, match="differ by at most inf"):
        check(fp32=lambda each: each * np.nan)


@pytest.mark.parametrize("change", [worst_first, lambda each: each * np.float32(0.9)])
def test_lower_precision_keeps_the_top1_and_its_probability(check, change):
    with pytest.raises(InputError, match="openvino in int8 is too far.*--calibration"):
        check(fp32=same, int8=change)


def test_bfloat16_that_is_too_far_is_a_warning(check, log):
    check(fp32=same, bf16=worst_first)
    assert "Do not run it with --precision=bf16" in log.text


def test_without_clips_nothing_is_written(check):
    with pytest.raises(InputError, match="no clip could be read"):
        check(fp32=same, batches=())


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_figures_do_not_depend_on_the_batches(sizes, seed):
    rng = np.random.default_rng(seed)
    expected, found = rng.dirichlet(np.ones(3), (2, sum(sizes))).astype(np.float32)
    whole, parts, start = Parity(), Parity(), 0
    whole.add(expected, found)
    for size in sizes:
        parts.add(expected[start : start + size], found[start : start + size])
        start += size
    assert (parts.clips, parts.same, parts.largest) == (whole.clips, whole.same, whole.largest)
    assert parts.mean == pytest.approx(whole.mean)
    assert whole.same == int((expected.argmax(1) == found.argmax(1)).sum())
