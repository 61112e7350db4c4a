"""JSON as data: what a small document says is of the expected type and in range, or the first wrong field is named."""

from __future__ import annotations

import json
import reprlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Callable

MOST_COUNT = 2**53  # larger integers are no longer exact in all readers of JSON
_MOST_DEPTH = 32
_MOST_BYTES = 16 << 20  # lists in lists take some 30 times their text

Check = Callable[[Any], bool]


def parse_json(text: str | bytes, most: int = _MOST_BYTES) -> Any:
    """The value of a JSON document, which may hold NaN and Infinity, as Python writes them.

    Raises ValueError if it is no JSON, is larger than `most` bytes, or is nested more than 32 levels deep.
    """
    if len(text) > most:
        raise ValueError(f"its {len(text):,} bytes are more than the {most:,} allowed")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_depth(value, _MOST_DEPTH)
    return value


def check_fields(document: Any, fields: Mapping[str, Check], needed: Iterable[str] = ()) -> dict[str, Any]:
    """The document, a dict with text as keys, whose fields that `fields` names are right where they are there.

    Args:
        fields: name -> whether a value is right. A name that ends in * stands for all that begin so.
        needed: those that must be there.

    Raises ValueError that names what is wrong.
    """
    if not isinstance(document, dict):
        raise ValueError(f"it holds {reprlib.repr(document)}, which is no mapping")
    for name, value in document.items():
        if not isinstance(name, str):
            raise ValueError(f"the key {reprlib.repr(name)} is no text")
        check = fields.get(name) or next((fields[key] for key in fields if _stands_for(key, name)), None)
        if check is not None and not check(value):
            raise ValueError(f"{name[:50]} is {reprlib.repr(value)}")
    missing = [name for name in needed if name not in document]
    if missing:
        raise ValueError(f"it does not say {' and '.join(missing)}")
    return document


def is_text(value: Any) -> bool:
    """Text, which may be empty."""
    return isinstance(value, str)


def is_flag(value: Any) -> bool:
    """True or False; 0 and 1 are none."""
    return isinstance(value, bool)


def is_count(value: Any) -> bool:
    """An integer of 0 to 2^53; True and False are none."""
    return type(value) is int and 0 <= value <= MOST_COUNT


def is_number(value: Any) -> bool:
    """A finite number that a float can hold; True and False are none."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def is_mapping(value: Any) -> bool:
    """A dict with text as keys."""
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def list_of(check: Check) -> Check:
    """Whether a value is a list, maybe empty, of which each item is right."""
    return lambda value: isinstance(value, list) and all(map(check, value))


def mapping_of(check: Check) -> Check:
    """Whether a value is a dict with text as keys, maybe empty, of which each value is right."""
    return lambda value: is_mapping(value) and all(map(check, value.values()))


def none_or(check: Check) -> Check:
    """Whether a value is None or right."""
    return lambda value: value is None or check(value)


def _stands_for(key: str, name: str) -> bool:
    return key.endswith("*") and name.startswith(key[:-1])


def _check_depth(value: Any, left: int) -> None:
    if not isinstance(value, (dict, list)):
        return
    if not left:
        raise ValueError("it is nested too deeply")
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list)):  # most are not, and a call takes longer
            _check_depth(item, left - 1)
