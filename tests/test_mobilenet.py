"""MobileNetV2 as a backbone: against other projects' networks, their weights, keys, streams and programs."""

from __future__ import annotations

import sys

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F
from peer_recipe import clip_batch, golden, state_of, with_weights
from test_torch_weights import CLASSES, FRAMES, logits_of, make_clips, same

from video_zoo.configs.schema import Config, TrainSection
from video_zoo.engine.backends import ENGINES
from video_zoo.engine.backends.base import Job
from video_zoo.engine.backends.paddle_network import PaddleNetwork
from video_zoo.engine.programs import PROGRAMS, write_program
from video_zoo.models import TSMSection, build_network
from video_zoo.models.cost import multiply_adds
from video_zoo.models.mobilenet_v2 import candidate_widths, channels_of
from video_zoo.models.pretrained import load_weights
from video_zoo.models.start_weights import load_start_weights
from video_zoo.models.temporal_shift import TemporalShift
from video_zoo.models.torch_weights import LAYOUTS_OF, from_ours, is_weight, to_ours
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN
from video_zoo.models.weight_layouts import Network, tensors_of
from video_zoo.scripts import convert_weights
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import write_folder


@pytest.mark.contract
@pytest.mark.parametrize(
    ("net", "network", "seed", "parameters"),
    [
        ("tsm_mbv2", Network("TSM", num_classes=27, backbone="mobilenet_v2"), 1601, 2_258_459),
        ("tsm_r50", Network("TSM"), 1602, 24_327_632),
    ],
)
def test_logits_are_mits(net, network, seed, parameters):
    """Of the golden file's first clip, and of its second one played backwards."""
    state = state_of(net, "mit", network)
    variables, layout, found = to_ours(state)
    assert layout == "mit" and found.backbone == network.backbone
    ours = with_weights(TSM(num_classes=network.num_classes, backbone=network.backbone), variables)
    assert sum(each.size for each in ours.parameters() if not each.stop_gradient) == parameters
    of_file, clips = golden(net), clip_batch(2, 8, 224, seed)
    with paddle.no_grad():
        logits = ours.classify(paddle.to_tensor(np.stack([clips[0], clips[1, ::-1]]))).numpy()
    expected = np.stack([of_file["a_logits"][0], of_file["a_logits_reversed"][1]])
    np.testing.assert_allclose(logits, expected, atol=5e-4, rtol=1e-4)


@pytest.mark.contract
def test_a_stream_is_mits_online_network():
    state = state_of("tsm_mbv2_online", "mit_online", Network("TSM", num_classes=27, backbone="mobilenet_v2"))
    variables, layout, found = to_ours(state)
    assert (layout, found.shift) == ("mit_online", "uni")
    network = with_weights(TSM(num_classes=27, backbone="mobilenet_v2", shift="uni"), variables)
    network.normalise = lambda frame: frame  # the recipe's clips are normalised
    of_file, frames, logits = golden("tsm_mbv2_online"), clip_batch(1, 12, 224, 1501)[0], []
    state = network.initial_state(1, 224, 224)
    with paddle.no_grad():
        for frame in frames:
            of_frame, state = network.step(paddle.to_tensor(frame[None]), state)
            logits.append(of_frame.numpy()[0])
    np.testing.assert_allclose(logits, of_file["a_logits"], atol=5e-4, rtol=1e-4)
    np.testing.assert_allclose(list(state.values())[9], of_file["a_buf9"], atol=5e-4, rtol=1e-4)
    assert [tuple(each.shape) for each in state.values()] == [  # the buffers of MIT's demo: 108 kB a stream
        (1, 3, 56, 56), *[(1, 4, 28, 28)] * 2, *[(1, 8, 14, 14)] * 3, *[(1, 12, 14, 14)] * 2, *[(1, 20, 7, 7)] * 2,
    ]  # fmt: skip


def small(model: type[TSN] = TSM, **options) -> TSN:
    paddle.seed(0)
    options = {"num_classes": CLASSES, "seg_num": FRAMES, "width_multiplier": 0.25, **options}
    return model(backbone="mobilenet_v2", **options)


def random_state(layout: str, model: str = "TSM", width: float = 1.0, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights in another project's layout, as its files have them."""
    rng, state, names = np.random.default_rng(seed), {}, LAYOUTS_OF["mobilenet_v2"][layout]
    network = Network(model, num_classes=CLASSES, backbone="mobilenet_v2", width_multiplier=width)
    for tensor in tensors_of(network, names):
        shape = tensor.shape[::-1] if tensor.is_transposed else tensor.shape
        values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        if tensor.ours.startswith("bn") and tensor.ours.endswith(("scale", "variance")):
            values = rng.uniform(0.5, 1.5, shape)
        state[names.wrapper + tensor.theirs] = values.astype(np.float32)
    return state


# --- the network


@pytest.mark.contract
@pytest.mark.parametrize("width", [1.0, 0.35])
def test_a_plain_network_is_paddles(width):
    """Also in its channels, at other widths; with its ImageNet weights converted, and back."""
    theirs = paddle.vision.models.MobileNetV2(scale=width, num_classes=CLASSES)
    state = random_state("paddle", "TSN", width)
    assert [*map(len, theirs.set_state_dict(state))] == [0, 0]  # none is missing, none is left
    variables, layout, found = to_ours(state)
    assert (layout, found.model, found.width_multiplier) == ("paddle", "TSN", width)
    ours = with_weights(small(TSN, width_multiplier=width, seg_num=1), variables)
    theirs.eval()
    images = paddle.rand([2, 3, 64, 64])
    with paddle.no_grad():
        expected = theirs(images).numpy()
        np.testing.assert_allclose(ours.classify(images.unsqueeze(1)).numpy(), expected, rtol=1e-4, atol=1e-4)
    assert same(from_ours(variables, "paddle", "TSN")[0], state)


def test_ten_blocks_are_shifted():
    network = TSM(backbone="mobilenet_v2", shift="uni")
    shifted = [name for name, layer in network.named_sublayers() if isinstance(layer, TemporalShift)]
    assert shifted == [f"backbone.block{number}.shift" for number in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)]
    assert not any(block.is_shifted for block in channels_of(0.25)[1][:2])  # residual at this width, not expanded
    assert all(block.in_channels % 8 == 0 for width in candidate_widths() for block in channels_of(width)[1])


@pytest.mark.contract
@pytest.mark.parametrize(("model", "channels_last"), [(TSM, False), (TSM, True), (TSN, False)])
def test_every_parameter_learns(model, channels_last):
    network = small(model, channels_last=channels_last)
    logits = network(paddle.to_tensor(make_clips()))
    assert logits.shape == [2, CLASSES]
    F.cross_entropy(logits, paddle.to_tensor([1, 4])).backward()
    for key, parameter in network.named_parameters():
        if not parameter.stop_gradient:
            assert np.abs(parameter.grad.numpy()).max() > 0, key


@pytest.mark.parametrize("shift", ["bi", "uni"])
def test_channels_last_gives_the_same_logits(shift):
    variables = to_ours(random_state("mit", width=0.25), shift=shift)[0]
    networks = [with_weights(small(shift=shift, channels_last=last), variables) for last in (False, True)]
    first, last = (logits_of(network, make_clips()) for network in networks)
    assert first.std() > 0.1
    np.testing.assert_allclose(last, first, rtol=1e-3, atol=1e-4)


def test_a_stream_gives_the_logits_of_the_whole_clip():
    network = with_weights(small(shift="uni"), to_ours(random_state("mit", width=0.25), shift="uni")[0])
    clips = paddle.to_tensor(make_clips())
    state, logits = network.initial_state(2, *clips.shape[3:]), []
    for number in range(FRAMES):
        of_frame, state = network.step(clips[:, number], state)
        logits.append(of_frame.numpy())
    np.testing.assert_allclose(np.mean(logits, 0), logits_of(network, clips.numpy()), rtol=1e-4, atol=1e-5)


def test_the_cost_is_the_published_one():
    """0.30 G a frame of 224 px (Sandler et al., table 4)."""
    assert round(multiply_adds(TSM(backbone="mobilenet_v2", num_classes=27), (8, 3, 224, 224)) / 1e9, 2) == 2.40


@pytest.mark.parametrize(("kind", "shift"), [("paddle", "bi"), ("onnx", "uni"), ("openvino", "bi")])
def test_an_engine_computes_it(tmp_path, kind, shift):
    if missing := PROGRAMS[kind].missing():
        pytest.skip(f"needs {missing}")
    network = with_weights(small(shift=shift), to_ours(random_state("mit", width=0.25), shift=shift)[0])
    network.fc.weight.set_value(network.fc.weight / 10)  # so that the probabilities are not 0 or 1
    clips = make_clips()
    file = write_program(kind, network, clips.shape[1:], tmp_path / PROGRAMS[kind].files["fp32"])
    backend = ENGINES.get(PROGRAMS[kind].engine).load(Job(file, threads=2, batch_size=2, clip_shape=clips.shape[1:]))
    expected = PaddleNetwork(network)(clips)
    assert np.ptp(expected, axis=0).max() > 5e-4
    np.testing.assert_allclose(backend(clips), expected, atol=1e-5)


# --- keys


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"backbone": "mobilenet_v2", "num_layers": 18}, "num_layers = 18 is for MODEL.backbone = resnet"),
        ({"backbone": "mobilenet_v2", "base_width": 32}, "base_width = 32 is for MODEL.backbone = resnet"),
        ({"backbone": "mobilenet_v2", "non_local": True}, "non_local = True is for MODEL.backbone = resnet"),
        ({"width_multiplier": 0.5}, "width_multiplier = 0.5 is for MODEL.backbone = mobilenet_v2, and it is resnet"),
    ],
)
def test_keys_of_another_backbone_are_refused(keys, said):
    with pytest.raises(InputError, match=f"MODEL.{said}"):
        TSMSection(**keys)


def test_keys_with_their_defaults_are_not():
    section = TSMSection(
        backbone="mobilenet_v2", num_layers=50, base_width=64, width_multiplier=0.5, num_classes=CLASSES
    )
    network = build_network(Config(MODEL=section), "test")
    assert network.backbone.conv_last.conv.weight.shape == [1280, 160, 1, 1]
    with pytest.raises(TypeError, match="no backbone has depth"):
        TSM(backbone="mobilenet_v2", depth=3)


def test_no_weights_are_released(tmp_path):
    """Those of a ResNet-50 are not downloaded for it; converted ones set all but the last layer."""
    section = TSMSection(backbone="mobilenet_v2", num_classes=3)
    network = build_network(Config(MODEL=section), "train")
    with pytest.raises(
        InputError, match="no weights are published for this network.*backbone = resnet.*--pretrain=PATH"
    ):
        load_start_weights(network, Config(MODEL=section))
    variables = to_ours(random_state("torchvision", "TSN"))[0]
    write_folder(tmp_path, variables)
    load_start_weights(network, Config(MODEL=section, TRAIN=TrainSection(pretrain=str(tmp_path))))
    for name, tensor in network.variables().items():
        assert np.array_equal(tensor.numpy(), variables[name]) or name in network.last_layer


# --- weights of others


@pytest.mark.parametrize("layout", LAYOUTS_OF["mobilenet_v2"])
@pytest.mark.parametrize("model", ["TSM", "TSN"])
def test_there_and_back_is_the_same_bits(layout, model):
    is_video = LAYOUTS_OF["mobilenet_v2"][layout].shifts
    one_way = LAYOUTS_OF["mobilenet_v2"][layout].one_way
    state = random_state(layout, model)
    ours, found, network = to_ours(state)
    expected = "TSM" if one_way or is_video and model == "TSM" else "TSN"
    assert (found, network.model, network.shift) == (layout, expected, "uni" if one_way else "bi")
    assert all(is_weight(name) for name in ours)
    back, again = from_ours(ours, layout, network.model, shift=network.shift)
    assert same(back, state) and again == network


def test_mits_last_layer_without_dropout():
    """Its code then puts it in the place of the backbone's own."""
    state = random_state("mit")
    undropped = {name.replace("new_fc", "base_model.classifier"): value for name, value in state.items()}
    assert undropped.keys() != state.keys() and same(to_ours(undropped)[0], to_ours(state)[0])


@pytest.mark.parametrize(
    ("layout", "ours", "theirs"),
    [
        ("mit", "block3_expand_weights", "base_model.features.3.conv.0.net.weight"),
        ("mit", "block1_project_weights", "base_model.features.1.conv.3.weight"),
        ("mit_online", "bn_block16_project_scale", "features.16.conv.7.weight"),
        ("mmaction2", "block3_expand_weights", "backbone.layer2.1.conv.0.net.conv.weight"),
        ("mmaction2", "bn_block3_expand_mean", "backbone.layer2.1.conv.0.net.bn.running_mean"),
        ("mmaction2", "block2_depthwise_weights", "backbone.layer2.0.conv.1.conv.weight"),
        ("mmaction2", "conv_last_weights", "backbone.conv2.conv.weight"),
        ("torchvision", "block1_project_weights", "features.1.conv.1.weight"),
        ("torchvision", "bn_block17_project_offset", "features.17.conv.3.bias"),
        ("torchvision", "fc_0.w_0", "classifier.1.weight"),
    ],
)
def test_names_are_those_of_the_projects(layout, ours, theirs):
    tensors = tensors_of(Network("TSM", backbone="mobilenet_v2"), LAYOUTS_OF["mobilenet_v2"][layout])
    assert {tensor.ours: tensor.theirs for tensor in tensors}[ours] == theirs


@pytest.mark.parametrize("layout", ["mit", "mmaction2"])
def test_the_exchange_turns_time_round(layout):
    """PyTorch's shift on a clip is ours on the clip played backwards; the mean over frames is the same."""
    state, clips = random_state(layout, width=0.25), make_clips()
    turned, unchanged = (with_weights(small(dropout=0.5), to_ours(state, shift=shift)[0]) for shift in ("bi", "uni"))
    expected = logits_of(unchanged, np.ascontiguousarray(clips[:, ::-1]))
    assert np.abs(logits_of(turned, clips) - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(logits_of(unchanged, clips) - expected).max() > 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("width", [0.15, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4])
def test_widths_are_found(width):
    """At 0.15 more blocks than ten are residual."""
    for layout in ("torchvision", "mmaction2"):
        assert to_ours(random_state(layout, width=width))[2].width_multiplier == width


def test_what_does_not_fit_is_said():
    online, ours = random_state("mit_online"), to_ours(random_state("mit"))[0]
    for call, said in (
        (lambda: to_ours(online, shift="bi"), "mit_online is a TSM that takes frames from the past alone, shift uni"),
        (lambda: from_ours(ours, "mit_online", "TSM"), "would be a TSM with shift bi; mit_online is"),
        (lambda: from_ours(ours, "mit_online", "TSN", shift="uni"), "would be a TSN; mit_online is"),
        (lambda: from_ours(ours, "paddleclas", "TSM"), "made of a mobilenet_v2, and paddleclas has none: mit, mit_on"),
        (lambda: to_ours({**online, "features.3.conv.0.weight": online["features.18.0.weight"]}), "MIT's code rounds"),
        (
            lambda: to_ours({**online, "features.19.0.weight": online["classifier.bias"]}),
            "of a MobileNetV2, features.19",
        ),
        (
            lambda: from_ours(to_ours(random_state("torchvision", width=0.5))[0], "mit", "TSM"),
            "width_multiplier 0.5, and MIT's code",
        ),
    ):
        with pytest.raises(InputError, match=said):
            call()


def test_as_a_user_converts_it(tmp_path, monkeypatch, capsys):
    """There and back; what checkpoint.json says fits the network."""
    torch = pytest.importorskip("torch")
    state = random_state("mit_online")

    def convert(*command: object) -> str:
        monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, command)])
        convert_weights.main()
        return capsys.readouterr().out

    torch.save({name: torch.from_numpy(value) for name, value in state.items()}, tmp_path / "x.pth")
    said = convert(tmp_path / "x.pth", tmp_path / "out")
    assert f"mit_online, TSM-MobileNetV2, shift uni, {CLASSES} classes, 262 tensors" in said and "places" not in said
    assert "--set MODEL.backbone=mobilenet_v2 " in said and "num_layers" not in said
    section = TSMSection(backbone="mobilenet_v2", shift="uni", num_classes=CLASSES)
    load_weights(build_network(Config(MODEL=section), "test"), tmp_path / "out", config=section, complete=True)
    with pytest.raises(InputError, match="was trained with MODEL.backbone = mobilenet_v2, and the config says resnet"):
        load_weights(TSM(num_classes=CLASSES), tmp_path / "out", config=TSMSection(num_classes=CLASSES, shift="uni"))
    convert(tmp_path / "x.pth", tmp_path / "out")  # replaced
    convert(tmp_path / "out", tmp_path / "back.pth", "--layout=mit_online")
    back = torch.load(tmp_path / "back.pth", weights_only=True)["state_dict"]
    assert same({name: tensor.numpy() for name, tensor in back.items()}, state)
