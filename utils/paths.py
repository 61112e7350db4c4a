"""Where relative paths lead, and the real paths of many files."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]  # the clone, or the installed package: it has configs/ and dataset/


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
