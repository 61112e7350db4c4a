"""The result files of streams that are followed frame by frame: events, and the label over time."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from video_zoo.engine.events import Event
from video_zoo.engine.results import json_line
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import fit_name
from video_zoo.utils.locks import lock_file
from video_zoo.utils.open_files import open_own
from video_zoo.utils.texts import cell

_COLUMNS = ("time_s", "stream", "class", "name", "probability")


class OnlineFiles:
    """Writes FOLDER/STEM_events.jsonl and FOLDER/STEM_labels.csv while streams are followed; a context manager.

    Until it is left they are STEM_events.partial.jsonl and STEM_labels.partial.csv: each row is handed to the system at
    once, so that a killed process loses none. They then take their names, also after an error. Before the first frame,
    the results of an earlier run, whole or partial, are untouched.

    A line of events, JSON: {"stream", "class", "name", "start_s", "end_s", "confidence", "peak"}, written when the
    event has ended. The CSV, in UTF-8, has a row a frame: time_s, stream, class, name, probability (smoothed) of the
    most probable class; a name that a spreadsheet would take for a formula has an apostrophe in front.

    Args:
        names: of the classes.

    Raises InputError, on entering: another process is writing them, or the folder cannot be written.
    """

    def __init__(self, folder: Path, stem: str, names: Sequence[str]):
        self.events = 0
        self._names = names
        self._jsonl, self._csv = (Rows(Path(folder) / f"{stem}_{end}") for end in ("events.jsonl", "labels.csv"))
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> OnlineFiles:
        partial = self._jsonl.partial
        refusal = f"{partial} is being written by another process; choose another folder"
        self._stack.enter_context(lock_file(partial.with_name(f".{partial.name}.lock"), refusal))
        for rows in (self._jsonl, self._csv):
            self._stack.callback(rows.finish)  # of both, also where one cannot be finished
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def paths(self) -> list[Path]:
        """Where the results are to be; none before the first frame."""
        return [rows.path for rows in (self._jsonl, self._csv) if rows.is_open]

    def add_event(self, stream: str, event: Event) -> None:
        """Writes an event, of a stream that has frames. Raises InputError."""
        numbers = {name: round(getattr(event, name), 3) for name in ("start_s", "end_s")}
        numbers.update({name: round(getattr(event, name), 4) for name in ("confidence", "peak")})
        row = {"stream": stream, "class": event.label, "name": self._names[event.label], **numbers}
        self._jsonl.add(json_line(row))
        self.events += 1

    def add_label(self, stream: str, time_s: float, probabilities: np.ndarray) -> None:
        """Writes the most probable class of a frame, given the smoothed probabilities (classes,). Raises InputError."""
        label = int(np.argmax(probabilities))
        if not self._csv.is_open:
            self._jsonl.open()
            self._csv.open()
            self._csv.add(_csv_line(_COLUMNS))
        values = (f"{time_s:.3f}", cell(stream), label, cell(self._names[label]), f"{probabilities[label]:.4f}")
        self._csv.add(_csv_line(values))


class Rows:
    """A file that grows by whole rows, under a name of its own until it is finished.

    Args:
        path: its name then; NAME.partial.EXT before.
    """

    def __init__(self, path: Path):
        self.path, self.partial = path, path.with_name(fit_name(path.stem, f".partial{path.suffix}"))
        self._file: io.FileIO | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has been opened; also after `finish`."""
        return self._file is not None

    def open(self) -> None:
        """Replaces what an earlier run left. Raises InputError."""
        try:
            self._file = open_own(self.partial, "wb", buffering=0)
        except OSError as error:
            raise self._cannot_write(error) from error

    def add(self, row: bytes) -> None:
        """Writes a row, or nothing. Raises InputError."""
        end = self._file.tell()
        try:
            rest = memoryview(row)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
                self._file.seek(end)
            raise self._cannot_write(error) from error

    def finish(self) -> None:
        """Gives the file its name, if it was opened. Raises InputError."""
        if self._file is None or self._file.closed:
            return
        try:
            with self._file:
                os.fsync(self._file.fileno())
            os.replace(self.partial, self.path)
        except OSError as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> InputError:
        return InputError(f"cannot write {self.partial}: {error.strerror or error}")


def _csv_line(values: Sequence[object]) -> bytes:
    """What is no text in a file's name is escaped, as it cannot be in a text file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow(values)
    return text.getvalue().encode("utf-8", "backslashreplace")
