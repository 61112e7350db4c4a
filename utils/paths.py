"""Where relative paths lead, and the real paths of many files."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]  # the clone, or the installed package: it has configs/ and dataset/


def find_path(path: str, *folders: str | os.PathLike) -> str | None:
    """The file or folder that a relative path means: from where the user stands, else below the first of the folders
    that has it, else in the project. None: it is nowhere. An absolute path means itself."""
    if os.path.isabs(path) or os.path.exists(path):
        return path
    places = (os.path.join(folder, path) for folder in (*folders, PROJECT))
    return next(filter(os.path.exists, places), None)


def looked_in(path: str, *folders: str | os.PathLike) -> str:
    """For a message: the folders where `find_path` looks for a relative path; nothing for an absolute one."""
    places = dict.fromkeys(os.path.abspath(each) for each in (os.curdir, *folders, PROJECT))
    return "" if os.path.isabs(path) else f" (looked for in {' and '.join(places)})"


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
