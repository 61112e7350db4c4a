"""The rows of an evaluation under way: on the disk after each batch, so that one which was stopped can go on."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from video_zoo.datareader.batches import Batch, Failure
from video_zoo.engine.evaluation import Evaluation
from video_zoo.engine.partial_rows import check_settings_line, settings_line
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file, check_no_link
from video_zoo.utils.json_files import check_fields, is_count, is_text, list_of, mapping_of, parse_json
from video_zoo.utils.locks import lock_file
from video_zoo.utils.open_files import open_own

if TYPE_CHECKING:
    from video_zoo.datareader.reader import VideoReader

_LINE_BYTES = 1 << 28  # of a batch, at most
_OTHERWISE = "leave out --resume, which begins anew"


def _is_failure(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and is_count(value[0]) and is_text(value[1])


_FIELDS = {
    "batch": is_count,
    "ids": list_of(is_text),
    "labels": list_of(is_count),
    "logits": mapping_of(is_text),
    "failed": list_of(_is_failure),
}


class Rows(NamedTuple):
    """What is known of the videos of a batch.

    Args:
        batch: its number.
        ids, labels: of the videos that were read.
        logits: order of the frames -> float32 (n, num_classes).
        failed: (its line, reason) of each that could not be read; of this batch, or of one before of which nothing
            could be read.
    """

    batch: int
    ids: list[str]
    labels: list[int]
    logits: Mapping[str, np.ndarray]
    failed: list[tuple[int, str]]


class EvaluationRows:
    """The files FOLDER/RANK.jsonl, one of each rank's own: a line for the settings, then one a batch.

    Args:
        folder: holds nothing else.
        reader: reads the list.
        rank: of this process, whose file is written.
        orders: of the frames; each has logits.
        num_classes: logits of a video.
        settings: what a pass that goes on must have in common with this one; anything JSON has.

    Raises on entering:
        InputError: another process is writing the file; the folder is a link, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        reader: VideoReader,
        rank: int,
        orders: Sequence[str],
        num_classes: int,
        settings: Mapping[str, Any],
    ):
        self._folder, self._reader, self._rank, self._settings = Path(folder), reader, rank, settings
        self._places = {video.line: place for place, video in enumerate(reader.videos)}
        self._orders, self._num_classes = tuple(orders), num_classes
        self._failures = 0  # of the reader's, so many are written
        self._lock = contextlib.ExitStack()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> EvaluationRows:
        check_no_link(self._folder)
        path = self._path(self._rank)
        with _no_os_errors(path):
            self._folder.mkdir(parents=True, exist_ok=True)
        refusal = f"{path} is being written by another process; choose another --save_dir"
        self._lock.enter_context(lock_file(path.with_name(f".{path.name}.lock"), refusal))
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            with self._lock:
                if self._file is not None:
                    self._file.close()
            self._folder.rmdir()  # if nothing waits in it for a pass that goes on, nor is another rank's lock there

    def done(self) -> int:
        """How many batches, from the first one on, an earlier pass is through with. Raises InputError: its rows were
        made with other settings, or are damaged."""
        if not self._path(self._rank).exists():
            return 0
        return max((rows.batch + 1 for rows in self._read(self._rank)), default=0)

    def begin(self, first: int) -> None:
        """Keeps the rows of the batches before number `first`, and is ready for those from there on."""
        path = self._path(self._rank)
        kept = list(self._read(self._rank)) if first else []
        with atomic_file(path, "wb") as file:
            file.write(settings_line(self._settings))
            for rows in kept:
                failed = [each for each in rows.failed if self._batch_of(each[0]) < first]
                if rows.batch < first:
                    file.write(_to_line(rows))
                elif failed:
                    file.write(_to_line(Rows(first - 1, [], [], {}, failed)))
        with _no_os_errors(path):
            self._file = open_own(path, "ab")

    def add(self, batch: Batch, logits: Mapping[str, np.ndarray]) -> None:
        """Writes a batch: the logits of its videos, and which could not be read since the one before."""
        ids, labels = batch.ids[:: batch.views], batch.labels[:: batch.views].tolist()
        self._write(Rows(batch.number, ids, labels, logits, self._new_failures()))

    def end(self) -> None:
        """Writes what could not be read behind the last batch of which something could."""
        self._write(Rows(self._reader.batches - 1, [], [], {}, self._new_failures()))

    def evaluation(self, ranks: int, names: list[str], facts: Mapping[str, Any]) -> Evaluation:
        """The rows of all ranks as one, in the order of the list; `names` and `facts` are the Evaluation's.

        Raises InputError: the rows of a video are missing.
        """
        found = sorted((rows for rank in range(ranks) for rows in self._read(rank)), key=lambda rows: rows.batch)
        ids, labels = ([each for rows in found for each in getattr(rows, key)] for key in ("ids", "labels"))
        logits = {
            order: np.concatenate([rows.logits[order] for rows in found if rows.ids]) for order in self._orders if ids
        }
        failed = {line: reason for rows in found for line, reason in rows.failed}
        videos = self._reader.videos
        self._reader.failures = [Failure(video, failed[video.line]) for video in videos if video.line in failed]
        if len(ids) + len(failed) != len(videos):
            raise InputError(f"{self._folder} has rows of {len(ids)} of {len(videos)} videos; {_OTHERWISE}")
        failures = [(failure.video.path, failure.reason) for failure in self._reader.failures]
        return Evaluation(ids, np.array(labels, np.int64), logits, failures, names, facts)

    def remove(self, ranks: int) -> None:
        """Removes the files; the results are elsewhere."""
        with contextlib.suppress(OSError):
            for rank in range(ranks):
                self._path(rank).unlink(missing_ok=True)

    def _path(self, rank: int) -> Path:
        return self._folder / f"{rank}.jsonl"

    def _batch_of(self, line: int) -> int:
        return self._places[line] // self._reader.batch_size

    def _new_failures(self) -> list[tuple[int, str]]:
        new = self._reader.failures[self._failures :]
        self._failures += len(new)
        return [(failure.video.line, failure.reason) for failure in new]

    def _write(self, rows: Rows) -> None:
        with _no_os_errors(self._path(self._rank)):
            self._file.write(_to_line(rows))
            self._file.flush()

    def _read(self, rank: int) -> Iterator[Rows]:
        path = self._path(rank)
        with _no_os_errors(path), open_own(path, "rb") as file:
            check_settings_line(file.readline(_LINE_BYTES), path, self._settings, _OTHERWISE)
            for number, line in enumerate(iter(lambda: file.readline(_LINE_BYTES), b""), 2):
                if not line.endswith(b"\n"):
                    return  # a process was killed while it wrote this
                try:
                    yield self._from_line(line)
                except ValueError:
                    raise InputError(f"{path}:{number}: damaged, it is no row of an evaluation; {_OTHERWISE}") from None

    def _from_line(self, line: bytes) -> Rows:
        said = check_fields(parse_json(line, _LINE_BYTES), _FIELDS, needed=_FIELDS)
        count = len(said["ids"])
        logits = {order: np.frombuffer(base64.b64decode(data), "<f4") for order, data in said["logits"].items()}
        shapes = {order: flat.reshape(count, self._num_classes) for order, flat in logits.items()}
        if len(said["labels"]) != count or count and shapes.keys() != set(self._orders):
            raise ValueError("its parts do not fit")
        if any(label >= self._num_classes for label in said["labels"]):
            raise ValueError("no such class")
        if any(line not in self._places for line, _ in said["failed"]):
            raise ValueError("no such line")
        failed = [tuple(each) for each in said["failed"]]
        return Rows(said["batch"], said["ids"], said["labels"], shapes, failed)


def _to_line(rows: Rows) -> bytes:
    logits = {order: base64.b64encode(each.astype("<f4")).decode() for order, each in rows.logits.items()}
    return json.dumps({**rows._asdict(), "logits": logits}).encode() + b"\n"


@contextlib.contextmanager
def _no_os_errors(path: Path) -> Iterator[None]:
    """An error of the system while the block runs is an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read or write {path}: {error.strerror or error}") from error
