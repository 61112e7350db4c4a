"""Config files: v1.5's INI and YAML into one checked, frozen object; every mistake is named."""

from __future__ import annotations

import dataclasses
import math
import typing
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from video_zoo.configs.protocols import PROTOCOLS
from video_zoo.configs.schema import Config
from video_zoo.models import MODELS, TSMSection
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError
from video_zoo.utils.texts import for_display

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = cli.model_sections(MODELS)
TSM_CONFIG = Config(MODEL=TSMSection())  # the defaults

V15_TSM = """\
[MODEL]
name = "TSM"
format = "pkl"
num_classes = 400
seg_num = 8
seglen = 1
image_mean = [0.485, 0.456, 0.406]
image_std = [0.229, 0.224, 0.225]
num_layers = 50

[TRAIN]
epoch = 65
short_size = 256
target_size = 224
num_reader_threads = 12
buf_size = 1024
batch_size = 128
use_gpu = True
num_gpus = 8
filelist = "./dataset/kinetics/train.list"
learning_rate = 0.01
learning_rate_decay = 0.1
decay_epochs = [40, 60]
l2_weight_decay = 1e-4
momentum = 0.9
total_videos = 239781
enable_ce = False

[VALID]
short_size = 256
target_size = 224
num_reader_threads = 12
buf_size = 1024
batch_size = 128
filelist = "./dataset/kinetics/val.list"

[TEST]
short_size = 256
target_size = 224
num_reader_threads = 12
buf_size = 1024
batch_size = 16
filelist = "./dataset/kinetics/test.list"

[INFER]
short_size = 256
target_size = 224
num_reader_threads = 12
buf_size = 1024
batch_size = 1
filelist = "./dataset/kinetics/infer.list"
"""

V15_TSN = """\
[MODEL]
name = "TSN"
format = "pkl"
num_classes = 400
seg_num = 3
seglen = 1
image_mean = [0.485, 0.456, 0.406]
image_std = [0.229, 0.224, 0.225]
num_layers = 50
topk = 5

[TRAIN]
epoch = 45
short_size = 256
target_size = 224
num_reader_threads = 12
buf_size = 1024
batch_size = 256
use_gpu = True
num_gpus = 8
filelist = "./dataset/kinetics/train.list"
learning_rate = 0.01
learning_rate_decay = 0.1
l2_weight_decay = 1e-4
momentum = 0.9
total_videos = 224684
enable_ce = False

[VALID]
short_size = 256
target_size = 224
num_reader_threads = 12
buf_size = 1024
batch_size = 128
filelist = "./dataset/kinetics/val.list"

[TEST]
seg_num = 7
short_size = 256
target_size = 224
num_reader_threads = 12
buf_size = 1024
batch_size = 16
filelist = "./dataset/kinetics/test.list"

[INFER]
short_size = 256
target_size = 224
num_reader_threads = 12
buf_size = 1024
batch_size = 1
filelist = "./dataset/kinetics/infer.list"
video_path = ""
kinetics_labels = "./dataset/kinetics_labels.json"
"""


@pytest.fixture
def load(tmp_path):
    """Writes a text to a file and loads it."""

    def write_and_load(text: str, name: str = "my.txt", overrides=None) -> Config:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return load_tsm(path, overrides) if text != V15_TSN else config.load(str(path), Config, overrides, SECTIONS)

    return write_and_load


def load_tsm(path: Path, overrides=None) -> Config:
    """As a command line does with --model_name=TSM."""
    return config.load(str(path), Config, overrides, SECTIONS, "TSM")


def error_of(load, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        load(*arguments)
    return str(caught.value)


# v1.5's files


def test_v15_tsm(load):
    loaded = load(V15_TSM)
    model, train = loaded.MODEL, loaded.TRAIN
    assert (model.name, model.format, model.num_classes, model.num_layers) == ("TSM", "pkl", 400, 50)
    assert (model.seg_num, model.seglen) == (8, 1)
    assert model.image_mean == (0.485, 0.456, 0.406) and model.image_std == (0.229, 0.224, 0.225)
    assert (train.epoch, train.batch_size, train.total_videos) == (65, 128, 239781)
    assert (train.learning_rate, train.learning_rate_decay, train.decay_epochs) == (0.01, 0.1, (40, 60))
    assert (train.l2_weight_decay, train.momentum) == (0.0001, 0.9)
    assert (train.use_gpu, train.enable_ce) == (True, False)
    assert train.filelist == "./dataset/kinetics/train.list"
    for mode, batch_size in (("train", 128), ("valid", 128), ("test", 16), ("infer", 1)):
        section = loaded.reader(mode)
        assert section.batch_size == batch_size
        assert (section.short_size, section.target_size) == (256, 224)
        assert (section.num_reader_threads, section.buf_size) == (12, 1024)
        assert loaded.seg_num(mode) == 8
    assert loaded.INFER.filelist == "./dataset/kinetics/infer.list"


def test_v15_tsn(load):
    loaded = load(V15_TSN)
    assert (loaded.MODEL.name, loaded.MODEL.seg_num) == ("TSN", 3)
    assert (loaded.TRAIN.epoch, loaded.TRAIN.batch_size, loaded.TRAIN.total_videos) == (45, 256, 224684)
    assert loaded.TRAIN.decay_epochs is None
    assert [loaded.seg_num(mode) for mode in ("train", "valid", "test", "infer")] == [3, 3, 7, 3]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (V15_TSM, ["TRAIN.num_gpus"]),
        (V15_TSN, ["MODEL.topk", "TRAIN.num_gpus", "INFER.video_path", "INFER.kinetics_labels"]),
    ],
)
def test_what_has_no_effect_is_said(tmp_path, text, keys):
    path = tmp_path / "v15.txt"
    path.write_text(text)
    lines = config.ignored_keys({str(path): config.read(str(path))}, Config)
    assert [line.split(" has no effect: ")[0] for line in lines] == [f"{path}: {key}" for key in keys]


@pytest.mark.parametrize(("name", "text"), [("tsm", V15_TSM), ("tsn", V15_TSN)])
def test_our_files_are_v15s_with_mp4(load, name, text):
    ours = config.load(str(ROOT / f"configs/{name}.txt"), Config, models=SECTIONS)
    v15 = load(text)
    assert dataclasses.replace(v15.MODEL, format="mp4") == ours.MODEL
    for mode in ("TRAIN", "TEST", "INFER"):
        assert getattr(ours, mode) == getattr(v15, mode)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_our_yaml_files_load(path):
    loaded = config.load(str(path), Config, models=SECTIONS)
    assert path.name.startswith(loaded.MODEL.name.lower())


# INI and YAML


def values_of(hint: object, limits: typing.Mapping[str, typing.Any]) -> st.SearchStrategy:
    """Valid values of one key."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Union:
        return st.none() | values_of(arguments[0], limits)
    if typing.get_origin(hint) is tuple:
        smallest, largest = (0, 3) if arguments[-1] is Ellipsis else (len(arguments),) * 2
        return st.lists(values_of(arguments[0], limits), min_size=smallest, max_size=largest)
    if limits["choices"] is not None:
        return st.sampled_from(limits["choices"])
    low, high = limits["low"], limits["high"]
    whole = st.integers(math.ceil(low or 0), min(math.floor(5 if high is None else high), 5))
    return {
        bool: st.booleans(),
        int: st.integers(low, high),
        float: st.floats(low, high, allow_nan=False, allow_infinity=False) | whole,
        str: st.text(st.characters(exclude_categories=["Cs"])),
    }[hint]


def sections() -> st.SearchStrategy[config.Values]:
    """Any config, with any of its keys."""
    hints, parts = {**typing.get_type_hints(Config), "MODEL": TSMSection}, {}
    for section in dataclasses.fields(Config):
        schema = hints[section.name]
        keys = typing.get_type_hints(schema)
        parts[section.name] = st.fixed_dictionaries(
            {}, optional={key.name: values_of(keys[key.name], key.metadata) for key in dataclasses.fields(schema)}
        )
    return st.fixed_dictionaries({}, optional=parts)


def as_tuples(value: object) -> object:
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def as_ini(values: config.Values) -> str:
    lines = []
    for section, items in values.items():
        lines += [f"[{section}]", *(f"{key} = {value!r}" for key, value in items.items())]
    return "\n".join(lines) + "\n"


@settings(max_examples=60, deadline=None)
@given(values=sections())
def test_ini_and_yaml_give_equal_objects_that_hold_what_was_written(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("config")
    (folder / "a.txt").write_text(as_ini(values), encoding="utf-8")
    (folder / "a.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    from_ini = load_tsm(folder / "a.txt")
    assert load_tsm(folder / "a.yaml") == from_ini
    assert load_tsm(folder / "a.txt", values) == from_ini
    sizes = PROTOCOLS[values.get("TEST", {}).get("protocol", "v15")].sizes
    for section, items in dataclasses.asdict(TSM_CONFIG).items():
        for key, default in items.items():
            default = sizes.get(key, default) if section == "TEST" else default
            expected = values.get(section, {}).get(key, default)
            expected = as_tuples(expected)
            assert getattr(getattr(from_ini, section), key) == expected


def test_v15s_values_written_as_yaml(load):
    text = """
model: {name: TSM, format: pkl, num_classes: 400, seg_num: 8, seglen: 1, num_layers: 50,
        image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225]}
train: {epoch: 65, short_size: 256, target_size: 224, num_reader_threads: 12, buf_size: 1024, batch_size: 128,
        use_gpu: True, num_gpus: 8, filelist: ./dataset/kinetics/train.list, learning_rate: 0.01,
        learning_rate_decay: 0.1, decay_epochs: [40, 60], l2_weight_decay: 1e-4, momentum: 0.9, total_videos: 239781}
valid: {batch_size: 128, filelist: ./dataset/kinetics/val.list}
test: {batch_size: 16, filelist: ./dataset/kinetics/test.list}
infer: {Batch_Size: 1, filelist: ./dataset/kinetics/infer.list}
"""
    for name in ("my.yaml", "my.yml"):
        assert load(text, name) == load(V15_TSM)


@pytest.mark.parametrize("written", ["1e-4", "0.0001", "1.0e-04", "'1e-4'"])
def test_yaml_takes_1e_4_for_a_number(load, written):
    assert load(f"TRAIN: {{l2_weight_decay: {written}}}", "my.yaml").TRAIN.l2_weight_decay == 0.0001


def test_case_of_sections_and_keys_and_comments(load):
    loaded = load("# first\n[Train]\n; second\nBatch_Size = 4  # third\n")
    assert loaded.TRAIN.batch_size == 4


def test_an_empty_file_gives_the_defaults(load):
    assert load("") == TSM_CONFIG


def test_the_object_is_frozen(load):
    loaded = load(V15_TSM)
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.TRAIN.batch_size = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.TRAIN = None
    assert hash(loaded) == hash(load(V15_TSM))  # nothing in it can be changed, lists neither


# Mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[TRIAN]\nepoch = 1\n",
            "no section 'TRIAN'; did you mean TRAIN? Known: MODEL, TRAIN, VALID, TEST, INFER, ONLINE.",
        ),
        ("[XYZ]\nepoch = 1\n", "no section 'XYZ'. Known: MODEL, TRAIN, VALID, TEST, INFER, ONLINE."),
        ("[TRAIN]\nbatchsize = 1\n", "no key TRAIN.batchsize; did you mean batch_size?"),
        ("[VALID]\nepoch = 1\n", "no key VALID.epoch."),
        ("[MODEL]\nlearning_rate = 1\n", "no key MODEL.learning_rate."),
        ("[INFER]\nnum_gpus = 1\n", "no key INFER.num_gpus."),
        ("[TRAIN]\nepoch = 6.5\n", "TRAIN.epoch = 6.5 must be a whole number"),
        ("[TRAIN]\nepoch = '6'\n", "TRAIN.epoch = '6' must be a whole number"),
        ("[TRAIN]\nepoch = True\n", "TRAIN.epoch = True must be a whole number"),
        ("[TRAIN]\nepoch = None\n", "TRAIN.epoch = None must be a whole number"),
        ("[TRAIN]\ntotal_videos = 1.5\n", "TRAIN.total_videos = 1.5 must be a whole number"),
        ("[TRAIN]\nenable_ce = 1\n", "TRAIN.enable_ce = 1 must be True or False"),
        ("[TRAIN]\nuse_gpu = 'yes'\n", "TRAIN.use_gpu = 'yes' must be True or False"),
        ("[TRAIN]\nmomentum = 'high'\n", "TRAIN.momentum = 'high' must be a number"),
        ("[TRAIN]\nmomentum = True\n", "TRAIN.momentum = True must be a number"),
        ("[TRAIN]\ndecay_epochs = 40\n", "TRAIN.decay_epochs = 40 must be a list, each a number"),
        ("[MODEL]\nimage_mean = [0.5, 'x']\n", "MODEL.image_mean = [0.5, 'x'] must be a list of 3, each a number"),
        ("[MODEL]\nname = True\n", "MODEL.name = True must be text"),
        ("[MODEL]\nname = ['TSM']\n", "MODEL.name = ['TSM'] must be text"),
        ("[TRAIN]\nbatch_size = 0\n", "TRAIN.batch_size = 0: must be at least 1"),
        ("[MODEL]\nbase_width = 7\n", "MODEL.base_width = 7: must be at least 8"),
        ("[MODEL]\ndropout = 1.0\n", "MODEL.dropout = 1.0: must be at most 0.99"),
        ("[TRAIN]\nmomentum = 1.1\n", "TRAIN.momentum = 1.1: must be at most 1"),
        ("[TRAIN]\ndecay_epochs = [40, -1]\n", "TRAIN.decay_epochs = [40, -1]: must be at least 0"),
        ("[TRAIN]\nlearning_rate = 1e999\n", "TRAIN.learning_rate = inf: must be finite"),
        ("[MODEL]\nimage_std = [1e999, 1, 1]\n", "MODEL.image_std = [inf, 1, 1]: must be finite"),
        ("[MODEL]\nformat = 'avi'\n", "MODEL.format = 'avi': choose from mp4, pkl"),
        ("[MODEL]\nnum_layers = 51\n", "MODEL.num_layers = 51: choose from 18, 34, 50, 101, 152"),
        ("[MODEL]\nname = TSM\n", "MODEL.name = TSM is no Python literal: a number, True, [1, 2], or text in quotes"),
        ("[MODEL]\nname = {[]: 1}\n", "MODEL.name = {[]: 1} is no Python literal"),
        ("[MODEL]\nname =\n", "MODEL.name =  is no Python literal"),
    ],
)
def test_a_mistake_is_named(load, tmp_path, text, message):
    said = error_of(load, text)
    assert said.startswith(f"{tmp_path / 'my.txt'}: ") and message in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("section", "key", "limits"),
    [("MODEL", "dropout", (0, 0.99)), ("TRAIN", "momentum", (0, 1)), ("MODEL", "base_width", (8, 4096))],
)
def test_the_limits_themselves_are_allowed(load, section, key, limits):
    for value in limits:
        assert getattr(getattr(load(f"[{section}]\n{key} = {value}\n"), section), key) == value


def test_every_number_has_limits():
    """So that no number of a file or of a flag is beyond what can be computed with."""
    hints = {**typing.get_type_hints(Config), **{f"MODEL {name}": section for name, section in SECTIONS.items()}}
    for section, schema in hints.items():
        kinds = typing.get_type_hints(schema)
        for key in dataclasses.fields(schema):
            is_number = {int, float} & {kinds[key.name], *typing.get_args(kinds[key.name])}
            if is_number and key.metadata["choices"] is None:
                assert None not in (key.metadata["low"], key.metadata["high"]), f"{section}.{key.name}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL: {seg_num: 1000000000}", "MODEL.seg_num = 1000000000: must be at most 10000"),
        ("TRAIN: {batch_size: 1000000000000}", "TRAIN.batch_size = 1000000000000: must be at most 1000000"),
        ("TRAIN: {batch_size: 0x" + "f" * 9000 + "}", "is no YAML: a whole number of more than 64 bits"),
        ("[TRAIN]\nbatch_size = 0x" + "f" * 9000 + "\n", "is no Python literal"),
        ("[TRAIN]\nbatch_size = " + "9" * 9000 + "\n", "is no Python literal"),
        ("[TRAIN]\nlearning_rate = 1" + "0" * 400 + "\n", "is no Python literal"),
        ("TRAIN: &a {epoch: *a}", "is no YAML: an alias is within what it repeats"),
    ],
)
def test_values_out_of_all_bounds_are_one_message(load, text, message):
    said = error_of(load, text, "my.txt" if text[0] == "[" else "my.yaml")
    assert message in said and len(for_display(said)) < 5000


@pytest.mark.parametrize("form", ["[%s]", "{<<: [%s]}"])
def test_aliases_that_multiply_are_refused(load, form):
    """Before they take time and memory; merge keys, too. One that is used twice is fine."""
    repeated = [", ".join([f"*x{number}"] * 9) for number in range(30)]
    lines = ["X: &x0 {epoch: 1}", *(f"X{n}: &x{n} {form % words}" for n, words in enumerate(repeated, 1))]
    assert "its aliases (*NAME) repeat more than 100,000 values" in error_of(load, "\n".join(lines), "my.yaml")
    loaded = load("TRAIN: &train {batch_size: 3}\nVALID: {<<: *train, short_size: 300}\nTEST: *train\n", "my.yaml")
    assert (loaded.VALID.batch_size, loaded.VALID.short_size, loaded.TEST.batch_size) == (3, 300, 3)


def test_a_message_does_not_hold_a_whole_value(load):
    for value in ("'" + "x" * 100_000 + "'", repr([1] * 20_000)):
        assert len(error_of(load, f"[TRAIN]\nepoch = {value}\n")) < 1000


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("name", ["a.txt", "a.yaml"])
def test_byte_order_marks_and_all_line_ends_are_read(tmp_path, mark, end, name):
    lines = [b"[TRAIN]", b"epoch = 7", b"seed = 8"] if name == "a.txt" else [b"TRAIN:", b"  epoch: 7", b"  seed: 8"]
    (tmp_path / name).write_bytes(mark + end.join(lines) + end)
    loaded = config.load(str(tmp_path / name), Config)
    assert (loaded.TRAIN.epoch, loaded.TRAIN.seed) == (7, 8)


@pytest.mark.parametrize("value", [".nan", ".inf", "nan", "-inf"])
def test_yaml_has_other_words_for_numbers_that_are_none(load, value):
    assert "must be finite" in error_of(load, f"TRAIN: {{learning_rate: {value}}}", "my.yaml")


@pytest.mark.parametrize(
    "text", ["epoch = 1\n", "[TRAIN]\nepoch\n", "[TRAIN]\nepoch = 1\nepoch = 2\n", "[TRAIN]\n[TRAIN]\n", "<html>\n"]
)
def test_what_is_no_ini(load, tmp_path, text):
    said = error_of(load, text)
    assert said.startswith(f"{tmp_path / 'my.txt'} is no INI file: ") and "\n" not in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("TRAIN: {epoch: 1", "is no YAML"),
        ("TRAIN:\n\tepoch: 1", "is no YAML"),
        ("TRAIN: {filelist: 2024-13-45}", "is no YAML"),
        ("TRAIN: {epoch: !!int x}", "is no YAML"),
        pytest.param("[" * 2000, "is no YAML", id="nested"),
        ("", "a config is sections"),
        ("just text", "a config is sections"),
        ("- TRAIN", "a config is sections"),
        ("epoch: 1", "a config is sections"),
        ("TRAIN: [epoch]", "a config is sections"),
    ],
)
def test_what_is_no_yaml(load, tmp_path, text, message):
    said = error_of(load, text, "my.yaml")
    assert said.startswith(str(tmp_path / "my.yaml")) and message in said


def test_code_in_a_value_is_not_run(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "__import__('os').system('touch ran')"
    assert "is no Python literal" in error_of(load, f"[MODEL]\nname = {code}\n")
    assert "must be a whole number" in error_of(load, f'MODEL: {{num_classes: "{code}"}}', "my.yaml")
    assert "is no YAML" in error_of(load, "MODEL: {name: !!python/object/apply:os.system ['touch ran']}", "my.yaml")
    assert config.parse_override(f"MODEL.name={code}") == ("MODEL", "name", code)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.txt", "my.yaml"]


def test_a_missing_file_names_the_nearest(tmp_path):
    for name in ("tsm.txt", "tsn.txt", "other.yaml", "tsmm.py"):
        (tmp_path / name).touch()
    with pytest.raises(InputError) as caught:
        config.load(str(tmp_path / "tsm1.txt"), Config)
    assert str(caught.value) == f"no config file {tmp_path}/tsm1.txt; did you mean {tmp_path}/tsm.txt?"
    with pytest.raises(InputError, match=r"^no config file /nowhere/at/all\.$"):
        config.load("/nowhere/at/all", Config)


@pytest.mark.parametrize("name", ["folder.txt", "binary.txt", "binary.yaml", "binary.txt/x"])
def test_a_file_that_cannot_be_read(tmp_path, name):
    (tmp_path / "folder.txt").mkdir()
    for binary in ("binary.txt", "binary.yaml"):
        (tmp_path / binary).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=f"cannot read the config file {tmp_path / name}: "):
        config.load(str(tmp_path / name), Config)


# The keys of a model


def test_the_models_section_is_the_one_that_the_name_says(load, tmp_path):
    (tmp_path / "tsn.yaml").write_text("MODEL: {name: tsn, num_layers: 18, frame_stride: 2}")
    loaded = config.load(str(tmp_path / "tsn.yaml"), Config, models=SECTIONS)
    assert SECTIONS["TSN"](name="tsn", num_layers=18, frame_stride=2) == loaded.MODEL
    assert TSMSection(shift="uni") == load("[MODEL]\nshift = 'uni'\n").MODEL
    assert SECTIONS["TSN"]() == config.load(str(empty_file(tmp_path)), Config, None, SECTIONS, "TSN").MODEL
    assert config.load(str(empty_file(tmp_path)), Config, models=SECTIONS) == Config()  # no model at all


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: TSN, shift: uni", "no key MODEL.shift for TSN; it is a key of TSM"),
        ("shift: bii", "no key MODEL.shift for TSN; it is a key of TSM"),
        ("shfit: bi", "no key MODEL.shfit."),
        ("num_layer: 50", "no key MODEL.num_layer; did you mean num_layers?"),
    ],
)
def test_a_key_of_another_model(tmp_path, text, message):
    (tmp_path / "my.yaml").write_text(f"MODEL: {{{text}}}")
    with pytest.raises(InputError) as caught:
        config.load(str(tmp_path / "my.yaml"), Config, None, SECTIONS, "TSN")
    assert str(caught.value) == f"{tmp_path / 'my.yaml'}: {message}"
    with pytest.raises(InputError, match="^command line: no key MODEL.shift for TSN; it is a key of TSM$"):
        config.load(str(empty_file(tmp_path)), Config, {"MODEL": {"shift": "uni"}}, SECTIONS, "TSN")


def test_a_config_yaml_of_version_0_2_loads(tmp_path):
    """It holds the keys of every model: TSM's shift in a TSN's, too."""
    (tmp_path / "config.yaml").write_text("MODEL: {name: TSN, num_layers: 18, base_width: 8, shift: bi, dropout: 0.0}")
    loaded = config.load(str(tmp_path / "config.yaml"), Config, models=SECTIONS)
    assert SECTIONS["TSN"](num_layers=18, base_width=8, dropout=0.0) == loaded.MODEL


def test_a_clip_has_all_frames_in_one_axis():
    loaded = dataclasses.replace(TSM_CONFIG, MODEL=TSMSection(seg_num=3, seglen=2))
    assert loaded.clip_shape("test") == (6, 3, 224, 224)


# What is laid over the file


def test_overrides_win_and_leave_the_rest(load):
    loaded = load(V15_TSM, "my.txt", {"TRAIN": {"batch_size": 4, "decay_epochs": None}, "TEST": {"seg_num": 16}})
    file = load(V15_TSM)
    assert dataclasses.replace(file.TRAIN, batch_size=4, decay_epochs=None) == loaded.TRAIN
    assert dataclasses.replace(file.TEST, seg_num=16) == loaded.TEST
    assert (loaded.MODEL, loaded.VALID, loaded.INFER) == (file.MODEL, file.VALID, file.INFER)
    assert loaded.seg_num("test") == 16 and loaded.seg_num("train") == 8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"TRIAN": {}}, "no section 'TRIAN'; did you mean TRAIN?"),
        ({"TRAIN": {"epochs": 1}}, "no key TRAIN.epochs; did you mean epoch?"),
        ({"TRAIN": {"epoch": "x"}}, "TRAIN.epoch = 'x' must be a whole number"),
        ({"TRAIN": {"epoch": 0}}, "TRAIN.epoch = 0: must be at least 1"),
    ],
)
def test_a_mistake_on_the_command_line_is_said_to_be_there(load, overrides, message):
    assert error_of(load, V15_TSM, "my.txt", overrides).startswith(f"command line: {message}")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("TRAIN.batch_size=16", ("TRAIN", "batch_size", 16)),
        (" train.Batch_Size = 16 ", ("TRAIN", "batch_size", 16)),
        ("TRAIN.l2_weight_decay=1e-4", ("TRAIN", "l2_weight_decay", 0.0001)),
        ("TRAIN.decay_epochs=[40, 60]", ("TRAIN", "decay_epochs", [40, 60])),
        ("TRAIN.decay_epochs=None", ("TRAIN", "decay_epochs", None)),
        ("TRAIN.flip=False", ("TRAIN", "flip", False)),
        ("TRAIN.filelist=a/b=c.list", ("TRAIN", "filelist", "a/b=c.list")),
        ("TRAIN.filelist='a b'", ("TRAIN", "filelist", "a b")),
        ("MODEL.name=TSM", ("MODEL", "name", "TSM")),
        ("MODEL.name=", ("MODEL", "name", "")),
        ("A.b={[]: 1}", ("A", "b", "{[]: 1}")),
    ],
)
def test_set(text, parsed):
    assert config.parse_override(text) == parsed


@pytest.mark.parametrize(
    "text", ["", "TRAIN.epoch", "TRAIN=1", "epoch=1", ".epoch=1", "TRAIN.=1", "=1", "=TRAIN.epoch"]
)
def test_set_of_another_form(text):
    with pytest.raises(InputError, match="the form is --set SECTION.key=value"):
        config.parse_override(text)


@given(value=st.text())
def test_any_value_of_set_is_a_literal_or_the_text(value):
    section, key, parsed = config.parse_override(f"TRAIN.filelist={value}")
    assert (section, key) == ("TRAIN", "filelist")
    assert not isinstance(parsed, str) or parsed == value.strip() or value.strip()[:1] in "\"'bBrRuU("


@pytest.mark.parametrize(
    "value",
    ["-" * 100_000 + "1", "(" * 100_000, "[" * 1000 + "]" * 1000],
    ids=["signs", "open", "brackets"],
)
def test_a_deeply_nested_value_is_text(value):
    assert config.parse_override(f"A.b={value}") == ("A", "b", value)


# --- written out again


@settings(max_examples=60, deadline=None)
@given(values=sections())
def test_what_is_written_loads_as_an_equal_config(tmp_path_factory, values):
    assume("\\x85" not in repr(values))  # of all characters, PyYAML turns this one alone into a space
    folder = tmp_path_factory.mktemp("config")
    before = load_tsm(empty_file(folder), values)
    config.write(folder / "config.yaml", before, "why it is there")
    assert load_tsm(folder / "config.yaml") == before
    assert (folder / "config.yaml").read_text(encoding="utf-8").startswith("# why it is there\nMODEL:\n")


def empty_file(folder: Path) -> Path:
    path = folder / "empty.txt"
    path.touch()
    return path


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.[ty]*")), ids=lambda path: path.name)
def test_our_configs_are_written_whole(tmp_path, path):
    """Every key that is set, so that later defaults change nothing."""
    before = config.load(str(path), Config, models=SECTIONS)
    config.write(tmp_path / "config.yaml", before, "")
    assert config.load(str(tmp_path / "config.yaml"), Config, models=SECTIONS) == before
    written = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    for section, keys in dataclasses.asdict(before).items():
        assert set(written[section]) == {key for key, value in keys.items() if value is not None}


def test_a_written_config_can_be_read_by_people(tmp_path):
    values = {"MODEL": {"class_names": "dir/grün 漢.txt"}, "TRAIN": {"decay_epochs": [], "learning_rate": 1e-5}}
    config.write(tmp_path / "config.yaml", load_tsm(empty_file(tmp_path), values), "x")
    text = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    assert "class_names: dir/grün 漢.txt" in text and "decay_epochs: []" in text and "learning_rate: 1.0e-05" in text


def test_a_config_that_cannot_be_written_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        config.write(empty_file(tmp_path) / "config.yaml", Config(), "")


def test_describe(load):
    lines = config.describe(load("[TEST]\nfilelist = 'my list'\n"), ["TEST", "INFER"])
    assert [line.split(":")[0] for line in lines] == ["TEST", "INFER"]
    assert "filelist='my list' short_size=256 " in lines[0] and "batch_size=16 " in lines[0]
    assert "seg_num" not in lines[0]  # unset
    assert "filelist" not in lines[1]
