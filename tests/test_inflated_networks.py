"""I3D of a ResNet-50 and P3D: equal to the public PyTorch ones (golden/, peer_recipe.py), inflation, programs."""

from __future__ import annotations

import numpy as np
import paddle
import peer_recipe
import pytest

from video_zoo.configs import schema
from video_zoo.configs.schema import Config
from video_zoo.engine.backends import ENGINES
from video_zoo.engine.backends.base import Job
from video_zoo.engine.backends.paddle_network import PaddleNetwork
from video_zoo.engine.programs import PROGRAMS, write_program
from video_zoo.models import MODELS, build_network, i3dresnet50, p3d
from video_zoo.models.clip_network import ClipNetwork
from video_zoo.models.cost import multiply_adds
from video_zoo.models.i3dresnet50 import I3DResNet50
from video_zoo.models.non_local import NonLocal
from video_zoo.models.p3d import P3D
from video_zoo.models.resnet import ResNet
from video_zoo.models.start_weights import load_start_weights
from video_zoo.models.tsn import TSN
from video_zoo.models.weight_layouts import LAYOUTS, Network, tensors_of
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import write_folder

# Name in golden/ -> class and keys; case -> frames, size and seed; parameters, counted in PyTorch.
NETWORKS = {
    "i3d_r50": (I3DResNet50, {}, {"a": (32, 224, 1301), "b": (16, 160, 1302)}, 28_043_472),
    "p3d63": (P3D, {}, {"a": (16, 160, 1401)}, 25_745_232),
    "p3d199": (P3D, {"num_layers": 199}, {"a": (16, 160, 1402)}, 66_492_240),
}
NARROW = {"width_multiplier": 0.125}  # base width 8


def with_recipe_weights(name: str, **more: object) -> ClipNetwork:
    model, keys, *_ = NETWORKS[name]
    network = model(**keys, **more)
    for each, tensor in network.variables().items():
        set_by_recipe(name, each, tensor)
    network.eval()
    return network


def set_by_recipe(name: str, variable: str, tensor: paddle.Tensor) -> None:
    shape = tensor.shape if tensor.ndim > 2 else tensor.shape[::-1]
    value = peer_recipe.weight(name, variable, shape)
    tensor.set_value(np.ascontiguousarray(value.T) if value.ndim == 2 else value)


def logits_of(network: ClipNetwork, clips: np.ndarray) -> np.ndarray:
    """Of normalised clips."""
    with paddle.no_grad():
        return network.classify(paddle.to_tensor(np.ascontiguousarray(clips))).numpy()


@pytest.mark.contract
@pytest.mark.parametrize("name", NETWORKS)
def test_logits(name):
    """Of the first clip of a case and of the second played backwards: clips differ by 0.04 to 0.6."""
    network, golden = with_recipe_weights(name), peer_recipe.golden(name)
    assert sum(each.size for each in network.parameters() if not each.stop_gradient) == NETWORKS[name][3]
    for case, arguments in NETWORKS[name][2].items():
        clips = peer_recipe.clip_batch(2, *arguments)
        expected = np.stack([golden[f"{case}_logits"][0], golden[f"{case}_logits_reversed"][1]])
        found = logits_of(network, np.stack([clips[0], clips[1, ::-1]]))
        np.testing.assert_allclose(found, expected, atol=5e-4, rtol=1e-4)


def test_cost():
    """The multiply-adds are PyTorch's. Those of I3D are 33.128 and of P3D-199 18.403, which takes longer to count."""
    assert multiply_adds(P3D(), (16, 3, 160, 160)) / 1e9 == pytest.approx(8.44, rel=1e-3)


@pytest.mark.contract
def test_a_2d_resnet_inflates(tmp_path, log):
    """As MMAction2 inflates torchvision's."""
    folder = tmp_path / "resnet"
    folder.mkdir()
    tensors = tensors_of(Network("TSN"), LAYOUTS["torchvision"])
    write_folder(folder, {each.ours: peer_recipe.weight("r50_2d", each.theirs, each.shape) for each in tensors[:-2]})
    model = MODELS.get("I3DResNet50").config()
    settings = Config(MODEL=model, TRAIN=schema.TrainSection(pretrain=str(folder)))
    network = build_network(settings, "train")
    load_start_weights(network, settings)
    assert "265 loaded, 2 skipped, 0 not found" in log.text
    for name in network.last_layer:
        set_by_recipe("i3d_r50", name, network.variables()[name])
    network.eval()
    expected = peer_recipe.golden("i3d_r50")["inflated_logits"][:1]
    found = logits_of(network, peer_recipe.clip_batch(2, *NETWORKS["i3d_r50"][2]["a"])[:1])
    np.testing.assert_allclose(found, expected, atol=5e-4, rtol=1e-4)
    with pytest.raises(InputError, match="no kinetics weights are published for I3DRESNET50"):
        load_start_weights(network, Config(MODEL=model, TRAIN=schema.TrainSection(pretrain="kinetics")))


@pytest.mark.parametrize(
    ("network", "num_layers", "fresh"),
    [
        (lambda: I3DResNet50(non_local=True, **NARROW), 50, "non_local_block"),
        (lambda: P3D(**NARROW), 50, "3."),
        (lambda: P3D(num_layers=199, **NARROW), 152, "3."),
    ],
)
def test_all_of_a_resnet_has_its_place(network, num_layers, fresh):
    """And each tensor the same shape, but for time."""
    plain = {name: tensor.shape for name, tensor in TSN(num_layers=num_layers, base_width=8).variables().items()}
    made = network()
    names, variables = made.image_names(), made.variables()
    assert sorted(names.values()) == sorted(name for name in plain if not name.startswith("fc"))
    for name, theirs in names.items():
        shape = variables[name].shape
        assert plain[theirs] == (shape if len(shape) < 5 else [*shape[:2], *shape[3:]]), name
    assert all(fresh in name or name in made.last_layer for name in variables.keys() - names.keys())


def test_there_is_no_released_resnet_of_152_layers():
    """A P3D-199 has one inside."""
    spec = MODELS.get("P3D")
    with pytest.raises(InputError, match="ResNet50_pretrained is for num_layers = 63, and the config has 199"):
        spec.released("imagenet", "--pretrain").fetch(spec.config(num_layers=199), "--pretrain", ())


def test_an_inflated_kernel_gives_a_still_clip_the_same_features(tmp_path):
    """In the middle of the clip, where no zeros are padded in: through the first convolution and the first block."""
    resnet = ResNet(50, base_width=8)
    resnet.eval()
    plain = TSN(num_layers=50, base_width=8)
    plain.backbone.set_state_dict(resnet.state_dict())
    write_folder(tmp_path, {name: tensor.numpy() for name, tensor in plain.variables().items()})
    model = MODELS.get("I3DResNet50").config(**NARROW)
    settings = Config(MODEL=model, TRAIN=schema.TrainSection(pretrain=str(tmp_path)))
    network = build_network(settings, "train")
    load_start_weights(network, settings)
    network.eval()
    image = np.random.default_rng(0).normal(size=(1, 3, 1, 32, 32)).astype("float32")
    clip = paddle.to_tensor(np.repeat(image, 32, axis=2))
    relu, ours, theirs = paddle.nn.functional.relu, network.backbone, resnet
    with paddle.no_grad():
        found = ours.layer1[0](ours.pool1(relu(ours.conv1(clip))))  # -> (1, 32, 8, 8, 8)
        expected = theirs.res2a(theirs.pool(relu(theirs.conv1(paddle.to_tensor(image[:, :, 0])))))
    np.testing.assert_allclose(found.numpy()[:, :, 4], expected.numpy(), atol=1e-4)
    assert np.abs(found.numpy()[:, :, 0] - expected.numpy()).max() > 1e-2


def test_non_local_blocks_follow_every_second_block():
    network = I3DResNet50(num_classes=3, non_local=True, **NARROW)
    blocks = [name for name, layer in network.named_sublayers() if isinstance(layer, NonLocal)]
    expected = ("layer2.1", "layer2.3", "layer3.1", "layer3.3", "layer3.5")
    assert blocks == [f"backbone.{each}.non_local_block" for each in expected]
    block = "backbone.layer2.1.non_local_block"
    names = [name for name in network.variables() if name.startswith(block)]
    convolutions = [f"{block}.{each}.conv.{leaf}" for each in ("g.0", "theta", "phi.0") for leaf in ("weight", "bias")]
    leaves = ("weight", "bias", "running_mean", "running_var")
    out = [f"{block}.conv_out.conv.weight", *(f"{block}.conv_out.bn.{leaf}" for leaf in leaves)]
    assert sorted(names) == sorted([*convolutions, *out])
    assert sum(each.size for each in I3DResNet50(non_local=True).parameters() if not each.stop_gradient) == 35_397_840


@pytest.mark.parametrize(
    ("model", "keys", "size", "message"),
    [
        ("P3D", {"seglen": 32}, 160, "16 to 31 frames .* 129 to 160 px .*, and the config has 32 and 160"),
        ("P3D", {}, 224, "and the config has 16 and 224"),
        ("I3DResNet50", {"seglen": 4}, 224, "at least 5 frames .* has 4 and 224"),
    ],
)
def test_clips_that_do_not_fit_are_said_before(model, keys, size, message):
    settings = Config(MODEL=MODELS.get(model).config(**keys), TEST=schema.TestSection(target_size=size))
    with pytest.raises(InputError, match=message):
        build_network(settings, "test")


@pytest.fixture
def shallow(monkeypatch):
    """Both networks with few blocks, among them each kind of P3D's."""
    monkeypatch.setattr(i3dresnet50, "DEPTHS", (1, 2, 2, 1))
    monkeypatch.setattr(p3d, "STAGES", {63: ((3, 1, 1, 1), 50)})


@pytest.mark.parametrize(("model", "shape"), [(I3DResNet50, (5, 3, 17, 17)), (P3D, (16, 3, 129, 129))])
def test_the_smallest_clips_and_gradients(shallow, model, shape):
    """Every parameter learns, and the limits are what the pools take."""
    network = model(num_classes=5, dropout=0.0, **NARROW)
    clips = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8))
    paddle.nn.functional.cross_entropy(network(clips), paddle.to_tensor([1, 4])).backward()
    for name, parameter in network.named_parameters():
        if not parameter.stop_gradient:
            assert np.abs(parameter.grad.numpy()).max() > 0, name


@pytest.mark.parametrize(
    ("kind", "name", "keys", "frames", "size"),
    [
        ("paddle", "i3d_r50", {"non_local": True}, 8, 32),
        ("openvino", "i3d_r50", {"non_local": True}, 8, 32),  # by way of ONNX
        ("paddle", "p3d63", {}, 16, 129),
    ],
)
def test_an_engine_computes_them(shallow, tmp_path, kind, name, keys, frames, size):
    network = with_recipe_weights(name, **keys, **NARROW)
    clips = np.random.default_rng(0).integers(0, 256, (2, frames, 3, size, size), dtype=np.uint8)
    file = write_program(kind, network, clips.shape[1:], tmp_path / PROGRAMS[kind].files["fp32"])
    backend = ENGINES.get(PROGRAMS[kind].engine).load(Job(file, threads=2, batch_size=2, clip_shape=clips.shape[1:]))
    expected = PaddleNetwork(network)(clips)
    assert np.ptp(expected, axis=0).max() > 1e-4
    np.testing.assert_allclose(backend(clips), expected, atol=1e-5)
