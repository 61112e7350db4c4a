"""The decisions of those who review predictions: on the disk at once, and as a list that train.py takes."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Union

from video_zoo.engine.results import json_line
from video_zoo.server.review_results import Item, Key
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file, make_folder
from video_zoo.utils.json_files import check_fields, is_count, is_number, is_text, none_or, parse_json
from video_zoo.utils.locks import lock_file
from video_zoo.utils.open_files import open_own

LOG, LIST, EVENTS = "reviewed.jsonl", "reviewed.list", "reviewed_events.jsonl"
UNUSABLE = "unusable"
Decision = Union[int, str, None]  # a class, UNUSABLE, or nothing yet
_LINE_BYTES = 1 << 20


def is_decision(value: Any) -> bool:
    """Whether a value of JSON is a Decision."""
    return value is None or value == UNUSABLE or is_count(value)


_ROW = {
    "video": is_text,
    "path": is_text,
    "start_s": is_number,
    "end_s": is_number,
    "old": is_decision,
    "new": is_decision,
    "name": none_or(is_text),
}


class Conflict(Exception):
    """Somebody else has decided meanwhile."""


class Decisions:
    """The decisions of a folder. Several processes may have the same folder open.

    FOLDER/reviewed.jsonl gets a line a decision: {"time", "video", "path", "start_s"?, "end_s"?, "predicted", "old",
    "new", "name"}, where "old" and "new" are a class, "unusable" or null (undone); the last line about a video holds.
    It is what is read again. FOLDER/reviewed.list is made of it after each decision: `path label` lines of the whole
    videos. Windows, which a list cannot express, are in FOLDER/reviewed_events.jsonl: {"video", "name", "start_s",
    "end_s"} lines, as dataset/cut_events.py takes them of one recording.

    Args:
        names: of the classes.

    Raises InputError: the folder cannot be written, a line is damaged or about other classes, or a reviewed.list is
    there that was not made of decisions.
    """

    def __init__(self, folder: Path, names: Mapping[int, str]):
        self._log, self._list, self._events = folder / LOG, folder / LIST, folder / EVENTS
        self.names = names
        self._thread = threading.Lock()
        self._forget()
        make_folder(folder)
        if os.path.lexists(self._list) and not self._log.exists():
            raise InputError(f"{self._list} is there, and no {self._log.name} that it was made of: move it away")
        with self._thread, self._locked():
            self._read()
            if self._changed:
                self._write_lists()  # a process may have been killed before it did

    def since(self, version: int) -> tuple[int, bool, dict[Key, Decision], dict[Key, Decision]]:
        """The version now; whether what follows are all decisions; those since an earlier version; and all.

        Raises InputError: a line is damaged.
        """
        with self._thread:
            self._read()
            everything = not 0 < version <= len(self._changed)
            changed = self._changed[0 if everything else version :]
            return len(self._changed), everything, {key: self._now[key] for key in changed}, dict(self._now)

    def decide(self, item: Item, old: Decision, new: Decision) -> None:
        """Keeps a decision: it is on the disk when this returns.

        Args:
            old: what it replaces.

        Raises:
            Conflict: by now there is another decision than `old`.
            InputError: a file cannot be written.
        """
        with self._thread, self._locked():
            self._read()
            if self._now.get(item.key) != old:
                raise Conflict
            if new == old:
                return
            self._append(item, old, new)
            self._read()
            self._write_lists()

    def _forget(self) -> None:
        self._now: dict[Key, Decision] = {}
        self._paths: dict[Key, str] = {}
        self._changed: list[Key] = []  # a line each
        self._end, self._inode = 0, -1  # of what was read

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time."""
        with lock_file(self._log.with_name(".reviewed.lock"), "", waiting=lambda: None):
            yield

    def _read(self) -> None:
        """Reads the lines that have come since; a last line without an end is not whole yet, or never will be."""
        try:
            with open_own(self._log, "rb") as file:
                state = os.fstat(file.fileno())
                if state.st_ino != self._inode or state.st_size < self._end:
                    self._forget()
                    self._inode = state.st_ino
                file.seek(self._end)
                for line in iter(lambda: file.readline(_LINE_BYTES), b""):
                    if not line.endswith(b"\n") and len(line) < _LINE_BYTES:
                        break
                    self._take(line)
                    self._end += len(line)
        except FileNotFoundError:
            self._forget()
        except OSError as error:
            raise InputError(f"cannot read {self._log}: {error.strerror or error}") from error

    def _take(self, line: bytes) -> None:
        try:
            row = check_fields(parse_json(line), _ROW, needed=("video", "path", "new", "name"))
            if ("start_s" in row) != ("end_s" in row):
                raise ValueError("it has one end of a window without the other")
        except ValueError as error:
            number = len(self._changed) + 1
            raise InputError(f"{self._log}:{number}: damaged, it is no decision ({error}); remove the line") from None
        new = row["new"]
        if is_count(new) and self.names.get(new, row["name"]) != row["name"]:
            raise InputError(
                f"{self._log} is about other classes: its class {new} is {row['name']!r}, and here it is"
                f" {self.names[new]!r}; move it and {self._list.name} away"
            )
        key = row["video"], (float(row["start_s"]), float(row["end_s"])) if "start_s" in row else None
        self._now[key], self._paths[key] = new, row["path"]
        self._changed.append(key)

    def _append(self, item: Item, old: Decision, new: Decision) -> None:
        row: dict[str, Any] = {"time": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        row.update(video=item.video, path=item.path)
        if item.span:
            row["start_s"], row["end_s"] = item.span
        row.update(predicted=item.predicted, old=old, new=new, name=self.names[new] if is_count(new) else None)
        try:
            with open_own(self._log, "ab") as file:
                file.truncate(self._end)  # what a killed process has left of a line
                file.write(json_line(row))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"cannot write {self._log}: {error.strerror or error}") from error

    def _write_lists(self) -> None:
        rows = [(key, self._paths[key], new) for key, new in self._now.items() if is_count(new)]
        videos = [f"{path} {label}\n" for (_, span), path, label in rows if span is None]
        events = [
            json.dumps({"video": path, "name": self.names[label], "start_s": span[0], "end_s": span[1]}) + "\n"
            for (_, span), path, label in rows
            if span is not None
        ]
        for path, lines in ((self._list, videos), (self._events, events)):
            if lines:
                with atomic_file(path) as file:
                    file.writelines(lines)
            else:
                path.unlink(missing_ok=True)
