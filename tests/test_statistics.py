"""Intervals, calibration, coverage, confusion and McNemar's test: against published values and slow references."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_zoo.metrics.statistics import (
    calibration_bins,
    calibration_error,
    class_accuracy,
    confusion_matrix,
    coverage_curve,
    mcnemar,
    mean_interval,
    mean_share_interval,
    paired_difference,
    wilson_interval,
)

# Few values, so that there are ties, and some on the edges of the bins.
confident = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 1 / 15, 0.4, 0.401, 0.93, 1.0]), st.booleans()), max_size=12)
counts = st.integers(0, 40)


def arrays(videos: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([each for each, _ in videos], float), np.array([right for _, right in videos], bool)


# Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), table I
@pytest.mark.parametrize(
    "right, count, low, high",
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718), (0, 0, 0, 1)],
)
def test_wilson_intervals_are_the_published_ones(right, count, low, high):
    assert wilson_interval(right, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(count - right, count) == pytest.approx((1 - high, 1 - low), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_a_wilson_interval_ends_where_the_share_is_1_96_deviations_away(case):
    right, count = case
    low, high = wilson_interval(right, count)
    assert 0 <= low <= right / count <= high <= 1 and low < high
    for end in (low, high):
        if 0 < end < 1:
            assert abs(right / count - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / count), rel=1e-5)


def test_the_interval_of_a_mean_share_adds_the_squares_of_the_groups():
    assert mean_share_interval(np.array([7]), np.array([20])) == pytest.approx(wilson_interval(7, 20))
    assert mean_share_interval(np.array([0, 7]), np.array([0, 20])) == pytest.approx(wilson_interval(7, 20))
    low, high = mean_share_interval(np.array([7, 3, 9]), np.array([20, 4, 9]))
    groups, below, above = [(7, 20), (3, 4), (9, 9)], 0.0, 0.0
    for right, count in groups:
        ends = wilson_interval(right, count)
        below += (right / count - ends[0]) ** 2
        above += (right / count - ends[1]) ** 2
    mean = sum(right / count for right, count in groups) / 3
    assert (low, high) == pytest.approx((mean - math.sqrt(below) / 3, mean + math.sqrt(above) / 3))
    assert mean_share_interval(np.array([0]), np.array([0])) == (0, 1)


def test_the_interval_of_a_mean_has_the_deviation_of_n_minus_1():
    low, high = mean_interval(np.array([1.0, 2.0, 3.0, 6.0]))
    assert (low + high) / 2 == pytest.approx(3)
    assert high - low == pytest.approx(2 * 1.959964 * math.sqrt(14 / 3 / 4), rel=1e-6)
    assert all(map(math.isnan, mean_interval(np.array([1.0])) + mean_interval(np.array([1.0, math.inf]))))


def test_the_difference_of_paired_shares_is_the_published_one():
    """Newcombe 1998, table III, method 10: 36, 12, 2, 0 of 50."""
    assert paired_difference(36, 2, 12, 0) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    assert paired_difference(36, 12, 2, 0) == pytest.approx((-0.2, -0.3404, -0.0569), abs=5e-5)
    assert paired_difference(0, 0, 0, 0) == (0, -1, 1)


@given(counts, counts, counts, counts)
def test_the_difference_of_paired_shares_is_within_its_interval(both, first, second, neither):
    difference, low, high = paired_difference(both, first, second, neither)
    assert -1 <= low <= difference <= high <= 1
    there = paired_difference(both, second, first, neither)
    assert there == pytest.approx((-difference, -high, -low), abs=1e-12)


@given(counts, counts)
def test_mcnemar_is_a_sum_of_binomial_probabilities(first, second):
    count, fewer = first + second, min(first, second)
    tail = sum(Fraction(math.comb(count, k), 2**count) for k in range(fewer + 1))
    assert mcnemar(first, second) == pytest.approx(float(min(2 * tail, 1)), rel=1e-10)


def test_mcnemar_of_many_videos():
    count, fewer = 3900, 1800
    tail = sum(math.comb(count, k) for k in range(fewer + 1)) * Fraction(2, 2**count)
    assert mcnemar(fewer, count - fewer) == pytest.approx(float(tail), rel=1e-9)
    assert mcnemar(0, 100_000) == 0


@given(confident, st.integers(1, 15))
def test_calibration_equals_a_slow_reference(videos, bins):
    found = calibration_bins(*arrays(videos), bins)
    assert [(each.low, each.high) for each in found] == [(b / bins, (b + 1) / bins) for b in range(bins)]
    error = 0.0
    for each in found:
        own = [v for v in videos if each.low < v[0] <= each.high or (v[0] == 0 and each.low == 0)]
        assert each.count == len(own)
        if own:
            means = [sum(column) / len(own) for column in zip(*own)]
            assert (each.confidence, each.accuracy) == pytest.approx(tuple(means))
            error += len(own) / len(videos) * abs(means[0] - means[1])
        else:
            assert math.isnan(each.confidence) and math.isnan(each.accuracy)
    if videos:
        assert calibration_error(found) == pytest.approx(error)
    else:
        assert math.isnan(calibration_error(found))


@given(confident)
def test_coverage_equals_a_slow_reference(videos):
    """A video counts as the mean of those that are as confident."""
    coverage, accuracy = coverage_curve(*arrays(videos))
    rights = []
    for confidence, _ in sorted(videos, reverse=True):
        alike = [right for other, right in videos if other == confidence]
        rights.append(sum(alike) / len(alike))
    count = len(videos)
    assert coverage.dtype == accuracy.dtype == np.float64
    assert coverage.tolist() == pytest.approx([(i + 1) / count for i in range(count)])
    assert accuracy.tolist() == pytest.approx([sum(rights[: i + 1]) / (i + 1) for i in range(count)])


@given(st.integers(1, 6).flatmap(lambda c: st.tuples(st.just(c), st.lists(st.tuples(*[st.integers(0, c - 1)] * 2)))))
def test_confusion_and_class_accuracy_equal_slow_references(case):
    classes, pairs = case
    labels, predicted = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    confusion = confusion_matrix(labels, predicted, classes)
    assert confusion.dtype == np.int64
    assert confusion.tolist() == [[pairs.count((c, p)) for p in range(classes)] for c in range(classes)]
    for c, accuracy in enumerate(class_accuracy(confusion)):
        own = [pair for pair in pairs if pair[0] == c]
        assert accuracy == pairs.count((c, c)) / len(own) if own else math.isnan(accuracy)
