"""Files and folders that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from utils.errors import InputError


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

    A folder that is already there is replaced, and is untouched if the block fails. Raises InputError if the place
    cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.is_dir():
            # A folder cannot be renamed onto a full one: the old one steps aside first.
            aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
            path.rename(aside / path.name)
            try:
                temporary.rename(path)
            except BaseException:
                if not path.exists():
                    (aside / path.name).rename(path)
                    aside.rmdir()
                raise
            shutil.rmtree(aside, ignore_errors=True)
        else:
            temporary.rename(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


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


def read_to_end(archive: tarfile.TarFile) -> None:
    """Reads what follows the last member of an open archive.

    A .gz checks its content against the checksum at its very end, which tarfile does not reach by itself. Raises
    OSError or EOFError if it differs or is missing.
    """
    while archive.fileobj.read(1 << 20):
        pass


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
