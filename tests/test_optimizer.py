"""The optimizer's rules and the learning rate of every step, by hand."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle.nn import functional as F
from tiny import CLASSES, Training, learned, make_batch, make_network

from video_zoo.configs.schema import TrainSection
from video_zoo.engine.optimizer import cosine_decay, make_optimizer, momentum, piecewise_decay, piecewise_plan
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN
from video_zoo.utils.errors import InputError


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


@pytest.mark.parametrize("batch_norm_decay", [0.0, 0.3])
def test_batch_norms_own_decay_by_hand(batch_norm_decay):
    """Two steps in numpy; everything else keeps l2_weight_decay, and TSM's last bias has none."""
    network, batch, velocity = make_network(), make_batch(4), {}
    schedule = piecewise_decay(0.1, 0.1, (), 1)
    optimizer = momentum(network, schedule, 0.9, 1e-2, batch_norm_decay=batch_norm_decay)
    kinds = set()
    for _ in range(2):
        before = {name: tensor.numpy().astype(np.float64) for name, tensor in learned(network).items()}
        network.train()
        F.cross_entropy(network(paddle.to_tensor(batch.clips)), paddle.to_tensor(batch.labels)).backward()
        gradients = {name: tensor.grad.numpy().astype(np.float64) for name, tensor in learned(network).items()}
        optimizer.step()
        optimizer.clear_grad()
        for name, tensor in learned(network).items():
            decay = batch_norm_decay if ".bn." in name else 0 if name == "fc.bias" else 1e-2
            kinds.add(decay)
            gradient = gradients[name] + decay * before[name]
            velocity[name] = 0.9 * velocity.get(name, 0) + gradient
            expected = before[name] - (2 if name == "fc.bias" else 1) * 0.1 * velocity[name]
            np.testing.assert_allclose(tensor.numpy(), expected, rtol=2e-5, atol=2e-6, err_msg=name)
    assert kinds == {batch_norm_decay, 0, 1e-2}


@pytest.mark.parametrize("share", [0.25, 2.0])
def test_gradients_are_clipped_by_the_norm_of_all_of_them_by_hand(share):
    """Down to `share` of their norm, or, where that is more, not at all; the decay comes after it."""
    network, batch = make_network(), make_batch(4)
    norm = math.sqrt(sum((gradient**2).sum() for gradient in gradients(network, batch).values()))
    optimizer = momentum(network, piecewise_decay(0.1, 0.1, (), 1), 0.9, 1e-2, clip_norm=share * norm)
    before = {name: tensor.numpy().astype(np.float64) for name, tensor in learned(network).items()}
    whole = gradients(network, batch)
    optimizer.step()
    for name, tensor in learned(network).items():
        decay, rate = (0, 0.2) if name == "fc.bias" else (1e-2, 0.1)
        expected = before[name] - rate * (min(share, 1) * whole[name] + decay * before[name])
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=2e-5, atol=2e-6, err_msg=name)


def gradients(network, batch) -> dict[str, np.ndarray]:
    """Of one pass."""
    for tensor in learned(network).values():
        tensor.clear_gradient()
    network.train()
    F.cross_entropy(network(paddle.to_tensor(batch.clips)), paddle.to_tensor(batch.labels)).backward()
    return {name: tensor.grad.numpy().astype(np.float64) for name, tensor in learned(network).items()}


# --- cosine and warm-up

cosines = st.builds(cosine_decay, st.floats(1e-4, 1), st.integers(1, 60), st.integers(0, 70))
piecewise = st.builds(
    piecewise_decay,
    st.floats(1e-4, 1),
    st.sampled_from([0.1, 0.5]),
    st.lists(st.floats(0, 9), max_size=3).map(sorted),
    st.integers(1, 9),
    st.integers(0, 30),
)


def test_half_a_cosine_by_hand():
    schedule = cosine_decay(0.4, 8)
    rates = []
    for _ in range(10):
        rates.append(schedule())
        schedule.step()
    expected = [0.2 * (1 + math.cos(math.pi * step / 8)) for step in range(9)]
    assert rates == pytest.approx([*expected, 0.0], abs=1e-15)
    assert rates[0] == 0.4 and rates[4] == pytest.approx(0.2) and rates[8] == rates[9] == 0


def test_the_rate_rises_evenly_first():
    """The first step has one part of it, the last of the warm-up all; the cosine begins there."""
    schedule, rates = cosine_decay(0.4, 12, warmup_steps=4), []
    for _ in range(13):
        rates.append(schedule())
        schedule.step()
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert rates[4:] == pytest.approx([0.2 * (1 + math.cos(math.pi * step / 8)) for step in range(9)], abs=1e-15)


def test_a_warm_up_of_steps_does_not_move_the_falls():
    schedule, rates = piecewise_decay(0.4, 0.5, (1, 3), 4, warmup_steps=6), []
    for _ in range(14):
        rates.append(schedule())
        schedule.step()
    rising = [0.4 * (step + 1) / 6 * (1 if step < 4 else 0.5) for step in range(6)]
    assert rates == pytest.approx([*rising, *[0.2] * 6, *[0.1] * 2])


@settings(deadline=None)
@given(st.floats(1e-4, 1), st.integers(1, 60), st.integers(0, 70))
def test_a_cosine_stays_between_0_and_the_full_rate_and_falls_after_the_warm_up(rate, total, warmup):
    schedule, rates = cosine_decay(rate, total, warmup), []
    for _ in range(max(total, warmup) + 3):
        rates.append(schedule())
        schedule.step()
    assert all(0 <= each <= rate for each in rates)
    assert all(left >= right for left, right in zip(rates[warmup:], rates[warmup + 1 :]))
    assert all(left <= right for left, right in zip(rates[:warmup], rates[1:warmup]))
    assert rates[-1] == 0


@settings(deadline=None)
@given(cosines | piecewise, st.lists(st.integers(0, 80), min_size=1, max_size=5))
def test_a_steps_rate_hangs_on_its_number_alone(schedule, steps):
    """To the bit: however the schedule came there, as after a resume."""
    rates = []
    for _ in range(81):
        rates.append(schedule())
        schedule.step()
    for step in steps:
        schedule.step(step)
        assert schedule() == rates[step] and schedule.last_epoch == step
        schedule.step()
        assert step == 80 or schedule() == rates[step + 1]


@settings(deadline=None)
@given(st.lists(st.floats(0, 9), max_size=3).map(sorted), st.integers(1, 9), st.integers(1, 5))
def test_after_the_warm_up_the_rates_are_those_without(decay_epochs, steps_per_epoch, warmup):
    with_it, without = (piecewise_decay(0.5, 0.25, decay_epochs, steps_per_epoch, steps) for steps in (warmup, 0))
    for step in range(60):
        if step >= warmup - 1:
            assert with_it() == without()
        else:
            assert with_it() == pytest.approx(without() * (step + 1) / warmup)
        with_it.step(), without.step()


# --- what the config says of both


def schedule_of(section: TrainSection, videos: int = 20):
    """As train.py makes it, of a list of so many videos."""
    return make_optimizer(section, make_network(), videos, math.ceil(videos / section.batch_size))[1]


def test_base_batch_size_scales_the_rate(log):
    plain, scaled = (schedule_of(TrainSection(batch_size=4, base_batch_size=base)) for base in (None, 16))
    assert (plain(), scaled()) == (0.01, 0.0025)
    assert log.messages == [
        "learning rate: 0.0025, which is 0.01 times 4 clips a step over base_batch_size 16",
    ]


def test_cosine_ends_with_the_last_step():
    schedule = schedule_of(
        TrainSection(batch_size=3, epoch=2, lr_schedule="cosine", warmup_epochs=0.5, learning_rate=0.1)
    )
    rates = []
    for _ in range(15):  # 7 steps an epoch
        rates.append(schedule())
        schedule.step()
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])  # 3.5 steps, rounded
    assert rates[13] > 0 and rates[14] == 0


@pytest.mark.contract
def test_v15s_steps_an_epoch(log):
    """One more than whole batches, also where the list fits them exactly; the decay counts in these."""
    assert piecewise_plan(TrainSection(batch_size=128, total_videos=239781), 239781) == ((65 / 3, 130 / 3), 1874)
    assert piecewise_plan(TrainSection(batch_size=4, decay_epochs=(2, 3)), 8) == ((2, 3), 3)
    assert log.messages == []


def test_a_list_of_another_length_than_total_videos_is_said(log):
    assert piecewise_plan(TrainSection(batch_size=4, total_videos=100), 50)[1] == 26
    assert "TRAIN.total_videos is 100, and the list has 50" in log.messages[0]
    assert "--set TRAIN.total_videos=50 it does" in log.messages[0]


def test_decay_epochs_must_ascend():
    with pytest.raises(InputError, match=r"TRAIN\.decay_epochs = \[3, 2\] must ascend"):
        piecewise_plan(TrainSection(decay_epochs=(3, 2)), 10)


def test_the_configs_decays_and_norm_are_used():
    section = TrainSection(batch_norm_decay=0.25, clip_grad_norm=2.0, l2_weight_decay=0.5)
    network = make_network()
    optimizer, _ = make_optimizer(section, network, videos=9, steps_per_epoch=1)
    assert optimizer._grad_clip.clip_norm == 2.0
    assert str(network.backbone.conv1.bn.weight.regularizer) == "L2Decay, coeff=0.250000"
