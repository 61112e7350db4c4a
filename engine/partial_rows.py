"""The first line of a file of rows that a pass which was stopped goes on with: the settings that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from video_zoo.utils.errors import InputError
from video_zoo.utils.json_files import check_fields, is_mapping, parse_json


def settings_line(settings: Mapping[str, Any]) -> bytes:
    """{"settings": ...} as a line of JSON."""
    return json.dumps({"settings": settings}).encode() + b"\n"


def check_settings_line(line: bytes, path: Path, settings: Mapping[str, Any], otherwise: str) -> None:
    """Raises InputError if a line has other settings than these, which it names, or none.

    Args:
        path: of the file, for the message.
        otherwise: what else can be done.
    """
    try:
        before = flat(check_fields(parse_json(line), {"settings": is_mapping}, needed=["settings"])["settings"])
    except ValueError:
        raise InputError(f"{path}:1: no settings, so nothing can go on with it; {otherwise}") from None
    now = flat(json.loads(json.dumps(settings)))
    keys = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if keys:
        changed = [f"{key}: {before.get(key)} -> {now.get(key)}" for key in keys]
        raise InputError(
            f"{path} was made with other settings: {'; '.join(changed)}. Give the old ones, or {otherwise}"
        )


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings within settings as SECTION.key."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return found
