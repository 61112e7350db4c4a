"""The loops of training, evaluation and prediction, on a tiny network and made-up clips."""

from __future__ import annotations

import json
import math
import re
import threading
import time

import numpy as np
import paddle
import pytest
from media import logged
from paddle.nn import functional as F
from tiny import (
    CLASSES,
    SPEED,
    ByLabel,
    Training,
    batch_of_logits,
    learned,
    make_batch,
    make_batches,
    make_network,
    make_scores,
    part_of,
    same,
    values_of,
)

from video_zoo.engine.backends.paddle_network import PaddleNetwork
from video_zoo.engine.checkpoint import NotFinite, State
from video_zoo.engine.evaluate import (
    VideoLogits,
    average_views,
    cross_entropy,
    evaluate,
    log_softmax,
    reorder,
    steps_of,
)
from video_zoo.engine.predict import predict
from video_zoo.engine.results import Prediction
from video_zoo.engine.stepper import clip_losses
from video_zoo.metrics import make_metrics
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import Progress
from video_zoo.utils.stop import Stopped

# --- training


def test_an_epoch_steps_once_a_batch_and_counts():
    training = Training(make_network(), learning_rate=0.05, decay_epochs=(2,), steps=1)
    training.state = State(epoch=1, iteration=2, global_step=7)
    before = training.weights()
    training.network.eval()  # as validation leaves it
    summary = training.run(make_batches(3, 2, 1))
    assert summary.steps == 3 and summary.step_s > 0
    assert summary.scores.samples == training.progress.done == 6
    assert training.schedule.last_epoch == 3
    assert training.network.training
    rows = training.board.rows
    assert [(phase, step) for phase, step, _, _ in rows] == [("train", 7), ("train", 8), ("train", 9)]
    assert [others["learning_rate"] for *_, others in rows] == pytest.approx([0.05, 0.05, 0.005])
    assert all(set(others) == {"learning_rate", "reader_ms", "compute_ms"} for *_, others in rows)
    assert [scores.samples for _, _, scores, _ in rows] == [3, 2, 1]
    mean = sum(scores["loss"] * scores.samples for _, _, scores, _ in rows) / 6
    assert summary.scores["loss"] == pytest.approx(mean, abs=2**-26)
    assert training.state == State(1, 5, 10, None, training.metrics.state().tolist())
    after = training.weights()
    assert not any(np.array_equal(before[name], after[name]) for name in before if name != "fc_0.b_0")


def test_each_step_equals_one_written_out():
    """The loop does nothing beside forward, backward, step."""
    ours, theirs = Training(make_network()), Training(make_network())
    batches = make_batches(2, 3)
    ours.run(batches)
    theirs.network.train()
    for batch in batches:
        logits = theirs.network(paddle.to_tensor(batch.clips))
        losses = F.cross_entropy(logits, paddle.to_tensor(batch.labels), reduction="none")
        (losses.sum() * (1 / len(batch.ids))).backward()
        theirs.optimizer.step()
        theirs.optimizer.clear_grad()
        theirs.schedule.step()
    assert same(ours.weights(), theirs.weights())


def test_training_lowers_the_loss():
    training, batch = Training(make_network(), decay_epochs=(99,)), make_batch(4)

    def epoch() -> float:
        loss = training.run([batch]).scores["loss"]
        training.state.next_epoch()
        return loss

    first, *_, last = (epoch() for _ in range(8))
    assert last < 0.5 * first


def test_an_epoch_without_batches():
    summary = Training(make_network()).run([])
    assert summary.steps == 0 and summary.step_s == 0 and summary.scores == make_scores(0.0, 0.0, 0.0, 0)


def test_metrics_start_anew_each_epoch_and_go_on_within_one():
    training = Training(make_network())
    for _ in range(2):
        assert training.run(make_batches(2, 1)).scores.samples == 3
        assert training.run(make_batches(1)).scores.samples == 4  # of the same epoch
        training.state.next_epoch()


def test_an_epoch_in_two_pieces_has_the_scores_of_one_in_one():
    """To the bit, also through the JSON of a checkpoint."""
    whole, first, second = (Training(make_network(seed=3)) for _ in range(3))
    batches = make_batches(3, 2, 1)
    expected = whole.run(batches).scores
    first.run(batches[:1])
    second.stepper, second.state = first.stepper, State(**json.loads(json.dumps(vars(first.state))))
    assert second.run(batches[1:]).scores == expected
    assert second.state == whole.state


def weights_after(batches, seed: int, stops: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """Of a training with dropout that begins at these steps anew."""
    training = Training(make_network(dropout=0.5))
    for first, last in zip((0, *stops), (*stops, len(batches))):
        paddle.seed(1000 + first)  # whatever was drawn before
        training.run(batches[first:last], seed=seed)
    return training.weights()


def test_the_draws_of_a_step_hang_on_the_seed_and_its_number_alone():
    batches = [make_batch(2)] * 3
    straight = weights_after(batches, seed=5)
    assert same(weights_after(batches, seed=5, stops=(1, 2)), straight)
    assert not same(weights_after(batches, seed=6), straight)
    training, outcomes = Training(make_network(dropout=0.5), learning_rate=0.0), set()
    for _ in range(3):
        outcomes.add(training.run([make_batch(2)]).scores["loss"])
        training.state.totals = State().totals
    assert len(outcomes) == 3  # a step's own


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_the_step_the_rate_and_the_videos(poison):
    training = Training(make_network(), learning_rate=0.05, decay_epochs=(1,), steps=1)
    training.state = State(epoch=3, global_step=20)
    before = {}

    def poisoned():
        yield make_batch(2, 0)
        values = training.network.fc.bias.numpy()
        values[:] = [poison, 0, 0, 0]
        training.network.fc.bias.set_value(values)
        training.optimizer.clear_grad()
        before.update({name: weight.numpy().copy() for name, weight in learned(training.network).items()})
        yield make_batch(2, 1)._replace(labels=np.array([1, 2]))

    with pytest.raises(NotFinite) as caught:
        training.run(poisoned())
    message = str(caught.value)
    assert re.match(r"the loss is (nan|inf) in epoch 3, iter 1 \(step 21\), at learning rate 0\.005\. ", message)
    assert "--learning_rate" in message and "TRAIN.clip_grad_norm" in message
    assert message.endswith("The batch: s1_0.mp4, s1_1.mp4")
    after = {name: weight.numpy() for name, weight in learned(training.network).items()}
    assert all(np.array_equal(before[name], after[name], equal_nan=True) for name in before)
    assert training.state.iteration == 1 and training.state.global_step == 21
    assert [step for _, step, *_ in training.board.rows] == [20]


def test_a_batch_of_which_nothing_could_be_read_is_a_step_that_counts_nothing():
    training = Training(make_network())
    black = make_batch(1)._replace(labels=np.array([-1]), ids=[""], global_batch_size=2)
    summary = training.run([make_batch(2), black, make_batch(3, 2)])
    assert summary.steps == training.state.global_step == 3
    assert summary.scores.samples == training.progress.done == 5
    assert [scores.samples for _, _, scores, _ in training.board.rows] == [2, 0, 3]


def test_after_each_step_the_state_is_up_to_date_and_a_stop_takes_effect():
    """Asked for in a step, it comes after it; before one, at once."""
    training, seen = Training(make_network()), []

    def after_step():
        seen.append((training.state.iteration, training.state.global_step, training.state.totals[3]))
        assert len(training.board.rows) == len(seen)

    def batches():
        yield from make_batches(2, 1)
        training.stop.signal = 2  # as if it came while the reader works on
        yield make_batch(3)
        pytest.fail("the reader is asked once more")

    with pytest.raises(Stopped) as caught:
        training.run(batches(), after_step=after_step)
    assert caught.value.code == 130
    assert seen == [(1, 1, 2.0), (2, 2, 3.0), (3, 3, 6.0)]
    with pytest.raises(Stopped):
        training.run([make_batch(1)], after_step=lambda: pytest.fail("a step"))


class SlowReader:
    """Waits for the first batches of a pass, in which its processes start, or for all."""

    def __init__(self, slow: range, wait):
        self.slow, self.wait = slow, wait

    def __iter__(self):
        for number in range(30):
            if number in self.slow:
                self.wait()
            yield make_batch(1)


@pytest.mark.parametrize("slow, warned", [(range(5), 0), (range(0, 30), 1), (range(25, 30), 0)])
def test_a_reader_that_holds_the_network_up_is_said_once(monkeypatch, slow, warned):
    """Not that of the first steps, in which the processes start."""
    clock = [0.0]

    def tick(seconds: float):
        clock[0] += seconds

    training = Training(make_network())
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with logged() as lines:
        training.run(SlowReader(slow, lambda: tick(7.0)), after_step=lambda: None)
    said = [line for line in lines if "the reader is the bottleneck" in line]
    assert len(said) == warned


@pytest.mark.contract
def test_training_lines_are_v15s():
    training = Training(make_network())
    training.state.epoch = 2
    with logged() as lines:
        training.run(make_batches(*[1] * 11), log_interval=10)
    assert len(lines) == 2
    for line, number in zip(lines, (0, 10)):
        scores = r"Loss: \d+\.\d{6}, top1_acc: \d+\.\d\d, top5_acc: 100\.00"
        assert re.fullmatch(rf"\[TRAIN\] Epoch 2, iter {number}  {scores}{SPEED}", line), line


def test_without_a_log_interval_there_are_no_lines():
    with logged() as lines:
        Training(make_network()).run(make_batches(1), log_interval=0)
        score(ByLabel(), [batch_of_logits([[1, 0, 0, 0]], [0])])
        predictions_of(ByLabel(), [batch_of_logits([[1, 0, 0, 0]], [0])])
    assert lines == []


@pytest.mark.contract
def test_the_loss_of_a_clip():
    logits = np.array([[0.0, 0, 0, 0], [9, 1, 2, 3], [-50, 0, 50, 0]], np.float32)
    losses = clip_losses(paddle.to_tensor(logits), paddle.to_tensor([1, 3, -1])).numpy()
    expected = [math.log(4), math.log(sum(map(math.exp, (9, 1, 2, 3)))) - 3, 0.0]
    assert losses.shape == (3,)
    np.testing.assert_allclose(losses, expected, rtol=1e-6, atol=1e-6)


# --- evaluation


def score(network, batches, log_interval: int = 0, line: str = "[TEST] test_iter {}"):
    progress = Progress(sum(len(batch.ids) for batch in batches))
    keys = {"log_interval": log_interval, "line": line}
    numbered = [batch._replace(number=number) for number, batch in enumerate(batches)]
    logits = VideoLogits(PaddleNetwork(network).logits)
    return evaluate(logits, numbered, make_metrics(CLASSES), progress, **keys), progress


def test_evaluation_is_exact_over_batches_of_different_sizes():
    right, wrong = [5, 0, 0, 0], [0, 5, 0, 0]
    whole = batch_of_logits([right, right, right, wrong], [0, 0, 0, 0])
    parts = [part_of(whole, 0, 3), part_of(whole, 3, 4)]
    once, progress = score(ByLabel(), [whole])
    scores, _ = score(ByLabel(), parts)
    assert scores["top1"] == once["top1"] == 0.75 and scores.samples == progress.done == 4
    low, high = math.log(math.exp(5) + 3) - 5, math.log(math.exp(5) + 3)
    assert scores == once and scores["loss"] == pytest.approx((3 * low + high) / 4)


def test_the_views_of_a_video_count_as_their_mean():
    """Two videos of two views: one view of the first is wrong, and the mean of both is right."""
    views = batch_of_logits([[6, 0, 0, 0], [0, 2, 0, 0], [0, 0, 4, 0], [0, 0, 2, 0]], [0, 0, 2, 2])
    means = batch_of_logits([[3, 1, 0, 0], [0, 0, 3, 0]], [0, 2])
    found, progress = score(ByLabel(), [views._replace(views=2)])
    assert found == score(ByLabel(), [means])[0] and found["top1"] == 1.0
    assert found.samples == progress.done == 2


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("views", [1, 2, 3, 30])
def test_the_mean_over_views_is_that_of_a_plain_loop_to_the_bit(average, views):
    rng = np.random.default_rng(views)
    clips = rng.normal(0, 4, (5 * views, 7)).astype(np.float32)
    found = average_views(clips, views, average)
    for video in range(5):
        total = [0.0] * 7
        for clip in clips[video * views : (video + 1) * views]:
            values = clip if average == "logits" or views == 1 else np.exp(log_softmax(clip))
            total = [sum_ + float(value) for sum_, value in zip(total, values)]
        mean = np.array([each / views for each in total])
        expected = mean if average == "logits" or views == 1 else np.log(mean)
        assert found[video].tolist() == expected.astype(np.float32).tolist()
    assert found.dtype == np.float32


def test_the_means_of_logits_and_of_probabilities_may_choose_other_classes():
    """The example of public toolkits' protocols."""
    rows = [[-5.3, 1.4, -2.1, 5.0], [3.2, -1.4, -2.1, -3.6], [-1.3, -0.8, -1.1, 0.5], [1.7, 1.0, -2.3, -4.3]]
    views = np.array(rows, np.float32)
    np.testing.assert_allclose(average_views(views, 4)[0], [-0.425, 0.05, -1.9, -0.6], atol=1e-6)
    probabilities = np.exp(average_views(views, 4, "probabilities")[0])
    np.testing.assert_allclose(probabilities, [0.435993, 0.132484, 0.035228, 0.396294], atol=1e-6)


def test_a_batch_is_cut_into_steps_that_change_nothing():
    whole, sizes = make_batch(6)._replace(views=2), []

    def compute(clips):
        sizes.append(len(clips))
        return clips.reshape(len(clips), -1)[:, :4].astype(np.float32)

    expected = VideoLogits(compute)(whole)
    assert np.array_equal(VideoLogits(compute, clips_at_once=4)(whole), expected) and len(expected) == 3
    assert sizes == [6, 4, 4]  # black clips fill up


@pytest.mark.parametrize(
    ("batch_size", "views", "clips"), [(16, 1, 16), (16, 3, 15), (16, 30, 15), (16, 10, 10), (1, 6, 1), (16, 16, 16)]
)
def test_videos_fill_the_steps(batch_size, views, clips):
    assert steps_of(batch_size, views) == clips


@pytest.mark.contract
def test_a_clips_logits_have_the_same_digits_in_any_batch():
    whole, compute = make_batch(7), VideoLogits(PaddleNetwork(make_network()).logits, clips_at_once=4)
    expected = compute(whole)
    for sizes in ((1,) * 7, (2, 5), (4, 3), (3, 3, 1)):
        starts = np.cumsum((0, *sizes))
        parts = [compute(part_of(whole, first, end)) for first, end in zip(starts, starts[1:])]
        assert np.array_equal(np.concatenate(parts), expected)


def test_frames_in_another_order():
    clips = np.arange(3 * 8, dtype=np.uint8).reshape(3, 8, 1, 1, 1)
    assert reorder(clips, "abc", "natural") is clips
    assert np.array_equal(reorder(clips, "abc", "reverse"), clips[:, ::-1])
    shuffled = reorder(clips, ["a", "b", "a"], "shuffle")
    assert (np.sort(shuffled, axis=1) == clips).all() and (shuffled != clips).any(axis=(1, 2, 3, 4)).all()
    assert np.array_equal(shuffled[2] - 16, shuffled[0])  # a video's order is its own, in any batch
    for video in map(str, range(50)):  # two frames have one other order
        assert reorder(clips[:1, :2], [video], "shuffle").ravel().tolist() == [1, 0]


def test_the_loss_needs_no_paddle():
    logits = np.array([[0.0, 0, 0, 0], [9, 1, 2, 3], [-500, 0, 500, 0]], np.float32)
    expected = [math.log(4), math.log(sum(map(math.exp, (9, 1, 2, 3)))) - 3, 0.0]
    np.testing.assert_allclose(cross_entropy(logits, np.array([1, 3, -1])), expected, rtol=1e-12)


@pytest.mark.parametrize("sizes", [(5,), (1, 4), (2, 2, 1), (1, 1, 1, 1, 1)])
def test_a_networks_scores_do_not_depend_on_the_batches(sizes):
    whole, network, start = make_batch(5), make_network(), 0
    batches = []
    for size in sizes:
        batches.append(part_of(whole, start, start + size))
        start += size
    scores, _ = score(network, batches)
    expected, _ = score(network, [whole])
    assert scores.samples == 5 and scores["top1"] == expected["top1"]
    assert scores["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_evaluation_sets_eval_mode_and_changes_nothing():
    network = make_network(dropout=0.5)
    network.train()
    before = values_of(network)
    first, _ = score(network, make_batches(2, 1))
    assert not network.training and not network.backbone.training
    again, _ = score(network, make_batches(2, 1))
    assert first == again  # no dropout
    assert same(before, values_of(network))  # BatchNorm's statistics too
    assert all(weight.grad is None for weight in network.parameters())


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_weights_that_are_not_sound_are_said(poison):
    network, calls = ByLabel(), []

    def second_is_bad(layer, clips, logits):
        calls.append(1)
        return logits if len(calls) == 1 else logits * poison

    network.register_forward_post_hook(second_is_bad)
    with pytest.raises(InputError, match="the logits of v0 are not finite: the weights are not sound"):
        score(network, [batch_of_logits([[1, 2, 3, 4]], [0])] * 2)


@pytest.mark.contract
def test_evaluation_lines():
    batches = [batch_of_logits([[5, 0, 0, 0]], [0]) for _ in range(5)]
    with logged() as lines:
        score(ByLabel(), batches, log_interval=2)
    assert len(lines) == 3
    for line, number in zip(lines, (0, 2, 4)):
        scores = r"Loss: 0\.020012, top1_acc: 100\.00, top5_acc: 100\.00"
        assert re.fullmatch(rf"\[TEST\] test_iter {number}  {scores}{SPEED}", line), line


# --- prediction


def predictions_of(network, batches, topk: int = 1, log_interval: int = 0) -> list[Prediction]:
    rows = []
    total = sum(len(batch.ids) for batch in batches)
    predict(
        PaddleNetwork(network),
        batches,
        topk,
        Progress(total),
        lambda predictions, clips: rows.extend(predictions),
        log_interval=log_interval,
    )
    return rows


def test_predictions_are_softmax_best_first_and_ties_by_class():
    batches = [batch_of_logits([[1, 3, 3, 0], [0, 0, 0, 0]], [-1, -1]), batch_of_logits([[0, 1, 2, 20]], [-1])]
    first, second, third = predictions_of(ByLabel(), batches, 3)
    total = math.e + 2 * math.e**3 + 1
    assert (first.video_id, first.classes) == ("v0", [1, 2, 0])
    assert first.probabilities == pytest.approx([math.e**3 / total, math.e**3 / total, math.e / total])
    assert (second.video_id, second.classes, second.probabilities) == ("v1", [0, 1, 2], [0.25] * 3)
    assert third.classes == [3, 2, 1] and third.probabilities == pytest.approx([1, 0, 0], abs=1e-6)
    assert all(type(value) is float for value in first.probabilities)
    assert all(type(index) is int for index in first.classes)


def test_predictions_are_written_beside_the_reading_and_in_order():
    """Writing may lag by so many batches, and the reader goes on meanwhile."""
    asked, written, go = [], [], threading.Event()

    def batches():
        for number in range(8):
            asked.append(number)
            if number == 3:
                go.set()  # three batches were read, and computed, while the first was being written
            yield batch_of_logits([[number, 0, 0, 0]], [-1])

    def write(predictions, clips):
        assert go.wait(30)
        written.append(clips[0, 0, 0, 0, 0])

    predict(PaddleNetwork(ByLabel()), batches(), 1, Progress(8), write, log_interval=0)
    assert written == asked == list(range(8))


def test_what_writing_raises_ends_the_pass():
    asked = []

    def batches():
        for number in range(100):
            asked.append(number)
            yield batch_of_logits([[number, 0, 0, 0]], [-1])

    def write(predictions, clips):
        raise InputError("the disk is full")

    with pytest.raises(InputError, match="the disk is full"):
        predict(PaddleNetwork(ByLabel()), batches(), 1, Progress(100), write, log_interval=0)
    assert len(asked) < 10


def test_a_pass_that_breaks_off_leaves_what_was_predicted():
    written = []

    def batches():
        yield batch_of_logits([[1, 0, 0, 0]], [-1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(
            PaddleNetwork(ByLabel()),
            batches(),
            1,
            Progress(2),
            lambda rows, clips: written.extend(rows),
            log_interval=0,
        )
    assert [row.video_id for row in written] == ["v0"]


def test_windows_keep_their_times():
    batch = batch_of_logits([[1, 0, 0, 0]] * 2, [-1, -1])._replace(spans=((0.0, 2.0), (1.0, 3.0)))
    assert [row.span for row in predictions_of(ByLabel(), [batch])] == [(0.0, 2.0), (1.0, 3.0)]


def test_a_real_networks_probabilities_sum_to_one():
    network = make_network(dropout=0.5)
    network.train()
    batch = make_batch(3)
    rows = predictions_of(network, [batch], CLASSES)
    assert not network.training
    assert [row.video_id for row in rows] == batch.ids
    assert [sum(row.probabilities) for row in rows] == pytest.approx([1, 1, 1], abs=1e-6)
    assert rows == predictions_of(network, [batch], CLASSES)


@pytest.mark.contract
def test_prediction_lines():
    batches = [batch_of_logits([[0, 0, 0, 0]] * 2, [-1, -1]) for _ in range(2)]
    with logged() as lines:
        predictions_of(ByLabel(), batches, log_interval=1)
    assert len(lines) == 2
    for line, done in zip(lines, (2, 4)):
        assert re.fullmatch(rf"\[INFER\] Processed {done} samples{SPEED} write \d+%", line), line


def test_neither_evaluation_nor_prediction_keeps_gradients():
    network, modes = ByLabel(), []
    network.register_forward_pre_hook(lambda *_: modes.append(paddle.is_grad_enabled()))
    batch = batch_of_logits([[1, 0, 0, 0]], [0])
    score(network, [batch])
    predictions_of(network, [batch, batch])
    assert modes == [False] * 3
    assert paddle.is_grad_enabled()
