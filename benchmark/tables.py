"""What the benchmarks print."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path

from video_zoo.utils.runtime import usable_cores


def machine() -> str:
    """The machine, the packages and the day, in a line."""
    cpu = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":")[1].strip()
            break
    packages = ("av", "opencv-python", "numpy", "pillow")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    today = datetime.date.today().isoformat()
    return f"{usable_cores()} cores of {cpu}; Python {platform.python_version()}, {versions}; {today}."


def print_table(title: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A Markdown table."""
    print(f"### {title}\n")
    for cells in (header, ["---" for _ in header], *rows):
        print(f"| {' | '.join(map(str, cells))} |")
    print(flush=True)
