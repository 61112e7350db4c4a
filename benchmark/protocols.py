"""What the views of a protocol cost the reader, against as many single views of the same video.

    python benchmark/protocols.py                    (--help: protocols, the kind of clip, rounds)

Both read in this process, as a reader process does, one after the other in each round.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Callable

import numpy as np
from clips import KINDS, NUM_FRAMES, clip_file
from harness import CLIPS, machine, print_table

from video_zoo.configs.protocols import PROTOCOLS
from video_zoo.configs.schema import Config
from video_zoo.datareader.clip_reader import ClipReader
from video_zoo.datareader.video_list import Video
from video_zoo.datareader.views import View, views_of
from video_zoo.models import MODELS
from video_zoo.utils import cli, config
from video_zoo.utils.log import set_up_logging

SECTIONS = cli.model_sections(MODELS)


def main() -> None:
    parser = cli.Parser(description=__doc__)
    names = [Path(kind.file_name).stem for kind in KINDS]
    parser.add_argument("--protocol", nargs="+", choices=PROTOCOLS, default=["dense10x3"], help="(dense10x3)")
    parser.add_argument("--kind", choices=names, default=names[0], help=f"of clip ({names[0]})")
    parser.add_argument("--rounds", type=cli.positive_int, default=7, metavar="N", help="(7)")
    parser.add_argument("--folder", type=Path, default=CLIPS, metavar="DIR", help="of clips (benchmark/clips)")
    args = parser.parse_args()
    set_up_logging()
    kind = next(kind for kind in KINDS if Path(kind.file_name).stem == args.kind)
    path = clip_file(args.folder, kind)
    print(f"{machine()}\n", flush=True)
    rows = [measure(path, name, args.rounds) for name in args.protocol]
    header = "protocol | views | all views, ms | CPU ms | single views, ms | CPU ms | all / single | CPU time likewise"
    print_table(f"{kind}, {NUM_FRAMES} frames; medians of {args.rounds} rounds", header, rows)


def measure(path: Path, name: str, rounds: int) -> tuple[object, ...]:
    """A line of the table. Raises AssertionError: the clips are not the same to the bit."""
    settings = config.load(str(cli.CONFIGS / "tsm.txt"), Config, {"TEST": {"protocol": name}}, SECTIONS, "TSM")
    views = views_of(settings, "test", "center_crop")
    together, singles = make_read(settings, path, views), [make_read(settings, path, (view,)) for view in views]
    assert np.array_equal(together(), np.concatenate([read() for read in singles]))
    times = np.array([[timed(together), timed(lambda: [read() for read in singles])] for _ in range(rounds)]) * 1e3
    (ours, cpu), (theirs, their_cpu) = np.median(times, 0)  # (rounds, side, wall or CPU)
    ratios = [median((times[:, 0] / times[:, 1])[:, clock]) for clock in (0, 1)]
    return (name, len(views), ours, cpu, theirs, their_cpu, *(f"{ratio:.3f}" for ratio in ratios))


def make_read(settings: Config, path: Path, views: tuple[View, ...]) -> Callable[[], np.ndarray]:
    """What reads the clips of some views of a video, uint8 (views, T, 3, H, W)."""
    read = ClipReader(settings.MODEL, settings.TEST, views, path.parent, seed=0)
    clips, video = np.empty((len(views), *settings.clip_shape("test")), np.uint8), Video(str(path), 0, 1)

    def run() -> np.ndarray:
        read(video, 0, 0, clips)
        return clips

    return run


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds that it takes, by the clock and of the processor."""
    start, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - cpu


if __name__ == "__main__":
    cli.run(main)
