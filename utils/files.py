"""Files and folders that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from video_zoo.utils.errors import InputError


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path` for writing; it takes the name `path` only when the block ends well.

    Raises InputError if the place cannot be written (read-only, full, not a folder).
    """
    path = Path(path)
    encoding = None if "b" in mode else "utf-8"
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, mode, encoding=encoding) as file:
            yield file
        _write_through(temporary)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are private; a result is an ordinary file
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Gives an empty temporary folder beside `path`; it takes the name `path` only when the block ends well.

    A folder that is already there is replaced, and is untouched if the block fails. It is whole at any moment: between
    two renames it has stepped aside, where `whole_folder` finds it, and a kill then leaves it there until
    `remove_leftovers` puts it back. Raises InputError if the place cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
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
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(path: str | os.PathLike) -> None:
    """Removes a folder: it is whole under its name, or no longer there. Raises InputError."""
    path = Path(path)
    try:
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        path.rename(aside / path.name)
    except OSError as error:
        raise InputError(f"cannot remove {path}: {error.strerror or error}") from error
    shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: str | os.PathLike, *names: str) -> None:
    """Tidies up what the functions above left in a folder when their process was killed.

    Args:
        names: patterns (of glob) of the files and folders that were being written or removed.
    """
    for name in names:
        for path in sorted(Path(folder).glob(f".{name}.????????.*")):
            whole = path / path.name[1:].rsplit(".", 2)[0]  # stepped aside for one that was to take its name
            if path.suffix == ".old" and whole.is_dir() and not (Path(folder) / whole.name).exists():
                whole.rename(Path(folder) / whole.name)
            if path.suffix in (".tmp", ".old"):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def whole_folder(path: str | os.PathLike) -> Path:
    """The folder's path; or where the old one still is, if a process was killed while it replaced the folder."""
    path = Path(path)
    if path.exists():
        return path
    aside = sorted(path.parent.glob(f".{glob.escape(path.name)}.????????.old/{glob.escape(path.name)}"))
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


@contextlib.contextmanager
def lock_folder(path: str | os.PathLike, otherwise: str) -> Iterator[None]:
    """While the block runs, no other process gets past here for the same folder; the lock ends with the process.

    Raises InputError, which says `otherwise`, if another process has it.
    """
    from filelock import FileLock, Timeout  # here, so that a Python without it gets as far as saying so

    try:
        with FileLock(Path(path) / ".lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"{path} is in use: {otherwise}") from None


class RealPaths:
    """`os.path.realpath`, quicker for many files of the same folders, which must not change meanwhile."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}  # a folder -> its real path

    def __call__(self, path: str) -> str:
        """Raises OSError or ValueError as realpath."""
        folder, name = os.path.split(path)
        if name in ("", os.curdir, os.pardir):
            return os.path.realpath(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        place = os.path.join(self._folders[folder], name)
        return os.path.realpath(place) if os.path.islink(place) else place


def read_to_end(archive: tarfile.TarFile) -> None:
    """Reads what follows the last member of an open archive.

    A .gz checks its content against the checksum at its very end, which tarfile does not reach by itself. Raises
    OSError or EOFError if it differs or is missing.
    """
    while archive.fileobj.read(1 << 20):
        pass


def _write_through(file: str | os.PathLike) -> None:
    """The file's content is on the disk, also if the power fails."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace_folder(new: Path, old: Path) -> None:
    """Gives `new` the name of `old`. A folder cannot be renamed onto a full one: the old one steps aside first."""
    aside = Path(tempfile.mkdtemp(dir=old.parent, prefix=f".{old.name}.", suffix=".old"))
    old.rename(aside / old.name)
    try:
        new.rename(old)
    except BaseException:
        if not old.exists():
            (aside / old.name).rename(old)
            aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
