"""scripts/convert_weights.py, run as a user runs it: files of all kinds there and back, and files that are wrong."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import sys
import tarfile
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import paddle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_torch_weights import CLASSES, FRAMES, MODELS, logits_of, make_clips, make_state, same

ROOT = Path(__file__).resolve().parents[1]
from video_zoo.configs.schema import Config
from video_zoo.engine.checkpoint import State
from video_zoo.models import MODELS as ZOO
from video_zoo.models import TSMSection, TSNSection
from video_zoo.models.pretrained import load_weights
from video_zoo.models.torch_weights import from_ours, to_ours
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN
from video_zoo.scripts import convert_weights
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import VariableStore, encode, write_folder
from video_zoo.utils.safe_pickles import read_arrays

SMALL = {"num_layers": 18, "base_width": 8, "num_classes": CLASSES}


@pytest.fixture
def convert(monkeypatch, capsys):
    """Runs the tool; returns what it printed."""

    def run(*command: object) -> str:
        monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, command)])
        capsys.readouterr()
        convert_weights.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def refused(convert):
    """Runs the tool, which must refuse; returns the message."""

    def run(*command: object) -> str:
        with pytest.raises(InputError) as caught:
            convert(*command)
        return str(caught.value)

    return run


def save(path: Path, state: dict, **others: object) -> Path:
    """A .pth as MIT's code and MMAction2 write it."""
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {name: torch.from_numpy(value) for name, value in state.items()}, **others}, path)
    return path


def read(folder: Path) -> dict:
    store = VariableStore(folder)
    return {name: store.read(name) for name in store.names() - {"checkpoint.json"}}


def write(folder: Path, state: dict, info: dict | None = None) -> Path:
    """A folder of ours, of another project's weights."""
    folder.mkdir()
    write_folder(folder, to_ours(state)[0], info)
    return folder


def equal(left: dict, right: dict) -> bool:
    return same(dict(sorted(left.items())), dict(sorted(right.items())))


# --- to ours


@pytest.mark.parametrize("mm", [False, True])
@pytest.mark.parametrize("shift", ["bi", "uni", None])
def test_a_network_of_pytorch_runs_here(tmp_path, convert, log, mm, shift):
    torch = pytest.importorskip("torch")
    import torch_tsm as theirs
    from torch_state import randomise

    network = randomise(theirs.Recognizer(mm, 18, 8, CLASSES, shift, FRAMES))
    held = {"state_dict": (network if mm else torch.nn.DataParallel(network)).state_dict(), "epoch": 3, "meta": {}}
    torch.save(held, tmp_path / "their.pth")
    said = convert(tmp_path / "their.pth", tmp_path / "out", *(["--shift=uni"] if shift == "uni" else []))
    model = "TSM" if shift else "TSN"
    kind = f"{model}-18, base_width 8{f', shift {shift}' if shift else ''}, {CLASSES} classes"
    assert f"their.pth: {'mmaction2' if mm else 'mit'}, {kind}, 102 tensors\n" in said
    assert ("have changed places" in said) == (shift == "bi")
    assert ("multiplied by 2, for a dropout of 0.5" in said) == bool(shift)
    made_for = ZOO.get(model).config(**SMALL, seg_num=FRAMES, **({"shift": shift} if shift else {}))
    ours = MODELS[model].from_config(made_for, FRAMES)
    load_weights(ours, tmp_path / "out", config=made_for, complete=True)
    ours.eval()
    expected = theirs.logits_of(network, make_clips())
    assert np.abs(logits_of(ours, make_clips()) - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    "layout, flags",
    [("mit", ()), ("mmaction2", ("--shift=uni", "--dropout=0.25")), ("torchvision", ()), ("mit", ("--dropout=0",))],
)
def test_the_next_command_fits(tmp_path, convert, layout, flags):
    path, out = save(tmp_path / "a b.pth", make_state(layout)), tmp_path / "out put"
    said = convert(path, out, *flags)
    command = shlex.split(said.rpartition("next: ")[2])
    assert command[:2] == ["python", "train.py" if layout == "torchvision" else "test.py"]
    parser = cli.Parser()
    for flag in ("--model_name", "--weights", "--pretrain"):
        parser.add_argument(flag)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--config")
    made_for = cli.load_config(args := parser.parse_args(command[2:]), Config, {"TEST": {}}, ZOO)
    network = MODELS[args.model_name].from_config(made_for.MODEL, FRAMES)
    if args.pretrain:
        store = load_weights(network, args.pretrain, skip=network.last_layer, complete=True)
    else:
        store = load_weights(network, args.weights, config=made_for.MODEL, complete=True)
        assert made_for.TEST.keep_aspect and network.dropout.p == to_dropout(flags)
    assert store.path == out and made_for.MODEL.num_layers == 18


def to_dropout(flags: tuple[str, ...]) -> float:
    return float(next((flag.partition("=")[2] for flag in flags if flag.startswith("--dropout")), 0.5))


@pytest.mark.parametrize(
    "changed", [{"shift": "uni"}, {"num_classes": 4}, {"num_layers": 34}, {"image_mean": (0.5, 0.5, 0.5)}]
)
def test_another_network_is_told_apart(tmp_path, convert, changed):
    """checkpoint.json says of what the weights are."""
    convert(save(tmp_path / "x.pth", make_state("mit")), tmp_path / "out")
    with pytest.raises(InputError, match=f"was trained with MODEL.{next(iter(changed))} = "):
        load_weights(TSM(**SMALL), tmp_path / "out", config=TSMSection(**{**SMALL, **changed}))
    with pytest.raises(InputError, match="is a checkpoint of TSM, not of TSN"):
        load_weights(TSN(**SMALL), tmp_path / "out", config=TSNSection(**SMALL))


def test_a_training_can_go_on_from_it(tmp_path, convert):
    """As from a v1.5 folder: epoch 0, with the last layer."""
    convert(save(tmp_path / "x.pth", make_state("mit")), tmp_path / "out")
    assert State.of(VariableStore(tmp_path / "out")) == State()


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_types_of_numbers(tmp_path, convert, kind):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(value).to(getattr(torch, kind)) for name, value in make_state("mit").items()}
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}  # they want gradients
    torch.save({"state_dict": parameters}, tmp_path / "x.pth")
    convert(tmp_path / "x.pth", tmp_path / "out")
    state = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    assert equal(read(tmp_path / "out"), to_ours(state)[0])


# --- Paddle's own


@pytest.mark.parametrize("protocol", [2, 4])
def test_paddles_resnet(tmp_path, convert, protocol):
    theirs, state = paddle.vision.models.resnet18(num_classes=CLASSES), make_state("paddle", "TSN", width=64)
    assert [*map(len, theirs.set_state_dict(state))] == [0, 0]  # none is missing, none is left
    paddle.save(theirs.state_dict(), str(tmp_path / "r.pdparams"), protocol=protocol)
    said = convert(tmp_path / "r.pdparams", tmp_path / "out")
    assert f"r.pdparams: paddle, TSN-18, {CLASSES} classes, 102 tensors" in said
    assert "next: python train.py --model_name=TSM --pretrain=" in said
    ours, images = TSN(num_classes=CLASSES, num_layers=18, seg_num=1), paddle.rand([2, 1, 3, 32, 32])
    load_weights(ours, tmp_path / "out", complete=True)
    ours.eval(), theirs.eval()
    with paddle.no_grad():
        expected = theirs(images.flatten(0, 1)).numpy()
        assert np.abs(ours.classify(images).numpy() - expected).max() < 1e-4 * np.abs(expected).max()


def test_paddleclas(tmp_path, convert):
    state = make_state("paddleclas", "TSN", 50)
    (tmp_path / "r.pdparams").write_bytes(pickle.dumps({**state, "StructuredToParameterName@@": {}}, protocol=2))
    assert "paddleclas, TSN-50, base_width 8" in convert(tmp_path / "r.pdparams", tmp_path / "out", "--model_name=TSM")
    assert equal(read(tmp_path / "out"), to_ours(state)[0])


class Reduced:
    """Pickles as a call, with a state."""

    def __init__(self, *reduced: object):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def pickled_array(*state: object) -> Reduced:
    call, arguments, _ = np.ones(2).__reduce__()
    return Reduced(call, arguments, state)


ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(3, dtype=">f4"),
    np.ones((1, 3), np.float16),
    np.array(7),
]


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("protocol", range(5))
def test_arrays_are_read(tmp_path, array, protocol):
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"a": array, "b": array}, protocol=protocol))
    found = read_arrays(tmp_path / "x.pdparams")
    assert list(found) == ["a", "b"] and found["a"].dtype == array.dtype and np.array_equal(found["b"], array)


def test_arrays_of_python_2(tmp_path):
    text = np.float32([1, -2]).tobytes().decode("latin1")
    content = {"a": pickled_array(1, (2,), np.dtype("f4"), False, text)}
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps(content, protocol=2))
    assert read_arrays(tmp_path / "x.pdparams")["a"].tolist() == [1, -2]


@pytest.mark.parametrize(
    "content, reason",
    [
        ([1, 2], "holds no names"),
        ({1: ARRAYS[0]}, "holds no names"),
        ({"a": 3}, "a is no array"),
        ({"a": {"b": ARRAYS[0]}}, "a is no array"),
        ({"a": np.array([None])}, "'O8', which are no numbers"),
        ({"a": pickled_array(1, (3,), np.dtype("f4"), False, b"1234")}, "cannot reshape"),
        ({"a": pickled_array(1, (2**62, 4), np.dtype("f4"), False, b"")}, "is no .pdparams"),
        ({"a": Reduced(os.system, ("touch MARK",))}, "names code, (posix|nt).system, which is never run"),
        ({"a": Reduced(eval, ("open('MARK', 'w')",))}, "names code, (__builtin__|builtins).eval, which is never run"),
        ({"a": Reduced(np.load, ("MARK",))}, "names code, numpy.*load, which is never run"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_other_pickles_are_refused(tmp_path, refused, monkeypatch, content, reason, protocol):
    monkeypatch.chdir(tmp_path)
    Path("x.pdparams").write_bytes(pickle.dumps(content, protocol=protocol))
    message = refused("x.pdparams", "out")
    assert message.startswith("x.pdparams is no .pdparams file") and re.search(reason, message)
    assert os.listdir() == ["x.pdparams"]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_pickles_are_one_message(tmp_path, data):
    whole = bytearray(pickle.dumps({"a": ARRAYS[0], "b": ARRAYS[2]}, protocol=data.draw(st.sampled_from([0, 2, 4]))))
    end = data.draw(st.integers(0, len(whole)))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=3)):
        whole[place] = data.draw(st.integers(0, 255))
    (tmp_path / "x.pdparams").write_bytes(whole[:end])
    try:
        read_arrays(tmp_path / "x.pdparams")
    except InputError as error:
        assert str(tmp_path / "x.pdparams") in str(error)


# --- and back


@pytest.mark.parametrize("layout", ["mit", "mmaction2", "torchvision"])
def test_there_and_back(tmp_path, convert, layout):
    torch = pytest.importorskip("torch")
    state = make_state(layout)
    convert(save(tmp_path / "x.pth", state), tmp_path / "out")
    said = convert(tmp_path / "out", tmp_path / "new/back.pth", f"--layout={layout}")
    assert f"back.pth: 102 tensors as {layout} names them" in said
    assert ("have changed places" in said) == ("multiplied by 0.5" in said) == (layout != "torchvision")
    content = torch.load(tmp_path / "new/back.pth", weights_only=True)
    back = content if layout == "torchvision" else content["state_dict"]
    assert same({name: tensor.numpy() for name, tensor in back.items()}, state)


def test_a_folder_of_v15(tmp_path, convert, refused):
    """It says neither model nor shift."""
    torch = pytest.importorskip("torch")
    state = make_state("mit", "TSN")
    folder, out = write(tmp_path / "v15", state), tmp_path / "x.pth"
    (folder / "fc_0.w_0_velocity_0").write_bytes(encode(np.ones(3, np.float32)))
    (folder / "@LR_DECAY_COUNTER@").write_bytes(b"of another kind")
    with tarfile.open(tmp_path / "v15.tar.gz", "w:gz") as archive:
        archive.add(folder, "v15")
    assert "does not say whether it is a TSM or a TSN: --model_name=" in refused(folder, out, "--layout=mit")
    assert not out.exists()
    for source in (folder, tmp_path / "v15.tar.gz"):
        convert(source, out, "--layout=mit", "--model_name=TSN")
        found = torch.load(out, weights_only=True)["state_dict"]
        assert same({name: tensor.numpy() for name, tensor in found.items()}, state)
    convert(folder, out, "--layout=mit", "--model_name=TSM", "--shift=uni", "--dropout=0")
    found = torch.load(out, weights_only=True)["state_dict"]
    assert same({name.replace(".net", ""): tensor.numpy() for name, tensor in found.items()}, state)


def test_a_checkpoint_of_a_training(tmp_path, convert):
    """It says its model, shift and dropout, and how it saw its frames."""
    torch = pytest.importorskip("torch")
    mean = [0.5, 0.5, 0.5]
    told = {"model": "TSM", "MODEL": {"shift": "uni", "dropout": 0.75, "image_mean": mean, "image_std": None}}
    folder = write(tmp_path / "TSM_best", make_state("mit"), told)
    said = convert(folder, tmp_path / "x.pth", "--layout=mmaction2")
    assert "TSM-18, base_width 8, shift uni" in said and "multiplied by 0.25, for a dropout of 0.75" in said
    assert f"take care: it was trained with image_mean {mean}" in said and "its shift is uni" in said
    expected = from_ours(to_ours(make_state("mit"))[0], "mmaction2", "TSM", shift="uni", dropout=0.75)[0]
    found = torch.load(tmp_path / "x.pth", weights_only=True)["state_dict"]
    assert same({name: tensor.numpy() for name, tensor in found.items()}, expected)
    assert "no shifts; it is for PyTorch's TSM" in convert(folder, tmp_path / "y.pth", "--layout=torchvision")


@pytest.mark.parametrize(
    "told, flags, message",
    [
        ({"model": "TSM"}, [], "say with --layout"),
        ({"model": "TSM"}, ["--layout=mit", "--model_name=TSN"], "is of TSM, .* and --model_name is TSN"),
        ({"model": "I3D"}, ["--layout=mit"], "is of I3D, .*TSM and TSN can be converted"),
        ({"model": ["TSM"]}, ["--layout=mit"], r"checkpoint\.json is damaged: model is \['TSM'\]"),
        ({"model": "TSM", "MODEL": {"shift": "uni"}}, ["--layout=mit", "--shift=bi"], "is of uni, .*--shift is bi"),
        ({"model": "TSM", "MODEL": {"dropout": "x"}}, ["--layout=mit"], "says dropout 'x'; --dropout replaces it"),
        ({"model": "TSM", "MODEL": {"dropout": 1}}, ["--layout=mit"], "dropout 1 is not at least 0 and below 1"),
    ],
)
def test_what_a_folder_says_must_fit(tmp_path, refused, told, flags, message):
    pytest.importorskip("torch")
    folder = write(tmp_path / "x", make_state("mit"), told)
    assert re.search(message, refused(folder, tmp_path / "x.pth", *flags))
    assert sorted(os.listdir(tmp_path)) == ["x"]


# --- what is wrong


class Code:
    """A .pth that holds it cannot be read without running code."""

    def __reduce__(self):
        return os.system, ("touch MARK",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, refused, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    save(Path("x.pth"), make_state("mit"), history=Code())
    message = refused("x.pth", "out")
    assert "x.pth holds more than weights: it names code, " in message and ".system, which is never run" in message
    assert os.listdir() == ["x.pth"]


def test_the_remedy_works(tmp_path, convert, refused, monkeypatch):
    """Where the code is trusted, the command in the message gives a file that can be converted."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    state = make_state("mit")
    save(Path("it's.pth"), state, history=Decimal(3))
    command = shlex.split(refused("it's.pth", "out").rpartition("installed: ")[2])
    assert command[:2] == ["python", "-c"]
    exec(command[2])  # in a process of its own it would load PyTorch again
    convert("it's.plain.pth", "out")
    assert equal(read(Path("out")), to_ours(state)[0])


def contents() -> dict[str, object]:
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(value) for name, value in make_state("mit").items()}
    return {
        "list": [1, 2],
        "empty": {},
        "no weights": {"epoch": 3, "model": tensors},
        "state": {"state_dict": {**tensors, "epoch": 3}},
        "sparse": {"state_dict": {**tensors, "module.new_fc.bias": torch.eye(CLASSES).to_sparse()}},
        "other": {"state_dict": {"backbone.stages.0.weight": torch.ones(3)}},
    }


@pytest.mark.parametrize(
    "kind, message",
    [
        ("list", "it is no dict"),
        ("empty", "holds no weights where they are looked for"),
        ("no weights", "its keys are epoch, model"),
        ("state", "its keys are state_dict"),
        ("sparse", "no plain arrays"),
        ("other", "Other backbones"),
    ],
)
def test_a_checkpoint_of_something_else(tmp_path, refused, kind, message):
    pytest.importorskip("torch").save(contents()[kind], tmp_path / "x.pth")
    assert message in refused(tmp_path / "x.pth", tmp_path / "out")
    assert os.listdir(tmp_path) == ["x.pth"]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_checkpoint(tmp_path, refused, legacy, share):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(value) for name, value in make_state("mit").items()}
    torch.save({"state_dict": tensors}, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    whole = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(whole[: int(share * len(whole))])
    message = refused(tmp_path / "x.pth", tmp_path / "out")
    assert "is no PyTorch checkpoint, or is damaged: " in message and "\n" not in message
    assert "weights_only" not in message
    assert os.listdir(tmp_path) == ["x.pth"]


@pytest.mark.parametrize("data", [b"text\n", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x80\x04.", bytes(1000)])
def test_a_file_that_is_no_checkpoint(tmp_path, refused, data):
    pytest.importorskip("torch")
    (tmp_path / "x.pth").write_bytes(data)
    message = refused(tmp_path / "x.pth", tmp_path / "out")
    assert str(tmp_path / "x.pth") in message and "\n" not in message and "weights_only" not in message


def test_without_pytorch(tmp_path, refused, convert, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "x.pth").write_bytes(b"any")
    folder = write(tmp_path / "ours", make_state("mit"), {"model": "TSM"})
    for command in ((tmp_path / "x.pth", tmp_path / "out"), (folder, tmp_path / "y.pth", "--layout=mit")):
        assert "takes PyTorch, which nothing else here needs: pip install torch --index-url" in refused(*command)
    (tmp_path / "r.pdparams").write_bytes(pickle.dumps(make_state("paddle"), protocol=4))
    assert "paddle, TSN-18" in convert(tmp_path / "r.pdparams", tmp_path / "out")


# --- where it is written


def test_only_weights_are_replaced(tmp_path, convert, refused):
    path, out = save(tmp_path / "x.pth", make_state("mit")), tmp_path / "out"
    out.mkdir()
    convert(path, out)  # it was empty
    (out / "fc_0.b_0_velocity_0").touch()  # a momentum: ours, too
    (out / "my notes").touch()
    assert "would be replaced, and holds my notes, too" in refused(path, out)
    (out / "my notes").unlink()
    convert(save(tmp_path / "y.pth", make_state("mit", "TSN")), out)
    assert json.loads((out / "checkpoint.json").read_text())["model"] == "TSN"
    assert not (out / "fc_0.b_0_velocity_0").exists()
    before = read(out)
    assert "incomplete" in refused(save(tmp_path / "z.pth", {**dict(list(make_state("mit").items())[:-1])}), out)
    assert equal(read(out), before)
    assert "is a folder of something else" in refused(path, tmp_path)
    assert "is a file: give the name of a folder" in refused(path, path)
    path.rename(out / "x.pth")
    assert "holds" in refused(out / "x.pth", out) and (out / "x.pth").is_file()
    assert "is a folder: give the name of a .pth" in refused(out, tmp_path, "--layout=mit")
    assert "cannot write" in refused(out / "x.pth", "/dev/null/out")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--model_name=TSN"], "is of TSM, as its names tell, and --model_name is TSN"),
        (["--layout=mmaction2"], "is of mit, as its names tell, and --layout is mmaction2"),
    ],
)
def test_flags_that_contradict_the_names(tmp_path, refused, flags, message):
    assert message in refused(save(tmp_path / "x.pth", make_state("mit")), tmp_path / "out", *flags)
    assert os.listdir(tmp_path) == ["x.pth"]


@pytest.mark.parametrize(
    "flags", [["--dropout=1"], ["--dropout=x"], ["--shift=left"], ["--layout=keras"], ["--layou=mit"]]
)
def test_wrong_flags_are_one_line(convert, capsys, flags):
    with pytest.raises(SystemExit):
        convert("a.pth", "b", *flags)
    assert capsys.readouterr().err.count("\n") == 1


def test_as_a_command(tmp_path, run_cli):
    """In a process of its own, where PyTorch and Paddle meet."""
    path = save(tmp_path / "x.pth", make_state("mit"))
    result = run_cli("scripts/convert_weights.py", str(path), str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert "next: python test.py --model_name=TSM" in result.stdout
    result = run_cli("scripts/convert_weights.py", str(tmp_path / "no.pth"), str(tmp_path / "out"))
    assert result.returncode == 1 and result.stdout == ""
    assert (
        result.stderr.endswith("no.pth: give a .pth, a .pdparams, or a folder of ours\n")
        and "Trace" not in result.stderr
    )


def test_a_pth_takes_no_more_memory_than_its_size(tmp_path, refused):
    """A tensor whose strides are 0 is of any size; so is what is compressed."""
    torch = pytest.importorskip("torch")
    torch.save({"fc.weight": torch.zeros(1).expand(1 << 30, 2048)}, tmp_path / "x.pth")
    assert "x.pth is damaged: its tensors are larger than the file" in refused(tmp_path / "x.pth", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    assert re.search(r"x\.pth is no .*unpack to 1,048,576", refused(tmp_path / "x.pth", tmp_path / "out"))
    (tmp_path / "x.pth").unlink()
    os.mkfifo(tmp_path / "x.pth")
    assert "x.pth: it is no regular file" in refused(tmp_path / "x.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()
