"""How weights get into a network, and where the released ones come from."""

from __future__ import annotations

import functools
import http.server
import shutil
import socket
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from video_zoo.configs.schema import Config, TrainSection
from video_zoo.models import MODELS, TSMSection, load_trained, pretrained
from video_zoo.models.pretrained import load_weights
from video_zoo.models.start_weights import load_start_weights
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN
from video_zoo.utils import download
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import encode, write_folder

TSM_KINETICS, TSN_KINETICS = (MODELS.get(name).weights["kinetics"] for name in ("TSM", "TSN"))
IMAGENET = MODELS.get("TSM").weights["imagenet"]
LAST_LAYER = TSN.last_layer
MADE_FOR = {"num_layers": 18, "base_width": 8, "num_classes": 4}
SMALL = {**MADE_FOR, "seg_num": 2}


@pytest.fixture(params=[TSN, TSM])
def network(request):
    return request.param(**SMALL)


def values_of(network) -> dict[str, np.ndarray]:
    return {name: np.array(tensor.numpy()) for name, tensor in network.variables().items()}


def other_values(network) -> dict[str, np.ndarray]:
    """Weights of the network's shapes, none of which it has."""
    return {name: value + 1 for name, value in values_of(network).items()}


def equal(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def write(path: Path, variables: dict[str, np.ndarray], info: dict | None = None) -> Path:
    path.mkdir()
    write_folder(path, variables, info)
    return path


def refused(network, path: Path, **options) -> str:
    """The message; the network must be as it was."""
    before = values_of(network)
    with pytest.raises(InputError) as caught:
        load_weights(network, path, **options)
    assert equal(values_of(network), before)
    return str(caught.value)


# load_weights


def test_all_weights(network, tmp_path, log):
    weights = other_values(network)
    path = write(tmp_path / "w", {**weights, "fc_0.w_0_velocity_0": np.ones(3, np.float32)})
    store = load_weights(network, path, complete=True)
    assert equal(values_of(network), weights)
    assert log.messages == [f"weights {path}: {len(weights)} loaded, 0 skipped, 0 not found"]
    assert store.read("fc_0.w_0_velocity_0").tolist() == [1, 1, 1]


def test_an_archive(network, tmp_path, log):
    weights = other_values(network)
    folder = write(tmp_path / "w", weights)
    with tarfile.open(tmp_path / "w.tar.gz", "w:gz") as archive:
        archive.add(folder, "some_name")
    load_weights(network, str(tmp_path / "w.tar.gz"), complete=True)
    assert equal(values_of(network), weights)


def test_all_but_the_last_layer(network, tmp_path, log):
    weights, fresh = other_values(network), values_of(network)
    another = {"fc_0.w_0": np.zeros((64, 400), np.float32), "fc_0.b_0": np.zeros(400, np.float32)}
    path = write(tmp_path / "w", {**weights, **another})
    load_weights(network, path, skip=LAST_LAYER, complete=True)
    assert equal(values_of(network), {**weights, **{name: fresh[name] for name in LAST_LAYER}})
    assert log.messages == [f"weights {path}: {len(weights) - 2} loaded, 2 skipped, 0 not found"]


def test_a_skipped_one_need_not_be_there(network, tmp_path, log):
    weights = {name: value for name, value in other_values(network).items() if name not in LAST_LAYER}
    path = write(tmp_path / "w", weights)
    load_weights(network, path, skip=LAST_LAYER, complete=True)
    assert log.messages == [f"weights {path}: {len(weights)} loaded, 2 skipped, 0 not found"]
    (path / "conv1_weights").unlink()
    said = refused(network, path, skip=LAST_LAYER, complete=True)
    missing = f"1 of {len(weights)} names are missing, the first is conv1_weights"
    assert said == f"{path} is incomplete, or of another depth: {missing}"


def test_what_is_not_there_stays_and_is_counted(network, tmp_path, log):
    weights, fresh = other_values(network), values_of(network)
    missing = list(weights)[3:7]
    path = write(tmp_path / "w", {name: weights[name] for name in weights if name not in missing})
    load_weights(network, path)
    assert equal(values_of(network), {**weights, **{name: fresh[name] for name in missing}})
    names = f"{missing[0]}, {missing[1]}, {missing[2]} ..."
    assert log.messages == [f"weights {path}: {len(weights) - 4} loaded, 0 skipped, 4 not found ({names})"]


def test_a_missing_one_is_an_error_where_all_are_needed(network, tmp_path):
    weights = other_values(network)
    del weights["conv1_weights"], weights["fc_0.b_0"]
    path = write(tmp_path / "w", weights)
    said = refused(network, path, complete=True)
    missing = f"2 of {len(weights) + 2} names are missing, the first is conv1_weights"
    assert said == f"{path} is incomplete, or of another depth: {missing}"


@pytest.mark.parametrize(
    ("name", "shape", "hint"),
    [
        ("fc_0.b_0", [400], "another number of classes?"),
        ("fc_0.w_0", [64, 400], "another number of classes?"),
        ("conv1_weights", [64, 3, 7, 7], "another backbone, depth or width?"),
        ("bn_conv1_mean", [1, 8], "another backbone, depth or width?"),
        ("bn_conv1_mean", [], "another backbone, depth or width?"),
    ],
)
def test_another_shape_names_the_parameter(network, tmp_path, name, shape, hint):
    expected = list(network.variables()[name].shape)
    path = write(tmp_path / "w", {**other_values(network), name: np.zeros(shape, np.float32)})
    said = refused(network, path)
    assert said == f"{path} does not fit: {name} has shape {shape}, the network's is {expected} ({hint})"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["conv1_weights", "fc_0.b_0", "bn2a_branch2a_variance"])
def test_weights_that_are_no_numbers(network, tmp_path, name, value):
    weights = other_values(network)
    weights[name].flat[-1] = value
    path = write(tmp_path / "w", weights)
    assert refused(network, path) == f"{path}: {name} is not made of finite float32 numbers"


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_weights_of_another_type(network, tmp_path, dtype):
    weights = other_values(network)
    weights["conv1_weights"] = weights["conv1_weights"].astype(dtype)
    assert "conv1_weights is not made of finite float32 numbers" in refused(network, write(tmp_path / "w", weights))


def test_a_damaged_file_is_named(network, tmp_path):
    path = write(tmp_path / "w", other_values(network))
    (path / "fc_0.b_0").write_bytes((path / "fc_0.b_0").read_bytes()[:-1])
    assert refused(network, path).startswith(f"{path}/fc_0.b_0 is damaged: ")


@pytest.mark.parametrize("options", [{}, {"complete": True}, {"skip": LAST_LAYER}])
def test_nothing_fits(network, tmp_path, options):
    path = write(tmp_path / "w", {"linear.weight": np.zeros((2, 2), np.float32)})
    name = type(network).__name__
    assert refused(network, path, **options) == f"{path} holds no weights of this {name}: none of their names is there"


def test_only_the_last_layer_fits_and_is_skipped(network, tmp_path):
    path = write(tmp_path / "w", {name: values_of(network)[name] for name in LAST_LAYER})
    assert "holds no weights of this" in refused(network, path, skip=LAST_LAYER)


def test_nothing_there(network, tmp_path):
    assert refused(network, tmp_path / "no").startswith(f"no weights at {tmp_path}/no: ")


def test_a_checkpoint_of_another_model(tmp_path, log):
    network = TSM(**SMALL)
    weights = other_values(network)
    path = write(tmp_path / "w", weights, {"model": "TSN", "epoch": 1})
    for options in ({}, {"complete": True}):
        assert refused(network, path, config=TSMSection(), **options) == f"{path} is a checkpoint of TSN, not of TSM"
    load_weights(network, path, skip=LAST_LAYER)  # to start from, it is as good as any
    assert np.array_equal(values_of(network)["conv1_weights"], weights["conv1_weights"])


@pytest.mark.parametrize("info", [{"model": "TSM"}, {"epoch": 1}])
def test_a_checkpoint_of_ours_must_be_whole(tmp_path, info):
    """To go on from and to test; to start from, and of v1.5, what is there will do."""
    network = TSM(**SMALL)
    weights = other_values(network)
    del weights["bn4a_branch2b_mean"]
    path = write(tmp_path / "w", weights, info)
    said = refused(network, path, config=TSMSection(**MADE_FOR))
    missing = "1 of 102 names are missing, the first is bn4a_branch2b_mean"
    assert said == f"{path} is incomplete, or of another depth: {missing}"
    load_weights(network, path)
    assert np.array_equal(values_of(network)["conv1_weights"], weights["conv1_weights"])
    network = TSM(**SMALL)
    (path / "checkpoint.json").unlink()
    load_weights(network, path, config=TSMSection(**MADE_FOR))
    assert np.array_equal(values_of(network)["conv1_weights"], weights["conv1_weights"])


@pytest.mark.parametrize("info", [{"model": "TSM"}, {"epoch": 1}])
def test_a_checkpoint_of_the_same_model_or_of_nobody_knows_which(tmp_path, info):
    network = TSM(**SMALL)
    weights = other_values(network)
    load_weights(network, write(tmp_path / "w", weights, info), config=TSMSection(), complete=True)
    assert equal(values_of(network), weights)


@pytest.mark.parametrize(
    ("trained", "said"),
    [
        ({"shift": "uni"}, "MODEL.shift = uni, and the config says bi"),
        ({"image_mean": [0, 0, 0]}, "MODEL.image_mean = [0, 0, 0], and the config says (0.485, 0.456, 0.406)"),
        ({"image_std": [1, 1, 1]}, "MODEL.image_std = [1, 1, 1], and the config says (0.229, 0.224, 0.225)"),
        ({"num_classes": 5}, "MODEL.num_classes = 5, and the config says 4"),
        ({"num_layers": 34}, "MODEL.num_layers = 34, and the config says 18"),
        ({"base_width": 16}, "MODEL.base_width = 16, and the config says 8"),
        ({"seglen": 5}, "MODEL.seglen = 5, and the config says 1"),
    ],
)
def test_a_checkpoint_that_saw_something_else(tmp_path, trained, said):
    network = TSM(**SMALL)
    path = write(tmp_path / "w", other_values(network), {"model": "TSM", "MODEL": {**MADE_FOR, **trained}})
    hint = "The config.yaml beside a checkpoint is the one it was trained with."
    assert refused(network, path, config=TSMSection(**MADE_FOR)) == f"{path} was trained with {said}. {hint}"
    load_weights(network, path)  # to start from, it is as good as any that fits


def test_a_checkpoint_that_saw_the_same(tmp_path):
    """What a checkpoint tells beside, and what it does not tell, is no difference."""
    network = TSM(**SMALL)
    told = {"seg_num": 99, "class_names": "other.txt", "image_mean": [0.485, 0.456, 0.406], "num_layers": 18}
    weights = other_values(network)
    load_weights(
        network, write(tmp_path / "w", weights, {"model": "TSM", "MODEL": told}), config=TSMSection(**MADE_FOR)
    )
    assert equal(values_of(network), weights)


def test_the_folder_above(tmp_path):
    network = TSM(**SMALL)
    for name in ("TSM_best", "TSM_epoch0"):
        write(tmp_path / name, other_values(network))
    said = refused(network, tmp_path)
    assert said.endswith(f": did you mean {tmp_path}/TSM_best or {tmp_path}/TSM_epoch0?")


def test_damaged_information(network, tmp_path):
    path = write(tmp_path / "w", other_values(network))
    (path / "checkpoint.json").write_text("{")
    said = refused(network, path, config=MODELS.get(type(network).__name__).config())
    assert said.startswith(f"{path}/checkpoint.json is damaged")


# The released weights

NEEDED = {"conv1_weights", "fc_0.b_0"}
CONV1 = {"conv1_weights": np.zeros((2, 3, 7, 7), np.float32), "fc_0.b_0": np.zeros(400, np.float32)}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The cache; no network, no proxy, no waiting."""
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(pretrained, "HOST", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic))
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setenv("PADDLE_WEIGHTS_HOME", str(tmp_path / "home"))
        monkeypatch.delenv("PADDLE_WEIGHTS_MIRROR", raising=False)
        yield tmp_path / "home"


def pack(path: Path, variables: dict[str, np.ndarray], top: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent / "unpacked"
    write(folder, variables)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, top)
    shutil.rmtree(folder)


def test_the_addresses_of_the_contract(monkeypatch):
    monkeypatch.delenv("PADDLE_WEIGHTS_MIRROR", raising=False)
    host = "https://paddlemodels.bj.bcebos.com/video_classification"
    assert TSM_KINETICS.urls() == [f"{host}/tsm_kinetics.tar.gz"]
    assert TSN_KINETICS.urls() == [f"{host}/tsn_kinetics.tar.gz"]
    assert IMAGENET.urls() == [f"{host}/ResNet50_pretrained.tar.gz"]
    assert (TSM_KINETICS.top1, TSN_KINETICS.top1) == (0.70, 0.67)


@pytest.mark.parametrize("home", [None, "", "~/zoo", "/data/zoo"])
def test_the_place_in_the_cache(monkeypatch, home):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("PADDLE_WEIGHTS_HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("PADDLE_WEIGHTS_HOME", home)
    places = {"~/zoo": "/home/me/zoo", "/data/zoo": "/data/zoo"}
    assert TSM_KINETICS.folder() == Path(places.get(home, "/home/me/.paddle/weights")) / "tsm_kinetics"


@pytest.mark.parametrize("mirror", ["https://mirror.example/zoo", "https://mirror.example/zoo/"])
def test_a_mirror_replaces_the_host(monkeypatch, mirror):
    monkeypatch.setenv("PADDLE_WEIGHTS_MIRROR", mirror)
    assert TSM_KINETICS.urls() == [
        "https://mirror.example/zoo/video_classification/tsm_kinetics.tar.gz",
        "https://mirror.example/zoo/tsm_kinetics.tar.gz",
    ]


@pytest.fixture(params=["file", "http"])
def mirror(request, tmp_path, monkeypatch, home) -> Path:
    """The folder of a mirror, reached by a file: or an http: URL."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    if request.param == "file":
        monkeypatch.setenv("PADDLE_WEIGHTS_MIRROR", folder.as_uri())
        yield folder
        return

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("PADDLE_WEIGHTS_MIRROR", f"http://127.0.0.1:{server.server_address[1]}")
    yield folder
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("place", ["video_classification/tsm_kinetics.tar.gz", "tsm_kinetics.tar.gz"])
@pytest.mark.parametrize("top", ["tsm_kinetics", "."])
def test_a_mirror_has_either_layout(mirror, home, place, top, log):
    pack(mirror / place, CONV1, top)
    folder = TSM_KINETICS.fetch(TSMSection(), "--weights", NEEDED)
    assert folder == home / "tsm_kinetics"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: encode(array) for name, array in CONV1.items()
    }


def test_a_mirror_without_the_weights(mirror, home):
    pack(mirror / "tsn_kinetics.tar.gz", CONV1, ".")
    with pytest.raises(InputError, match=r"cannot (download|read) .*/tsm_kinetics\.tar\.gz: "):
        TSM_KINETICS.fetch(TSMSection(), "--weights", NEEDED)
    assert not (home / "tsm_kinetics").exists()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            dict.fromkeys(("fc_0.b_0", "a", "b", "c"), CONV1["fc_0.b_0"]),
            "it lacks 1 of the 2 files, the first is conv1_weights; it holds a, b, c ...",
        ),
        ({}, "it lacks 2 of the 2 files, the first is "),
    ],
)
def test_an_archive_of_something_else(mirror, home, variables, message):
    pack(mirror / "tsm_kinetics.tar.gz", variables, ".")
    with pytest.raises(InputError) as caught:
        TSM_KINETICS.fetch(TSMSection(), "--weights", NEEDED)
    assert f"did not give the weights: {message}" in str(caught.value)
    assert "Nothing was kept." in str(caught.value)
    assert [path.name for path in home.iterdir() if path.suffix != ".lock"] == []


def test_an_archive_with_a_damaged_variable(mirror, home):
    pack(mirror / "tsm_kinetics.tar.gz", CONV1, ".")
    folder = mirror / "again"
    folder.mkdir()
    write_folder(folder, CONV1)
    (folder / "conv1_weights").write_bytes(encode(CONV1["conv1_weights"])[:-1])
    with tarfile.open(mirror / "tsm_kinetics.tar.gz", "w:gz") as archive:
        archive.add(folder, ".")
    with pytest.raises(InputError, match="conv1_weights is damaged: .*Nothing was kept"):
        TSM_KINETICS.fetch(TSMSection(), "--weights", NEEDED)
    assert not (home / "tsm_kinetics").exists()


def test_no_network(home):
    with pytest.raises(InputError) as caught:
        TSM_KINETICS.fetch(TSMSection(), "--weights", NEEDED)
    said, url = str(caught.value), TSM_KINETICS.urls()[0]
    assert said.startswith(f"cannot download {url}: ")
    assert (
        f"Without a network: download {url} elsewhere, unpack it so that {home / 'tsm_kinetics'} holds its files"
        in said
    )
    assert "or give the folder or the .tar.gz with --weights=PATH" in said
    assert "PADDLE_WEIGHTS_MIRROR names another server" in said


def test_what_is_in_the_cache_must_be_whole(home):
    (home / "tsm_kinetics").mkdir(parents=True)
    with pytest.raises(InputError, match="tsm_kinetics is not sound: it lacks 2 of the 2 files.* Delete it"):
        TSM_KINETICS.fetch(TSMSection(), "--weights", NEEDED)


@pytest.mark.parametrize("weights", [TSM_KINETICS, TSN_KINETICS, IMAGENET], ids=lambda weights: weights.name)
def test_what_is_in_the_cache_needs_no_network(home, weights):
    folder = home / weights.name
    folder.parent.mkdir()
    write(folder, CONV1)
    assert weights.fetch(TSMSection(), "--weights", NEEDED) == folder
    assert {path.name for path in home.iterdir()} == {weights.name}  # not even a lock


@pytest.mark.parametrize("weights", [TSM_KINETICS, TSN_KINETICS], ids=lambda weights: weights.name)
@pytest.mark.parametrize(
    ("key", "value", "published"), [("num_layers", 101, 50), ("num_classes", 4, 400), ("base_width", 16, 64)]
)
def test_no_weights_for_this_network(home, weights, key, value, published):
    with pytest.raises(InputError) as caught:
        weights.fetch(replace(TSMSection(), **{key: value}), "--weights", NEEDED)
    assert str(caught.value) == (
        f"no weights are published for this network: {weights.name} is for {key} = {published}, and the config"
        f" has {value}. Give --weights=PATH."
    )
    assert not home.exists()


def test_imagenets_weights_fit_any_number_of_classes(home):
    write_to = home / "ResNet50_pretrained"
    home.mkdir()
    write(write_to, CONV1)
    assert IMAGENET.fetch(replace(TSMSection(), num_classes=4), "--pretrain", NEEDED) == write_to
    with pytest.raises(InputError) as caught:
        IMAGENET.fetch(replace(TSMSection(), num_layers=18, num_classes=4), "--pretrain", NEEDED)
    assert str(caught.value) == (
        "no weights are published for this network: ResNet50_pretrained is for num_layers = 50, and the config has 18."
        " Give --pretrain=PATH, or --pretrain=none to start from scratch."
    )


# What a training starts from


def test_a_training_starts_with_all_but_the_last_layer(network, tmp_path, log):
    weights, fresh = other_values(network), values_of(network)
    section = MODELS.get(type(network).__name__).config(**MADE_FOR)
    settings = Config(MODEL=section, TRAIN=TrainSection(pretrain=str(write(tmp_path / "w", weights))))
    load_start_weights(network, settings)
    assert equal(values_of(network), {**weights, **{name: fresh[name] for name in LAST_LAYER}})
    assert log.messages[-1] == "the last layer starts fresh, for 4 classes"
    load_start_weights(network, replace(settings, TRAIN=TrainSection(pretrain="none")))
    assert log.messages[-1] == "training from scratch"


@pytest.mark.parametrize("choice", [None, "imagenet", "Kinetics"])
def test_released_weights_to_start_from_fit_another_number_of_classes(home, choice):
    weights = {"Kinetics": TSM_KINETICS}.get(choice, IMAGENET)
    network = TSM(**{**SMALL, "num_classes": 7})
    settings = Config(MODEL=TSMSection(num_classes=7), TRAIN=TrainSection(pretrain=choice))
    (home / weights.name).mkdir(parents=True)
    write_folder(home / weights.name, other_values(network))
    load_start_weights(network, settings)  # the config says 50 layers, as the published network has
    with pytest.raises(InputError, match="no weights are published for this network: .* is for num_layers = 50"):
        load_start_weights(network, replace(settings, MODEL=TSMSection(num_layers=18, num_classes=7)))


def test_a_model_without_released_weights_says_so(monkeypatch):
    settings = Config(MODEL=TSMSection(**MADE_FOR))
    spec = replace(MODELS.get("TSM"), weights={})
    monkeypatch.setitem(MODELS._entries, "TSM", spec)
    with pytest.raises(InputError, match="^no imagenet weights are published for TSM. Give --pretrain=PATH, or"):
        load_start_weights(TSM(**SMALL), settings)
    with pytest.raises(InputError, match="^no kinetics weights are published for TSM. Give --weights=PATH.$"):
        load_trained(settings, "test", None)


def test_any_name_of_a_models_weights_is_one_to_start_from(home, monkeypatch):
    """Not only imagenet and kinetics: a record may have others."""
    other = replace(IMAGENET, name="others", fits={})
    monkeypatch.setitem(MODELS._entries, "TSM", replace(MODELS.get("TSM"), weights={"ssv2": other}))
    (home / "others").mkdir(parents=True)
    values = other_values(TSM(**SMALL))
    write_folder(home / "others", values)
    network = TSM(**SMALL)
    load_start_weights(network, Config(MODEL=TSMSection(**MADE_FOR), TRAIN=TrainSection(pretrain="ssv2")))
    assert np.array_equal(values_of(network)["conv1_weights"], values["conv1_weights"])
