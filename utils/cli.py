"""What the command lines share: flag types, and errors without tracebacks."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Callable, NoReturn

from utils.errors import InputError


def boolean(text: str) -> bool:
    """A v1.5 boolean flag: a Python literal, `--use_gpu=False`."""
    words = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return words[text.lower()]


def positive_int(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def count(text: str) -> int:
    """An integer of at least 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def optional_path(text: str) -> str | None:
    """A path; an empty one, as `--weights=$UNSET` gives, is the same as no flag."""
    return os.path.expanduser(text) or None


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes no abbreviated flags, shows defaults, and ends on a wrong flag with one line."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def run(main: Callable[[], int | None]) -> NoReturn:
    """Runs a command line and exits with its code.

    An InputError becomes one message on stderr and exit code 1; Ctrl-C and SIGTERM give 130 and 143 after all
    `finally` blocks have run; a reader of the output that went away (`| head`) ends the run quietly.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = main() or 0
        sys.stdout.flush()
    except InputError as error:
        code = 1
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        code = 130
        print("stopped.", file=sys.stderr)
    except BrokenPipeError:
        code = 141
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _terminate(signum: int, frame: object) -> NoReturn:
    sys.exit(128 + signum)
