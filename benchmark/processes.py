"""Processes that a benchmark compares. Each takes jobs as lines of JSON, {"do": a method of its side, ...}, and answers
with one line each; its first line says what it is, or why it cannot.

Sides also run in environments that have nothing of the project's but NumPy, so nothing more is imported here.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable

from video_zoo.utils.runtime import compute_threads


class Peer:
    """A running process of a side, with a thread a core.

    Args:
        script: calls `serve`.
        side: one of those that it serves.
        python: the interpreter that has the side's packages.

    Attributes: hello: what it is; {"error"} if it cannot.
    """

    def __init__(self, script: str | Path, side: str, python: str):
        self._process = subprocess.Popen(
            [python, str(script), side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(compute_threads())},
        )
        self.hello = self._receive()

    def do(self, job: str, **values: Any) -> dict[str, Any]:
        """What that method of the side returns, or {"error"}. Dataclasses travel as objects of their fields."""
        with contextlib.suppress(BrokenPipeError):  # then `_receive` tells how it ended
            self._process.stdin.write(json.dumps({"do": job, **values}, default=asdict) + "\n")
            self._process.stdin.flush()
        return self._receive()

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _receive(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": f"it ended with exit code {self._process.wait()}"}


def serve(sides: Mapping[str, Callable[[], Any]]) -> None:
    """Makes the side that the command line names, and does its jobs until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    try:
        side = sides[sys.argv[1]]()
        hello = side.hello
    except Exception as error:  # whatever a package raises when a library of its own is missing
        side, hello = None, {"error": reason(error)}
    print(json.dumps(hello), file=answers, flush=True)
    for line in sys.stdin if side else ():
        job = json.loads(line)
        try:
            answer = getattr(side, job.pop("do"))(**job)
        except Exception as error:
            answer = {"error": reason(error)}
        print(json.dumps(answer), file=answers, flush=True)


def reason(error: Exception) -> str:
    """The line of an error that says most: of Paddle's own, the one below its summary's head."""
    lines = [line.strip() for line in str(error).split("Error Message Summary:")[-1].splitlines()]
    said = next((line for line in lines if line.strip("-")), "")
    return f"{type(error).__name__}: {said}"[:160].replace("|", "/")


def peak_mb() -> float:
    """The most memory that this process had so far, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024 / 1e6
