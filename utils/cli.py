"""What the command lines share: flags and their types, the config, and errors without tracebacks."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any, Callable, NoReturn, TypeVar

from video_zoo.utils import config, stop
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger
from video_zoo.utils.registry import Registry
from video_zoo.utils.startup import describe_import_error
from video_zoo.utils.texts import PrintableStream, for_display

Schema = TypeVar("Schema")

CONFIGS = Path(__file__).parents[1] / "configs"
LARGEST_NUMBER = 10**9  # of a flag; seconds: 30 years


def boolean(text: str) -> bool:
    """A v1.5 boolean flag: a Python literal, `--use_gpu=False`."""
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


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes no abbreviated flags, shows defaults, and ends on a wrong flag with one line."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {for_display(message)} (see {self.prog} --help)\n")


def add_common_flags(parser: argparse.ArgumentParser, models: Registry[Any]) -> None:
    """The flags that train.py, test.py and infer.py share."""
    parser.add_argument("--model_name", default="TSM", metavar="NAME", help=f"{' or '.join(models.names())} (TSM)")
    parser.add_argument(
        "--config", type=optional_path, metavar="FILE", help="its config file, INI or YAML (configs/MODEL_NAME.txt)"
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
        type=optional_path,
        metavar="PATH",
        help="a checkpoint, a v1.5 folder, or a .tar.gz of either (the released Kinetics-400 weights, downloaded once)",
    )


def load_config(args: argparse.Namespace, schema: type[Schema], flags: config.Values, models: Registry[Any]) -> Schema:
    """The config file with the flags, then every --set, laid over it; logged.

    Args:
        flags: section -> key -> value; None where a flag was left out, which changes nothing. Its sections are the
            ones that this command uses.
        models: what --model_name may be; an entry's `config` is the class of its MODEL section.

    Raises InputError: as config.load, or there is no such model, or the file is another model's.
    """
    models.get(args.model_name)  # an unknown one is said whatever the config is
    model = args.model_name.upper()
    file = args.config or str(default_config(model))
    overrides: dict[str, dict[str, Any]] = {
        section: {key: value for key, value in values.items() if value is not None} for section, values in flags.items()
    }
    for text in args.set:
        section, key, value = config.parse_override(text)
        overrides.setdefault(section, {})[key] = value
    sources = {file: config.read(file), config.COMMAND_LINE: overrides}
    named = config.find(sources, "MODEL", "name")
    if named is not None and str(named).upper() != model:
        raise InputError(f"{file} is a config of {named}, and --model_name is {args.model_name}")
    settings = config.check(sources, schema, model_sections(models), model)
    for line in config.ignored_keys(sources, schema) + config.describe(settings, ["MODEL", *flags]):
        logger.info(line)
    return settings


def model_sections(models: Registry[Any]) -> dict[str, type]:
    """Each model's name -> the class of its MODEL section, as utils.config takes them."""
    return {name: entry.config for name, entry in models.items()}


def default_config(model: str) -> Path:
    """The config file of a model that is taken without --config: configs/NAME.txt, or else configs/NAME.yaml."""
    files = [CONFIGS / f"{model.lower()}{suffix}" for suffix in (".txt", ".yaml")]
    return next(filter(Path.is_file, files), files[0])


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
        except BaseException as error:
            number = signal_received() or (signal.SIGINT if isinstance(error, KeyboardInterrupt) else None)
            code = _code_of(error) if number is None else 128 + number
            if number is not None:
                print(stop.description(number), file=sys.stderr)
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
