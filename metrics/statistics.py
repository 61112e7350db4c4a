"""What the results of single videos say about a network: shares with their uncertainty, calibration, confusion, and
whether two networks differ. All intervals are of 95% confidence, two-sided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_Z = 1.959963984540054  # 97.5% of a normal distribution are below


class Bin(NamedTuple):
    """The videos whose confidence is above `low` (or is 0 too, in the first bin) and at most `high`.

    count: how many. confidence, accuracy: their means; NaN without videos.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """The interval of a share of which `right` of `count` independent cases are known; (0, 1) without cases.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    low, high = _wilson(np.float64(right), np.float64(count))
    return float(low), float(high)


def mean_share_interval(right: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The interval of the mean of several groups' shares, as the mean class accuracy is one.

    The distances between the share and Wilson's ends of each group are squared and added.

    Args:
        right, counts: cases of each group, (groups,); groups without cases are left out. Without any: (0, 1).

    Source: Zou, Huang and Zhang, "A note on confidence interval estimation for a linear function of binomial
    proportions", Computational Statistics & Data Analysis 53 (2009).
    """
    right, counts = right[counts > 0], counts[counts > 0]
    if not len(counts):
        return 0.0, 1.0
    shares, (low, high) = right / counts, _wilson(right, counts)
    below, above = (math.sqrt(((shares - end) ** 2).sum()) / len(shares) for end in (low, high))
    return max(float(shares.mean()) - below, 0.0), min(float(shares.mean()) + above, 1.0)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """The interval of the mean of independent values (n,): 1.96 standard errors to each side.

    By the central limit theorem, it holds for many values; below some 30 it is too narrow. (NaN, NaN) for less than
    two values, and where one is not finite.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan, math.nan
    error = _Z * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - error, float(values.mean()) + error


def paired_difference(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float, float]:
    """How much larger the second one's share of right cases is than the first one's, and its interval: (difference,
    low, high). Both had the same cases; the arguments count those that both, one or neither has right.

    Source: method 10 of Newcombe, "Improved confidence intervals for the difference between binomial proportions based
    on paired data", Statistics in Medicine 17 (1998).
    """
    count = both + only_first + only_second + neither
    if not count:
        return 0.0, -1.0, 1.0
    first, second = both + only_first, both + only_second
    product = both * neither - only_first * only_second
    if product > 0:
        product = max(product - count / 2, 0)
    spread = math.sqrt(first * (count - first) * second * (count - second))
    correlation = product / spread if spread else 0.0

    def distance(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * correlation * x * y + y * y, 0))

    shares = [first / count, second / count]
    (low_1, high_1), (low_2, high_2) = wilson_interval(first, count), wilson_interval(second, count)
    difference = (only_second - only_first) / count
    below = distance(shares[1] - low_2, high_1 - shares[0])
    above = distance(high_2 - shares[1], shares[0] - low_1)
    return difference, max(difference - below, -1.0), min(difference + above, 1.0)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of the cases that only one of two has right, if both are as good: a binomial test with 1/2.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947); exact: Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91 (2013).
    """
    count, fewer = only_first + only_second, min(only_first, only_second)
    logarithm = math.lgamma(count + 1) - math.lgamma(fewer + 1) - math.lgamma(count - fewer + 1) - count * math.log(2)
    smaller = np.arange(fewer, 0, -1)  # each probability is this part of the one before
    return min(2 * math.exp(logarithm) * (1 + float(np.cumprod(smaller / (count - smaller + 1)).sum())), 1.0)


def calibration_bins(confidences: np.ndarray, right: np.ndarray, bins: int = 15) -> list[Bin]:
    """Videos by their confidence, in bins of equal width.

    Args:
        confidences: (n,) the probability of the predicted class, 0 to 1.
        right: (n,) whether it is the right one.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.
    """
    edges = np.arange(bins + 1) / bins
    places = np.clip(np.searchsorted(edges, confidences) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(places, values, bins) / counts for values in (confidences, right)]
    return [Bin(*row) for row in zip(edges.tolist(), edges[1:].tolist(), counts.tolist(), *(m.tolist() for m in means))]


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error: how far confidence and accuracy of a bin are apart, 0 to 1, in the mean over the
    videos; NaN without videos. Source: Guo et al. 2017, equation 3."""
    count = sum(each.count for each in bins)
    apart = sum(each.count * abs(each.accuracy - each.confidence) for each in bins if each.count)
    return apart / count if count else math.nan


def coverage_curve(confidences: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of the videos that a threshold of confidence keeps, and the accuracy on them.

    Videos of equal confidence come in any order: each of them counts as the mean of theirs.

    Args:
        confidences, right: (n,), as of `calibration_bins`.

    Returns coverage and accuracy, float64 (n,), the most confident first.

    Source: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
    """
    _, groups, counts = np.unique(-np.asarray(confidences), return_inverse=True, return_counts=True)
    rights = np.bincount(groups, right, len(counts)) / counts
    kept = np.arange(1, len(groups) + 1)
    return kept / len(groups), np.cumsum(np.repeat(rights, counts)) / kept


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """How many videos of each class (rows) were taken for each class (columns), int64 (num_classes, num_classes).

    Args:
        labels, predicted: (n,) integers, each of a class.
    """
    pairs = np.asarray(labels, np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """The accuracy on the videos of each class, float64 (num_classes,); NaN where a class has none."""
    with np.errstate(invalid="ignore"):
        return confusion.diagonal() / confusion.sum(axis=1)


def _wilson(right: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of each of several shares; its end is exact where a share is 0 or 1."""
    square = _Z * _Z
    middle = (right + square / 2) / (count + square)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = _Z * np.sqrt(np.where(count > 0, right * (count - right) / count, 0) + square / 4) / (count + square)
    low, high = np.maximum(middle - spread, 0), np.minimum(middle + spread, 1)
    return np.where(right > 0, low, 0.0), np.where(right < count, high, 1.0)
