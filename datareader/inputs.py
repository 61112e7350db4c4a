"""What a user gives to be looked at - videos, folders, patterns, addresses, cameras - as videos and streams."""

from __future__ import annotations

import collections
import fnmatch
import glob
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from video_zoo.datareader.class_folders import VIDEO_EXTENSIONS, find_videos
from video_zoo.datareader.video_list import Video
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import heartbeat
from video_zoo.utils.paths import RealPaths
from video_zoo.utils.texts import hide_secrets

_ADDRESS = re.compile(r"(rtsp|rtmp|https?|udp)://.", re.IGNORECASE)
_CAMERA = re.compile(r"[0-9]{1,3}")


class Inputs(NamedTuple):
    """Videos, whose lines are their numbers from 1, and streams: addresses and numbers of cameras."""

    videos: list[Video]
    streams: list[str]


def find_inputs(given: Sequence[str]) -> Inputs:
    """Each of `given` is a video file, a folder (the videos in it, at any depth), a pattern as `videos/*.mp4` or
    `videos/**/golf` (of files and of folders), an address (rtsp, rtmp, http, https, udp) or the number of a camera.

    A file or folder that is there is one, whatever else its name could mean. The order is that of `given`, and sorted
    within a folder or pattern; what is given twice counts once. In folders and patterns only files with the extension
    of a video count; hidden ones are left out, unless a pattern says their dot before any `**`; links are followed.

    Raises InputError: nothing is given; there is no such file, or nothing that a pattern fits; a folder or pattern
    without videos, or that cannot be read.
    """
    if not given:
        raise InputError("nothing to look at: give videos, folders, patterns, addresses or the number of a camera")
    videos: dict[str, str] = {}  # real path -> path as given
    streams: dict[str, None] = {}
    real_path = RealPaths()
    for each in given:
        if os.path.isfile(each):
            paths = [each]
        elif os.path.isdir(each):
            paths = _in_folder(each)
        elif os.path.exists(each):
            raise InputError(f"{_shown(each)} is no file; a camera is given by its number, as 0")
        elif _ADDRESS.match(each) or _CAMERA.fullmatch(each):
            streams[each] = None
            continue
        elif glob.has_magic(each):
            paths = _fitting(each)
        else:
            raise InputError(_nothing_there(each))
        for path in paths:
            videos.setdefault(real_path(path), path)
    return Inputs([Video(path, None, number) for number, path in enumerate(videos.values(), 1)], list(streams))


def _in_folder(folder: str) -> list[str]:
    others: collections.Counter[str] = collections.Counter()
    paths = [os.path.join(folder, path) for path in find_videos(folder, folder, others)]
    if not paths:
        raise InputError(f"no videos in the folder {_shown(folder)}{_other_files(others)}")
    return paths


def _fitting(pattern: str) -> list[str]:
    """The sorted videos that a pattern means, or that are in folders that it means."""
    others: collections.Counter[str] = collections.Counter()
    paths: list[str] = []
    parts = pattern.split("/")
    flat = parts.index("**") if "**" in parts else len(parts)
    known = max((place for place in range(1, flat + 1) if os.path.isdir("/".join(parts[:place]))), default=0)
    start = glob.escape("/".join(parts[:known]))  # a folder that is there is one, also if its name looks like a pattern
    with heartbeat(f"looking for what fits {_shown(pattern)}"):
        matches = glob.glob("/".join([start] * (known > 0) + parts[known:flat]) or "/") if flat else [""]
    for match in matches:
        if os.path.isdir(match or "."):
            below = find_videos(match or ".", match or ".", others)
            paths += (os.path.join(match, path) for path in below if _fits(path.split("/"), parts[flat:]))
        elif flat == len(parts) and os.path.splitext(match)[1].lower() in VIDEO_EXTENSIONS:
            paths.append(match)
        elif flat == len(parts):
            others[os.path.splitext(match)[1].lower() or "no extension"] += 1
    if not matches:
        raise InputError(f"nothing fits the pattern {_shown(pattern)}; no file has this name either")
    if not paths:
        raise InputError(f"no videos fit the pattern {_shown(pattern)}{_other_files(others)}")
    return sorted(paths)


def _fits(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a pattern's parts fit a path's, or those of a folder that the path is in."""
    if not any(pattern):
        return True
    if pattern[0] == "**":
        return any(_fits(path[skipped:], pattern[1:]) for skipped in range(len(path) + 1))
    return bool(path) and fnmatch.fnmatchcase(path[0], pattern[0]) and _fits(path[1:], pattern[1:])


def _other_files(others: collections.Counter[str]) -> str:
    extensions = ", ".join(sorted(VIDEO_EXTENSIONS))
    found = ", ".join(f"{count} {what}" for what, count in sorted(others.items()))
    return f" ({extensions}){f'; other files: {found}' if found else ''}"


def _nothing_there(name: str) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name):
        return f"{_shown(name)}: an address begins with rtsp://, rtmp://, http://, https:// or udp://"
    return f"no such file or folder: {_shown(name)}"


def _shown(name: str) -> str:
    """A name as it is, but quoted where it would not be read as one, and without the password of an address."""
    name = hide_secrets(name)
    return name if name.isprintable() and name == name.strip() and name else repr(name)
