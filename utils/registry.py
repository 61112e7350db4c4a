"""A table from names to things, as `--model_name` looks them up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from video_zoo.utils.errors import InputError
from video_zoo.utils.meanings import nearest

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Names, without regard to case, and what they stand for.

    Args:
        kind: what an entry is ("model"), for messages.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Adds an entry. Raises ValueError if the name is taken."""
        if name.upper() in self._entries:
            raise ValueError(f"two {self.kind}s named {name}")
        self._entries[name.upper()] = entry

    def get(self, name: str) -> Entry:
        """The entry of that name. Raises InputError that lists the known names."""
        key = name.upper()
        if key not in self._entries:
            raise InputError(
                f"no {self.kind} named {name!r}{did_you_mean(key, self.names())} Known: {', '.join(self.names())}."
            )
        return self._entries[key]

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._entries)

    def items(self) -> list[tuple[str, Entry]]:
        """All names, sorted, with their entries."""
        return sorted(self._entries.items(), key=lambda item: item[0])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where a known word is near, by its meaning or its spelling, else a full stop."""
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else "."
