"""Weights of others: names, which way the shift goes, dropout's factor, and what is refused."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_zoo.models.resnet import STAGES
from video_zoo.models.torch_weights import exchange_folds, from_ours, is_weight, to_ours
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN
from video_zoo.models.weight_layouts import FC_WEIGHT, LAYOUTS, Network, tensors_of
from video_zoo.utils.errors import InputError

MODELS = {"TSM": TSM, "TSN": TSN}
PYTORCH = ("mit", "mmaction2", "torchvision")
CLASSES, FRAMES = 5, 3


def make_state(layout: str, model: str = "TSM", depth: int = 18, width: int = 8, seed: int = 0) -> dict:
    """Random weights in another project's layout, as its files have them."""
    rng, state = np.random.default_rng(seed), {}
    for tensor in tensors_of(Network(model, depth, CLASSES, width), LAYOUTS[layout]):
        shape = tensor.shape[::-1] if tensor.is_transposed else tensor.shape
        values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        if tensor.ours.startswith("bn") and tensor.ours.endswith(("scale", "variance")):
            values = rng.uniform(0.5, 1.5, shape)
        state[LAYOUTS[layout].wrapper + tensor.theirs] = values.astype(np.float32)
    return state


def make_network(variables: dict, network: Network, **options) -> TSN:
    """Ours, with these weights, in eval mode."""
    if network.model == "TSM":
        options["shift"] = network.shift
    ours = MODELS[network.model](
        num_classes=network.num_classes,
        seg_num=FRAMES,
        num_layers=network.num_layers,
        base_width=network.base_width,
        dropout=network.dropout,
        **options,
    )
    tensors = ours.variables()
    assert tensors.keys() == variables.keys()
    for name, value in variables.items():
        tensors[name].set_value(np.ascontiguousarray(value))
    ours.eval()
    return ours


def logits_of(network: TSN, clips: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return network(paddle.to_tensor(clips)).numpy()


def make_clips(size_px: int = 32, frames: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, frames, 3, size_px, size_px), dtype=np.uint8)


def same(left: dict, right: dict) -> bool:
    """To the bit, in the same order."""
    return list(left) == list(right) and all(left[name].tobytes() == right[name].tobytes() for name in left)


def refused(state: dict, **options) -> str:
    with pytest.raises(InputError) as caught:
        to_ours(state, **options)
    return str(caught.value)


# --- names


@pytest.mark.parametrize("depth", STAGES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tensor_of_our_network_has_one_place(depth, layout):
    tensors = tensors_of(Network("TSN", depth, CLASSES, 8), LAYOUTS[layout])
    ours = TSN(num_layers=depth, base_width=8, num_classes=CLASSES).variables() if layout == "mit" else None
    if ours:
        assert {tensor.ours: list(tensor.shape) for tensor in tensors} == {n: list(t.shape) for n, t in ours.items()}
    assert len({tensor.theirs for tensor in tensors}) == len(tensors)
    assert all(is_weight(tensor.ours) for tensor in tensors)


@pytest.mark.parametrize("name", ["res2a_branch1_weights_velocity_0", "fc_0.w_0_velocity_0", "checkpoint.json", "@LR@"])
def test_momenta_and_counters_are_no_weights(name):
    assert not is_weight(name)


@pytest.mark.parametrize(
    "layout, model, depth, ours, theirs",
    [
        ("mit", "TSM", 50, "conv1_weights", "base_model.conv1.weight"),
        ("mit", "TSM", 50, "bn_conv1_variance", "base_model.bn1.running_var"),
        ("mit", "TSM", 50, "res2a_branch2a_weights", "base_model.layer1.0.conv1.net.weight"),
        ("mit", "TSN", 50, "res2a_branch2a_weights", "base_model.layer1.0.conv1.weight"),
        ("mit", "TSM", 50, "bn4f_branch2c_offset", "base_model.layer3.5.bn3.bias"),
        ("mit", "TSN", 101, "res4b22_branch2b_weights", "base_model.layer3.22.conv2.weight"),
        ("mit", "TSM", 18, "bn5a_branch1_scale", "base_model.layer4.0.downsample.1.weight"),
        ("mit", "TSM", 18, "fc_0.w_0", "new_fc.weight"),
        ("mmaction2", "TSM", 50, "bn_conv1_mean", "backbone.conv1.bn.running_mean"),
        ("mmaction2", "TSM", 50, "res3d_branch2a_weights", "backbone.layer2.3.conv1.conv.net.weight"),
        ("mmaction2", "TSM", 50, "bn3d_branch2a_scale", "backbone.layer2.3.conv1.bn.weight"),
        ("mmaction2", "TSN", 34, "res3a_branch1_weights", "backbone.layer2.0.downsample.conv.weight"),
        ("mmaction2", "TSM", 50, "fc_0.b_0", "cls_head.fc_cls.bias"),
        ("torchvision", "TSN", 50, "res5c_branch2c_weights", "layer4.2.conv3.weight"),
        ("torchvision", "TSM", 50, "res2a_branch2a_weights", "layer1.0.conv1.weight"),
        ("paddle", "TSN", 50, "bn2a_branch1_variance", "layer1.0.downsample.1._variance"),
        ("paddleclas", "TSN", 50, "bn_conv1_mean", "stem.0.bn._mean"),
        ("paddleclas", "TSN", 50, "res3a_branch1_weights", "blocks.3.short.conv.weight"),
        ("paddleclas", "TSN", 50, "res5c_branch2a_weights", "blocks.15.conv0.conv.weight"),
    ],
)
def test_names_are_those_of_the_projects(layout, model, depth, ours, theirs):
    names = {tensor.ours: tensor.theirs for tensor in tensors_of(Network(model, depth), LAYOUTS[layout])}
    assert names[ours] == theirs


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("depth", [18, 34, 50])
def test_what_it_is_of_is_found(layout, model, depth):
    state = make_state(layout, model, depth)
    _, found, network = to_ours(state)
    model = model if LAYOUTS[layout].shifts else "TSN"
    assert (found, network) == (layout, Network(model, depth, CLASSES, 8, "bi", MODELS[model].default_dropout))


def test_other_wrappers_counters_and_types():
    state = make_state("mit")
    variables, _, _ = to_ours(state)
    plain = {name[len("module.") :]: value for name, value in state.items()}
    counters = {f"{name[:-7]}.num_batches_tracked": np.array(3) for name in plain if ".bn" in name}
    assert same(to_ours({**plain, **counters})[0], variables)
    assert same(to_ours({f"module.{name}": value for name, value in make_state("mmaction2").items()})[0], variables)
    undropped = {name.replace("new_fc", "base_model.fc"): value for name, value in plain.items()}
    assert same(to_ours(undropped)[0], variables)
    wide = {name: value.astype(np.float64) for name, value in state.items()}
    assert same(to_ours(wide)[0], variables)
    half = to_ours({name: value.astype(np.float16) for name, value in state.items()})[0]
    assert all(value.dtype == np.float32 for value in half.values())
    assert all(np.allclose(half[name], variables[name], atol=2e-3) for name in half)


# --- arithmetic, without PyTorch


@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 2), st.data())
def test_two_eighths_change_places(eighth, other, axis, data):
    shape = [other, other, other]
    shape[axis] = channels = 8 * eighth + data.draw(st.sampled_from([0, 0, 1, 7]))
    array = np.arange(np.prod(shape)).reshape(shape)
    order = [*range(eighth, 2 * eighth), *range(eighth), *range(2 * eighth, channels)]
    assert np.array_equal(exchange_folds(array, axis), np.take(array, order, axis))
    assert np.array_equal(exchange_folds(exchange_folds(array, axis), axis), array)


@pytest.mark.parametrize("depth, layout", [(18, "mit"), (50, "mmaction2")])
def test_the_exchange_turns_time_round(depth, layout):
    """PyTorch's shift on a clip is ours on the clip played backwards; the mean over frames is the same."""
    state, clips = make_state(layout, depth=depth), make_clips()
    turned = to_ours(state)
    unchanged = to_ours(state, shift="uni")[0]  # no channel changes places
    ours = make_network(turned[0], turned[2])
    as_it_was = make_network(unchanged, turned[2])
    expected = logits_of(as_it_was, np.ascontiguousarray(clips[:, ::-1]))
    assert np.abs(logits_of(ours, clips) - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(logits_of(as_it_was, clips) - expected).max() > 1e-2 * np.abs(expected).max()


def test_only_what_touches_the_residual_stream_is_exchanged():
    """Each tensor of a TSM, by what it is of the block."""
    state = make_state("mit", depth=50)
    bi, uni = to_ours(state)[0], to_ours(state, shift="uni")[0]
    changed = {name for name in bi if bi[name].tobytes() != uni[name].tobytes()}
    inner = {name for name in bi if "_branch2b_" in name or (name.startswith("bn") and "_branch2a_" in name)}
    assert changed == set(bi) - inner - {"fc_0.b_0"}


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(PYTORCH),
    st.sampled_from(["TSM", "TSN"]),
    st.sampled_from([18, 50]),
    st.sampled_from(["bi", "uni"]),
    st.sampled_from([None, 0.0, 0.5, 0.75]),
    st.integers(0, 2**31),
)
def test_there_and_back_is_the_same_bits(layout, model, depth, shift, dropout, seed):
    theirs = make_state(layout, model, depth, seed=seed)
    ours, found, network = to_ours(theirs, shift=shift, dropout=dropout)
    if found == "torchvision":  # its names do not tell that it is a TSM
        assert network.model == "TSN"
    back, again = from_ours(ours, found, network.model, shift=shift, dropout=dropout)
    assert same(back, theirs) and again == network
    for other in PYTORCH[:2]:
        through = to_ours(
            from_ours(ours, other, network.model, shift=shift, dropout=dropout)[0], shift=shift, dropout=dropout
        )
        assert same(through[0], ours)


@pytest.mark.parametrize("dropout", [0.1, 0.3, 0.8])
def test_another_dropout_is_undone_but_for_rounding(dropout):
    theirs = make_state("mit")
    ours, _, network = to_ours(theirs, dropout=dropout)
    plain = to_ours(theirs, dropout=0.0)[0]
    assert np.allclose(ours[FC_WEIGHT] * (1 - dropout), plain[FC_WEIGHT], rtol=1e-6)
    assert same({**ours, FC_WEIGHT: 0 * plain[FC_WEIGHT]}, {**plain, FC_WEIGHT: 0 * plain[FC_WEIGHT]})
    expected = logits_of(make_network(plain, Network("TSM", 18, CLASSES, 8)), make_clips())
    assert np.allclose(logits_of(make_network(ours, network), make_clips()), expected, atol=1e-5)
    back = from_ours(ours, "mit", "TSM", dropout=dropout)[0]
    assert all(np.allclose(back[name], theirs[name], rtol=2e-7) for name in theirs)


@pytest.mark.parametrize("width", [9, 12])
def test_a_width_without_eighths(width):
    state = make_state("mit", width=width)
    assert f"base_width {width}, which is no multiple of 8" in refused(state)
    assert to_ours(state, shift="uni")[2].base_width == width
    assert to_ours(make_state("mit", "TSN", width=width))[2].base_width == width


# --- against PyTorch


@pytest.mark.parametrize(
    "mm, depth, width, shift",
    [
        (False, 18, 64, "bi"),
        (False, 50, 64, "bi"),
        (True, 50, 16, "bi"),
        (True, 18, 16, "bi"),
        (False, 50, 8, "uni"),
        (False, 50, 8, None),
        (True, 101, 8, None),
        (False, 101, 8, "bi"),
    ],
)
def test_outputs_are_pytorchs(mm, depth, width, shift):
    pytest.importorskip("torch")
    import torch_tsm as theirs
    from torch_state import arrays_of, randomise

    network = randomise(theirs.Recognizer(mm, depth, width, CLASSES, shift, FRAMES), seed=depth)
    clips = make_clips()
    expected = theirs.logits_of(network, clips)
    state = arrays_of(network, "" if mm else "module.")
    variables, layout, found = to_ours(state, shift=shift or "bi")
    assert layout == ("mmaction2" if mm else "mit") and found.model == ("TSM" if shift else "TSN")
    scale = max(1.0, np.abs(expected).max())
    assert np.abs(logits_of(make_network(variables, found), clips) - expected).max() < 1e-4 * scale
    assert expected.std() > 0.1
    if shift == "bi":
        wrong = to_ours(state, shift="uni")[0]
        assert np.abs(logits_of(make_network(wrong, found), clips) - expected).max() > 1e-2 * scale


def test_a_plain_resnet_is_pytorchs():
    pytest.importorskip("torch")
    import torch_tsm as theirs
    from torch_state import arrays_of, randomise

    network = randomise(theirs.ResNet(50, 8, num_classes=CLASSES))
    clips = make_clips()
    mean, std = (np.float32(values).reshape(3, 1, 1) for values in (theirs.MEAN, theirs.STD))
    expected = theirs.logits_of(network, (clips.reshape(-1, *clips.shape[2:]) - mean) / std)
    variables, layout, found = to_ours(arrays_of(network))
    assert (layout, found.model, found.dropout) == ("torchvision", "TSN", 0)
    result = logits_of(make_network(variables, found), clips)
    assert np.abs(result - expected.reshape(2, FRAMES, -1).mean(1)).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("model, depth", [("TSM", 18), ("TSM", 50), ("TSN", 101)])
@pytest.mark.parametrize("layout", ["mit", "mmaction2"])
def test_pytorch_gives_our_outputs(layout, model, depth):
    torch = pytest.importorskip("torch")
    import torch_tsm as theirs

    ours, _, network = to_ours(make_state("mmaction2", model, depth, seed=3))
    clips = make_clips()
    expected = logits_of(make_network(ours, network), clips)
    state, found = from_ours(ours, layout, model)
    assert found == network
    other = theirs.Recognizer(layout == "mmaction2", depth, 8, CLASSES, "bi" if model == "TSM" else None, FRAMES)
    wrapper = LAYOUTS[layout].wrapper
    assert all(name.startswith(wrapper) for name in state)
    other.load_state_dict({name[len(wrapper) :]: torch.from_numpy(value) for name, value in state.items()})
    result = theirs.logits_of(other.eval(), clips)
    assert np.abs(result - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_tsm_without_its_shifts_is_for_pytorchs():
    torch = pytest.importorskip("torch")
    from torch_state import arrays_of
    from torch_tsm import ResNet

    state = make_state("mit")
    ours, _, _ = to_ours(state)
    plain, _ = from_ours(ours, "torchvision", "TSM")
    network = ResNet(18, 8, num_classes=CLASSES)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in plain.items()})
    network.shift(FRAMES, "bi")
    wrapped = {
        name.replace("fc", "new_fc") if name.startswith("fc") else f"base_model.{name}": value
        for name, value in arrays_of(network).items()
        if "num_batches" not in name
    }
    assert same(wrapped, {name[len("module.") :]: value for name, value in state.items()})


# --- what is refused


def with_key(layout: str, key: str, value: object = None, **options) -> dict:
    """With one name more, or with another value of it; None takes it away."""
    state = make_state(layout, **options)
    state[key] = value
    return {name: value for name, value in state.items() if value is not None}


NAN = np.array([np.nan] + [1] * 7, np.float32)


@pytest.mark.parametrize(
    "state, message",
    [
        ({}, "no weights of a ResNet or MobileNetV2 in a layout known here.*it holds none"),
        ({"module.base_model.features.0.0.weight": NAN}, "its names begin with base_model.features.0.0.weight"),
        (with_key("mit", "module.base_model.layer1.1.nl.g.weight", NAN), r"layer1\.1\.nl\.g\.weight has no place"),
        (with_key("mmaction2", "backbone.layer1.0.conv1.conv.bias", NAN), "layer1.0.conv1.conv.bias has no place"),
        (with_key("torchvision", "layer1.1.se.weight", NAN), "no plain TSN: of a ResNet-18, layer1.1.se.weight has no"),
        (with_key("mit", "module.base_model.bn1.running_var"), "incomplete: 1 of the 102 .*base_model.bn1.running_var"),
        (with_key("mit", "module.new_fc.bias"), "the first is new_fc.bias"),
        (with_key("mit", "module.base_model.bn1.bias", NAN), "base_model.bn1.bias is not made of finite float32"),
        (with_key("mit", "module.base_model.bn1.bias", np.arange(8)), "base_model.bn1.bias is made of int64"),
        (with_key("mit", "module.base_model.bn1.bias", NAN[:7]), r"bias has shape \[7\], and in a TSM-18 .*\[8\]"),
        (with_key("mit", "module.new_fc.bias", np.float32(1)), "new_fc.bias is empty"),
        (with_key("mit", "module.base_model.bn1.bias", np.full(8, 1e39)), "not made of finite float32"),
        (
            with_key("mmaction2", "backbone.conv1.conv.weight", np.ones((8, 10, 7, 7), np.float32)),
            r"shape \[8, 10, 7, 7\], and in a TSM-18 of base_width 8 that reads RGB \[8, 3, 7, 7\]",
        ),
        (with_key("mmaction2", "data_preprocessor.mean", np.zeros((3, 1, 1))), "data_preprocessor.mean is .0.0, 0.0"),
    ],
)
def test_what_does_not_fit_is_named(state, message):
    with pytest.raises(InputError, match=message):
        to_ours(state, source="x.pth")
    assert refused(state, source="x.pth").startswith("x.pth")


def test_mmaction2s_preprocessor_is_ours():
    state = make_state("mmaction2")
    usual = {"data_preprocessor.mean": np.float32([123.675, 116.28, 103.53]).reshape(3, 1, 1)}
    assert same(to_ours({**state, **usual})[0], to_ours(state)[0])


def test_half_of_the_shifts():
    """MIT's and MMAction2's networks of 101 layers."""
    state, every = make_state("mit", depth=101), {}
    for name, value in state.items():
        odd = "layer" in name and int(name.split(".")[3]) % 2
        every[name.replace(".net.", ".") if odd else name] = value
    assert "shifts only some blocks of its ResNet-101, the first without is base_model.layer1.1.conv1" in refused(every)
    ours, _, network = to_ours(state)
    for layout in ("mit", "mmaction2"):
        with pytest.raises(InputError, match=f"TSM-101.*{layout} shifts every second block"):
            from_ours(ours, layout, "TSM")
    assert network.num_layers == 101 and len(from_ours(ours, "torchvision", "TSM")[0]) == len(state)


def test_ours_that_do_not_fit():
    ours, _, _ = to_ours(make_state("mit", depth=50))
    momenta = {f"{name}_velocity_0": value for name, value in ours.items()}
    assert same(from_ours({**ours, **momenta}, "mit", "TSM")[0], from_ours(ours, "mit", "TSM")[0])
    lacking = {name: value for name, value in ours.items() if name != "res2b_branch2b_weights"}
    with pytest.raises(InputError, match="1 of the 267 tensors of a TSM-50 are missing, .*res2b_branch2b_weights"):
        from_ours(lacking, "mit", "TSM")
    with pytest.raises(InputError, match=r"fc_0\.w_0 has shape .2, 2."):
        from_ours({**ours, FC_WEIGHT: np.ones((2, 2), np.float32)}, "mit", "TSM")
    with pytest.raises(InputError, match="incomplete"):
        from_ours({}, "mit", "TSM")


@pytest.mark.parametrize("dropout", [-0.1, 1, 2, float("nan")])
def test_a_dropout_that_is_none(dropout):
    assert "is not at least 0 and below 1" in refused(make_state("mit"), dropout=dropout)
