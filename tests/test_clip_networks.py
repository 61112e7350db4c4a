"""The 3-D networks: equal to the public PyTorch ones (golden/, whose weights and clips tests/peer_recipe.py makes)."""

from __future__ import annotations

import numpy as np
import paddle
import peer_recipe
import pytest
from paddle.nn import functional as F

from video_zoo.configs import schema
from video_zoo.configs.schema import Config
from video_zoo.models import MODELS, build_network
from video_zoo.models.clip_models import CLIP_MODELS
from video_zoo.models.clip_network import ClipNetwork
from video_zoo.models.s3d import Gate
from video_zoo.utils.errors import InputError

pytestmark = pytest.mark.contract

# Name in golden/ -> the model; case -> frames, size and seed of its clips, and how many of the two are computed here;
# clips of the training; parameters, as counted in PyTorch.
NETWORKS = {
    "i3d": (
        *("I3D", {"a": (16, 224, 1201, 1), "c": (17, 200, 1203, 1), "b": (64, 224, 1202, 1)}),
        *((16, 224, 1250), 12_697_264),
    ),
    "s3d": ("S3D", {"a": (16, 224, 1101, 1), "b": (32, 224, 1102, 1)}, (16, 224, 1150), 8_320_048),
}


def with_recipe_weights(name: str, **keys: object) -> ClipNetwork:
    network = MODELS.get(NETWORKS[name][0]).network_class()(**keys)
    for each, tensor in network.variables().items():
        tensor.set_value(peer_recipe.weight(name, each, tensor.shape))
    network.eval()
    return network


@pytest.fixture(scope="module", params=NETWORKS)
def network(request) -> tuple[str, ClipNetwork]:
    return request.param, with_recipe_weights(request.param, num_classes=400)


def test_logits(network):
    """Two clips of a case differ by 0.04 to 0.6, and real mistakes move the logits by 0.05 or more."""
    name, made = network
    golden = peer_recipe.golden(name)
    for case, (frames, size, seed, count) in NETWORKS[name][1].items():
        clips = peer_recipe.clip_batch(2, frames, size, seed)[:count]
        for suffix, order in (("", 1), ("_reversed", -1)) if case == "a" else (("", 1),):
            with paddle.no_grad():
                found = made.classify(paddle.to_tensor(np.ascontiguousarray(clips[:, ::order]))).numpy()
            np.testing.assert_allclose(found, golden[f"{case}_logits{suffix}"][:count], atol=5e-4, rtol=1e-4)


def test_parameters(network):
    name, made = network
    assert sum(each.size for each in made.parameters() if not each.stop_gradient) == NETWORKS[name][3]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradients_of_a_training_step(name):
    """The norm of each; later steps amplify rounding."""
    golden, (frames, size, seed) = peer_recipe.golden(name), NETWORKS[name][2]
    network = with_recipe_weights(name, num_classes=10, dropout=0.0)
    network.train()
    clips = paddle.to_tensor(peer_recipe.clip_batch(2, frames, size, seed))
    loss = F.cross_entropy(network.classify(clips), paddle.to_tensor(peer_recipe.labels(2, 10, seed)))
    loss.backward()
    assert abs(float(loss) - golden["train_losses"][0]) < 1e-4
    learned = [tensor for tensor in network.variables().values() if not tensor.stop_gradient]
    norms = np.array([np.linalg.norm(tensor.grad.numpy()) for tensor in learned])
    np.testing.assert_allclose(norms, golden["train_grad0_norm"], atol=0.01 * golden["train_grad0_norm"].max())


@pytest.mark.parametrize("spec", CLIP_MODELS, ids=lambda spec: spec.name)
def test_a_narrow_network_takes_the_same_clips(spec):
    """A tenth of the channels, rounded up to a multiple of 8, and none of its layers has the published ones."""
    network = build_network(
        Config(
            MODEL=spec.config(num_classes=5, seglen=spec.clips.frames, width_multiplier=0.1),
            TEST=schema.TestSection(target_size=spec.clips.pixels),
        ),
        "test",
    )
    network.eval()
    assert [network.scaled(channels) for channels in (16, 64, 192, 1024)] == [8, 8, 24, 104]
    shapes = [tensor.shape for tensor in network.variables().values() if tensor.ndim > 2]
    most = 832 if spec.name in ("I3D", "S3D") else 2048
    assert max(shape[0] for shape in shapes) < most / 6 and len(shapes) > 30
    clips = np.zeros((1, spec.clips.frames, 3, spec.clips.pixels, spec.clips.pixels), np.uint8)
    with paddle.no_grad():
        assert network(paddle.to_tensor(clips)).shape == [1, 5]


def test_a_gate_weighs_channels():
    """Section 4.5: the sigmoid of a matrix times the channels' means over the clip."""
    gate, x = Gate(3), np.random.default_rng(0).normal(size=(2, 3, 4, 5, 6)).astype("float32")
    matrix = gate.weights.weight.numpy()[:, :, 0, 0, 0]
    weights = 1 / (1 + np.exp(-x.mean((2, 3, 4)) @ matrix.T))
    np.testing.assert_allclose(gate(paddle.to_tensor(x)).numpy(), x * weights[:, :, None, None, None], atol=1e-5)


def test_gates_are_behind_each_branch():
    """And behind the second convolution: 1 + 4 * 9."""
    network = MODELS.get("S3D").network_class()(num_classes=5, gating=True, width_multiplier=0.1)
    gates = [name for name, layer in network.named_sublayers() if isinstance(layer, Gate)]
    assert len(gates) == 37 and gates[:2] == ["features.3.2", "features.5.branch0.3"]


@pytest.mark.parametrize(
    ("model", "keys", "section", "message"),
    [
        ("S3D", {"seglen": 8}, {}, r"at least 13 frames .*MODEL.seglen.* at least 209 px .*TEST.* has 8 and 224"),
        ("S3D", {}, {"target_size": 112}, "S3D takes .* has 16 and 112"),
        ("S3D", {}, {"seg_num": 25}, "TEST.seg_num is 25, and a clip of S3D is one segment"),
    ],
)
def test_clips_that_do_not_fit_are_said_before(model, keys, section, message):
    settings = Config(MODEL=MODELS.get(model).config(**keys), TEST=schema.TestSection(**section))
    with pytest.raises(InputError, match=message):
        build_network(settings, "test")


def test_a_training_looks_at_its_validation_too():
    fits, small = {"filelist": "x.list"}, {"filelist": "x.list", "target_size": 112}
    model = MODELS.get("S3D").config(width_multiplier=0.1)
    build_network(Config(MODEL=model, TRAIN=schema.TrainSection(**fits)), "train")
    for sections in ({"VALID": schema.ValidSection(**small)}, {"TRAIN": schema.TrainSection(**small)}):
        with pytest.raises(InputError, match=f"crops of at least 209 px .{next(iter(sections))}.target_size"):
            build_network(Config(MODEL=model, **sections), "train")
    last = schema.TrainSection(channels_last=True)
    with pytest.raises(InputError, match="TRAIN.channels_last: S3D has no form for it"):
        build_network(Config(MODEL=model, TRAIN=last), "train")
