"""The flags of test.py that are about protocols, and what they print."""

from __future__ import annotations

import argparse
import json
from typing import Any, Callable

from video_zoo.configs.protocols import PROTOCOLS
from video_zoo.configs.schema import Config
from video_zoo.datareader.checks import check_sizes
from video_zoo.datareader.decode import VideoError
from video_zoo.datareader.protocols import notes_of, protocol_of
from video_zoo.datareader.resizes import Size
from video_zoo.datareader.views import views_of
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError

_LARGEST = 1_000_000  # frames or pixels of a video that is made up


def add_protocol_flags(parser: argparse.ArgumentParser) -> None:
    """--protocol, --list_protocols and --show_views."""
    parser.add_argument(
        "--protocol",
        metavar="NAME",
        help="which views of a video are averaged (v15: 1 clip, centre crop). It wins over sizes of the config file,"
        " and --set TEST.target_size=N over it",
    )
    parser.add_argument(
        "--list_protocols",
        action="store_true",
        help="prints the protocols, what they cost and published scores, and ends",
    )
    parser.add_argument(
        "--show_views",
        type=_frames_and_size,
        metavar="FRAMES,WIDTH,HEIGHT",
        help="prints what would be read of such a video, as JSON, and ends",
    )


def _frames_and_size(text: str) -> tuple[int, Size]:
    words = text.split(",")
    if len(words) != 3:
        raise argparse.ArgumentTypeError(f"{text!r} is not FRAMES,WIDTH,HEIGHT, as 300,340,256")
    num_frames, width, height = (cli.at_most(cli.positive_int, _LARGEST)(word) for word in words)
    return num_frames, Size(width, height)


def print_views(settings: Config, num_frames: int, size: Size) -> None:
    """Prints `describe_views`. Raises InputError."""
    print(json.dumps(describe_views(settings, num_frames, size)))


def describe_views(settings: Config, num_frames: int, size: Size) -> dict[str, Any]:
    """What test.py reads of a video of so many frames of that size: the sampling, and of each view the numbers of its
    frames, the size [w, h] that they are scaled to, the crop [x, y, w, h] and whether it is mirrored.

    Raises InputError: the protocol does not fit, or takes no views of such a video.
    """
    check_sizes("test", settings.TEST)
    described = []
    try:
        for view in views_of(settings, "test", "center_crop", num_frames):
            transform = view.transform.draw(size)
            (scaled, crop), *_ = transform.steps
            places = {"resize": list(scaled), "crop": list(crop), "flip": transform.mirror}
            described.append({"frames": view.indices(num_frames), **places})
    except VideoError as error:
        raise InputError(f"a video of {num_frames} frames of {size.width} x {size.height}: {error}") from error
    return {"sampling": protocol_of(settings, num_frames).sampling, "views": described}


def list_protocols(load: Callable[[str], Config], multiply_adds: Callable[[Config], int]) -> str:
    """The protocols for people to read: where each comes from, its parts, what it costs and published scores.

    Args:
        load: the name of a protocol -> the config with it.
        multiply_adds: of the network, for a clip that a config describes.
    """
    costs: dict[tuple[int, ...], int] = {}

    def cost(settings: Config) -> int:
        shape = settings.clip_shape("test")
        if shape not in costs:
            costs[shape] = multiply_adds(settings)
        return costs[shape]

    return "\n\n".join(_describe(load(name), cost) for name in PROTOCOLS)


def _describe(settings: Config, cost: Callable[[Config], int]) -> str:
    record = PROTOCOLS[settings.TEST.protocol]
    rows = [("elsewhere", record.called)]
    try:
        protocol = protocol_of(settings)
        each, clip = cost(settings) / 1e9, f"{protocol.frames} x {protocol.target_size} px"
    except InputError as error:
        rows.append(("does not fit", str(error)))
    else:
        rows.append(("takes", protocol.description))
        rows.append(("costs", f"{each * protocol.views:,.1f} GFLOPs a video, {each:,.1f} a clip of {clip}"))
        rows += [("note", note) for note in notes_of(protocol)]
    rows.append(("published", record.scores))
    return "\n".join([record.name, *(f"  {title:<12} {text}" for title, text in rows)])
