"""Locks on files and folders, between processes; they end with the process (flock).

Windows has none of these, and some network file systems neither: there, nothing is locked, and two processes must not
be given the same folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from video_zoo.utils.errors import InputError
from video_zoo.utils.open_files import NOT_FOLLOWED, NOT_WAITING, open_own

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextlib.contextmanager
def lock_folder(path: str | os.PathLike, refusal: str) -> Iterator[None]:
    """While the block runs, no other process gets past here for the same folder.

    Raises InputError, which says `refusal`, if another process has it.
    """
    with lock_file(Path(path) / ".lock", f"{path} is in use: {refusal}"):
        yield


@contextlib.contextmanager
def lock_file(path: str | os.PathLike, refusal: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """While the block runs, no other process gets past here for the same path, where a file lies meanwhile.

    Args:
        waiting: if another process has the lock, this is called, and then the lock is waited for.

    Raises InputError: another process has it, which `refusal` says; or the file cannot be written.
    """
    path = Path(path)
    try:
        lock = _make_and_lock(path, waiting)
    except BlockingIOError:
        raise InputError(refusal) from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is held, so that it is nobody else's
        if lock is not None:
            os.close(lock)


@contextlib.contextmanager
def locked_leftover(path: str | os.PathLike) -> Iterator[int]:
    """Locks what a process of this user left, a file or folder; gives a descriptor of it, which stays the same file's
    when the path becomes another's. Raises OSError if its lock cannot be had, or it is another user's."""
    lock = take_lock(path)
    if lock is None:
        raise OSError("no locks here")
    try:
        if os.fstat(lock).st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "it is another user's", str(path))
        yield lock
    finally:
        os.close(lock)


def take_lock(path: str | os.PathLike, flags: int = os.O_RDONLY, wait: bool = False) -> int | None:
    """A descriptor that holds the lock of a file or folder; None if the system, or the file system, has no such locks.

    Raises:
        BlockingIOError: another has it.
        FileNotFoundError: the path is, by now, another file's, or nobody's.
        OSError: it cannot be opened.
    """
    if fcntl is None:
        return None
    descriptor = os.open(path, flags | NOT_FOLLOWED | NOT_WAITING)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if not os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError) and error.errno in _NO_LOCKS:
            return None
        raise
    return descriptor


def _make_and_lock(path: Path, waiting: Callable[[], None] | None) -> int | None:
    """The lock of a file, which is made if it is missing. Raises BlockingIOError if another process has it."""
    wait = False
    while True:
        open_own(path, "ab").close()
        try:
            return take_lock(path, os.O_RDWR, wait=wait)
        except FileNotFoundError:  # whoever had it has just removed it
            continue
        except BlockingIOError:
            if waiting is None:
                raise
            waiting()
            wait = True
