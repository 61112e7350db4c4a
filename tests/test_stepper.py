"""A step in micro-batches, over ranks' shares, without the clips that could not be read, and with a loss scale."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest
from tiny import Training, as_on_a_gpu, gradients_of, learned, make_batch, make_network, part_of, same, values_of

from video_zoo.datareader.batches import Batch
from video_zoo.engine.ranks import Ranks
from video_zoo.engine.stepper import Outcome, Stepper
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import ALONE


class Kept(Ranks):
    """Looks at the gradients that an update uses, after the last backward pass."""

    def __init__(self, network):
        super().__init__(ALONE)
        self.network, self.passes, self.gradients = network, 0, {}

    def backward(self, loss):
        super().backward(loss)
        self.passes += 1
        self.gradients = gradients_of(self.network)


def step(batch: Batch, global_batch_size: int | None = None, frozen: bool = True, **options) -> tuple[Outcome, Kept]:
    """What the network said of a batch, and the gradients."""
    network = make_network(seed=1)
    if frozen:
        network.freeze_batch_norm()
    network.train()
    training, ranks = Training(network), Kept(network)
    stepper = Stepper(network, training.optimizer, training.schedule, ranks, **options)
    outcome = stepper.forward(batch.clips, batch.labels, global_batch_size or batch.global_batch_size)
    assert stepper.update() == pytest.approx(0.05)
    return outcome, ranks


def statistics_of(network) -> dict[str, np.ndarray]:
    return {name: value for name, value in values_of(network).items() if name.endswith(("_mean", "_variance"))}


def assert_close(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], factor: float = 1.0) -> None:
    """To float rounding of each gradient's largest value."""
    assert ours.keys() == theirs.keys() and ours
    for name, gradient in ours.items():
        expected = factor * theirs[name]
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("micro_batches", [2, 3, 5, 99])
def test_a_batch_in_micro_batches_has_the_gradients_of_a_whole_one(micro_batches):
    """5 clips: also in some of different sizes, and in more than clips. BatchNorm alone sees the difference."""
    batch = make_batch(5)
    whole, whole_ranks = step(batch)
    split, split_ranks = step(batch, micro_batches=micro_batches)
    assert whole_ranks.passes == 1 and split_ranks.passes == min(micro_batches, 5)
    np.testing.assert_allclose(split.losses, whole.losses, rtol=1e-5)
    np.testing.assert_allclose(split.logits, whole.logits, rtol=1e-4, atol=1e-5)
    assert split.losses.shape == (5,) and split.logits.shape == (5, 4)
    assert_close(split_ranks.gradients, whole_ranks.gradients)


def test_batch_norm_sees_a_micro_batch_alone():
    """The check of the test above: without freezing it, the gradients are others."""
    whole, split = (
        step(make_batch(5), frozen=False, micro_batches=micro_batches)[1].gradients for micro_batches in (1, 2)
    )
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_close(split, whole)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_gradients_are_means_over_all_ranks_clips(micro_batches):
    """A clip that is missing, or another rank's, counts in what the sum is divided by."""
    batch = make_batch(3)
    _, alone = step(batch, micro_batches=micro_batches)
    _, of_six = step(batch, global_batch_size=6, micro_batches=micro_batches)
    assert_close(of_six.gradients, alone.gradients, factor=0.5)


def test_two_ranks_shares_add_up_to_the_whole():
    """Each divides by the clips of both and multiplies by 2, for the exchange takes the mean."""
    batch, shares = make_batch(5), []
    for first, last in ((0, 2), (2, 5)):
        network = make_network(seed=1)
        network.freeze_batch_norm()
        network.train()
        training, ranks = Training(network), Kept(network)
        ranks.wrap, ranks.size = lambda network: network, 2
        part = part_of(batch, first, last)
        stepper = Stepper(network, training.optimizer, training.schedule, ranks)
        stepper.forward(part.clips, part.labels, 5)
        stepper.update()
        shares.append(ranks.gradients)
    _, whole = step(batch)
    assert_close({name: (shares[0][name] + shares[1][name]) / 2 for name in shares[0]}, whole.gradients)


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_a_clip_without_a_label_has_no_part_in_the_gradients(micro_batches):
    batch = make_batch(5)
    black = np.concatenate([batch.clips[:2], np.zeros_like(batch.clips[:1]), batch.clips[2:]])
    labels = np.concatenate([batch.labels[:2], [-1], batch.labels[2:]])
    outcome, ranks = step(batch._replace(clips=black, labels=labels), micro_batches=micro_batches)
    without, expected = step(batch)
    assert outcome.losses[2] == 0
    np.testing.assert_allclose(np.delete(outcome.losses, 2), without.losses, rtol=1e-5)
    assert_close(ranks.gradients, expected.gradients)


def test_a_batch_without_labels_has_gradients_of_zero():
    batch = make_batch(2)
    outcome, ranks = step(batch._replace(labels=np.full(2, -1)))
    assert outcome.losses.tolist() == [0, 0] and not any(gradient.any() for gradient in ranks.gradients.values())


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_batch_without_labels_leaves_no_trace_in_the_statistics(micro_batches, frozen):
    """To the bit; the network is as it was afterwards."""
    network = make_network(seed=1, dropout=0.5)
    if frozen:
        network.freeze_batch_norm()
    network.train()
    training, batch = Training(network, micro_batches=micro_batches), make_batch(2)
    modes = [layer.training for layer in network.sublayers(include_self=True)]
    before = statistics_of(network)
    training.stepper.forward(batch.clips, np.full(2, -1), 4)
    training.stepper.update()
    assert same(statistics_of(network), before)
    assert [layer.training for layer in network.sublayers(include_self=True)] == modes and network.training


def test_a_batch_with_one_label_has_its_part_in_the_statistics():
    """The check of the test above."""
    training, batch = Training(make_network(seed=1)), make_batch(2)
    training.network.train()
    before = statistics_of(training.network)
    training.stepper.forward(batch.clips, np.array([-1, 2]), 4)
    after = statistics_of(training.network)
    assert before and not any(np.array_equal(after[name], before[name]) for name in before)


def test_an_update_steps_the_schedule_and_leaves_no_gradients():
    training, batch = Training(make_network(), decay_epochs=(1,), steps=2), make_batch(2)
    rates = []
    for _ in range(3):
        training.network.train()
        training.stepper.forward(batch.clips, batch.labels, batch.global_batch_size)
        rates.append(training.stepper.update())
        assert not any(gradient.any() for gradient in gradients_of(training.network).values())
    assert rates == pytest.approx([0.05, 0.05, 0.005]) and training.schedule.last_epoch == 3


def test_forward_alone_changes_no_weight():
    """So that a loss that is not finite can be seen before."""
    training, batch = Training(make_network(), micro_batches=2), make_batch(4)
    before = {name: weight.numpy().copy() for name, weight in learned(training.network).items()}
    training.stepper.forward(batch.clips, batch.labels, batch.global_batch_size)
    assert same({name: weight.numpy() for name, weight in learned(training.network).items()}, before)
    assert training.schedule.last_epoch == 0


# --- the loss scale


def test_without_fp16_there_is_no_loss_scale(monkeypatch):
    as_on_a_gpu(monkeypatch)
    for amp in ("off", "bf16"):
        training = Training(make_network(), amp=amp)
        assert training.stepper.state() == {}
        training.stepper.restore({"scale": [2.0]})  # of a training with one
        training.stepper.restore({})
        assert training.stepper.state() == {}


class Scaled(Training):
    """Computes in float32 with fp16's loss scale, which grows after two good steps. A CPU has no fp16 convolutions."""

    def __init__(self, network, **options):
        super().__init__(network, **options, amp="fp16")
        self.stepper._dtype = None
        self.stepper.restore({**self.stepper.state(), "incr_every_n_steps": 2})

    def step(self, poison: float = 0.0) -> None:
        """With a `poison`, it is added to a gradient."""
        batch = make_batch(2)
        self.network.train()
        hook = self.network.fc.bias.register_hook(lambda gradient: gradient + poison)
        self.stepper.forward(batch.clips, batch.labels, batch.global_batch_size)
        self.stepper.update()
        hook.remove()

    def scale(self) -> float:
        (scale,) = self.stepper.state()["scale"]
        return scale


@pytest.fixture
def scaled(monkeypatch) -> Scaled:
    as_on_a_gpu(monkeypatch)
    return Scaled(make_network(seed=2))


def test_the_loss_scale_changes_no_step(scaled):
    """A power of 2 scales without rounding."""
    plain, batch = Training(make_network(seed=2)), make_batch(2)
    for _ in range(3):
        scaled.step()
        plain.run([batch])
    for name, weight in plain.weights().items():
        np.testing.assert_allclose(scaled.weights()[name], weight, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_loss_scale_grows_and_halves_and_a_bad_gradient_skips_the_step(scaled):
    start = scaled.scale()
    assert start > 1
    scaled.step()
    assert scaled.scale() == start
    scaled.step()
    assert scaled.scale() == 2 * start
    before = {name: weight.numpy().copy() for name, weight in learned(scaled.network).items()}
    momenta = {name: np.asarray(value).copy() for name, value in scaled.optimizer.state_dict().items() if "vel" in name}
    for factor, poison in ((1, np.inf), (0.5, np.nan)):
        scaled.step(poison)
        assert scaled.scale() == factor * start
        assert same({name: weight.numpy() for name, weight in learned(scaled.network).items()}, before)
    after = scaled.optimizer.state_dict()
    assert all(np.array_equal(np.asarray(after[name]), value) for name, value in momenta.items())
    scaled.step()
    assert not same({name: weight.numpy() for name, weight in learned(scaled.network).items()}, before)
    assert scaled.schedule.last_epoch == 5  # a skipped step is a step


def test_the_loss_scale_and_its_counts_survive_a_checkpoint(scaled):
    """One good step from growing, and halved: going on grows at the same step."""
    scaled.step(np.inf)
    scaled.step()
    text = json.dumps(scaled.stepper.state())
    resumed = Scaled(make_network())
    assert json.dumps(resumed.stepper.state()) != text
    resumed.stepper.restore(json.loads(text))
    assert json.dumps(resumed.stepper.state()) == text
    for training in (scaled, resumed):
        training.step()
    assert resumed.scale() == scaled.scale() == 2 * json.loads(text)["scale"][0]
    assert resumed.stepper.state() == scaled.stepper.state()


def test_a_training_without_a_loss_scale_goes_on_with_one(scaled):
    before = scaled.stepper.state()
    scaled.stepper.restore({})
    assert scaled.stepper.state() == before


@pytest.mark.parametrize(
    "damage", [{"scale": "x"}, {"scale": {}}, {"scale": ["x"]}, {"scale": [[1.0], [2.0, 3.0]]}, {}]
)
def test_a_damaged_loss_scale_is_an_input_error(scaled, damage):
    """Of another form than one that was written."""
    state = {**scaled.stepper.state(), **damage} if damage else {"other": 1}
    with pytest.raises(InputError, match="^the checkpoint's loss_scale is damaged: "):
        scaled.stepper.restore(state)


@pytest.mark.parametrize("scale", [None, [], [float("nan")], 2.0])
def test_a_loss_scale_that_is_no_number_is_an_input_error(scaled, scale):
    with pytest.raises(InputError, match="^the checkpoint's loss_scale is damaged: "):
        scaled.stepper.restore({**scaled.stepper.state(), "scale": scale})


@pytest.mark.parametrize("amp", ["fp16", "bf16"])
def test_mixed_precision_gives_float32_losses_and_logits(monkeypatch, amp):
    """What the network computes inside of it, the metrics see in float32."""
    as_on_a_gpu(monkeypatch)
    seen = []
    auto_cast = paddle.amp.auto_cast

    def note(enable, level, dtype):
        seen.append((enable, level, dtype))
        return auto_cast(False)

    monkeypatch.setattr(paddle.amp, "auto_cast", note)
    outcome, _ = step(make_batch(2), amp=amp)
    assert seen == [(True, "O1", {"fp16": "float16", "bf16": "bfloat16"}[amp])]
    assert outcome.losses.dtype == outcome.logits.dtype == np.float32


def test_what_the_first_rank_cannot_do_ends_all_of_them():
    """The second rank does not call it, and raises what the first one has met."""

    class Second(Ranks):
        def __init__(self, of_the_first: object):
            self.rank, self.size, self._of_the_first = 1, 2, of_the_first

        def all_gather(self, value):
            return [self._of_the_first, value]

    def fails():
        raise InputError("no videos")

    with pytest.raises(InputError, match="no videos"):
        Ranks(ALONE).first_calls(fails)
    with pytest.raises(InputError, match="no videos"):
        Second(InputError("no videos")).first_calls(pytest.fail)
    assert Second("lists").first_calls(pytest.fail) == "lists" and Ranks(ALONE).first_calls(int, "7") == 7
