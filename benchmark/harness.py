"""What the benchmarks share: sides in processes of their own that take turns, what was measured of them, and tables.

Sides also run in environments that have nothing of the project's packages but NumPy, so nothing that needs more is
imported here.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Callable

import numpy as np

from video_zoo.utils.runtime import usable_cores

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT / "benchmark/clips"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def child_environment(threads: int | None = None) -> dict[str, str]:
    """The environment of a side's process, in which `video_zoo` can be imported; `threads` None: one a core."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **dict.fromkeys(_THREADS, str(threads or usable_cores()))}


class Side:
    """A running process that does jobs: calls of the methods of a class that its script gives to `serve`.

    Args:
        script: the file that calls `serve`.
        name: which of its sides.
        python: the interpreter that has the side's packages.
        threads: that it computes with; None: one a core.

    Attributes: hello: what the class says of itself; {"error": why} if it cannot be made.
    """

    def __init__(self, script: str, name: str, python: str = sys.executable, threads: int | None = None):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        self._process = subprocess.Popen([python, script, name], env=child_environment(threads), **pipes)
        self.hello = self.receive()

    def send(self, job: str, **values: Any) -> None:
        """Has a method called. Dataclasses travel as dictionaries of their fields."""
        with contextlib.suppress(BrokenPipeError):  # then `receive` tells how the process ended
            self._process.stdin.write(json.dumps({"job": job, **values}, default=asdict) + "\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """What the method returned, or {"error": why}."""
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": f"it ended with exit code {self._process.wait()}"}

    def do(self, job: str, **values: Any) -> dict[str, Any]:
        """Sends and receives."""
        if "error" in self.hello:
            return self.hello
        self.send(job, **values)
        return self.receive()

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


def serve(sides: Mapping[str, Callable[[], Any]]) -> None:
    """The main function of a side's process: makes the side that the command line names, and does its jobs."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print

    def answer(job: Callable[[], Any]) -> None:
        try:
            said = job()
        except Exception as error:  # whatever a package raises, also when a library of its own is missing
            said = {"error": reason(error)}
        print(json.dumps(said), file=answers, flush=True)

    def make() -> Any:
        nonlocal side
        side = sides[sys.argv[1]]()
        return getattr(side, "hello", {})

    side: Any = None
    answer(make)
    for given in map(json.loads, sys.stdin if side else ()):
        answer(lambda given=given: getattr(side, given.pop("job"))(**given))


def reason(error: Exception) -> str:
    """The line of an error that says most: of Paddle's own, the one below its summary's head."""
    lines = [line.strip() for line in str(error).split("Error Message Summary:")[-1].splitlines()]
    said = next((line for line in lines if line.strip("-")), "")
    return f"{type(error).__name__}: {said}"[:160].replace("|", "/")


# ---- turns, and what was measured in them


@dataclass
class Row:
    """A row of a table: who is measured, and what was found.

    Args:
        title: in the table.
        script, name, python, threads: as `Side` takes them.
        ways: name -> what the side's `start` is given. Of several, the one with the quickest calls takes part.

    Attributes:
        started: what `start` returned.
        turns: what each turn returned.
        note: the way that was taken, and what the others took.
        error: why nothing was measured; "": it was.
    """

    title: str
    script: str
    name: str
    python: str = sys.executable
    threads: int | None = None
    ways: dict[str, dict[str, Any]] = field(default_factory=lambda: {"": {}})
    started: dict[str, Any] = field(default_factory=dict)
    turns: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""
    error: str = ""
    side: Side | None = None

    def start(self, **job: Any) -> None:
        """Starts a process a way, and ends all but the quickest; none, if an error is known."""
        if self.error:
            return
        times: dict[str, float] = {}
        for way, given in self.ways.items():
            side = Side(self.script, self.name, self.python, self.threads)
            answer = side.do("start", **job, **given)
            if "error" in answer:
                self.error = self.error or answer["error"]
            elif not times or answer["ms"] < min(times.values()):
                self.side, side, self.started = side, self.side, answer
            times.update({way: answer["ms"]} if "ms" in answer else {})
            if side is not None:
                side.close()
        if times:
            best, *others = sorted(times, key=times.__getitem__)
            rest = "".join(f"; {way} {times[way]:.1f}" for way in others)
            self.error, self.note = "", f"{best} ({times[best]:.1f}{rest})" if others else best

    def turn(self, **job: Any) -> None:
        """One turn of the side; none, once it has failed."""
        if not self.error:
            answer = self.side.do("turn", **job)
            self.error = answer.get("error", "")
            self.turns.append(answer)

    def median(self, key: str) -> float:
        """Over the turns."""
        return median(turn[key] for turn in self.turns)

    def fastest(self) -> float:
        """Milliseconds of the quickest call."""
        return min(turn["fastest"] for turn in self.turns)

    def close(self) -> None:
        """Ends the process."""
        if self.side is not None:
            self.side.close()


def take_turns(rows: Sequence[Row], jobs: Sequence[dict[str, Any]]) -> None:
    """Every row's turns, one each a round, in an order that changes; a round's turns are given its job."""
    for number, job in enumerate(jobs):
        print(f"round {number + 1} of {len(jobs)}", file=sys.stderr)
        for place in range(len(rows)):
            rows[(place + number) % len(rows)].turn(**job)


def ratio(one: Row | None, other: Row | None, key: str = "ms") -> str:
    """How many times as fast `one` is: the median of the rounds' ratios, with the least and the greatest; "" if
    either was not measured."""
    if one is None or other is None or one.error or other.error:
        return ""
    return spread([theirs[key] / ours[key] for ours, theirs in zip(one.turns, other.turns)])


def spread(values: Sequence[float]) -> str:
    """The median, with the least and the greatest."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


class TimedSide:
    """A side that calls the same function again and again. Subclasses have `prepare(**job)`, which makes `call`, and
    returns what `start` is to return beside the time."""

    warmup_s, turn_s, least_calls = 2.0, 1.0, 2
    call: Callable[[], Any]

    def start(self, **job: Any) -> dict[str, Any]:
        """Gets ready and warms up. {"ms": of the quickest call, ...}."""
        facts, times = self.prepare(**job), [self._time_ms()]
        while sum(times) < 1000 * self.warmup_s and len(times) < 20:
            times.append(self._time_ms())
        return {"ms": min(times), **facts}

    def turn(self) -> dict[str, float]:
        """Calls for a second, and at least two. {"ms": the median, "fastest", "peak_mb": of the process so far}."""
        times: list[float] = []
        while len(times) < self.least_calls or sum(times) < 1000 * self.turn_s:
            times.append(self._time_ms())
        return {"ms": median(times), "fastest": min(times), "peak_mb": memory_mb("VmHWM")}

    def _time_ms(self) -> float:
        start = time.perf_counter()
        self.call()
        return 1000 * (time.perf_counter() - start)


def memory_mb(what: str, pid: int | str = "self") -> float:
    """VmRSS (now) or VmHWM (at most so far) of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(what))) * 1024 / 1e6


def run_marked(command: Sequence[str | Path], marks: Mapping[str, str]) -> dict[str, float]:
    """Runs a program. Seconds from its start to the first line in which each pattern is found, and to its "end".

    Raises RuntimeError: it failed, or a mark is missing.
    """
    begin, seconds, said = time.perf_counter(), {}, ""
    environment = {**child_environment(), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        for line in process.stdout:
            said = line.strip() or said
            for mark, pattern in marks.items():
                if re.search(pattern, line):
                    seconds.setdefault(mark, time.perf_counter() - begin)
    if process.returncode or seconds.keys() != marks.keys():
        raise RuntimeError(f"{Path(command[1]).name} failed: {said}".replace("|", "/"))
    return {**seconds, "end": time.perf_counter() - begin}


# ---- networks, and what is printed


@dataclass(frozen=True)
class Shape:
    """A network, and the clips that it gets at once. Sizes in pixels."""

    model: str = "TSM"
    num_layers: int = 50
    base_width: int = 64
    segments: int = 8
    size: int = 224
    classes: int = 400
    batch: int = 1

    def __str__(self) -> str:
        width = f" of base width {self.base_width}" if self.base_width != 64 else ""
        return f"ResNet-{self.num_layers}{width}, {self.batch} x {self.segments} x {self.size} px"

    def clips(self) -> np.ndarray:
        """uint8 (batch, segments, 3, size, size), drawn from a seed."""
        shape = (self.batch, self.segments, 3, self.size, self.size)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def machine() -> str:
    """The machine, the packages and the day, in a line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())
    installed = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    names = ("av", "opencv-python", "numpy", "pillow", "paddlepaddle", "openvino", "onnxruntime")
    versions = ", ".join(f"{name} {installed[name]}" for name in names if name in installed)
    today = datetime.date.today().isoformat()
    return f"{usable_cores()} cores of {cpu}; Python {platform.python_version()}, {versions}; {today}."


def print_table(title: str, header: str, rows: Iterable[Sequence[object]]) -> None:
    """A Markdown table.

    Args:
        header: its cells, with " | " between them.
        rows: floats are written with three digits or more; a row that is too short is filled up.
    """
    columns = header.count(" | ") + 1
    print(f"### {title}\n\n| {header} |\n|{' --- |' * columns}")
    for row in rows:
        print(f"| {' | '.join(map(_text, [*row, *[''] * (columns - len(row))]))} |")
    print(flush=True)


def _text(cell: object) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.{0 if cell >= 100 else 1 if cell >= 10 else 2}f}"
