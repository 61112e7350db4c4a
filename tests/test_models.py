"""Every model of the zoo: shapes, gradients, names; and the shift."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle.nn import functional as F

from configs import schema
from configs.schema import Config, Model
from datareader import READERS
from metrics import METRICS
from models import MODELS, get_model
from models.resnet import LAYOUTS, ResNet, block_name
from models.temporal_shift import TemporalShift
from models.tsm import TSM
from models.tsn import TSN

pytestmark = pytest.mark.contract


def small(name: str, **keys) -> Model:
    return Model(name=name, **{"num_classes": 5, "num_layers": 18, "base_width": 8, "seg_num": 3, **keys})


def clips(seg_num: int = 3, seglen: int = 1) -> paddle.Tensor:
    rng = np.random.default_rng(0)
    return paddle.to_tensor(rng.integers(0, 256, (2, seg_num, 3 * seglen, 32, 32)).astype(np.uint8))


def test_each_model_is_in_each_registry():
    assert MODELS.names() == READERS.names() == METRICS.names() == ["TSM", "TSN"]


@pytest.mark.parametrize("name", MODELS.names())
@pytest.mark.parametrize("num_layers", [18, 34, 50])
def test_shapes_and_gradients(name, num_layers):
    network = get_model(name.lower(), Config(MODEL=small(name, num_layers=num_layers)), "train")
    logits = network(clips())
    assert logits.shape == [2, 5]
    F.cross_entropy(logits, paddle.to_tensor([1, 4])).backward()
    for key, parameter in network.named_parameters():
        if not parameter.stop_gradient:
            assert np.abs(parameter.grad.numpy()).max() > 0, key


def test_a_section_overrides_seg_num():
    config = Config(MODEL=small("TSN"), TEST=schema.Test(seg_num=7))
    assert get_model("TSN", config, "train").seg_num == 3
    assert get_model("TSN", config, "test").seg_num == 7


def test_normalisation_is_the_first_step():
    network = get_model("TSM", Config(MODEL=small("TSM", seglen=2)), "test")
    network.eval()
    mean, std = np.array([0.485, 0.456, 0.406] * 2), np.array([0.229, 0.224, 0.225] * 2)
    batch = clips(seglen=2)
    normalised = (batch.numpy() / 255 - mean[:, None, None]) / std[:, None, None]
    expected = network.classify(paddle.to_tensor(normalised.astype(np.float32)))
    np.testing.assert_allclose(network(batch).numpy(), expected.numpy(), atol=1e-5)


def test_dropout_is_paddle_1s():
    """Inference multiplies the features by 1 - p: with p = 0.5, half of the logits that come without, less the bias."""
    with_dropout, without = TSM(**_keys(dropout=None)), TSM(**_keys(dropout=0.0))
    without.set_state_dict(with_dropout.state_dict())
    with_dropout.eval(), without.eval()
    bias = with_dropout.fc.bias.numpy()
    halved = (without(clips()).numpy() - bias) / 2 + bias
    np.testing.assert_allclose(with_dropout(clips()).numpy(), halved, atol=1e-5)
    assert TSN(**_keys(dropout=None)).dropout.p == 0


def test_only_tsm_has_a_rule_for_its_bias():
    assert TSM(**_keys()).fc.bias.optimize_attr["learning_rate"] == 2
    assert TSN(**_keys()).fc.bias.optimize_attr["learning_rate"] == 1


@pytest.mark.parametrize(("num_layers", "blocks"), [(50, 16), (101, 33), (152, 50)])
def test_block_names_are_v15s(num_layers, blocks):
    names = [
        block_name(num_layers, stage, index) for stage in range(4) for index in range(LAYOUTS[num_layers][0][stage])
    ]
    assert len(set(names)) == blocks
    assert names[:4] == ["res2a", "res2b", "res2c", "res3a"] and names[-1] == "res5c"
    fourth = [name for name in names if name.startswith("res4")]
    assert fourth[:3] == (["res4a", "res4b", "res4c"] if num_layers == 50 else ["res4a", "res4b1", "res4b2"])


def test_variables_name_everything_once():
    network = ResNet(101, base_width=8)
    assert network.out_channels == 8 * 8 * 4
    variables = TSM(**_keys(num_layers=101)).variables()
    assert len(variables) == 2 + 5 * (1 + 3 * 33 + 4)  # fc; five a convolution: the first, three a block, projections
    assert {"res4b22_branch2c_weights", "bn4b22_branch2c_variance", "bn_conv1_scale", "fc_0.w_0"} <= set(variables)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5), st.integers(8, 33), st.integers(1, 3))
def test_bidirectional_shift_is_paddles(seg_num, channels, clips):
    x = paddle.to_tensor(
        np.random.default_rng(channels).normal(size=(clips * seg_num, channels, 2, 3)).astype("float32")
    )
    expected = F.temporal_shift(x, seg_num, 1 / 8)
    assert np.array_equal(TemporalShift(seg_num)(x).numpy(), expected.numpy())


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5), st.integers(8, 33), st.integers(1, 3))
def test_unidirectional_shift_takes_the_past_alone(seg_num, channels, clips):
    x = np.random.default_rng(channels).normal(size=(clips * seg_num, channels, 2, 3)).astype("float32")
    shifted = TemporalShift(seg_num, "uni")(paddle.to_tensor(x)).numpy()
    for row in range(clips * seg_num):
        before = x[row - 1] if row % seg_num else np.zeros_like(x[0])
        assert np.array_equal(shifted[row, : channels // 8], before[: channels // 8])
        assert np.array_equal(shifted[row, channels // 8 :], x[row, channels // 8 :])


def test_a_unidirectional_network_does_not_look_ahead():
    """Features of a frame stay when a later frame changes; with "bi" they do not."""
    for shift, looks_ahead in (("uni", False), ("bi", True)):
        backbone = TSM(**_keys(shift=shift)).backbone
        backbone.eval()
        frames = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype("float32")
        before = backbone(paddle.to_tensor(frames)).numpy()
        frames[2] += 1
        after = backbone(paddle.to_tensor(frames)).numpy()
        assert np.array_equal(before[:2], after[:2]) is not looks_ahead
        assert not np.array_equal(before[2], after[2])


def _keys(**keys) -> dict:
    return {"num_classes": 5, "num_layers": 18, "base_width": 8, "seg_num": 3, **keys}
