"""The loops, the optimizer's rules, checkpoints, results and curves, on a tiny network and made-up clips."""

from __future__ import annotations

import json
import math
import pickle
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import logged
from paddle.nn import functional as F
from visualdl import LogReader

from datareader.kinetics_reader import Batch
from engine import checkpoint, results
from engine.board import Board
from engine.evaluate import clip_losses, evaluate
from engine.optimizer import momentum, piecewise_decay
from engine.predict import Prediction, predict, top_classes
from engine.train import train_one_epoch
from metrics.accuracy import KineticsMetrics, Scores
from models import pretrained
from models.tsm import TSM
from models.tsn import TSN
from utils.errors import InputError
from utils.fluid_vars import VariableStore
from utils.log import Progress

CLASSES = 4
SPEED = r", \d+\.\d videos/s, \d+:\d\d:\d\d (left|in all), reader \d+% compute \d+%"


def make_network(model: type[TSN] = TSM, seed: int = 0, dropout: float = 0.0) -> TSN:
    paddle.seed(seed)
    return model(num_layers=18, base_width=8, num_classes=CLASSES, seg_num=2, dropout=dropout)


def learned(network: TSN) -> dict[str, paddle.Tensor]:
    """What the optimizer changes; Paddle counts BatchNorm's statistics among the parameters too."""
    return {name: tensor for name, tensor in network.named_parameters() if not tensor.stop_gradient}


def make_batch(size: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    clips = rng.integers(0, 256, (size, 2, 3, 32, 32), dtype=np.uint8)
    return Batch(clips, rng.integers(0, CLASSES, size), [f"s{seed}_{number}.mp4" for number in range(size)])


def make_batches(*sizes: int) -> list[Batch]:
    return [make_batch(size, seed) for seed, size in enumerate(sizes)]


class ByLabel(paddle.nn.Layer):
    """The logits are a clip's first pixels; clips of `batch_of_logits` say what comes out."""

    def forward(self, clips):
        return clips[:, 0, 0, 0, :CLASSES].astype("float32")


def batch_of_logits(rows: list[list[int]], labels: list[int]) -> Batch:
    clips = np.zeros((len(rows), 1, 3, 1, CLASSES), np.uint8)
    clips[:, 0, 0, 0] = rows
    return Batch(clips, np.array(labels, np.int64), [f"v{number}" for number in range(len(rows))])


class FakeBoard:
    """Notes what it is given."""

    def __init__(self):
        self.rows = []

    def add(self, phase, step, scores, **others):
        self.rows.append((phase, step, scores, others))


class Training:
    """A network with its optimizer, and what is needed to train it for an epoch."""

    def __init__(self, network: TSN, learning_rate: float = 0.05, decay_epochs: tuple = (2,), steps: int = 2):
        self.network = network
        self.schedule = piecewise_decay(learning_rate, 0.1, decay_epochs, steps)
        self.optimizer = momentum(network, self.schedule, 0.9, 1e-2)
        self.board, self.metrics, self.progress = FakeBoard(), KineticsMetrics(CLASSES), Progress(100)

    def run(self, batches, epoch: int = 0, first_step: int = 0, log_interval: int = 0):
        keys = {"epoch": epoch, "first_step": first_step, "log_interval": log_interval}
        objects = (self.optimizer, self.schedule, self.metrics, self.progress, self.board)
        return train_one_epoch(self.network, batches, *objects, **keys)

    def weights(self) -> dict[str, np.ndarray]:
        return {name: tensor.numpy().copy() for name, tensor in self.network.variables().items()}


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


# --- the optimizer


@pytest.mark.contract
@pytest.mark.parametrize(
    "decay_epochs, steps_per_epoch, last_steps",
    [
        ((40, 60), 1874, [74959, 112439]),  # v1.5's TSM: 239781 videos, 128 a step
        ((2, 3), 5, [9, 14]),
        ((0.5, 1.5), 5, [2, 7]),  # 2.5 and 7.5
        ((0.5, 1.5), 4, [1, 5]),
        ((45 / 3, 45 * 2 / 3), 878, [13169, 26339]),  # v1.5's TSN
        ((10 / 3, 20 / 3), 7, [23, 46]),  # 23.33 and 46.67
        ((65 / 3, 130 / 3), 3, [64, 129]),  # 65 and 130, if thirds are whole
    ],
)
def test_the_rate_falls_right_after_its_last_step(decay_epochs, steps_per_epoch, last_steps):
    schedule = piecewise_decay(0.01, 0.1, decay_epochs, steps_per_epoch)
    for power, last in enumerate(last_steps):
        for step, expected in ((last, 0.01 * 0.1**power), (last + 1, 0.01 * 0.1 ** (power + 1))):
            schedule.step(step)
            assert schedule() == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 9), st.lists(st.floats(0, 12), min_size=1, max_size=3).map(sorted))
def test_the_rate_of_every_step_is_a_power_of_the_decay(epochs, steps_per_epoch, decay_epochs):
    schedule = piecewise_decay(0.5, 0.25, decay_epochs, steps_per_epoch)
    for step in range(epochs * steps_per_epoch):
        fallen = sum(step >= epoch * steps_per_epoch for epoch in decay_epochs)
        assert schedule() == 0.5 * 0.25**fallen
        schedule.step()


@pytest.mark.contract
@pytest.mark.parametrize("model", [TSM, TSN])
def test_momentum_is_v15s_by_hand(model):
    """Three steps in numpy: v = 0.9 v + g + 0.01 w, w -= rate * v; TSM's last bias: twice the rate, no decay."""
    training = Training(make_network(model), learning_rate=0.1, decay_epochs=(1,))
    network, batch = training.network, make_batch(4)
    network.fc.bias.set_value(np.linspace(1, 2, CLASSES, dtype=np.float32))
    expected = {name: tensor.numpy().astype(np.float64) for name, tensor in learned(network).items()}
    velocity = {name: np.zeros_like(array) for name, array in expected.items()}
    for step in range(3):
        rate = 0.1 if step < 2 else 0.01
        network.train()
        F.cross_entropy(network(paddle.to_tensor(batch.clips)), paddle.to_tensor(batch.labels)).backward()
        for name, tensor in learned(network).items():
            special = model is TSM and name == "fc.bias"
            gradient = tensor.grad.numpy() + (0 if special else 0.01) * expected[name]
            velocity[name] = 0.9 * velocity[name] + gradient
            expected[name] = expected[name] - (2 if special else 1) * rate * velocity[name]
        training.optimizer.step()
        training.optimizer.clear_grad()
        training.schedule.step()
        for name, tensor in learned(network).items():
            np.testing.assert_allclose(tensor.numpy(), expected[name], rtol=2e-5, atol=2e-6, err_msg=name)
            expected[name] = tensor.numpy().astype(np.float64)


# --- training


def test_an_epoch_steps_once_a_batch_and_counts():
    training = Training(make_network(), learning_rate=0.05, decay_epochs=(2,), steps=1)
    before = training.weights()
    training.network.eval()  # as validation leaves it
    summary = training.run(make_batches(3, 2, 1), first_step=7)
    assert summary.steps == 3 and summary.step_s > 0
    assert summary.scores.samples == training.progress.done == 6
    assert training.schedule.last_epoch == 3
    assert training.network.training
    rows = training.board.rows
    assert [(phase, step) for phase, step, _, _ in rows] == [("train", 7), ("train", 8), ("train", 9)]
    assert [others["learning_rate"] for *_, others in rows] == pytest.approx([0.05, 0.05, 0.005])
    assert all(set(others) == {"learning_rate", "reader_ms", "compute_ms"} for *_, others in rows)
    assert [scores.samples for _, _, scores, _ in rows] == [3, 2, 1]
    mean = sum(scores.loss * scores.samples for _, _, scores, _ in rows) / 6
    assert summary.scores.loss == pytest.approx(mean)
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
        F.cross_entropy(logits, paddle.to_tensor(batch.labels)).backward()
        theirs.optimizer.step()
        theirs.optimizer.clear_grad()
        theirs.schedule.step()
    assert same(ours.weights(), theirs.weights())


def test_training_lowers_the_loss():
    training, batch = Training(make_network(), decay_epochs=(99,)), make_batch(4)
    first, *_, last = (training.run([batch]).scores.loss for _ in range(8))
    assert last < 0.5 * first


def test_an_epoch_without_batches():
    summary = Training(make_network()).run([])
    assert summary.steps == 0 and summary.step_s == 0 and summary.scores == Scores(0.0, 0.0, 0.0, 0)


def test_metrics_start_anew_each_epoch():
    training = Training(make_network())
    for epoch in range(2):
        assert training.run(make_batches(2, 1), epoch).scores.samples == 3


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_the_step_the_rate_and_the_videos(poison):
    training = Training(make_network(), learning_rate=0.05, decay_epochs=(1,), steps=1)

    def poisoned():
        yield make_batch(2, 0)
        values = training.network.fc.bias.numpy()
        values[:] = [poison, 0, 0, 0]
        training.network.fc.bias.set_value(values)
        training.optimizer.clear_grad()
        yield make_batch(2, 1)._replace(labels=np.array([1, 2]))

    with pytest.raises(InputError) as caught:
        training.run(poisoned(), epoch=3)
    message = str(caught.value)
    assert re.match(r"the loss is (nan|inf) in epoch 3, iter 1, at learning rate 0\.005\.", message)
    assert "--learning_rate" in message and message.endswith("s1_0.mp4, s1_1.mp4")


@pytest.mark.contract
def test_training_lines_are_v15s():
    training = Training(make_network())
    with logged() as lines:
        training.run(make_batches(*[1] * 11), epoch=2, log_interval=10)
    assert len(lines) == 2
    for line, number in zip(lines, (0, 10)):
        scores = r"Loss: \d+\.\d{6}, top1_acc: \d+\.\d\d, top5_acc: 100\.00"
        assert re.fullmatch(rf"\[TRAIN\] Epoch 2, iter {number}  {scores}{SPEED}", line), line


def test_without_a_log_interval_there_are_no_lines():
    with logged() as lines:
        Training(make_network()).run(make_batches(1), log_interval=0)
        evaluate(
            ByLabel(), [batch_of_logits([[1, 0, 0, 0]], [0])], KineticsMetrics(4), Progress(1), log_interval=0, line=""
        )
        list(predict(ByLabel(), [batch_of_logits([[1, 0, 0, 0]], [0])], 1, Progress(1), log_interval=0))
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
    return evaluate(network, batches, KineticsMetrics(CLASSES), progress, **keys), progress


def test_evaluation_is_exact_over_batches_of_different_sizes():
    right, wrong = [5, 0, 0, 0], [0, 5, 0, 0]
    whole = batch_of_logits([right, right, right, wrong], [0, 0, 0, 0])
    parts = [Batch(whole.clips[a:b], whole.labels[a:b], whole.ids[a:b]) for a, b in ((0, 3), (3, 4))]
    once, progress = score(ByLabel(), [whole])
    scores, _ = score(ByLabel(), parts)
    assert scores.top1 == once.top1 == 0.75 and scores.samples == progress.done == 4
    low, high = math.log(math.exp(5) + 3) - 5, math.log(math.exp(5) + 3)
    assert scores.loss == pytest.approx((3 * low + high) / 4) == pytest.approx(once.loss)


@pytest.mark.parametrize("sizes", [(5,), (1, 4), (2, 2, 1), (1, 1, 1, 1, 1)])
def test_a_networks_scores_do_not_depend_on_the_batches(sizes):
    whole, network, start = make_batch(5), make_network(), 0
    batches = []
    for size in sizes:
        part = slice(start, start + size)
        batches.append(Batch(whole.clips[part], whole.labels[part], whole.ids[part]))
        start += size
    scores, _ = score(network, batches)
    expected, _ = score(network, [whole])
    assert scores.samples == 5 and scores.top1 == expected.top1
    assert scores.loss == pytest.approx(expected.loss, rel=1e-5)


def test_evaluation_sets_eval_mode_and_changes_nothing():
    training = Training(make_network(dropout=0.5))
    training.network.train()
    before = training.weights()
    first, _ = score(training.network, make_batches(2, 1))
    assert not training.network.training and not training.network.backbone.training
    again, _ = score(training.network, make_batches(2, 1))
    assert first == again  # no dropout
    assert same(before, training.weights())  # BatchNorm's statistics too
    assert all(weight.grad is None for weight in training.network.parameters())


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


def test_predictions_are_softmax_best_first_and_ties_by_class():
    batches = [batch_of_logits([[1, 3, 3, 0], [0, 0, 0, 0]], [-1, -1]), batch_of_logits([[0, 1, 2, 20]], [-1])]
    first, second, third = predict(ByLabel(), batches, 3, Progress(3), log_interval=0)
    total = math.e + 2 * math.e**3 + 1
    assert (first.video_id, first.classes) == ("v0", [1, 2, 0])
    assert first.probabilities == pytest.approx([math.e**3 / total, math.e**3 / total, math.e / total])
    assert (second.video_id, second.classes, second.probabilities) == ("v1", [0, 1, 2], [0.25] * 3)
    assert third.classes == [3, 2, 1] and third.probabilities == pytest.approx([1, 0, 0], abs=1e-6)
    assert all(type(value) is float for value in first.probabilities)
    assert all(type(index) is int for index in first.classes)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.integers(1, 12))
def test_top_classes_equal_a_sorted_reference(values, topk):
    row = np.array(values, np.float32)
    order = sorted(range(len(values)), key=lambda index: (-values[index], index))[:topk]
    assert top_classes("v", row, topk) == Prediction("v", order, [float(values[index]) for index in order])


def test_predictions_come_as_they_are_made():
    asked = []

    def batches():
        for number in range(3):
            asked.append(number)
            yield batch_of_logits([[number, 0, 0, 0]], [-1])

    rows = predict(ByLabel(), batches(), 1, Progress(3), log_interval=0)
    next(rows)
    assert asked == [0]


def test_a_real_networks_probabilities_sum_to_one():
    network = make_network(dropout=0.5)
    network.train()
    batch = make_batch(3)
    rows = list(predict(network, [batch], CLASSES, Progress(3), log_interval=0))
    assert not network.training
    assert [row.video_id for row in rows] == batch.ids
    assert [sum(row.probabilities) for row in rows] == pytest.approx([1, 1, 1], abs=1e-6)
    assert rows == list(predict(network, [batch], CLASSES, Progress(3), log_interval=0))


@pytest.mark.contract
def test_prediction_lines():
    batches = [batch_of_logits([[0, 0, 0, 0]] * 2, [-1, -1]) for _ in range(2)]
    with logged() as lines:
        list(predict(ByLabel(), batches, 1, Progress(4), log_interval=1))
    assert len(lines) == 2
    for line, done in zip(lines, (2, 4)):
        assert re.fullmatch(rf"\[INFER\] Processed {done} samples{SPEED}", line), line


def test_neither_evaluation_nor_prediction_keeps_gradients():
    network, modes = ByLabel(), []
    network.register_forward_pre_hook(lambda *_: modes.append(paddle.is_grad_enabled()))
    batch = batch_of_logits([[1, 0, 0, 0]], [0])
    score(network, [batch])
    for _ in predict(network, [batch, batch], 1, Progress(2), log_interval=0):
        assert paddle.is_grad_enabled()  # outside of it, everything is as it was
    assert modes == [False] * 3
    assert paddle.is_grad_enabled()


# --- results

PREDICTIONS = [
    Prediction("clips/ü 漢.mp4", [2, 0], [0.75, 0.2]),
    Prediction("b", [1, 2], [1.0, 1e-9]),
]
NAMES = ["zero", 'eins "1"', "zwölf"]


@pytest.mark.contract
def test_the_pickle_is_v15s(tmp_path):
    path = tmp_path / "deep" / "TSM_infer_result.pkl"
    results.write_pickle(path, PREDICTIONS)
    data = path.read_bytes()
    assert data == pickle.dumps(pickle.loads(data), protocol=0) and not data.startswith(b"\x80")
    assert pickle.loads(data) == [("clips/ü 漢.mp4", [0.75, 0.2], [2, 0]), ("b", [1.0, 1e-9], [1, 2])]
    assert [type(part) for part in pickle.loads(data)[0]] == [str, list, list]


def test_the_json_has_the_names(tmp_path):
    path = tmp_path / "result.json"
    results.write_json(path, PREDICTIONS, NAMES)
    text = path.read_text(encoding="utf-8")
    assert "zwölf" in text and "漢" in text
    assert json.loads(text) == [
        {
            "video": "clips/ü 漢.mp4",
            "top": [
                {"class": 2, "name": "zwölf", "probability": 0.75},
                {"class": 0, "name": "zero", "probability": 0.2},
            ],
        },
        {
            "video": "b",
            "top": [
                {"class": 1, "name": 'eins "1"', "probability": 1.0},
                {"class": 2, "name": "zwölf", "probability": 1e-9},
            ],
        },
    ]


def test_the_table():
    assert results.format_table(PREDICTIONS, NAMES) == (
        'clips/ü 漢.mp4\n   75.00%  zwölf\n   20.00%  zero\nb\n  100.00%  eins "1"\n    0.00%  zwölf'
    )
    assert results.format_table(PREDICTIONS, NAMES, topk=1).count("\n") == 3
    assert results.format_table([], NAMES) == ""


@pytest.mark.parametrize("kind", ["pickle", "json"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, kind):
    path = tmp_path / "result"
    path.write_text("old")
    bad = [Prediction("v", [0], [SimpleNamespace])]  # neither JSON ...
    if kind == "pickle":
        bad = [Prediction("v", [0], [lambda: None])]  # ... nor pickles
        with pytest.raises((pickle.PicklingError, AttributeError)):
            results.write_pickle(path, PREDICTIONS + bad)
    else:
        with pytest.raises(TypeError):
            results.write_json(path, PREDICTIONS + bad, NAMES)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["result"]


def test_a_place_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        results.write_pickle(tmp_path / "file" / "result.pkl", PREDICTIONS)


# --- checkpoints

INFO = {"epoch": 1, "global_step": 2, "best_top1": 0.5}


def v15_names(model: type[TSN]) -> set[str]:
    """Written out from v1.5's rule, for 18 layers: two 3x3 convolutions a block."""
    layers = {"conv1": "bn_conv1"}
    for stage in (2, 3, 4, 5):
        for block in "ab":
            branches = ["branch2a", "branch2b"] + (["branch1"] if stage > 2 and block == "a" else [])
            layers.update({f"res{stage}{block}_{name}": f"bn{stage}{block}_{name}" for name in branches})
    weights = {f"{layer}_weights" for layer in layers} | {"fc_0.w_0", "fc_0.b_0"}
    weights |= {f"{norm}_{part}" for norm in layers.values() for part in ("scale", "offset")}
    statistics = {f"{norm}_{part}" for norm in layers.values() for part in ("mean", "variance")}
    return weights | statistics | {f"{name}_velocity_0" for name in weights}


def save(training: Training, folder: Path, info: dict | None = None) -> None:
    checkpoint.save(folder, training.network.variables(), training.optimizer, info or INFO)


@pytest.fixture
def trained() -> Training:
    """Two steps in, at the end of its first epoch."""
    training = Training(make_network(), decay_epochs=(1,))
    training.run(make_batches(2, 2))
    return training


@pytest.mark.contract
@pytest.mark.parametrize("model", [TSM, TSN])
def test_a_checkpoints_files_are_v15s_and_one_more(tmp_path, model):
    training = Training(make_network(model))
    training.run(make_batches(1))
    save(training, tmp_path / "TSM_epoch0", {**INFO, "global_step": 1})
    names = {path.name for path in (tmp_path / "TSM_epoch0").iterdir()}
    assert names == v15_names(model) | {"@LR_DECAY_COUNTER@", "checkpoint.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["TSM_epoch0"]


@pytest.mark.contract
def test_a_checkpoints_values(tmp_path, trained):
    save(trained, tmp_path / "c")
    store = VariableStore(tmp_path / "c")
    for name, array in trained.weights().items():
        assert np.array_equal(store.read(name), array)
    counter = store.read("@LR_DECAY_COUNTER@")
    assert counter.dtype == np.int64 and counter.tolist() == [1]
    assert store.info() == INFO and checkpoint.State.of(store) == checkpoint.State(1, 2, 0.5)
    by_tensor = {tensor.name: name for name, tensor in trained.network.variables().items()}
    momenta = {key: value for key, value in trained.optimizer.state_dict().items() if key.endswith("_velocity_0")}
    assert len(momenta) == len(learned(trained.network))
    for key, value in momenta.items():
        assert np.array_equal(store.read(f"{by_tensor[key[: -len('_velocity_0')]]}_velocity_0"), np.asarray(value))
        assert np.asarray(value).any()


def test_before_the_first_step_there_are_no_momenta(tmp_path):
    training = Training(make_network())
    save(training, tmp_path / "c", {**INFO, "global_step": 0})
    store = VariableStore(tmp_path / "c")
    assert not [name for name in store.names() if name.endswith("_velocity_0")]
    assert checkpoint.restore_momenta(store, training.network.variables(), training.optimizer) == 0


@pytest.mark.parametrize("model", [TSM, TSN])
def test_going_on_from_a_checkpoint_equals_never_having_stopped(tmp_path, model):
    """To the bit: weights, statistics and momenta. The rate has fallen in between."""
    first, second, third = make_batches(2, 2, 3)
    straight = Training(make_network(model, seed=1), decay_epochs=(1,))
    straight.run([first, second])
    save(straight, tmp_path / "c")
    straight.run([third])

    resumed = Training(make_network(model, seed=2), decay_epochs=(1,))
    assert not same(straight.weights(), resumed.weights())
    store = pretrained.load_weights(resumed.network, str(tmp_path / "c"))
    restored = checkpoint.restore_momenta(store, resumed.network.variables(), resumed.optimizer)
    assert restored == len(learned(resumed.network))
    resumed.schedule.step(checkpoint.State.of(store).global_step)
    assert resumed.schedule() == pytest.approx(0.005)
    resumed.run([third])
    assert same(straight.weights(), resumed.weights())
    for training, name in ((straight, "straight"), (resumed, "resumed")):
        save(training, tmp_path / name, {**INFO, "global_step": 3})
    for name in v15_names(model):
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes(), name


def test_without_its_momenta_it_would_not(tmp_path, trained):
    """The check of the test above: the momenta matter."""
    save(trained, tmp_path / "c")
    resumed = Training(make_network(seed=2), decay_epochs=(1,))
    pretrained.load_weights(resumed.network, str(tmp_path / "c"))
    resumed.schedule.step(2)
    for training in (trained, resumed):
        training.run(make_batches(2))
    assert not same(trained.weights(), resumed.weights())


def test_a_momentum_of_another_shape_is_named(tmp_path, trained):
    save(trained, tmp_path / "c")
    wrong = tmp_path / "c" / "fc_0.b_0_velocity_0"
    wrong.write_bytes((tmp_path / "c" / "bn_conv1_scale_velocity_0").read_bytes())
    with pytest.raises(InputError, match=r"fc_0\.b_0_velocity_0 has shape \[8\], its weight \[4\]"):
        checkpoint.restore_momenta(VariableStore(tmp_path / "c"), trained.network.variables(), trained.optimizer)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [True, False])
def test_a_save_that_fails_leaves_the_old_one(tmp_path, monkeypatch, trained, error, old):
    folder = tmp_path / "TSM_best"
    if old:
        save(trained, folder)
    before = {path.name: path.read_bytes() for path in folder.glob("*")}

    def fail(target, arrays, info):
        (target / "conv1_weights").write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "write_folder", fail)
    with pytest.raises((InputError, KeyboardInterrupt)) as caught:
        save(trained, folder, {**INFO, "epoch": 9})
    if isinstance(error, OSError):
        assert "cannot write" in str(caught.value) and "No space left" in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.glob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == (["TSM_best"] if old else [])


def test_a_new_checkpoint_replaces_the_old_one_whole(tmp_path, trained):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "left_over").touch()
    save(trained, tmp_path / "c")
    save(trained, tmp_path / "c", {**INFO, "epoch": 2})
    assert {path.name for path in (tmp_path / "c").iterdir()} == v15_names(TSM) | {
        "@LR_DECAY_COUNTER@",
        "checkpoint.json",
    }
    assert checkpoint.State.of(VariableStore(tmp_path / "c")).epoch == 2


def state_of(folder: Path, text: str | None) -> checkpoint.State:
    if text is not None:
        (folder / "checkpoint.json").write_text(text)
    return checkpoint.State.of(VariableStore(folder))


def test_a_v15_folder_is_a_beginning(tmp_path):
    assert state_of(tmp_path, None) == checkpoint.State() == checkpoint.State(0, 0, -1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1, 2]",
        "null",
        "3",
        '{"epoch": 1}',
        '{"epoch": 1, "global_step": null, "best_top1": 0.5}',
        '{"epoch": "one", "global_step": 2, "best_top1": 0.5}',
        '{"epoch": 1, "global_step": [2], "best_top1": 0.5}',
        '{"epoch": 1, "global_step": 2, "best_top1": {}}',
        '{"epoch": 1, "global_step": 2, "best_top1": 0.5',
        "\x00\xff",
    ],
)
def test_a_damaged_checkpoint_json_is_named(tmp_path, text):
    with pytest.raises(InputError, match=r"checkpoint\.json is damaged"):
        state_of(tmp_path, text)


# --- curves


def test_the_board_writes_scalars(tmp_path):
    board = Board(tmp_path / "visualdl")
    for step, loss in ((0, 1.5), (1, 1.25), (5, 0.5)):
        board.add("train", step, Scores(loss, 0.25, 0.75, 8), learning_rate=0.01)
    board.add("valid", 5, Scores(2.0, 0.5, 1.0, 3))
    board.close()
    (file,) = (tmp_path / "visualdl").iterdir()
    reader = LogReader(file_path=str(file))

    def curve(tag: str) -> list[tuple[int, float]]:
        return [(record.id, record.value) for record in reader.get_data("scalar", tag)]

    assert curve("train/loss") == [(0, 1.5), (1, 1.25), (5, 0.5)]
    assert curve("train/top1") == [(0, 0.25), (1, 0.25), (5, 0.25)]
    assert [step for step, _ in curve("train/learning_rate")] == [0, 1, 5]
    assert [value for _, value in curve("train/learning_rate")] == pytest.approx([0.01] * 3)
    assert curve("valid/top5") == [(5, 1.0)] and curve("valid/loss") == [(5, 2.0)]
    tags = set(reader.get_tags()["scalar"])
    names = {f"{phase}/{name}" for phase in ("train", "valid") for name in ("loss", "top1", "top5")}
    assert tags >= names | {"train/learning_rate"}


def test_training_draws_a_curve(tmp_path):
    training = Training(make_network())
    training.board = Board(tmp_path)
    training.run(make_batches(1, 1), first_step=4)
    training.board.close()
    (file,) = tmp_path.iterdir()
    reader = LogReader(file_path=str(file))
    assert [record.id for record in reader.get_data("scalar", "train/loss")] == [4, 5]
    assert {"train/reader_ms", "train/compute_ms"} <= set(reader.get_tags()["scalar"])
