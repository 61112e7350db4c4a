"""Every model of the zoo: shapes, gradients, names; and the shift."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle.nn import functional as F

from video_zoo.configs import schema
from video_zoo.configs.schema import Config, ModelSection
from video_zoo.engine.optimizer import momentum, piecewise_decay
from video_zoo.models import MODELS, build_network
from video_zoo.models.resnet import STAGES, ResNet, block_name
from video_zoo.models.spec import describe
from video_zoo.models.split_resnet import SplitResNet
from video_zoo.models.temporal_shift import TemporalShift
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN
from video_zoo.utils.errors import InputError

pytestmark = pytest.mark.contract
ON_IMAGES = [name for name, spec in MODELS.items() if spec.clips is None]  # 3-D networks: test_clip_networks.py


def small(name: str, **keys) -> ModelSection:
    return MODELS.get(name).config(**{"num_classes": 5, "num_layers": 18, "base_width": 8, "seg_num": 3, **keys})


def clips(seg_num: int = 3, seglen: int = 1) -> paddle.Tensor:
    rng = np.random.default_rng(0)
    return paddle.to_tensor(rng.integers(0, 256, (2, seg_num * seglen, 3, 32, 32)).astype(np.uint8))


def test_each_record_is_of_its_network():
    assert ON_IMAGES == ["TSM", "TSN"]
    for name, spec in MODELS.items():
        assert spec.name == spec.config().name == spec.network_class().__name__.upper() == name
        section = small(name) if name in ON_IMAGES else spec.config(width_multiplier=0.1)
        size = spec.clips.most_pixels if spec.clips else None
        test = schema.TestSection(**({"target_size": size} if size else {}))
        variables = build_network(Config(MODEL=section, TEST=test), "test").variables()
        assert {spec.network_class().first_layer, *spec.network_class().last_layer} <= set(variables)


@pytest.mark.parametrize("name", ON_IMAGES)
@pytest.mark.parametrize("num_layers", [18, 34, 50])
def test_shapes_and_gradients(name, num_layers):
    network = build_network(Config(MODEL=small(name, num_layers=num_layers)), "train")
    logits = network(clips())
    assert logits.shape == [2, 5]
    F.cross_entropy(logits, paddle.to_tensor([1, 4])).backward()
    for key, parameter in network.named_parameters():
        if not parameter.stop_gradient:
            assert np.abs(parameter.grad.numpy()).max() > 0, key


def gradients(network, batch: paddle.Tensor) -> dict[str, np.ndarray]:
    F.cross_entropy(network(batch), paddle.to_tensor([1, 4])).backward()
    return {key: tensor.grad.numpy() for key, tensor in network.named_parameters() if tensor.grad is not None}


@pytest.mark.parametrize(
    "name, keys", [("TSN", {}), ("TSM", {}), ("TSM", {"shift": "uni", "seglen": 2}), ("TSM", {"num_layers": 50})]
)
@pytest.mark.parametrize("training", [True, False])
def test_channels_last_gives_the_same_logits_and_gradients(name, keys, training):
    """To float rounding, from the same weights: a checkpoint of one is a checkpoint of the other."""
    config = Config(MODEL=small(name, dropout=0.0, **keys), TRAIN=schema.TrainSection(channels_last=True))
    paddle.seed(0)
    first, last = build_network(config, "valid"), build_network(config, "train")
    assert [network.backbone.conv1.conv._data_format for network in (first, last)] == ["NCHW", "NHWC"]
    assert {key: tensor.shape for key, tensor in first.variables().items()} == {
        key: tensor.shape for key, tensor in last.variables().items()
    }
    last.set_state_dict(first.state_dict())
    batch = clips(seglen=keys.get("seglen", 1))
    for network in (first, last):
        network.train() if training else network.eval()
    atol = 1e-3 if training else 1e-5  # batches of a few pixels have statistics that small differences move
    np.testing.assert_allclose(last(batch).numpy(), first(batch).numpy(), rtol=1e-4, atol=atol)
    if not training:
        ours, theirs = gradients(last, batch), gradients(first, batch)
        assert ours.keys() == theirs.keys()
        for key, expected in theirs.items():
            np.testing.assert_allclose(ours[key], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max(), err_msg=key)
    for key, expected in first.variables().items():  # BatchNorm's statistics, too
        np.testing.assert_allclose(last.variables()[key].numpy(), expected.numpy(), rtol=1e-4, atol=atol, err_msg=key)


def test_channels_last_is_of_training_alone():
    config = Config(MODEL=small("TSM"), TRAIN=schema.TrainSection(channels_last=True))
    for mode in ("valid", "test", "infer"):
        assert build_network(config, mode).backbone.conv1.conv._data_format == "NCHW"


@pytest.mark.parametrize("name", ON_IMAGES)
def test_a_frozen_batch_norm_stays_as_it_is(name):
    """Its statistics, scale and offset, in training mode, too; and it uses its statistics, not the batch's."""
    network = build_network(Config(MODEL=small(name, dropout=0.0)), "train")
    rng = np.random.default_rng(0)
    for key, tensor in network.variables().items():
        if key.startswith("bn"):
            tensor.set_value(rng.uniform(0.5, 1.5, tensor.shape).astype("float32"))
    network.eval()
    expected = network(clips()).numpy()
    network.freeze_batch_norm()
    optimizer = momentum(network, piecewise_decay(0.1, 0.1, (1,), 1), 0.9, 1e-2)
    before = {key: tensor.numpy().copy() for key, tensor in network.variables().items()}
    for step in range(2):
        network.eval()  # as validation leaves it
        network.train()
        assert network.training and network.backbone.training and network.dropout.training
        logits = network(clips())
        if step == 0:
            np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-5, atol=1e-6)
        F.cross_entropy(logits, paddle.to_tensor([1, 4])).backward()
        optimizer.step()
        optimizer.clear_grad()
    for key, tensor in network.variables().items():
        assert np.array_equal(tensor.numpy(), before[key]) is key.startswith("bn"), key


@pytest.mark.parametrize("name", ON_IMAGES)
def test_batch_norm_over_several_ranks_is_frozen_too(name):
    """Paddle puts other layers in the BatchNorms' place. They have no kernel on a CPU."""
    network = build_network(Config(MODEL=small(name)), "train")
    count = sum(isinstance(layer, paddle.nn.BatchNorm2D) for layer in network.sublayers())
    network = paddle.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    network.freeze_batch_norm()
    network.train()
    norms = [layer for layer in network.sublayers() if isinstance(layer, paddle.nn.SyncBatchNorm)]
    assert len(norms) == count > 0 and {id(layer) for layer in network._frozen} == {id(layer) for layer in norms}
    assert network.training and not any(layer.training for layer in norms)
    for key, tensor in network.variables().items():
        assert tensor.stop_gradient is key.startswith("bn"), key


def test_without_freezing_batch_norm_changes():
    """The check of the test above."""
    network = build_network(Config(MODEL=small("TSM")), "train")
    network.train()
    before = {key: tensor.numpy().copy() for key, tensor in network.variables().items()}
    network(clips())
    changed = {key for key, tensor in network.variables().items() if not np.array_equal(tensor.numpy(), before[key])}
    assert changed == {key for key in before if key.endswith(("_mean", "_variance"))}


def test_a_section_overrides_seg_num():
    config = Config(MODEL=small("TSN"), TEST=schema.TestSection(seg_num=7))
    assert build_network(config, "train").seg_num == 3
    assert build_network(config, "test").seg_num == 7


def test_normalisation_is_the_first_step():
    network = build_network(Config(MODEL=small("TSM", seglen=2)), "test")
    network.eval()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
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
        block_name(num_layers, stage, index) for stage in range(4) for index in range(STAGES[num_layers][0][stage])
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
def test_a_shift_of_channels_last_is_the_same(seg_num, channels, clips):
    x = np.random.default_rng(channels).normal(size=(clips * seg_num, channels, 2, 3)).astype("float32")
    for direction in ("bi", "uni"):
        first = TemporalShift(seg_num, direction)(paddle.to_tensor(x)).numpy()
        last = TemporalShift(seg_num, direction, "NHWC")(paddle.to_tensor(x.transpose(0, 2, 3, 1))).numpy()
        assert np.array_equal(last.transpose(0, 3, 1, 2), first)


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


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("direction", ["bi", "uni"])
@pytest.mark.parametrize("channels", [8, 20])
def test_the_shifts_gradient_is_that_of_its_slices(layout, direction, channels):
    """To the bit."""
    shape = (6, channels, 2, 3) if layout == "NCHW" else (6, 2, 3, channels)
    values, weights = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    gradients = []
    for way in ("forward", "move"):
        shift, x = TemporalShift(3, direction, layout), paddle.to_tensor(values, stop_gradient=False)
        (getattr(shift, way)(x) * paddle.to_tensor(weights)).sum().backward()
        gradients.append(x.grad.numpy())
    np.testing.assert_array_equal(*gradients)


@given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(8, 33),
    st.sampled_from(["bi", "uni"]),
    st.sampled_from(["NCHW", "NHWC"]),
    st.integers(0, 2**32 - 1),
)
def test_the_shift_of_frames_that_come_first_is_the_shift(clips, frames, channels, direction, layout, seed):
    """To the bit, also where channels are no multiple of 8, and no frame comes from a neighbouring clip."""
    sizes = (channels, 2, 3) if layout == "NCHW" else (2, 3, channels)
    values = np.random.default_rng(seed).normal(size=(clips, frames, *sizes)).astype("float32")
    shift = TemporalShift(frames, direction, layout)
    usual = shift.move(paddle.to_tensor(values.reshape(-1, *sizes))).numpy().reshape(values.shape)
    shift.frames_first = True
    turned = shift(paddle.to_tensor(values.swapaxes(0, 1).reshape(-1, *sizes))).numpy()
    assert np.array_equal(turned.reshape(frames, clips, *sizes).swapaxes(0, 1), usual)


@pytest.mark.parametrize("name", ON_IMAGES)
def test_seglen_stacks_the_frames_of_a_segment_as_channels(name):
    """Channels are those of v1.5's clips (n, seg_num, 3 * seglen, H, W)."""
    network, batch, seen = build_network(Config(MODEL=small(name, seglen=2)), "test"), clips(seglen=2), []
    network.backbone.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].numpy()))
    assert network.classify(batch.astype("float32")).shape == [2, 5]
    assert np.array_equal(seen[0], batch.numpy().reshape(2 * 3, 3 * 2, 32, 32))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("num_layers", [18, 50])
def test_a_stream_frame_by_frame_gives_the_logits_of_the_clips_frames(num_layers, channels_last):
    network = TSM(**_keys(num_layers=num_layers, shift="uni"), channels_last=channels_last)
    rng = np.random.default_rng(0)
    for key, tensor in network.variables().items():
        if key.startswith("bn"):
            tensor.set_value(rng.uniform(0.5, 1.5, tensor.shape).astype("float32"))
    network.eval()
    batch = clips()
    for _ in range(2):  # nothing is left over from the first stream
        state, logits = network.initial_state(len(batch), 32, 32), []
        for number in range(3):
            of_frame, state = network.step(batch[:, number], state)
            logits.append(of_frame.numpy())
        features = network.dropout(network.backbone(network.normalise(batch).flatten(0, 1)))
        frames = network.fc(features).numpy().reshape(2, 3, 5)  # (n * T, classes) -> (n, T, classes)
        np.testing.assert_allclose(np.stack(logits, 1), frames, atol=1e-5 * np.abs(frames).max())
        whole = network(batch).numpy()
        np.testing.assert_allclose(np.mean(logits, 0), whole, atol=1e-5 * np.abs(frames).max())
    assert np.ptp(frames, axis=1).min() > 0  # the frames differ


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: TSN(**_keys()), "TSN cannot follow a stream frame by frame"),
        (lambda: TSM(**_keys()), "takes a network trained with MODEL.shift = uni and MODEL.seglen = 1"),
        (lambda: TSM(**_keys(shift="uni", seglen=2)), "takes a network trained with MODEL.shift = uni"),
    ],
)
def test_what_cannot_stream_says_so(network, message):
    with pytest.raises(InputError, match=message):
        network().initial_state(1, 32, 32)


def test_a_state_is_an_eighth_of_each_blocks_input():
    """By the names of the blocks; finding it out changes neither the mode nor the statistics."""
    network = TSM(**_keys(base_width=64, shift="uni"))
    before = {name: tensor.numpy() for name, tensor in network.variables().items()}
    shapes = network.state_shapes(64, 32)
    assert shapes == {
        **{"res2a": (8, 16, 8), "res2b": (8, 16, 8), "res3a": (8, 16, 8), "res3b": (16, 8, 4)},
        **{"res4a": (16, 8, 4), "res4b": (32, 4, 2), "res5a": (32, 4, 2), "res5b": (64, 2, 1)},
    }
    state = network.initial_state(3, 64, 32)
    assert {name: [3, *shape] for name, shape in shapes.items()} == {name: each.shape for name, each in state.items()}
    assert network.training and network.backbone.conv1.bn.training
    assert all(np.array_equal(before[name], tensor.numpy()) for name, tensor in network.variables().items())
    assert network(clips()).shape == [2, 5]  # clips are shifted as ever


@pytest.mark.parametrize(
    ("other", "size", "streams", "message"),
    [
        ({"num_layers": 50}, 32, 2, r"frames of 32 x 32: res2b is \[2, 4, 8, 8\] and should be \[2, 1, 8, 8\]"),
        ({"num_layers": 34}, 32, 2, r"res2c is \[2, 1, 8, 8\] and should be absent"),
        ({}, 64, 2, r"2 frames of 32 x 32: res2a is \[2, 1, 16, 16\] and should be \[2, 1, 8, 8\]"),
        ({}, 32, 1, r"res2a is \[1, 1, 8, 8\] and should be \[2, 1, 8, 8\]"),
        (None, 32, 2, r"res2a is missing and should be \[2, 1, 8, 8\]\. A stream has frames of one size"),
    ],
)
def test_a_state_that_does_not_fit_is_one_message(other, size, streams, message):
    network = TSM(**_keys(shift="uni"))
    network.eval()
    state = {} if other is None else TSM(**_keys(shift="uni", **other)).initial_state(streams, size, size)
    with pytest.raises(InputError, match=message):
        network.step(clips()[:, 0], state)


def test_a_network_is_prepared_for_export_and_back():
    network = TSM(**_keys())
    backbone, variables = network.backbone, list(network.variables())
    shifts = [layer for layer in network.sublayers() if isinstance(layer, TemporalShift)]
    assert len(shifts) == 8 and not any(shift.frames_first for shift in shifts)
    with pytest.raises(RuntimeError), network.prepare_for_export():
        assert all(shift.frames_first for shift in shifts) and network.backbone is not backbone
        raise RuntimeError
    assert not any(shift.frames_first for shift in shifts)
    assert network.backbone is backbone and list(network.variables()) == variables
    with TSN(**_keys()).prepare_for_export():
        pass


@pytest.mark.contract
@pytest.mark.parametrize("for_converter", [False, True])
@pytest.mark.parametrize(("num_layers", "shift"), [(18, "bi"), (18, "uni"), (50, "bi"), (50, "uni")])
def test_a_network_computes_the_same_while_it_is_prepared_for_export(num_layers, shift, for_converter):
    """Also with statistics that are not those of a fresh network, and a width whose eighths are odd numbers."""
    network = TSM(**{**_keys(shift=shift, num_layers=num_layers), "base_width": 12})
    with paddle.no_grad():
        for _ in range(4):
            network(clips())  # BatchNorms get statistics
        network.eval()
        expected = network(clips()).numpy()
        with network.prepare_for_export(for_converter=for_converter):
            assert isinstance(network.backbone, SplitResNet)
            found = network(clips()).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("keys", [{"backbone": "mobilenet_v2"}, {"non_local": True}, {"base_width": 4}])
def test_other_backbones_are_exported_as_they_are(keys):
    network = TSM(**{**_keys(), **keys})
    with network.prepare_for_export():
        assert not isinstance(network.backbone, SplitResNet)


def test_the_zoo_is_listed():
    text = describe(MODELS)
    for name, spec in MODELS.items():
        keys = (
            "backbone = resnet (resnet mobilenet_v2), num_layers = 50 (18 34 50 101 152), " if name in ON_IMAGES else ""
        )
        assert f"{name}\n  paper     {spec.paper}\n  keys      {keys}" in text
        for choice, weights in spec.weights.items():
            assert f"  {choice:<9} {weights.name}: {weights.trained_on}" in text
    assert "shift = bi (bi uni), non_local = False, dropout = unset\n" in text
    assert ", top-1 70.0%, backbone resnet, num_layers 50, base_width 64, non_local False\n" in text
    assert max(map(len, text.splitlines())) <= 120


def test_frames_that_are_no_whole_clips_are_an_error():
    with pytest.raises(ValueError, match="(?i)reshape"):
        TemporalShift(8)(paddle.ones([10, 16, 4, 4]))
