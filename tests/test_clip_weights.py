"""Weights of 3-D networks of other projects: there and back, exactly, and what is wrong with them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from video_zoo.models import MODELS, i3dresnet50, p3d
from video_zoo.models.clip_models import CLIP_MODELS
from video_zoo.models.clip_network import ClipNetwork
from video_zoo.models.clip_weights import convert, find_model
from video_zoo.models.pretrained import load_weights
from video_zoo.scripts import convert_weights
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import write_folder

# Model -> keys that its weights tell, and how many of its tensors are matrices of linear layers.
KEYS = {"I3D": {}, "S3D": {"gating": True}, "R2PLUS1D": {"form": "mc3", "num_layers": 18}}
KEYS |= {"I3DRESNET50": {"non_local": True}, "P3D": {"num_layers": 63}}
LINEAR = {"I3D": 0, "S3D": 0, "R2PLUS1D": 1, "I3DRESNET50": 1, "P3D": 1}


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Fewer blocks than the large networks have."""
    monkeypatch.setattr(i3dresnet50, "DEPTHS", (1, 2, 2, 1))
    monkeypatch.setattr(p3d, "STAGES", {63: ((3, 1, 1, 1), 50)})


@pytest.fixture
def narrow(monkeypatch):
    """An eighth of the channels, which the weights of other projects do not have."""
    monkeypatch.setattr(ClipNetwork, "scaled", lambda self, channels: max(channels // 8, 2))


def network_of(name: str) -> ClipNetwork:
    spec = MODELS.get(name)
    return spec.network_class().from_config(spec.config(num_classes=5, **KEYS[name]), seg_num=1)


def theirs_of(network: ClipNetwork) -> dict[str, np.ndarray]:
    """Another project's weights of the same network, none of which it has."""
    arrays = {name: tensor.numpy() + 1 for name, tensor in network.variables().items()}
    return {name: array.T if array.ndim == 2 else array for name, array in arrays.items()}


def test_all_3d_networks_are_here():
    assert set(KEYS) == set(LINEAR) == {spec.name for spec in CLIP_MODELS}


@pytest.mark.contract
@pytest.mark.parametrize("name", KEYS)
def test_there_and_back(narrow, name):
    network = network_of(name)
    theirs = theirs_of(network)
    counter = {"module.features.0.0.1.num_batches_tracked": np.array(3)}
    wrapped = {f"module.{key}": array.astype(np.float64) for key, array in theirs.items()}
    spec = find_model(wrapped)
    assert spec is not None and spec.name == name
    weights = convert({**wrapped, **counter}, spec, to_ours=True, source="x.pth")
    assert weights.keys == {"num_classes": 5, **KEYS[name]}
    ours = {key: tensor.numpy() + 1 for key, tensor in network.variables().items()}
    assert list(weights.arrays) == list(ours)
    assert all(np.array_equal(array, ours[key]) for key, array in weights.arrays.items())
    assert sum(not np.array_equal(array, theirs[key]) for key, array in weights.arrays.items()) == LINEAR[name]
    back = convert(weights.arrays, find_model(weights.arrays), to_ours=False, source="ours").arrays
    assert back.keys() == theirs.keys() and all(np.array_equal(array, theirs[key]) for key, array in back.items())


def test_what_is_wrong_is_one_message(narrow):
    theirs = theirs_of(network_of("S3D"))
    first, bias = "features.0.0.0.weight", "classifier.1.bias"

    def refused(**changes: object) -> str:
        state = {**theirs, **{key.replace("_", "."): value for key, value in changes.items()}}
        state = {key: value for key, value in state.items() if value is not None}
        with pytest.raises(InputError) as caught:
            convert(state, find_model(state), to_ours=True, source="x.pth")
        return str(caught.value)

    assert refused(classifier_1_bias=None) == "x.pth is no whole S3D: classifier.1.bias is missing or empty"
    said = refused(features_2_1_weight=None, features_99_weight=theirs[bias])
    assert "features.99.weight has no place (1 such), and features.2.1.weight is missing (1 of " in said
    said = refused(features_0_0_0_weight=theirs[first][..., :5])
    assert "features.0.0.0.weight is float32 of shape [8, 3, 1, 7, 5]; of this S3D it is made of floating-point" in said
    assert "features.2.0.weight is int64" in refused(features_2_0_weight=theirs["features.2.0.weight"].astype(int))
    assert "is not made of finite float32 numbers" in refused(classifier_1_bias=np.full(5, np.nan, np.float32))
    assert find_model({"conv1.weight": theirs[bias]}) is None


@pytest.mark.parametrize("inflate", [False, True])
def test_weights_of_a_larger_network_of_the_family_are_refused(tmp_path, inflate):
    """Though all names and shapes of the smaller one are there: an S3D-G's gates would be left out without a word."""
    write_folder(tmp_path, {name: tensor.numpy() for name, tensor in network_of("S3D").variables().items()})
    network = MODELS.get("S3D").network_class()(num_classes=5)
    with pytest.raises(InputError, match=r"another network of this family: .*weights.weight has no place .*37 such"):
        load_weights(network, tmp_path, skip=network.last_layer, inflate=inflate)


@pytest.mark.contract
@pytest.mark.parametrize("depth", [18, 34])
@pytest.mark.parametrize("form", ["r2plus1d", "r3d", "mc3"])
def test_3d_resnets_are_pytorchs(form, depth):
    """Weights of a network of PyTorch (benchmark/torch_r2plus1d.py), converted, give its logits."""
    torch = pytest.importorskip("torch")
    from torch_r2plus1d import VideoResNet

    theirs = VideoResNet(form, depth, 5)
    state = {key: value for key, value in theirs.state_dict().items() if not key.endswith("tracked")}
    rng = np.random.default_rng(0)
    for key, value in state.items():
        if value.ndim > 1:
            made = rng.normal(0, (2 / np.prod(value.shape[1:])) ** 0.5, value.shape)
        else:
            made = rng.uniform(0.5, 1.5, value.shape) if key.endswith("var") else rng.normal(0.3, 0.2, value.shape)
        value.copy_(torch.from_numpy(made))
    arrays = {key: value.numpy() for key, value in state.items()}
    weights = convert(arrays, find_model(arrays), to_ours=True, source="x.pth")
    assert weights.keys == {"num_classes": 5, "form": form, "num_layers": depth}
    ours = weights.spec.network_class().from_config(weights.section, seg_num=1)
    for key, tensor in ours.variables().items():
        tensor.set_value(weights.arrays[key])
    clips = rng.normal(size=(2, 6, 3, 30, 30)).astype("float32")
    theirs.eval(), ours.eval()
    with paddle.no_grad(), torch.no_grad():
        expected = theirs(torch.from_numpy(clips.transpose(0, 2, 1, 3, 4).copy())).numpy()
        found = ours.classify(paddle.to_tensor(clips)).numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("name", KEYS)
def test_the_script_converts_files(narrow, name, tmp_path, monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    network = network_of(name)
    theirs = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in theirs_of(network).items()}
    torch.save(theirs, tmp_path / "x.pth")

    def run(*command: object) -> str:
        monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, command)])
        convert_weights.main()
        return capsys.readouterr().out

    said = run(tmp_path / "x.pth", tmp_path / "ours")
    assert (
        f"x.pth: {network.project}, {name}, num_classes 5" in said and f"{len(theirs)} variables and checkpoint" in said
    )
    assert f"next: python test.py --model_name={name} --weights={tmp_path}/ours --set MODEL.num_classes=5" in said
    info = json.loads(Path(tmp_path / "ours/checkpoint.json").read_text())
    assert info["model"] == name and {"num_classes": 5, **KEYS[name]}.items() <= info["MODEL"].items()
    made_for = MODELS.get(name).config(num_classes=5, **KEYS[name])
    load_weights(network, tmp_path / "ours", config=made_for, complete=True)
    said = run(tmp_path / "ours", tmp_path / "back.pth", f"--layout={network.project}")
    assert f"{len(theirs)} tensors as {network.project} names them" in said
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == theirs.keys() and all(torch.equal(back[key], theirs[key]) for key in theirs)
    with pytest.raises(InputError, match=f"is of {name}, as its names tell, and --model_name is TSM"):
        run(tmp_path / "x.pth", tmp_path / "out", "--model_name=TSM")
    with pytest.raises(InputError, match="--shift and --dropout are for TSM and TSN"):
        run(tmp_path / "x.pth", tmp_path / "out", "--dropout=0.3")
    with pytest.raises(InputError, match=f"is of {network.project}, as its names tell, and --layout is mit"):
        run(tmp_path / "ours", tmp_path / "back.pth", "--layout=mit")
