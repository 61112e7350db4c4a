"""Makes streams of moving shapes: long H.264 mp4 files in which the direction of motion changes at random moments.

    python dataset/moving_shapes/make_streams.py        (--help: numbers, lengths, folder)

Beside each NAME.mp4 is NAME.jsonl with the true events, a line each: class, name, start_s, end_s. The shape goes on
from where it is, so only motion tells one stretch from the next.
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from video_zoo.datareader.video_writer import VideoWriter
from video_zoo.dataset.moving_shapes.make_moving_shapes import DIRECTIONS, FPS, Scene, check_size
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_folder
from video_zoo.utils.log import logger, set_up_logging

_NAMES = list(DIRECTIONS)


class Stretch(NamedTuple):
    """Frames [start, end) of a stream with one direction; None: nothing moves."""

    direction: str | None
    start: int
    end: int


def plan_stream(num_frames: int, shortest: int, longest: int, nothing: bool, rng: np.random.Generator) -> list[Stretch]:
    """Stretches of `shortest` to `longest` frames that fill a stream; the last one ends where the stream does.

    Neighbours differ in direction. With `nothing`, every other stretch has none, the first among them.
    """
    stretches: list[Stretch] = []
    start, last = 0, None
    while start < num_frames:
        end = min(start + int(rng.integers(shortest, longest, endpoint=True)), num_frames)
        direction = None
        if not nothing or len(stretches) % 2:
            direction = last = str(rng.choice([name for name in _NAMES if name != last]))
        stretches.append(Stretch(direction, start, end))
        start = end
    return stretches


def draw_stream(stretches: list[Stretch], size_px: int, step_px: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The frames, uint8 RGB (size_px, size_px, 3). Where nothing moves, the shape stands still or, in half of these
    stretches, is not there."""
    scene = Scene(size_px, rng)
    x, y = map(int, rng.integers(0, size_px, 2))
    for stretch in stretches:
        dx, dy = DIRECTIONS.get(stretch.direction, (0, 0))
        is_empty = stretch.direction is None and rng.random() < 0.5
        for _ in range(stretch.start, stretch.end):
            x, y = x + dx * step_px, y + dy * step_px
            yield scene.empty_frame() if is_empty else scene.frame(x, y)


def write_stream(path: Path, stretches: list[Stretch], size_px: int, step_px: int, rng: np.random.Generator) -> None:
    """Writes the mp4 file and, beside it, the JSON Lines of its events."""
    with VideoWriter(path, (size_px, size_px), FPS, options={"crf": "18"}, threads=1) as writer:
        for frame in draw_stream(stretches, size_px, step_px, rng):
            writer.add_pixels(frame)
    with path.with_suffix(".jsonl").open("w", encoding="utf-8") as file:
        for name, start, end in stretches:
            if name is not None:
                event = {"class": _NAMES.index(name), "name": name, "start_s": start / FPS, "end_s": end / FPS}
                file.write(json.dumps(event) + "\n")


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--out", default=str(Path(__file__).parent / "streams"), metavar="DIR", help="(streams, here)")
    parser.add_argument("--streams", type=cli.positive_int, default=8, metavar="N", help="how many (8)")
    parser.add_argument("--seconds", type=cli.positive_seconds, default=60.0, metavar="S", help="of each (60)")
    parser.add_argument("--shortest_s", type=cli.positive_seconds, default=2.0, metavar="S", help="of a stretch (2)")
    parser.add_argument("--longest_s", type=cli.positive_seconds, default=6.0, metavar="S", help="of a stretch (6)")
    parser.add_argument("--nothing", action="store_true", help="between two directions nothing moves for a stretch")
    parser.add_argument("--size_px", type=cli.positive_int, default=64, metavar="N", help="width and height, even (64)")
    parser.add_argument("--step_px", type=cli.positive_int, default=3, metavar="N", help="motion a frame (3)")
    parser.add_argument("--seed", type=cli.count, default=0, metavar="N", help="(0)")
    args = parser.parse_args()
    set_up_logging()
    check_size(args.size_px)
    num_frames, shortest, longest = (round(each * FPS) for each in (args.seconds, args.shortest_s, args.longest_s))
    if not 1 <= shortest <= longest or not num_frames:
        raise InputError(f"stretches of {args.shortest_s:g} to {args.longest_s:g} s cannot be made at {FPS} frames/s")
    folder = Path(args.out)
    if folder.exists():
        logger.info("%s is there already; delete it to make it anew", folder)
        return
    with atomic_folder(folder) as target:
        for number in range(args.streams):
            rng = np.random.default_rng([args.seed, number])
            stretches = plan_stream(num_frames, shortest, longest, args.nothing, rng)
            write_stream(target / f"stream_{number:03d}.mp4", stretches, args.size_px, args.step_px, rng)
    logger.info("%d streams of %g s, with their events, in %s", args.streams, args.seconds, folder)


if __name__ == "__main__":
    cli.run(main)
