"""What the command lines share: flags and their types, the config, and errors without tracebacks."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import shlex
import signal
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NoReturn, TypeVar

from video_zoo.utils import config, stop
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import bar, be_verbose, logger
from video_zoo.utils.meanings import meant, nearest
from video_zoo.utils.paths import PROJECT, find_path
from video_zoo.utils.registry import Registry, did_you_mean
from video_zoo.utils.runtime import describe_versions
from video_zoo.utils.startup import describe_import_error
from video_zoo.utils.texts import PrintableStream, for_display

Schema = TypeVar("Schema")

CONFIGS = PROJECT / "configs"
DEFAULT_MODEL = "TSM"
LARGEST_NUMBER = 10**9  # of a flag; seconds: 30 years


def boolean(text: str) -> bool:
    """A v1.5 boolean flag: a Python literal, `--use_gpu=False`; `Parser` takes it without a value for True."""
    words = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return words[text.lower()]


def positive_int(text: str) -> int:
    """An integer of at least 1."""
    return _whole(text, 1, "a positive whole number")


def at_most(kind: Callable[[str], int], high: int) -> Callable[[str], int]:
    """A type of numbers, up to `high`."""

    def limited(text: str) -> int:
        number = kind(text)
        if number > high:
            raise argparse.ArgumentTypeError(f"{text} is more than {high}")
        return number

    return limited


def count(text: str) -> int:
    """An integer of at least 0."""
    return _whole(text, 0, "a whole number of at least 0")


def _whole(text: str, low: int, what: str) -> int:
    digits = text.lstrip("0") or text[-1:]
    if not (digits.isascii() and digits.isdigit()) or len(digits) < 10 and int(digits) < low:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    if len(digits) > 10 or int(digits) > LARGEST_NUMBER:
        raise argparse.ArgumentTypeError(f"{text} is more than {LARGEST_NUMBER}")
    return int(digits)


def seconds(text: str) -> float:
    """A length of time, at least 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= LARGEST_NUMBER:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return number


def positive_seconds(text: str) -> float:
    """A length of time above 0."""
    number = seconds(text)
    if not number:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return number


def path(text: str) -> str:
    """A path; ~ is the home folder, also behind a `--flag=`, where shells leave it alone."""
    return os.path.expanduser(text)


def optional_path(text: str) -> str | None:
    """A path; an empty one, as `--weights=$UNSET` gives, is the same as no flag."""
    return path(text) or None


def input_path(text: str) -> str | None:
    """An `optional_path` that is read: a relative one from where the user stands, or else in the project."""
    return optional_path(text) and (find_path(path(text)) or path(text))


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes dashes for underscores and booleans without a value, but no abbreviated flags. A
    wrong flag ends it with one line, which names the flag or config key that may be meant."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self.keys: dict[str, str] = {}  # of the config, which --set sets: key -> SECTION.key
        add = self.add_argument_group("in every command").add_argument
        add("--verbose", action="store_true", help="logs the whole config, Paddle's flags and more; lines, not a bar")
        add("--version", action=_Version, nargs=0, help="prints the versions of this, Paddle and Python, and ends")

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """As ArgumentParser's; a boolean flag without a value is True."""
        if options.get("type") is boolean:
            options = {"nargs": "?", "const": True, **options}
        return super().add_argument(*names, **options)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> argparse.Namespace:
        """As ArgumentParser's; what is unknown is said with what may be meant."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._hint(unknown)}")
        be_verbose(parsed.verbose)
        return parsed

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """As ArgumentParser's."""
        args = list(sys.argv[1:] if args is None else args)
        end = args.index("--") if "--" in args else len(args)
        return super().parse_known_args([*map(self._as_defined, args[:end]), *args[end:]], namespace)

    def error(self, message: str) -> NoReturn:
        """Ends with one line and exit code 2."""
        self.exit(2, f"error: {for_display(message)} (see {self.prog} --help)\n")

    def _as_defined(self, argument: str) -> str:
        """A flag with the dashes and underscores that it is defined with."""
        name, equals, value = argument.partition("=")
        known = {each.replace("-", "_"): each for each in self._option_string_actions if each.startswith("--")}
        return known.get(name.replace("-", "_"), name) + equals + value if name.startswith("--") else argument

    def _hint(self, unknown: Sequence[str]) -> str:
        """What unknown arguments may mean."""
        flags = [each for each in self._option_string_actions if each.startswith("--")]
        near = [self._nearest(each, flags) for each in unknown if each.startswith("-")]
        if not unknown[0].startswith("-") and "--input" in flags:
            near.insert(0, f"--input {unknown[0]}")
        return f"; did you mean {' and '.join(filter(None, near))}?" if any(near) else ""

    def _nearest(self, unknown: str, flags: Sequence[str]) -> str | None:
        name, _, value = unknown.partition("=")
        for find in (meant, nearest):
            if flag := find(name, flags):
                return flag
            if key := find(name, self.keys):
                return f"--set {self.keys[key]}={value or 'VALUE'}"
        return None

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(each) for each in action.choices]
            near = did_you_mean(str(value), choices).rstrip(".")
            raise argparse.ArgumentError(action, f"invalid choice: {value!r} (choose from {', '.join(choices)}){near}")


class _Version(argparse.Action):
    """Prints the versions, which are looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(describe_versions())
        parser.exit()


def add_common_flags(parser: Parser, models: Registry[Any], schema: type, *sections: str) -> None:
    """The flags that train.py, test.py, infer.py and export.py share.

    Args:
        schema: of the config.
        sections: whose keys a wrong flag may mean, beside MODEL's.
    """
    hints = typing.get_type_hints(schema)
    kinds = [*(("MODEL", entry.config) for _, entry in models.items()), *((name, hints[name]) for name in sections)]
    for section, kind in kinds:
        for field in dataclasses.fields(kind):
            parser.keys.setdefault(field.name, f"{section}.{field.name}")
    parser.add_argument(
        "--model_name", metavar="NAME", help=f"{' or '.join(models.names())} (that of weights or config, else TSM)"
    )
    parser.add_argument(
        "--config",
        type=optional_path,
        metavar="FILE",
        help="its config file, INI or YAML (what a checkpoint says, else configs/MODEL_NAME.txt)",
    )
    parser.add_argument(
        "--use_gpu",
        type=boolean,
        metavar="BOOL",
        help="True insists on a GPU, False on the CPU (left out: the GPU if there is one)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.key=value",
        help="sets any key of the config, as in --set TRAIN.num_reader_threads=4; may be repeated",
    )


def add_weights_flag(parser: argparse.ArgumentParser) -> None:
    """The --weights of test.py and infer.py."""
    parser.add_argument(
        "--weights",
        type=input_path,
        metavar="PATH",
        help="a checkpoint, a v1.5 folder, a .tar.gz of either, or a model's name: the released Kinetics-400 weights,"
        " downloaded once (those)",
    )


def load_config(args: argparse.Namespace, schema: type[Schema], flags: config.Values, models: Registry[Any]) -> Schema:
    """The config of a command line's --model_name, --config and --set; see `merge_config`."""
    return merge_config(schema, flags, models, model_name=args.model_name, file=args.config, settings=args.set)


def merge_config(
    schema: type[Schema],
    flags: config.Values,
    models: Registry[Any],
    *,
    model_name: str | None = None,
    file: str | None = None,
    settings: Sequence[str] = (),
    base: config.Sources | None = None,
) -> Schema:
    """A config file with the flags, then every --set, laid over it; logged in one line, and whole with
    --verbose.

    Args:
        flags: section -> key -> value; None where a flag was left out, which changes nothing. Its sections are the
            ones that this command uses.
        models: what --model_name may be; an entry's `config` is the class of its MODEL section.
        model_name: None: what base or file say, or else TSM.
        file: a config file; None: the model's own, unless there is a base.
        settings: `SECTION.key=value`, as --set takes them.
        base: what weights say of themselves, over which the file is laid.

    Raises InputError: as config.load, or there is no such model, or the file is another model's.
    """
    if model_name is not None:
        models.get(model_name)  # an unknown one is said whatever the config is
    sources = dict(base or {})
    if file or not base:
        file = file or str(default_config(model_name or DEFAULT_MODEL))
        file = find_path(file) or file
        sources[file] = config.with_files_beside(config.read(file), Path(file).parent)
    overrides: dict[str, dict[str, Any]] = {
        section: {key: value for key, value in values.items() if value is not None} for section, values in flags.items()
    }
    for text in settings:
        section, key, value = config.parse_override(text)
        overrides.setdefault(section, {})[key] = value
    sources[config.COMMAND_LINE] = config.with_files_beside(overrides)
    model = _one_model(sources, model_name)
    found = config.check(sources, schema, model_sections(models), model)
    for line in config.ignored_keys(sources, schema):
        logger.info(line)
    *files, _ = sources
    logger.info(
        "%s as %s has it%s", model, " and ".join(files), ", with the flags over it" if any(overrides.values()) else ""
    )
    for line in config.describe(found, ["MODEL", *flags]):
        logger.debug(line)
    return found


def _one_model(sources: config.Sources, model_name: str | None) -> str:
    """The model that all sources are for, in capital letters; `--set MODEL.name` decides it. Raises InputError if they
    are for several."""
    said = {source: config.find({source: values}, "MODEL", "name") for source, values in sources.items()}
    if said[config.COMMAND_LINE] is not None:
        said = {config.COMMAND_LINE: said[config.COMMAND_LINE]}
    named = [(f"{source} is of", str(name)) for source, name in said.items() if name is not None]
    if model_name is not None:
        named.append(("--model_name is", model_name))
    for (first, name), (second, other) in zip(named, named[1:]):
        if name.upper() != other.upper():
            raise InputError(f"two models at once: {first} {name}, and {second} {other}")
    return (named[-1][1] if named else DEFAULT_MODEL).upper()


def model_sections(models: Registry[Any]) -> dict[str, type]:
    """Each model's name -> the class of its MODEL section, as utils.config takes them."""
    return {name: entry.config for name, entry in models.items()}


def default_config(model: str) -> Path:
    """The config file of a model that is taken without --config: configs/NAME.txt, or else configs/NAME.yaml."""
    files = [CONFIGS / f"{model.lower()}{suffix}" for suffix in (".txt", ".yaml")]
    return next(filter(Path.is_file, files), files[0])


def command_again(*flags: str) -> str:
    """The command line of this process, as a shell takes it, with flags that it has not yet."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    start = ["python", *(("-m", module.name) if module else sys.argv[:1])]
    return shlex.join([*start, *sys.argv[1:], *(flag for flag in flags if flag not in sys.argv)])


def run(main: Callable[[], int | None]) -> NoReturn:
    """Runs a command line and exits with its code.

    An InputError, a package that is not installed, or an error of the system becomes one message on stderr and exit
    code 1; Ctrl-C, SIGTERM and SIGHUP give 130, 143 and 129 after all `finally` blocks have run; a reader of the output
    that went away (`| head`) ends the run quietly.
    """
    sys.excepthook = sys.__excepthook__
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is not None:
            setattr(sys, name, PrintableStream(getattr(sys, name)))
    with stop.interrupting() as signal_received:
        try:
            code = main() or 0
            if sys.stdout is not None:
                sys.stdout.flush()
            bar.close()
        except BaseException as error:
            bar.close()
            number = signal_received() or (signal.SIGINT if isinstance(error, KeyboardInterrupt) else None)
            code = _code_of(error) if number is None else 128 + number
            if number is not None:
                print(for_display(stop.description(number)), file=sys.stderr)
    sys.exit(code)


def _code_of(error: BaseException) -> int:
    """The exit code of what ended a command, which is said; raises what is a fault of the program."""
    if isinstance(error, BrokenPipeError):
        _drop_stdout()
        return 141
    if isinstance(error, (InputError, OSError)):
        said = str(error)
    elif isinstance(error, ImportError):
        said = describe_import_error(error)
    else:
        raise error
    print(f"error: {for_display(said)}", file=sys.stderr)
    if isinstance(error, OSError):
        _drop_stdout()
    return 1


def _drop_stdout() -> None:
    """What is still buffered goes nowhere, so that the interpreter's end does not fail on it."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
