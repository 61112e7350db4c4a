"""Loss, top-1 and top-5: against slow references, and as v1.5 logs them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_scores

from video_zoo.metrics import make_metrics
from video_zoo.metrics.accuracy import label_ranks
from video_zoo.metrics.metric import MetricSet, Scores
from video_zoo.utils.errors import InputError

STEP = 2**-26  # nats; losses count in these
# Few values, so that there are ties.
values = st.sampled_from([-math.inf, -2.5, -0.0, 0.0, 1.0, 1.0000001, 7.0, math.inf, math.nan])


def count(metrics: MetricSet, losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> Scores:
    """Counts a batch, and gives its own scores."""
    return metrics.update(metrics.measure(losses, logits, labels))


@st.composite
def batches(draw, max_size: int = 6):
    """logits (n, classes), labels (n,) and losses (n,)."""
    classes = draw(st.integers(1, 8))
    size = draw(st.integers(1, max_size))
    logits = draw(st.lists(st.lists(values, min_size=classes, max_size=classes), min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=size, max_size=size))
    losses = draw(st.lists(st.floats(0, 100, width=32), min_size=size, max_size=size))
    return np.array(logits, np.float32), np.array(labels, np.int64), np.array(losses, np.float32)


def slow_rank(row: list[float], label: int) -> int:
    """By sorting. A label whose own logit is NaN comes after everything."""
    if math.isnan(row[label]):
        return len(row)
    order = sorted(range(len(row)), key=lambda c: (math.isnan(row[c]), 0 if math.isnan(row[c]) else -row[c], c))
    return order.index(label)


@settings(deadline=None)
@given(batches())
def test_ranks_equal_a_sorted_reference(batch):
    logits, labels, _ = batch
    expected = [slow_rank(row, label) for row, label in zip(logits.tolist(), labels.tolist())]
    assert label_ranks(logits, labels).tolist() == expected


@pytest.mark.parametrize(
    "row, label, rank",
    [
        ([0.1, 0.9, 0.5], 1, 0),
        ([0.1, 0.9, 0.5], 0, 2),
        ([3, 3, 3], 0, 0),  # of equals the lower class comes first
        ([3, 3, 3], 2, 2),
        ([math.nan, 0, math.nan], 1, 0),  # NaN is never better
        ([math.nan, 5, 0], 0, 3),
        ([-math.inf, math.nan], 0, 0),
    ],
)
def test_ranks_by_hand(row, label, rank):
    assert label_ranks(np.array([row], np.float32), np.array([label])).tolist() == [rank]


def test_a_network_that_gives_nan_is_never_right():
    metrics = make_metrics(10)
    scores = count(metrics, np.full(4, np.nan), np.full((4, 10), np.nan), np.arange(4))
    assert scores["top1"] == scores["top5"] == 0 and math.isnan(scores["loss"])


@settings(deadline=None)
@given(st.lists(batches(), min_size=1, max_size=5))
def test_batches_of_any_sizes_weigh_what_they_should(several):
    metrics, losses, ranks = make_metrics(8), [], []
    for logits, labels, batch_losses in several:
        scores = count(metrics, batch_losses, logits, labels)
        own = [slow_rank(row, label) for row, label in zip(logits.tolist(), labels.tolist())]
        assert scores.samples == len(labels)
        assert scores["loss"] == pytest.approx(math.fsum(batch_losses.tolist()) / len(labels), abs=STEP)
        assert scores["top1"] == own.count(0) / len(own)
        losses += batch_losses.tolist()
        ranks += own
    scores = metrics.compute()
    assert scores.samples == len(ranks)
    assert scores["loss"] == pytest.approx(math.fsum(losses) / len(losses), abs=STEP)
    assert scores["top1"] == sum(rank < 1 for rank in ranks) / len(ranks)
    assert scores["top5"] == sum(rank < 5 for rank in ranks) / len(ranks)


@st.composite
def partitions(draw):
    """A whole batch, labels of -1 among it, and its samples in any order in parts, some of which are empty."""
    logits, labels, losses = draw(batches(max_size=9))
    labels = np.where(draw(st.lists(st.booleans(), min_size=len(labels), max_size=len(labels))), labels, -1)
    order = draw(st.permutations(range(len(labels))))
    cuts = sorted(draw(st.lists(st.integers(0, len(labels)), max_size=4)))
    return (losses, logits, labels), [
        tuple(array[list(order[first:last])] for array in (losses, logits, labels))
        for first, last in zip([0, *cuts], [*cuts, len(labels)])
    ]


@settings(deadline=None)
@given(partitions())
def test_no_order_and_no_partition_changes_the_sums(case):
    """Exactly: in batches, and as the sums of ranks, which are added before."""
    whole, parts = case
    one, several, ranks = (make_metrics(8) for _ in range(3))
    count(one, *whole)
    for part in parts:
        count(several, *part)
    ranks.update(sum(ranks.measure(*part) for part in parts))
    assert one.state().tolist() == several.state().tolist() == ranks.state().tolist()
    assert one.compute() == several.compute() == ranks.compute()


@settings(deadline=None)
@given(st.lists(st.floats(0, 1000, width=32), min_size=1, max_size=50), st.randoms(use_true_random=False))
def test_sums_of_losses_are_exact_in_steps(losses, random):
    """Each is off by half a step at most; the sum adds nothing to that."""
    metrics, shuffled = make_metrics(2), random.sample(losses, len(losses))
    for loss in shuffled:
        count(metrics, np.array([loss], np.float32), np.eye(2)[:1], np.array([0]))
    total = metrics.state()[0]
    assert total == math.fsum(round(loss / STEP) * STEP for loss in losses)
    assert abs(total - math.fsum(losses)) <= len(losses) * STEP / 2


@settings(deadline=None)
@given(batches(), st.sampled_from([math.nan, math.inf, 3.0]))
def test_a_sample_without_a_label_does_not_count(batch, loss):
    """Whatever its loss and its logits are."""
    logits, labels, losses = batch
    metrics = make_metrics(8)
    expected = metrics.measure(losses, logits, labels)
    more = (np.append(losses, np.float32(loss)), np.append(logits, np.full_like(logits[:1], loss), axis=0))
    assert metrics.measure(*more, np.append(labels, -1)).tolist() == expected.tolist()
    assert metrics.state().tolist() == [0] * 4  # counting is not adding


def test_a_batch_without_labels_scores_nothing():
    metrics = make_metrics(3)
    assert count(metrics, np.ones(2), np.eye(3)[:2], np.full(2, -1)) == make_scores(0.0, 0.0, 0.0, 0)
    assert count(metrics, np.ones(0), np.zeros((0, 3)), np.zeros(0, np.int64)) == make_scores(0.0, 0.0, 0.0, 0)
    assert metrics.compute() == make_scores(0.0, 0.0, 0.0, 0)


def test_totals_are_what_a_training_goes_on_with():
    """Through JSON, and the caller's own."""
    metrics, resumed = make_metrics(3), make_metrics(3)
    count(metrics, np.array([0.1, 0.7], np.float32), np.eye(3)[:2], np.array([0, 2]))
    resumed.restore(json.loads(json.dumps(metrics.state().tolist())))
    assert resumed.compute() == metrics.compute()
    metrics.state()[:] = 7
    assert resumed.compute() == metrics.compute() and metrics.state()[1:].tolist() == [1, 2, 2]
    count(metrics, np.ones(1), np.eye(3)[:1], np.array([0]))
    assert metrics.state()[3] == 3 and resumed.state()[3] == 2


def test_a_small_last_batch_does_not_count_double():
    """Three right of three, then none of one: 0.75, not the mean of the batches, 0.5."""
    metrics = make_metrics(6)
    logits = np.eye(6, dtype=np.float32)
    count(metrics, np.array([1.0, 1, 1]), logits[:3], np.array([0, 1, 2]))
    count(metrics, np.array([5.0]), logits[5:], np.array([4]))
    assert metrics.compute() == make_scores(loss=2.0, top1=0.75, top5=0.75, samples=4)


@pytest.mark.parametrize("classes", [1, 2, 4, 5])
def test_with_five_classes_or_fewer_all_are_right_in_the_top_5(classes):
    metrics = make_metrics(classes)
    logits = np.tile(np.arange(classes, dtype=np.float32), (classes, 1))
    scores = count(metrics, np.zeros(classes), logits, np.arange(classes))
    assert scores["top5"] == 1.0 and scores["top1"] == pytest.approx(1 / classes)


def test_the_fifth_counts_and_the_sixth_does_not():
    logits = np.tile(np.arange(10, 0, -1, dtype=np.float32), (10, 1))  # class 0 first
    assert count(make_metrics(10), np.zeros(10), logits, np.arange(10))["top5"] == 0.5


def test_reset_forgets():
    metrics = make_metrics(3)
    count(metrics, np.ones(2), np.eye(3)[:2], np.array([0, 2]))
    metrics.reset()
    assert metrics.compute() == make_scores(0.0, 0.0, 0.0, 0)
    count(metrics, np.zeros(1), np.eye(3)[:1], np.array([0]))
    assert metrics.compute() == make_scores(0.0, 1.0, 1.0, 1)


def test_many_float32_losses_are_added_exactly():
    metrics = make_metrics(2)
    logits, labels = np.eye(2), np.array([0, 1])
    count(metrics, np.full(2, 1e8, np.float32), logits, labels)
    for _ in range(1000):
        count(metrics, np.ones(2, np.float32), logits, labels)
    assert metrics.compute()["loss"] * 2002 == pytest.approx(2e8 + 2000, abs=0.1)


@pytest.mark.contract
@pytest.mark.parametrize(
    "scores, line",
    [
        (make_scores(math.log(400), 0.0, 0.015625, 64), "Loss: 5.991465, top1_acc: 0.00, top5_acc: 1.56"),
        (make_scores(0.0, 1.0, 1.0, 1), "Loss: 0.000000, top1_acc: 100.00, top5_acc: 100.00"),
        (make_scores(12.3456789, 0.7, 0.89999, 9), "Loss: 12.345679, top1_acc: 70.00, top5_acc: 90.00"),
    ],
)
def test_scores_are_logged_as_v15_does(scores, line):
    assert str(scores) == line


def test_each_value_knows_whether_more_is_better_and_an_unknown_one_is_said():
    metrics = make_metrics(7)
    assert [metrics.more_is_better(name) for name in ("loss", "top1", "top5")] == [False, True, True]
    with pytest.raises(InputError, match=r"no metric named 'top'; did you mean top\d\? Known: loss, top1, top5\."):
        metrics.more_is_better("top")


def test_the_state_of_other_metrics_is_left_out(log):
    """A checkpoint within an epoch, of before there was one of them."""
    metrics = make_metrics(3)
    count(metrics, np.ones(2), np.eye(3)[:2], np.array([0, 2]))
    metrics.restore([1.0, 2.0, 3.0])
    assert metrics.compute() == make_scores(0.0, 0.0, 0.0, 0) and "of other metrics" in log.messages[0]
