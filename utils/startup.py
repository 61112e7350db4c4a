"""The first thing that a command does. Nothing is imported here that takes time, as `begin` is for what comes then."""

from __future__ import annotations

import os
import sys
from typing import Any

from video_zoo.utils import stop


def begin() -> None:
    """What goes wrong from here until `cli.run` is called is said in one line; signals end the process at once.

    Standard streams that the caller has closed lead to nowhere: a file that is opened would get their numbers, and the
    messages in it.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "r" if descriptor == 0 else "w", closefd=False))  # noqa: SIM115
    sys.excepthook = _explain
    stop.handle(stop.end_at_once)


def describe_import_error(error: ImportError) -> str:
    """What to do about a package that is not installed."""
    return (
        f"a package is missing or broken in {sys.executable}: {error}. `bash scripts/setup_env.sh` makes an environment"
        " that has all of them, and `source .venv/bin/activate` enters it."
    )


def _explain(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    from video_zoo.utils.texts import for_display  # here, as it takes time before signals are handled

    if issubclass(kind, ImportError):
        print(f"error: {for_display(describe_import_error(error))}", file=sys.stderr)
    elif issubclass(kind, OSError):
        print(f"error: {for_display(str(error))}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
