"""Checks of a config that come before any video is read."""

from __future__ import annotations

import contextlib
import math
import re

from video_zoo.configs.schema import Config, ModelSection, ReaderSection
from video_zoo.datareader.sampling import Windows
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import memory_bytes

_SHORTEST_S = 0.001  # of a window, and from one to the next
_MOST_AT_ONCE = 500  # windows that overlap: each keeps its clip until it is complete


def check_sizes(mode: str, section: ReaderSection) -> None:
    """Raises InputError if the crop is larger than the scaled frame."""
    if section.target_size > section.short_size:
        name = mode.upper()
        raise InputError(
            f"{name}.target_size = {section.target_size} does not fit into {name}.short_size = {section.short_size}:"
            " the crop is cut out of the scaled frame"
        )


def check_memory(what: str, clips: int, shape: tuple[int, int, int, int], remedy: str) -> None:
    """Raises InputError if the clips that a reader holds cannot fit into this machine's memory.

    Args:
        what: the setting that says how many clips there are, for the message.
        clips: how many it holds on this machine at once.
        shape: of a clip, (T, 3, H, W), uint8.
        remedy: what makes them fewer, for the message.
    """
    needed, there = clips * math.prod(shape), memory_bytes()
    if there is not None and needed > there:
        frames, _, height, width = shape
        raise InputError(
            f"{what}: {clips} clips of {frames} frames of {height} x {width} pixels are held at once, which takes"
            f" {needed / 1e9:,.1f} GB, and this machine has {there / 1e9:,.1f} GB. {remedy}, or a smaller seg_num,"
            " seglen or target_size, takes less"
        )


def check_windows(settings: Config, windows: Windows) -> None:
    """Raises InputError if windows cannot be cut out of what the config's lists name, cannot be so short or long, or
    overlap too often."""
    if settings.MODEL.format != "mp4":
        raise InputError(
            f"windows and streams are of videos, and MODEL.format is {settings.MODEL.format}: --set MODEL.format=mp4"
        )
    for name, seconds in (("window", windows.window_s), ("stride", windows.stride_s)):
        if not 0 < seconds < math.inf:
            raise InputError(f"a {name} of {seconds:g} seconds; it must be longer than 0, as 2.5")
        if seconds < _SHORTEST_S:
            raise InputError(
                f"a {name} of {seconds:g} seconds is far shorter than a frame; {_SHORTEST_S:g} is the least, and times"
                " are given in milliseconds"
            )
    if windows.window_s > _MOST_AT_ONCE * windows.stride_s:
        raise InputError(
            f"{windows.window_s / windows.stride_s:,.0f} windows of {windows.window_s:g} seconds would overlap, one"
            f" every {windows.stride_s:g} seconds, and {_MOST_AT_ONCE} may: a stride of"
            f" {windows.window_s / _MOST_AT_ONCE:g} seconds or more, or shorter windows"
        )


def check_template(model: ModelSection) -> None:
    """Raises InputError if the images of a folder cannot be named by their number."""
    names = set()
    if not re.search(r"%[^a-zA-Z%]*\d{4}", model.frame_template):  # a width that takes much memory
        with contextlib.suppress(TypeError, ValueError):
            names = {model.frame_template % number for number in (1, 2)}
    if len(names) < 2:
        raise InputError(f"MODEL.frame_template = {model.frame_template!r} needs one %d, as in img_%05d.jpg")
