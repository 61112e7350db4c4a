"""Files and folders that are whole or not there: written under a temporary name, then renamed.

A temporary file or folder lies beside what it will be, as .zoo_XXXXXXXX.tmp; a folder that steps aside for a new one is
in .zoo_XXXXXXXX.old. Its maker holds a lock on it (flock), which ends with the process: what can be locked is left over
from a process that was killed. Where the file system or the operating system has no such locks, nothing is removed.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Callable

from video_zoo.utils.errors import InputError
from video_zoo.utils.locks import locked_leftover, take_lock
from video_zoo.utils.open_files import NOT_FOLLOWED, NOT_WAITING, open_own

_PREFIX, _RANDOM = ".zoo_", "?" * 8  # the random characters of tempfile's names
_NAME_BYTES = 255  # of a file's name, at most, on the usual file systems
_swept: set[str] = set()  # folders whose leftovers this process has removed


def fit_name(stem: str, end: str) -> str:
    """STEM + END; where that is too long for a file's name, as much of the stem as fits, and its checksum."""
    data = os.fsencode(stem)
    if len(data) + len(os.fsencode(end)) <= _NAME_BYTES:
        return stem + end
    end = f"~{zlib.crc32(data):08x}{end}"
    return data[: _NAME_BYTES - len(os.fsencode(end))].decode("utf-8", "ignore") + end


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path` for writing; it takes the name `path` only when the block ends well.

    Raises InputError if the place cannot be written (read-only, full, not a folder).
    """
    encoding = None if "b" in mode else "utf-8"
    try:
        with atomic_path(path) as temporary, open_own(temporary, mode.replace("w", "r+"), encoding=encoding) as file:
            yield file
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """As `atomic_file`, for what opens its file itself: gives the path of an empty temporary file. Raises OSError."""
    path = Path(path)
    with _prepare(path, _make_file) as temporary:
        yield temporary
        _write_through(temporary, 0o666 & ~_umask())  # temporary files are private; a result is an ordinary file
        os.replace(temporary, path)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Gives an empty temporary folder beside `path`; it takes the name `path` only when the block ends well.

    A folder that is already there is replaced, and is untouched if the block fails. It is whole at any moment: between
    two renames it has stepped aside, where `whole_folder` finds it, and a kill then leaves it there until
    `remove_leftovers` puts it back. Raises InputError if the place cannot be written.
    """
    path = Path(path)
    try:
        with _prepare(path, tempfile.mkdtemp) as temporary:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            for file in temporary.iterdir():
                _write_through(file)
            if path.is_dir():
                _replace_folder(temporary, path)
            else:
                temporary.rename(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def scratch_folder(place: str | os.PathLike | None = None) -> Iterator[Path]:
    """A private folder in `place`, or where the system keeps temporary files; it is gone when the block ends.

    Raises InputError if it cannot be made; among the system's temporary files also if the block cannot write to it.
    """
    folder, hint = None, "" if place else "; TMPDIR names another folder"
    try:
        where = Path(place or tempfile.gettempdir())
        remove_leftovers(where)
        folder, lock = _make(where, ".tmp", tempfile.mkdtemp)
        with _removed_at_the_end(folder, lock):
            yield folder
    except OSError as error:
        if folder and place:  # what the block does with other files is its own
            raise
        where = error.filename or folder or place or "any folder"
        raise InputError(f"cannot write temporary files to {where}: {error.strerror or error}{hint}") from error


def remove_folder(path: str | os.PathLike) -> None:
    """Removes a folder: it is whole under its name, or no longer there. Raises InputError."""
    path = Path(path)
    try:
        aside, lock = _make(path.parent, ".tmp", tempfile.mkdtemp)
        with _removed_at_the_end(aside, lock):
            path.rename(aside / path.name)
    except OSError as error:
        raise InputError(f"cannot remove {path}: {error.strerror or error}") from error


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Removes what the functions above left in a folder when their process was killed. A folder that had stepped aside
    takes its name again if nothing else has it. What a running process is at work on stays, and what is another
    user's."""
    _swept.add(os.path.abspath(folder))
    for path in [path for end in ("tmp", "old") for path in Path(folder).glob(f"{_PREFIX}{_RANDOM}.{end}")]:
        with contextlib.suppress(OSError), locked_leftover(path) as lock:
            for name in os.listdir(lock) if path.suffix == ".old" else ():
                if not os.path.lexists(Path(folder) / name):
                    os.rename(name, Path(folder) / name, src_dir_fd=lock)  # by now, a link may lie at `path`
            _remove(path)


def whole_folder(path: str | os.PathLike) -> Path:
    """The folder's path; or where the old one still is, if a process was killed while it replaced the folder."""
    path = Path(path)
    if path.exists():
        return path
    aside = sorted(path.parent.glob(f"{_PREFIX}{_RANDOM}.old/{glob.escape(path.name)}"))
    return aside[0] if aside else path


def make_folder(path: str | os.PathLike) -> Path:
    """Creates the folder `path` if it is missing, and makes sure that files can be written to it.

    Raises InputError if they cannot.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(f"cannot write to the folder {path}: {error.strerror or error}") from error
    return path


def check_no_link(folder: str | os.PathLike) -> None:
    """Raises InputError if a folder, whose name below the user's folder is fixed, is a link: files that it holds are
    replaced and removed, and they would be those of another folder, which nobody has named."""
    if os.path.islink(folder):
        raise InputError(f"cannot write to the folder {folder}: it is a link; remove it, or name another folder")


@contextlib.contextmanager
def _prepare(path: Path, make: Callable[..., str]) -> Iterator[Path]:
    """The temporary file or folder for `path`, which is gone when the block ends, unless it has been renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.abspath(path.parent) not in _swept:
        remove_leftovers(path.parent)
    temporary, lock = _make(path.parent, ".tmp", make)
    with _removed_at_the_end(temporary, lock):
        yield temporary


def _make(folder: Path, suffix: str, make: Callable[..., str]) -> tuple[Path, int | None]:
    """A new temporary file or folder, and the lock on it; None where there are no locks."""
    while True:
        path = Path(make(dir=folder, prefix=_PREFIX, suffix=suffix))
        try:
            return path, take_lock(path)
        except (BlockingIOError, FileNotFoundError):  # taken for a leftover before it was locked
            continue


def _make_file(**where: Any) -> str:
    descriptor, path = tempfile.mkstemp(**where)
    os.close(descriptor)
    return path


@contextlib.contextmanager
def _removed_at_the_end(path: Path, lock: int | None) -> Iterator[None]:
    try:
        yield
    finally:
        try:
            _remove(path)
        finally:
            if lock is not None:
                os.close(lock)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _write_through(file: str | os.PathLike, mode: int | None = None) -> None:
    """The file's content is on the disk, also if the power fails; with `mode`, others have these permissions for it."""
    descriptor = os.open(file, os.O_RDONLY | NOT_FOLLOWED | NOT_WAITING)
    try:
        if mode is not None:
            os.chmod(descriptor if os.chmod in os.supports_fd else file, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace_folder(new: Path, old: Path) -> None:
    """Gives `new` the name of `old`. A folder cannot be renamed onto a full one: the old one steps aside first."""
    aside, lock = _make(old.parent, ".old", tempfile.mkdtemp)
    try:
        old.rename(aside / old.name)
        try:
            new.rename(old)
        except BaseException:
            if not old.exists():
                (aside / old.name).rename(old)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        with contextlib.suppress(OSError):
            aside.rmdir()  # it is empty if the old folder never came, or is back
        if lock is not None:
            os.close(lock)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
