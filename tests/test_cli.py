"""The command lines: flags, the config under them, and errors of one line without a traceback."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preloaded import PRELOADED

from video_zoo.configs.schema import Config
from video_zoo.models import MODELS
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
TSM = str(ROOT / "configs/tsm.txt")
TSN = str(ROOT / "configs/tsn.txt")
SECTIONS = cli.model_sections(MODELS)
SCRIPTS = ("train.py", "test.py", "infer.py")


def run_python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(command, check=False, cwd=cwd, env=variables, capture_output=True, text=True, timeout=60)


@pytest.fixture
def script(tmp_path):
    """Runs one of the repository's scripts from another folder, a `fresh` one in a process that imports all itself. For
    infer.py, which does much without Paddle, importing it is an error there."""

    def run(name: str, *arguments: str, fresh: bool = False) -> subprocess.CompletedProcess:
        if name == "infer.py":
            (tmp_path / "paddle.py").write_text("raise SystemExit('Paddle was imported')")
        elif not fresh:
            return PRELOADED.run([str(ROOT / name), *arguments], cwd=tmp_path)
        return run_python(str(ROOT / name), *arguments, cwd=tmp_path, PYTHONPATH=str(tmp_path))

    return run


def load_script(name: str):
    """A script as a module; `import test` would give Python's own."""
    spec = importlib.util.spec_from_file_location(f"zoo_{name}", ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


train = load_script("train")


def train_arguments(*flags: str) -> argparse.Namespace:
    with mock.patch.object(sys, "argv", ["train.py", *flags]):
        return train.parse_arguments()


# Types of flags


@pytest.mark.parametrize(
    ("text", "value"),
    [("True", True), ("true", True), ("TRUE", True), ("1", True), ("False", False), ("false", False), ("0", False)],
)
def test_boolean(text, value):
    assert cli.boolean(text) is value


@pytest.mark.parametrize("text", ["", "yes", "None", "2", " True", "bool(1)"])
def test_what_is_no_boolean(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is neither True nor False"):
        cli.boolean(text)


@given(number=st.integers())
def test_whole_numbers(number):
    for kind, low in ((cli.positive_int, 1), (cli.count, 0)):
        if low <= number <= cli.LARGEST_NUMBER:
            assert kind(str(number)) == number
        elif number > low:
            with pytest.raises(argparse.ArgumentTypeError, match="is more than"):
                kind(str(number))
        else:
            with pytest.raises(argparse.ArgumentTypeError, match="whole number"):
                kind(str(number))


@pytest.mark.parametrize("text", ["", "1.5", "1e3", "x", "+1", "1_0", "١٢", "²"])
@pytest.mark.parametrize("kind", [cli.positive_int, cli.count])
def test_what_is_no_whole_number(kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match="whole number"):
        kind(text)


@pytest.mark.parametrize("text", ["9" * 30, "9" * 5000, "1000000001"])
@pytest.mark.parametrize("kind", [cli.count, cli.positive_int, cli.at_most(cli.count, 51)])
def test_a_flags_number_has_a_limit(kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match="is more than"):
        kind(text)


def test_a_flags_limit_is_allowed():
    assert cli.at_most(cli.count, 51)("51") == 51 and cli.count("0001000000000") == cli.LARGEST_NUMBER
    with pytest.raises(argparse.ArgumentTypeError, match="^52 is more than 51$"):
        cli.at_most(cli.count, 51)("52")
    with pytest.raises(argparse.ArgumentTypeError, match="no number of seconds"):
        cli.seconds("1e300")


def test_an_empty_path_is_no_flag(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert cli.optional_path("") is None
    assert cli.optional_path("a b/c") == "a b/c"
    assert cli.optional_path("~/w") == "/home/me/w"
    assert train_arguments("--resume=", "--pretrain=") == train_arguments()


# The config under the flags

TRAIN_FLAGS = {
    "batch_size": st.integers(1, 512),
    "learning_rate": st.floats(0, 10),
    "epoch": st.integers(0, 100),
    "enable_ce": st.booleans(),
}


@settings(max_examples=40, deadline=None)
@given(flags=st.fixed_dictionaries({}, optional=TRAIN_FLAGS))
def test_a_flag_sets_its_key_and_an_unset_one_changes_nothing(flags):
    file = config.load(TSM, Config, models=SECTIONS)
    loaded = train.load_config(train_arguments(f"--config={TSM}", *(f"--{key}={flags[key]}" for key in flags)))
    changed = {key: value for key, value in flags.items() if not (key == "epoch" and value == 0)}
    assert dataclasses.replace(file.TRAIN, **changed) == loaded.TRAIN
    batch_size = flags.get("batch_size", file.VALID.batch_size)
    assert dataclasses.replace(file.VALID, batch_size=batch_size) == loaded.VALID
    assert (loaded.MODEL, loaded.TEST, loaded.INFER) == (file.MODEL, file.TEST, file.INFER)


def test_new_flags_defaults():
    """Without them, a training is v1.5's."""
    args = train_arguments()
    assert (args.save_interval_iters, args.allow_changes, args.data) == (0, False, None)
    args = train_arguments("--save_interval_iters=5", "--allow_changes=True", "--data=", "--resume=auto")
    assert (args.save_interval_iters, args.allow_changes, args.data, args.resume) == (5, True, None, "auto")


def test_v15s_defaults():
    args = train_arguments()
    assert (args.model_name, args.save_dir, args.valid_interval, args.log_interval) == (None, "checkpoints", 1, 10)
    assert train.load_config(args).MODEL.name == "TSM"
    assert (args.pretrain, args.resume, args.use_gpu, args.config) == (None, None, None, None)


def test_v15s_flags_without_a_meaning_are_taken():
    args = train_arguments("--no_use_pyreader", "--no_memory_optimize", "--use_gpu=False")
    assert args.no_use_pyreader and args.no_memory_optimize and args.use_gpu is False


def test_set_wins_over_the_flag_and_the_file(log):
    args = train_arguments(f"--config={TSM}", "--epoch=3", "--set", "TRAIN.epoch=4", "--set=valid.filelist=my.list")
    loaded = train.load_config(args)
    assert (loaded.TRAIN.epoch, loaded.VALID.filelist) == (4, "my.list")


def test_without_a_config_flag_it_is_the_models_own(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert train.load_config(train_arguments("--model_name=tsn")) == config.load(
        TSN, Config, models=cli.model_sections(MODELS)
    )


def test_the_sections_in_use_are_logged_and_what_is_ignored(log, tmp_path):
    path = tmp_path / "my.txt"
    path.write_text("[TRAIN]\nnum_gpus = 8\nepoch = 33\n[TEST]\nbatch_size = 77\n")
    train.load_config(train_arguments(f"--config={path}"))
    assert log.messages[0] == f"{path}: TRAIN.num_gpus has no effect: CUDA_VISIBLE_DEVICES says which GPUs are used"
    assert log.messages[1] == f"TSM as {path} has it"
    assert [line.split(": ")[0] for line in log.messages[2:]] == ["MODEL", "TRAIN", "VALID"]
    assert " epoch=33 " in log.messages[3]
    assert [record.levelname for record in log.records] == ["INFO"] * 2 + ["DEBUG"] * 3


def test_a_config_of_another_model():
    with pytest.raises(InputError) as caught:
        train.load_config(train_arguments(f"--config={TSN}", "--model_name=TSM"))
    assert str(caught.value) == f"two models at once: {TSN} is of TSN, and --model_name is TSM"
    for flags in ([], ["--model_name=tsn"]):
        assert train.load_config(train_arguments(f"--config={TSN}", *flags)).MODEL.name == "TSN"


def test_any_config_without_a_name_is_the_models(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("MODEL: {num_layers: 18}\nTRAIN: {epoch: 3}")
    for name in ("TSM", "tsn"):
        loaded = train.load_config(train_arguments(f"--config={path}", f"--model_name={name}"))
        assert MODELS.get(name).config(num_layers=18) == loaded.MODEL
    with pytest.raises(InputError, match="^command line: no key MODEL.shift for TSN; it is a key of TSM$"):
        train.load_config(train_arguments(f"--config={path}", "--model_name=TSN", "--set=MODEL.shift=uni"))


@pytest.mark.parametrize("flags", [[], [f"--config={TSM}"], ["--config=nowhere.txt"]])
def test_an_unknown_model_lists_the_known_ones_whatever_the_config_says(flags):
    with pytest.raises(InputError) as caught:
        train.load_config(train_arguments("--model_name=TSMM", *flags))
    assert str(caught.value) == f"no model named 'TSMM'; did you mean TSM? Known: {', '.join(MODELS.names())}."


def test_the_default_config_may_be_yaml(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "CONFIGS", tmp_path)
    assert cli.default_config("X3D") == tmp_path / "x3d.txt"  # and the error names it
    (tmp_path / "x3d.yaml").touch()
    assert cli.default_config("X3D") == tmp_path / "x3d.yaml"
    (tmp_path / "x3d.txt").touch()
    assert cli.default_config("X3D") == tmp_path / "x3d.txt"


# The scripts as a user runs them


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_says_all_flags(script, name):
    done = script(name, "--help", fresh=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {name}")
    for flag in ("--model_name", "--config", "--use_gpu", "--batch_size", "--log_interval", "--set"):
        assert flag in done.stdout


def test_the_list_of_models_needs_no_paddle(script):
    done = script("train.py", "--list_models", fresh=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line and line[0] != " "] == MODELS.names()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("train.py", ["--config=nowhere.txt"], "no config file nowhere.txt (looked for in /"),
        ("test.py", [f"--config={TSN}", "--model_name=TSM"], f"{TSN} is of TSN, and --model_name is TSM"),
        ("infer.py", [f"--config={TSM}", "--set=INFER.seg_nun=4"], "no key INFER.seg_nun; did you mean seg_num?"),
        ("train.py", [f"--config={TSM}", "--set=epoch=4"], "--set epoch=4: the form is --set SECTION.key=value"),
        ("train.py", [f"--config={TSM}", "--learning_rate=nan"], "TRAIN.learning_rate = nan: must be finite"),
        ("train.py", [f"--config={TSM}", "--learning_rate=-1"], "TRAIN.learning_rate = -1.0: must be at least 0"),
    ],
)
def test_an_input_error_is_one_line_and_code_1(script, name, arguments, message):
    done = script(name, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "flag", "message"),
    [
        ("train.py", "--epochs=3", "unrecognized arguments: --epochs=3; did you mean --epoch?"),
        ("train.py", "--epoc=3", "unrecognized arguments: --epoc=3; did you mean --epoch?"),  # no abbreviations
        ("train.py", "--frobnicate", "unrecognized arguments: --frobnicate"),
        ("train.py", "--epoch=-1", "argument --epoch: '-1' is not a whole number of at least 0"),
        ("test.py", "--batch_size=0", "argument --batch_size: '0' is not a positive whole number"),
        ("test.py", "--use_gpu=maybe", "argument --use_gpu: 'maybe' is neither True nor False"),
        ("infer.py", "--infer_topk=x", "argument --infer_topk: 'x' is not a positive whole number"),
    ],
)
def test_a_wrong_flag_is_one_line_and_code_2(script, name, flag, message):
    done = script(name, flag)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {message} (see {name} --help)\n"


# From another folder


def test_inputs_are_looked_for_where_the_user_stands_and_then_in_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/my.yaml").write_text("TRAIN: {filelist: my.list}\nVALID: {filelist: configs/tsn.txt}")
    (tmp_path / "mine/my.list").touch()
    args = train_arguments("--config=mine/my.yaml", "--resume=configs", "--save_dir=configs", "--pretrain=imagenet")
    assert (args.resume, args.save_dir, args.pretrain) == (str(ROOT / "configs"), "configs", "imagenet")
    loaded = train.load_config(args)
    assert (loaded.TRAIN.filelist, loaded.VALID.filelist) == ("mine/my.list", TSN)  # beside the config; in the project
    (tmp_path / "my.list").touch()
    assert train.load_config(args).TRAIN.filelist == "my.list"
    for flags in (["--config=configs/tsn.txt"], []):
        loaded = train.load_config(train_arguments(*flags, "--model_name=TSN", "--set=MODEL.class_names=LICENSE"))
        assert loaded.MODEL.class_names == str(ROOT / "LICENSE")
        assert loaded.TEST.filelist == "./dataset/kinetics/test.list"  # is nowhere, and stays as v1.5 has it


# Habits of other projects


@given(data=st.data(), number=st.integers(1, 512))
def test_dashes_and_underscores_are_the_same(data, number):
    """In a flag's name; its value, and what follows `--`, stay as they are."""
    parser = cli.Parser()
    parser.add_argument("--of_many_words", type=int)
    parser.add_argument("--with-dashes")
    parser.add_argument("rest", nargs="*")
    name, other = (
        data.draw(st.sampled_from([each.replace("_", "-"), each])) for each in ("of_many_words", "with_dashes")
    )
    value, after = f"--with_dashes-{number}", ["--", "--of-many-words", "a_b-c"]
    args = parser.parse_args([f"--{name}={number}", f"--{other}={value}", *after])
    assert (args.of_many_words, args.with_dashes, args.rest) == (number, value, after[1:])


def test_a_boolean_alone_is_true():
    args = train_arguments("--use-gpu", "--allow_changes", "--enable-ce=False")
    assert (args.use_gpu, args.allow_changes, args.enable_ce) == (True, True, False)
    assert train_arguments("--lr", "0.5") == train_arguments("--learning_rate=0.5")


@pytest.mark.parametrize(
    ("name", "flags", "meant"),
    [
        ("train.py", ["--workers", "4"], "--set TRAIN.num_reader_threads=VALUE"),
        ("train.py", ["--momentum=0.8", "--bs", "4"], "--set TRAIN.momentum=0.8 and --batch_size"),
        ("train.py", ["--frames=4"], "--set MODEL.seg_num=4"),
        ("train.py", ["--gpu"], "--use_gpu"),
        ("train.py", ["--checkpoint=x"], "--resume"),
        ("test.py", ["--ckpt=x", "--size=64"], "--weights and --set TEST.target_size=64"),
        ("infer.py", ["--videos", "x.mp4"], "--input"),
        ("infer.py", ["x.mp4"], "--input x.mp4"),
        ("infer.py", ["--model=TSN"], "--model_name"),
        ("infer.py", ["--output", "x"], "--save_dir"),
    ],
)
def test_an_unknown_flag_is_named_by_its_meaning(name, flags, meant, capsys):
    with mock.patch.object(sys, "argv", [name, *flags]), pytest.raises(SystemExit) as caught:
        load_script(name.removesuffix(".py")).parse_arguments()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert f"unrecognized arguments: {' '.join(flags)}; did you mean {meant}? (see " in said


def test_a_choice_is_named_by_its_meaning(capsys):
    parser = cli.Parser()
    parser.add_argument("--precision", choices=("fp32", "fp16"))
    for word, end in (
        ("half", "(choose from fp32, fp16); did you mean fp16? (see "),
        ("x", "(choose from fp32, fp16) (see"),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args([f"--precision={word}"])
        assert f"invalid choice: {word!r} {end}" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*SCRIPTS, "dataset/check_videos.py", "scripts/convert_weights.py"])
def test_every_command_says_its_version(script, name):
    """Where Paddle is imported late, it is not imported for this."""
    done = script(name, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    version = importlib.metadata.version
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        assert f"Paddle {version('paddlepaddle')} (CPU build), Python {platform.python_version()}\n" in done.stdout
    assert re.match(r"video_zoo \d+\.\d+\.\d+, ", done.stdout)


def test_a_command_line_is_said_as_a_shell_takes_it():
    with (
        mock.patch.object(sys, "argv", ["infer.py", "--input", "a b.mp4", "--resume=True"]),
        mock.patch.dict(sys.modules),
    ):
        sys.modules["__main__"] = argparse  # started by its path or its name
        with mock.patch.object(argparse, "__spec__", None):
            assert cli.command_again("--resume=True") == "python infer.py --input 'a b.mp4' --resume=True"
        assert cli.command_again("-x") == "python -m argparse --input 'a b.mp4' --resume=True -x"


# run()

CAUGHT = """
        try:
            signal.raise_signal(signal.{})
        except BaseException as error:
            raise ImportError("another one")
"""
ENDINGS = {
    "nothing": ("pass", 0, ""),
    "a code": ("return 3", 3, ""),
    "bad input": ("raise InputError('no such thing')", 1, "error: no such thing\n"),
    "Ctrl-C": ("raise KeyboardInterrupt", 130, "stopped.\n"),
    "SIGINT": ("signal.raise_signal(signal.SIGINT)", 130, "stopped.\n"),
    "SIGTERM": ("signal.raise_signal(signal.SIGTERM)", 143, "stopped by SIGTERM.\n"),
    "SIGHUP": ("signal.raise_signal(signal.SIGHUP)", 129, "stopped by SIGHUP.\n"),
    "Ctrl-C with a hint": ("cli.stop.say_when_stopped('Go on'); raise KeyboardInterrupt", 130, "stopped. Go on\n"),
    "SIGTERM that a library catches": (CAUGHT.format("SIGTERM"), 143, "stopped by SIGTERM.\n"),
    "SIGINT that a library catches": (CAUGHT.format("SIGINT"), 130, "stopped.\n"),
    "SIGHUP that is ignored": ("signal.raise_signal(signal.SIGHUP)", 0, ""),
    "exit": ("sys.exit(5)", 5, ""),
}
BODY = """
import signal, sys
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
{1}
def main():
    try:
        {0}
    finally:
        print("cleaned up")
cli.run(main)
"""


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_has_its_code_and_cleans_up(ending):
    statement, code, said = ENDINGS[ending]
    first = "signal.signal(signal.SIGHUP, signal.SIG_IGN)" if "ignored" in ending else ""
    done = run_python("-c", BODY.format(statement, first), cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (code, "cleaned up\n", said)


def test_a_bug_of_ours_keeps_its_traceback():
    done = run_python("-c", BODY.format("raise ValueError('a bug')", ""), cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback") and "ValueError: a bug" in done.stderr


@pytest.fixture(params=[1, 1_000_000])
def waiting_process(request):
    """A command line that waits for a line on stdin, and then prints little, which stays in a buffer, or a lot."""
    body = BODY.format("print('ready', flush=True); sys.stdin.readline(); print('x' * " + f"{request.param})", "")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen([sys.executable, "-c", body], cwd=ROOT, env=environment, text=True, **pipes)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_sigterm_from_outside(waiting_process):
    waiting_process.send_signal(signal.SIGTERM)
    out, error = waiting_process.communicate(timeout=60)
    assert (waiting_process.returncode, out, error) == (143, "cleaned up\n", "stopped by SIGTERM.\n")


def test_a_reader_that_goes_away_is_no_error(waiting_process):
    waiting_process.stdout.close()  # as `| head` does
    waiting_process.stdin.write("go on\n")
    waiting_process.stdin.close()
    assert waiting_process.wait(timeout=60) == 141
    assert waiting_process.stderr.read() == ""
    waiting_process.stdin = waiting_process.stdout = None  # for communicate()


@pytest.mark.parametrize("package", ["cv2", "numpy", "paddle"])
def test_a_package_that_is_missing_is_one_message(tmp_path, run_cli, package):
    (tmp_path / f"{package}.py").write_text(f"raise ImportError('no {package} here')\n")
    for script in ("train.py", "test.py") if package != "paddle" else ("train.py",):  # test.py imports it later
        result = run_cli(script, "--help", PYTHONPATH=str(tmp_path))
        assert result.returncode == 1 and result.stderr.startswith("error: a package is missing or broken in ")
        assert f"no {package} here" in result.stderr and result.stderr.count("\n") == 1
