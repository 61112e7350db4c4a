"""List files: one video a line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from video_zoo.configs.schema import Config
from video_zoo.utils.errors import InputError


class Video(NamedTuple):
    """A line of a list: the path as written, the label (None if the line has none), the line's number from 1, and for
    a folder of images how many there are."""

    path: str
    label: int | None
    line: int
    num_frames: int | None = None


def read_video_list(
    list_path: str | None, *, num_classes: int, labelled: bool, key: str, frame_folders: bool = False
) -> list[Video]:
    """Reads `path label` lines, or `path` lines; for folders of images, `folder num_frames label` or without label.

    A path may hold spaces; the numbers are the last words of the line.

    Args:
        num_classes: labels are below it.
        labelled: a line without a label is an error; otherwise a label may be missing.
        key: the config key that names the list, for messages.

    Raises InputError: no such file, an empty one, or a line that is wrong, with its number.
    """
    if not list_path:
        raise InputError(f"no list of videos: set {key}")
    try:
        lines = Path(list_path).read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(
            f"no list {list_path} ({key}). A list has `path label` lines; dataset/README.md shows how to make one,"
            f" and --set {key}=PATH names another."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list {list_path} ({key}): {error}") from error
    folder = Path(list_path).resolve().parent
    parse = _parse_frame_folder if frame_folders else _parse
    videos = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                video = parse(line.strip(), number, labelled, folder)
                if labelled:
                    check_label(video.label, num_classes)
            except ValueError as error:
                raise InputError(f"{list_path}, line {number}: {error}") from None
            videos.append(video)
    if not videos:
        raise InputError(f"the list {list_path} ({key}) is empty")
    return videos


def read_mode_list(settings: Config, mode: str) -> list[Video]:
    """The list that a config names for a mode: without labels in infer mode. Raises InputError as read_video_list."""
    model = settings.MODEL
    return read_video_list(
        settings.reader(mode).filelist,
        num_classes=model.num_classes,
        labelled=mode != "infer" and model.format != "pkl",
        key=f"{mode.upper()}.filelist",
        frame_folders=model.format == "frames",
    )


def listed_videos(list_path: str | None, num_classes: int, key: str) -> list[Video]:
    """The video files of a list, labels or not, with paths as they are found. Raises InputError as read_video_list."""
    videos = read_video_list(list_path, num_classes=num_classes, labelled=False, key=key)
    folder = Path(list_path).resolve().parent
    return [video._replace(path=str(resolve(video.path, folder))) for video in videos]


def resolve(path: str, list_folder: Path) -> Path:
    """The file a line means: as written, or, if that is not there, relative to the list's folder."""
    here = Path(path)
    return here if here.is_absolute() or os.path.exists(here) else list_folder / here


def check_label(label: int, num_classes: int) -> None:
    """Raises ValueError for a label that is no class."""
    if not 0 <= label < num_classes:
        hint = "; do its labels count from 1?" if label == num_classes else ""
        raise ValueError(
            f"label {label} is not one of the {num_classes} classes, 0 to {num_classes - 1} (MODEL.num_classes){hint}"
        )


def _parse(line: str, number: int, labelled: bool, folder: Path) -> Video:
    words = line.rsplit(None, 1)
    try:
        label = int(words[1])
    except (IndexError, ValueError):
        if labelled:
            raise ValueError(f"{line!r} has no label; a line is `path label`, the label a number") from None
        return Video(line, None, number)
    if not labelled and os.path.exists(resolve(line, folder)):  # a file whose name ends in a number
        return Video(line, None, number)
    return Video(words[0], label, number)


def _parse_frame_folder(line: str, number: int, labelled: bool, folder: Path) -> Video:
    readings = [Video(*words, number, frames) for *words, frames in _readings(line)]
    if labelled:
        readings = [video for video in readings if video.label is not None]
    if not readings:
        form = "folder num_frames label" if labelled else "folder num_frames"
        raise ValueError(f"{line!r} is not `{form}` (MODEL.format is frames)")
    there = (video for video in readings if len(readings) > 1 and os.path.isdir(resolve(video.path, folder)))
    video = next(there, readings[0])  # a folder's name may end in a number
    if video.num_frames < 1:
        raise ValueError(f"{line!r} gives the folder {video.num_frames} frames")
    return video


def _readings(line: str) -> Iterator[tuple[str, int | None, int]]:
    """(folder, label, num_frames) as the last words of a line may be meant."""
    for count in (2, 1):
        folder, *words = line.rsplit(None, count)
        with contextlib.suppress(ValueError):
            numbers = [int(word) for word in words]
            if len(numbers) == count:
                yield folder, numbers[1] if count == 2 else None, numbers[0]
