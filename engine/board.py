"""Curves: curves.jsonl, a line a point, and the same for VisualDL (`visualdl --logdir SAVE_DIR/visualdl`), in which
shares are in percent, as in the log."""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visualdl import LogWriter

from video_zoo.engine.checkpoint import State
from video_zoo.metrics import METRICS
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file
from video_zoo.utils.json_files import check_fields, is_count, is_number, is_text, parse_json
from video_zoo.utils.log import logger
from video_zoo.utils.open_files import open_own, open_regular, read_regular

if TYPE_CHECKING:
    from video_zoo.metrics.metric import Scores

CURVES = "curves.jsonl"
_VISUALDL = "visualdl"
_MOST_BYTES = 1 << 30  # of 4 million points
_MOST_LINE_BYTES = 1 << 16
_IN_PERCENT = frozenset(name for metric in METRICS for name in metric.in_percent)
_NAME = re.compile(r"[\w.]{1,50}", re.ASCII)  # of a value; VisualDL refuses some others


class Board:
    """Writes points by global step to a training's folder.

    Args:
        folder: is there. Curves of another training in it are kept beside, with their time in the name.
        training: this training's id, the file's first line.
        earlier: where the curves of this training lie, if it goes on: points of before `state` are the beginning.
        state: where it goes on.
        branch_of: the id of the training whose curves go on with another id; None: this one's.

    Raises InputError if a file cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        training: str,
        earlier: Path | None = None,
        state: State | None = None,
        branch_of: str | None = None,
    ):
        source = curves_of(earlier, branch_of or training) if earlier else None
        points = list(_points(source, state)) if source and state else []
        curves, visualdl = folder / CURVES, folder / _VISUALDL
        another = training_of(curves) != training
        if another and curves.exists():
            _set_aside(curves)
        if another and visualdl.exists() or visualdl.is_symlink():  # nothing is removed from where a link leads
            _set_aside(visualdl)
        for path in visualdl.glob("*vdlrecords*"):  # VisualDL shows one file a folder: all is drawn again
            path.unlink(missing_ok=True)
        with atomic_file(curves) as file:
            file.writelines(_line(point) for point in ({"training": training}, *points))
        try:
            self._file = open_own(curves, "a", encoding="utf-8", buffering=1)  # a line at a time, whatever happens next
        except OSError as error:
            raise InputError(f"cannot write {curves}: {error.strerror or error}") from error
        # A name that nobody can foresee: VisualDL would follow a link that lies there.
        name = f"vdlrecords.{time.time():010.0f}.{uuid.uuid4().hex}.log"
        self._writer = LogWriter(logdir=str(visualdl), file_name=name)
        for point in points:
            self._draw(point)

    def add(self, phase: str, step: int, scores: Scores, **others: float) -> None:
        """The values of the metrics, and others, of a phase ("train", "valid") at a global step. Raises InputError."""
        point = {"phase": phase, "step": step, "time_s": round(time.time(), 3), **scores.values, **others}
        try:
            self._file.write(_line(point))
        except OSError as error:
            raise InputError(f"cannot write {self._file.name}: {error.strerror or error}") from error
        self._draw(point)

    def close(self) -> None:
        """Writes what is buffered. Raises InputError."""
        try:
            self._file.close()
            self._writer.close()
        except OSError as error:
            raise InputError(f"cannot write the curves: {error.strerror or error}") from error

    def _draw(self, point: dict[str, Any]) -> None:
        for name, value in point.items():
            if name not in ("phase", "step", "time_s"):
                tag, walltime = f"{point['phase']}/{name}", round(1000 * point["time_s"])
                value = 100 * value if name in _IN_PERCENT else value
                self._writer.add_scalar(tag=tag, value=value, step=point["step"], walltime=walltime)


def training_of(curves: Path) -> str | None:
    """The id of the training whose curves these are; None if there is no such file, or no id in it."""
    try:
        with open_regular(curves, _MOST_BYTES) as file:
            first = parse_json(file.readline(_MOST_LINE_BYTES))
        return check_fields(first, {"training": is_text}).get("training")
    except (OSError, ValueError):
        return None


def curves_of(folder: Path, training: str) -> Path | None:
    """The file in a folder, maybe set aside since, with the curves of a training; None if there is none."""
    aside = [path for path in folder.glob("curves.*.jsonl") if path.is_file()]
    aside.sort(key=lambda path: (path.stat().st_size, path.name), reverse=True)  # names have times of a clock
    return next((path for path in (folder / CURVES, *aside) if training_of(path) == training), None)


def _points(curves: Path, state: State) -> Iterator[dict[str, Any]]:
    """The points of before `state`; the training may have been further when it was killed, in the middle of a line."""
    try:
        lines = read_regular(curves, _MOST_BYTES).decode("utf-8", "replace").splitlines()[1:]
    except OSError as error:
        raise InputError(f"cannot read {curves}: {error.strerror or error}") from error
    # The validation of an epoch stands at the step of the next one.
    ends = {"train": state.global_step, "valid": state.global_step + (state.iteration == 0)}
    fields = {"phase": lambda phase: phase in ("train", "valid"), "step": is_count, "time_s": _is_time, "*": _is_value}
    for number, line in enumerate(lines, 2):
        try:
            point = check_fields(parse_json(line), fields, needed=("phase", "step", "time_s"))
            if not all(map(_NAME.fullmatch, point)):
                raise ValueError("a name of a value that is none")
            if point["step"] < ends[point["phase"]]:
                yield point
        except ValueError:
            if number <= len(lines):
                logger.warning("%s, line %d is no point of a curve: left out", curves, number)


def _is_time(value: Any) -> bool:
    """Seconds since 1970, not beyond the year 5138."""
    return is_number(value) and 0 <= value <= 1e11


def _is_value(value: Any) -> bool:
    """A number; a loss may be infinite or none."""
    return is_number(value) or (isinstance(value, float) and not math.isfinite(value))


def _line(point: dict[str, Any]) -> str:
    return json.dumps(point) + "\n"


def _set_aside(path: Path) -> None:
    """Renames an earlier training's curves: curves.20200131-235959.jsonl."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(path.lstat().st_mtime))
    target = path.with_name(f"{path.stem}.{stamp}{path.suffix}")
    while target.exists():
        stamp += "_"
        target = path.with_name(f"{path.stem}.{stamp}{path.suffix}")
    try:
        path.rename(target)
    except OSError as error:
        raise InputError(f"cannot rename {path} to {target}: {error.strerror or error}") from error
    logger.info("the curves of an earlier training are now in %s", target)
