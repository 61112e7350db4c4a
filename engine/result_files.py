"""The result files of a pass: rows are on the disk as they come, and a pass that ended early can go on."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from video_zoo.engine.page import Page
from video_zoo.engine.partial_rows import check_settings_line, settings_line
from video_zoo.engine.results import Prediction, from_json, to_json, write_pickle
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file, fit_name
from video_zoo.utils.locks import lock_file
from video_zoo.utils.open_files import open_own
from video_zoo.utils.texts import cell

CSV_CLASSES = 5  # of each row, at most
_LINE_BYTES = 1 << 26  # of a line that a pass goes on with, at most


class ResultFiles:
    """Writes FOLDER/STEM.jsonl, .csv and .pkl, and a page, while a pass predicts.

    While it goes on, rows are in STEM.partial.jsonl and STEM.partial.csv, flushed after each batch; `finish` gives
    the files their names. A pass that ends before leaves them, and the results of an earlier pass, as they are; a pass
    without a row touches nothing. The first line of STEM.partial.jsonl, {"settings": ...}, says what the rows were made
    with; at the end it is in STEM.settings.json.

    The results: a line of JSON a prediction (`results.to_json`); CSV in UTF-8 with the columns video, start_s, end_s,
    class_1, name_1, probability_1, ... for up to five classes, in which a name that a spreadsheet would take for a
    formula has an apostrophe in front; and v1.5's pickle (`results.write_pickle`), if all predictions are of whole
    videos.

    Args:
        names: of the classes.
        settings: what a resumed pass must have in common with this one; anything JSON has.
        resume: goes on with the rows of a pass that ended early, if there are any; otherwise they are replaced.
        page: gets the same rows.

    Raises on entering:
        InputError: the rows were made with other settings, or are damaged; another process is writing them; the
            folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        names: Sequence[str],
        *,
        settings: Mapping[str, Any],
        resume: bool,
        page: Page | None = None,
    ):
        self.done: Counter[str] = Counter()  # how often each video is through
        self.rows = 0
        self._base = Path(folder) / stem
        self._names = names
        self._settings = settings
        self._resume = resume
        self._page = page
        self._columns = 0  # classes in a row of the CSV; 0: no row has come yet
        self._windows = False
        self._lock = contextlib.ExitStack()
        self._jsonl: IO[bytes] | None = None
        self._csv: IO[str] | None = None

    def __enter__(self) -> ResultFiles:
        try:
            self._open()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise self._cannot_write(error) from error
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def remaining(self, ids: Sequence[str]) -> list[int]:
        """The places in a list of videos of those that are not through. One that the list has twice, and that is
        through once, remains once."""
        done = self.done.copy()
        places = []
        for place, video in enumerate(ids):
            if done[video]:
                done[video] -= 1
            else:
                places.append(place)
        return places

    def add(self, predictions: Sequence[Prediction], clips: np.ndarray | None = None) -> None:
        """Writes a batch of rows.

        Args:
            predictions: the windows of a video come together, and in the order of their time.
            clips: what the network saw, for the page: uint8 RGB (n, T, 3, H, W).

        Raises InputError if a probability is not finite, or the files cannot be written.
        """
        predictions = [_checked(prediction) for prediction in predictions]
        try:
            if self._jsonl is None:
                self._begin()
            if self._page is not None:
                self._add_to_page(predictions, clips)
            self._write_csv(predictions)
            # Last: what this file has, the others have.
            self._jsonl.write(b"".join(to_json(prediction, self._names) for prediction in predictions))
            self._jsonl.flush()
        except OSError as error:
            raise self._cannot_write(error) from error
        self.rows += len(predictions)
        self._windows |= any(prediction.span for prediction in predictions)

    def predictions(self) -> Iterator[Prediction]:
        """The rows so far, those of a resumed pass among them; before `finish`."""
        return self._stored() if self._jsonl is not None else iter(())

    def finish(self) -> list[Path]:
        """Gives the files their names; returns their paths, or none after a pass without rows, which replaces nothing.

        Raises InputError if they cannot be written.
        """
        if not self.rows:
            return []
        written = [self._final(end) for end in (("jsonl", "csv") if self._windows else ("jsonl", "csv", "pkl"))]
        try:
            self._csv.flush()
            os.fsync(self._csv.fileno())
            self._csv.close()
            with open_own(self._partial("jsonl"), "rb") as rows, atomic_file(self._final("jsonl"), "wb") as file:
                rows.readline()
                shutil.copyfileobj(rows, file, 1 << 16)
                if not self._windows:
                    write_pickle(self._final("pkl"), self._stored())
            os.replace(self._partial("csv"), self._final("csv"))
            if self._page is not None:
                self._page.finish()
                written.append(self._page.path)
            with atomic_file(self._final("settings.json"), "wb") as file:
                file.write(settings_line(self._settings))
            if self._windows:
                self._final("pkl").unlink(missing_ok=True)  # of an earlier pass, over whole videos
            self._partial("jsonl").unlink()  # last: with it, all the others can be made again
            self._jsonl.close()
        except OSError as error:
            raise self._cannot_write(error) from error
        return written

    def close(self) -> None:
        """Without `finish` before, the rows wait for a pass that resumes."""
        for file in (self._jsonl, self._csv, self._page):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
        self._lock.close()

    def _add_to_page(self, predictions: Sequence[Prediction], clips: np.ndarray | None) -> None:
        try:
            self._page.add(predictions, clips)
        except OSError as error:
            raise InputError(f"cannot write {self._page.path}: {error.strerror or error}") from error

    def _final(self, end: str) -> Path:
        return self._base.with_name(f"{self._base.name}.{end}")

    def _partial(self, end: str) -> Path:
        return self._base.with_name(fit_name(self._base.name, f".partial.{end}"))

    def _cannot_write(self, error: OSError) -> InputError:
        path = error.filename2 or error.filename or self._final("jsonl")
        return InputError(f"cannot write {path}: {error.strerror or error}")

    def _open(self) -> None:
        self._base.parent.mkdir(parents=True, exist_ok=True)
        if self._resume and self._final("jsonl").exists() and not self._partial("jsonl").exists():
            raise InputError(
                f"{self._final('jsonl')} is complete, and not all that is asked for: without --resume it is made anew;"
                " or choose another folder"
            )
        lock = self._base.with_name(fit_name(f".{self._base.name}", ".partial.lock"))
        refusal = f"{self._partial('jsonl')} is being written by another process; choose another folder"
        self._lock.enter_context(lock_file(lock, refusal))
        if self._page is not None:
            self._page.reserve()
        if self._resume and self._partial("jsonl").exists():
            self._begin()

    def _begin(self) -> None:
        """Opens the partial files, with the rows that are kept: when a pass goes on, or at its first row. Until then,
        those of an earlier pass are untouched."""
        self._jsonl = open_own(self._partial("jsonl"), "a+b")
        if not (self._resume and self._find_end()):
            self._jsonl.truncate(0)
            self._jsonl.write(settings_line(self._settings))
            self._jsonl.flush()
        # What is no text in a file's name cannot be in a text file.
        text = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
        self._csv = open_own(self._partial("csv"), "w", **text)
        for prediction in self._stored():
            self._write_csv([prediction], flush=False)
        self._csv.flush()
        if self._page is not None:
            self._page.begin(self._stored())

    def _find_end(self) -> bool:
        """Counts the rows that are there, and cuts off what may be incomplete: a last line without an end, and the
        windows of the last video. False if there is not even a whole header."""
        path, file = self._partial("jsonl"), self._jsonl
        file.seek(0)
        header = file.readline(_LINE_BYTES)
        if not header.endswith(b"\n"):
            return False
        check_settings_line(header, path, self._settings, "leave out --resume, which begins anew")
        last, end, begin = None, file.tell(), (0, 0)  # of the last video: its rows before, and its first byte
        for number, line in enumerate(iter(lambda: file.readline(_LINE_BYTES), b""), 2):
            if not line.endswith(b"\n"):
                break
            try:
                row = from_json(line)
                if not all(0 <= index < len(self._names) for index in row.classes):
                    raise ValueError("no such class")
            except ValueError:
                raise InputError(
                    f"{path}:{number}: damaged, it is no line of results; repair it, or leave out --resume"
                ) from None
            if not _goes_on(last, row):
                self.done[row.video_id] += 1
                begin = (self.rows, end)
            last, end = row, end + len(line)
            self.rows += 1
        if last is not None and last.span:
            self.rows, end = begin
            self.done -= Counter([last.video_id])
            self._windows = True
        file.truncate(end)
        return True

    def _stored(self) -> Iterator[Prediction]:
        """The rows that are in the partial file."""
        with open_own(self._partial("jsonl"), "rb") as file:
            file.readline()
            yield from map(from_json, file)

    def _write_csv(self, predictions: Iterable[Prediction], flush: bool = True) -> None:
        writer = csv.writer(self._csv)  # lines end as in RFC 4180, so that a lone "\r" is quoted, too
        for row in predictions:
            if not self._columns:
                self._write_header(min(CSV_CLASSES, len(row.classes)))
            values = [cell(row.video_id), *(row.span or ("", ""))]
            for index, probability in zip(row.classes[: self._columns], row.probabilities):
                values += [index, cell(self._names[index]), probability]
            writer.writerow(values)
        if flush:
            self._csv.flush()

    def _write_header(self, columns: int) -> None:
        self._columns = columns
        numbered = [f"{name}_{n}" for n in range(1, columns + 1) for name in ("class", "name", "probability")]
        csv.writer(self._csv).writerow(["video", "start_s", "end_s", *numbered])


def finished_videos(folder: Path, stem: str, *, windows: bool) -> set[str] | None:
    """The videos of the results in a folder; None if there are none, they are damaged, or a pass that ended early has
    rows there, too.

    Args:
        windows: whether results of windows are meant; None if the others are there.
    """
    path = Path(folder) / f"{stem}.jsonl"
    if not path.exists() or path.with_name(fit_name(stem, ".partial.jsonl")).exists():
        return None
    with contextlib.suppress(ValueError), open_own(path, "rb") as file:
        rows = [from_json(line) for line in file]
        return {row.video_id for row in rows} if all(bool(row.span) == windows for row in rows) else None
    return None


def check_made_with(folder: Path, stem: str, settings: Mapping[str, Any]) -> None:
    """Raises InputError if the results in a folder were made with other settings; those of an older version do not say
    with which."""
    path = Path(folder) / f"{stem}.settings.json"
    with contextlib.suppress(FileNotFoundError), open_own(path, "rb") as file:
        check_settings_line(file.readline(_LINE_BYTES), path, settings, "leave out --resume, which begins anew")


def _checked(prediction: Prediction) -> Prediction:
    """With a span in whole milliseconds. Raises InputError if a probability is not finite."""
    if not all(map(math.isfinite, prediction.probabilities)):
        raise InputError(f"{prediction.video_id}: the probabilities are not finite: the weights are not sound")
    if prediction.span is None:
        return prediction
    start, end = prediction.span
    return dataclasses.replace(prediction, span=(round(start, 3), round(end, 3)))


def _goes_on(last: Prediction | None, row: Prediction) -> bool:
    """Whether a row is a further window of the row before's video, and not of the same one listed again."""
    same = last is not None and last.video_id == row.video_id and last.span and row.span
    return bool(same and row.span[0] > last.span[0])
