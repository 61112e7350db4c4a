"""Files that are opened by their name in a folder that others can write to, where anything may lie in their place."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import IO, Any, Callable

NOT_FOLLOWED = getattr(os, "O_NOFOLLOW", 0)
NOT_WAITING = getattr(os, "O_NONBLOCK", 0)  # for a process at the other end of a pipe


def open_own(path: str | os.PathLike, mode: str, **options: Any) -> IO[Any]:
    """Opens a file by its name, as `open` does, but only an ordinary file that has no second name.

    In a folder that others can write to, a link, a pipe or a device may lie in the place of the file: writing would
    change a file elsewhere, or wait for ever, and reading would give the content of another file. With "w", whatever
    lies there is replaced by a new file.

    Raises OSError, which names the remedy.
    """

    def opener(name: str, flags: int) -> int:
        if flags & os.O_TRUNC:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            flags = flags & ~os.O_TRUNC | os.O_EXCL
        return _open_checked(name, flags | NOT_FOLLOWED | NOT_WAITING, os.lstat, _check_own)

    return open(path, mode, opener=opener, **options)


def open_regular(path: str | os.PathLike, most_bytes: int, pipes: bool = False) -> IO[bytes]:
    """Opens a file for reading, if it is a regular one of at most so many bytes, or a link to one.

    A device or a pipe may have no end, or wait for ever.

    Args:
        pipes: a pipe is opened, too, as a shell's <(...) is one; what comes out of it has no limit here.

    Raises OSError.
    """

    def check(status: os.stat_result, name: str) -> None:
        if stat.S_ISDIR(status.st_mode) or pipes and stat.S_ISFIFO(status.st_mode):
            return  # opening a folder says what it is
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", name)
        if status.st_size > most_bytes:
            raise OSError(errno.EFBIG, f"its {status.st_size:,} bytes are more than the {most_bytes:,} allowed", name)

    def opener(name: str, flags: int) -> int:
        return _open_checked(name, flags | (0 if pipes else NOT_WAITING), os.stat, check)

    return open(path, "rb", opener=opener)


def read_regular(path: str | os.PathLike, most_bytes: int) -> bytes:
    """The bytes of a regular file of at most so many bytes. Raises OSError."""
    with open_regular(path, most_bytes) as file:
        return file.read()


def _open_checked(
    name: str,
    flags: int,
    look: Callable[[str], os.stat_result],
    check: Callable[[os.stat_result, str], None],
) -> int:
    """A descriptor of what `check` lets pass: before it is opened, and again after that, as it may have been replaced
    since."""
    with contextlib.suppress(FileNotFoundError):
        check(look(name), name)
    descriptor = os.open(name, flags, 0o666)
    try:
        check(os.fstat(descriptor), name)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_own(status: os.stat_result, name: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        return  # opening it says so
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise OSError(errno.EINVAL, "it is a link, a pipe or a device, or has a second name; remove it", name)
