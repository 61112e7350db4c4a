"""Makes the data set "moving shapes": H.264 mp4 files whose class is a direction of motion, or the order of two.

A shape moves left, right, up or down over a noisy background, wrapping round. Its place, form and colours are drawn at
random, so a single frame, or any frames without their order, say nothing about the class: a model must see time.

In the variant "order" it turns back near the middle of the clip: right then left, left then right, down then up, or up
then down. The motions tell horizontal from vertical; within such a pair only their order differs.

    python dataset/moving_shapes/make_moving_shapes.py        (--help: sizes, numbers, folder)
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

from pathlib import Path

import numpy as np

from video_zoo.datareader.labels import write_class_names
from video_zoo.datareader.video_writer import VideoWriter
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_folder
from video_zoo.utils.log import logger, set_up_logging

DIRECTIONS = {"down": (0, 1), "left": (-1, 0), "right": (1, 0), "up": (0, -1)}  # name -> (dx, dy), sorted by name
FPS = 25
VARIANTS = {  # name -> classes, sorted by name; a class -> its motions, one after the other
    "direction": {name: (name,) for name in DIRECTIONS},
    "order": {f"{one}_{two}": (one, two) for one, two in zip(DIRECTIONS, ("up", "right", "left", "down"))},
}
BACKWARDS = "backwards.mp4"  # the last split's second clip from its end to its start


class Scene:
    """A shape and a noisy background, size_px x size_px, drawn at random."""

    def __init__(self, size_px: int, rng: np.random.Generator):
        self._background = rng.integers(40, 216, (size_px, size_px, 3))
        self._mask = _shape_mask(size_px, rng)
        self._colour = rng.choice([0, 255], 3) * 0.9 + rng.integers(0, 25, 3)

    def frame(self, x: int, y: int) -> np.ndarray:
        """uint8 RGB (size_px, size_px, 3) with the shape moved from the middle by (x, y), wrapped round."""
        here = np.roll(self._mask, (y, x), axis=(0, 1))[..., None]  # (H, W) -> (H, W, 1)
        return np.where(here, self._colour, self._background).astype(np.uint8)

    def empty_frame(self) -> np.ndarray:
        """The same without the shape."""
        return self._background.astype(np.uint8)


def draw_clip(
    class_name: str, size_px: int, num_frames: int, step_px: int, rng: np.random.Generator, variant: str = "direction"
) -> np.ndarray:
    """One clip, uint8 RGB (num_frames, size_px, size_px, 3): the shape moves `step_px` a frame.

    It turns, where the class has two motions, after half of the frames, or up to an eighth of them before or after.
    """
    scene, motions = Scene(size_px, rng), VARIANTS[variant][class_name]
    x, y = rng.integers(0, size_px, 2)
    turn = num_frames // 2 + rng.integers(-(num_frames // 8), num_frames // 8 + 1) if len(motions) > 1 else num_frames
    frames = np.empty((num_frames, size_px, size_px, 3), np.uint8)
    for number in range(num_frames):
        frames[number] = scene.frame(x, y)
        dx, dy = DIRECTIONS[motions[int(number >= turn)]]
        x, y = x + dx * step_px, y + dy * step_px
    return frames


def write_mp4(path: Path, frames: np.ndarray, fps: int = FPS) -> None:
    """Encodes uint8 RGB (T, H, W, 3) as H.264, yuv420p, x264's defaults at a constant quality of 18."""
    with VideoWriter(path, frames.shape[1:3], fps, options={"crf": "18"}, threads=1) as writer:
        for frame in frames:
            writer.add_pixels(frame)


def make_data_set(
    folder: Path,
    counts: dict[str, int],
    size_px: int,
    num_frames: int,
    step_px: int,
    seed: int,
    variant: str = "direction",
) -> None:
    """Writes the videos, train.list, val.list ..., infer.list and label.txt; the folder is whole or not there.

    infer.list names the last split's first clips, without labels, and BACKWARDS.

    Args:
        counts: split ("train", "val") -> number of clips; the classes take turns.
        variant: of VARIANTS.
    """
    names = list(VARIANTS[variant])
    with atomic_folder(folder) as target:
        write_class_names(target / "label.txt", names)
        for split_number, (split, count) in enumerate(counts.items()):
            lines = []
            (target / split).mkdir()
            for number in range(count):
                label = number % len(names)
                rng = np.random.default_rng([seed, split_number, number])
                file = f"{split}/{names[label]}_{number:04d}.mp4"
                frames = draw_clip(names[label], size_px, num_frames, step_px, rng, variant)
                write_mp4(target / file, frames)
                lines.append(f"{file} {label}\n")
                if number == min(1, count - 1):
                    write_mp4(target / BACKWARDS, frames[::-1])
            (target / f"{split}.list").write_text("".join(lines), encoding="utf-8")
        videos = [line.split()[0] for line in lines[:8]] + [BACKWARDS]
        (target / "infer.list").write_text("\n".join(videos) + "\n", encoding="utf-8")


def check_size(size_px: int) -> None:
    """Raises InputError: no video, or no shape, can have that size."""
    if size_px % 2 or size_px < 16:
        raise InputError(f"--size_px={size_px}: H.264 in yuv420p needs an even size, and the shapes at least 16")


def is_there(folder: Path) -> bool:
    """Whether the data set has been made. Raises InputError: the folder has other files, which would be lost."""
    if (folder / "train.list").exists():
        return True
    if folder.exists() and not (folder.is_dir() and next(folder.iterdir(), None) is None):
        raise InputError(f"{folder} is there, and no data set of before: give --out a new folder")
    return False


def main() -> None:
    parser = cli.Parser(description=__doc__.split("\n\n")[1])
    parser.add_argument("--variant", choices=VARIANTS, default="direction", help="what the classes are (direction)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="(beside this script: videos, or videos_order of that variant)"
    )
    parser.add_argument("--train", type=cli.positive_int, default=480, metavar="N", help="training clips (480)")
    parser.add_argument("--val", type=cli.positive_int, default=160, metavar="N", help="validation clips (160)")
    parser.add_argument("--size_px", type=cli.positive_int, default=64, metavar="N", help="width and height, even (64)")
    parser.add_argument("--frames", type=cli.positive_int, default=24, metavar="N", help="frames a clip (24)")
    parser.add_argument("--step_px", type=cli.positive_int, default=3, metavar="N", help="motion a frame (3)")
    parser.add_argument("--seed", type=cli.count, default=0, metavar="N", help="(0)")
    args = parser.parse_args()
    set_up_logging()
    check_size(args.size_px)
    folder = args.out or Path(__file__).parent / ("videos" if args.variant == "direction" else "videos_order")
    if is_there(folder):
        logger.info("%s is there already; delete it to make it anew", folder)
        return
    counts = {"train": args.train, "val": args.val}
    make_data_set(folder, counts, args.size_px, args.frames, args.step_px, args.seed, args.variant)
    logger.info(
        "%d clips of %d frames, %d x %d px, in %s",
        args.train + args.val,
        args.frames,
        args.size_px,
        args.size_px,
        folder,
    )


def _shape_mask(size_px: int, rng: np.random.Generator) -> np.ndarray:
    """A square, disc or cross in the middle of a (size_px, size_px) mask."""
    y, x = np.mgrid[:size_px, :size_px] - size_px // 2
    radius = rng.integers(size_px // 8, size_px // 5)
    kind = rng.integers(3)
    if kind == 0:
        return np.maximum(abs(x), abs(y)) <= radius
    if kind == 1:
        return x**2 + y**2 <= radius**2
    return (np.maximum(abs(x), abs(y)) <= radius) & (np.minimum(abs(x), abs(y)) <= radius // 2)


if __name__ == "__main__":
    cli.run(main)
