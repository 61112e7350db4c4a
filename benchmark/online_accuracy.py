"""How soon a change of motion is recognised: accuracy by the number of frames since it, as in early recognition.

    python benchmark/online_accuracy.py --folder=early        (--help: numbers, picture)

Three networks are trained alike by train.py on moving shapes, unless FOLDER has them: TSM with MODEL.shift = uni, TSM
and TSN. They are given streams whose direction changes at random moments (dataset/moving_shapes/make_streams.py), of
which they get every third frame, 8.33 a second, as clips of 24 frames have in 8 segments:

uni     the frames one by one (network.step); what is said of a frame is from its logits alone
bi      TSM, of the newest 8 frames, at every frame
TSN     likewise

The first frame since a change is the first that shows the new motion. The first stretch of a stream is left out, and a
stretch counts as long as it lasts. 95% intervals are Wilson's. In FOLDER are then results.json and curve.svg.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import ROOT, machine, print_table

from video_zoo.datareader.decode import decode_video
from video_zoo.datareader.views import View
from video_zoo.dataset.moving_shapes.make_moving_shapes import FPS
from video_zoo.metrics.statistics import wilson_interval
from video_zoo.utils import cli
from video_zoo.utils.log import logger, set_up_logging
from video_zoo.utils.paddle_env import start_paddle

STRIDE, WINDOW = 3, 8  # frames of a stream from one that is taken to the next; frames of a window
SIDES = {  # name -> model, keys of its training, colour, what it is in the picture
    "uni": ("TSM", ["MODEL.shift=uni"], "#0b6e99", "TSM uni, frame by frame"),
    "bi": ("TSM", [], "#2f855a", "TSM bi, window of 8"),
    "TSN": ("TSN", [], "#c05621", "TSN, window of 8"),
}
BATCH = 64


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="of networks, streams and results")
    parser.add_argument("--streams", type=cli.positive_int, default=20, metavar="N", help="of a minute each (20)")
    parser.add_argument("--frames", type=cli.positive_int, default=16, metavar="N", help="since a change (16)")
    args = parser.parse_args()
    set_up_logging()
    streams = args.folder / "streams"
    make = [sys.executable, ROOT / "dataset/moving_shapes/make_streams.py", f"--streams={args.streams}"]
    subprocess.run([*make, f"--out={streams}"], check=True)
    for name in SIDES:
        train(name, args.folder / name)
    start_paddle(False)
    right = measure(args, streams)
    table = [(k + 1, f"{STRIDE * (k + 1) / FPS:.2f}", *row) for k, row in enumerate(cells(right))]
    print(f"{machine()}\n")
    lengths = [len(column) for column in next(iter(right.values()))]
    print_table(f"Top-1 by frames since a change, {lengths[0]} changes", " | ".join(["frames | s", *SIDES]), table)
    curves = {name: [float(np.mean(column)) for column in columns] for name, columns in right.items()}
    (args.folder / "results.json").write_text(json.dumps({"changes": lengths, "accuracy": curves}, indent=1) + "\n")
    (args.folder / "curve.svg").write_text(draw(curves))


def train(name: str, folder: Path) -> None:
    """Trains a side's network as the quick start does, unless it is there."""
    model, keys, *_ = SIDES[name]
    if (folder / f"{model}_best").exists():
        return
    logger.info("training %s", name)
    command = [sys.executable, ROOT / "train.py", f"--model_name={model}", "--pretrain=none", f"--save_dir={folder}"]
    config = ROOT / "configs" / f"{model.lower()}_moving_shapes.yaml"
    command += [f"--config={config}", "--log_interval=0", "--use_gpu=False"]
    subprocess.run([*command, *(f"--set={key}" for key in keys)], check=True, cwd=ROOT)


def load(name: str, folder: Path) -> tuple[Any, View]:
    """A side's network, and how frames are made for it."""
    from video_zoo.configs.schema import Config
    from video_zoo.models import MODELS, load_trained
    from video_zoo.utils import config

    model = SIDES[name][0]
    settings = config.load(str(folder / "config.yaml"), Config, models=cli.model_sections(MODELS))
    network, _ = load_trained(settings, "infer", folder / f"{model}_best")
    network.eval()
    return network, View.of(settings, "infer", MODELS.get(model).eval_transform)


def measure(args: argparse.Namespace, folder: Path) -> dict[str, list[list[bool]]]:
    """Side -> of each number of frames since a change, whether each stretch was recognised."""
    right = {name: [[] for _ in range(args.frames)] for name in SIDES}
    for name in SIDES:
        logger.info("measuring %s", name)
        network, view = load(name, args.folder / name)
        paths = sorted(folder.glob("*.mp4"))[: args.streams]
        videos = [decode_video(path, lambda count: range(0, count, STRIDE), view.transformed).frames for path in paths]
        streams = np.array(videos)  # (streams, n, 3, H, W): all are of one length
        followed = follow(network, streams) if name == "uni" else None
        for number, path in enumerate(paths):
            events = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()][1:]
            places = [asked(event, streams.shape[1], args.frames) for event in events]
            said = (
                slide(network, streams[number], sorted(set().union(*places))) if followed is None else followed[number]
            )
            for event, numbers in zip(events, places):
                for since, place in enumerate(numbers):
                    right[name][since].append(bool(said[place] == event["class"]))
    return right


def asked(event: Mapping[str, Any], num_frames: int, most: int) -> range:
    """The numbers, among the frames that are taken, of the first ones that show an event."""
    start, end = (-(-round(event[key] * FPS) // STRIDE) for key in ("start_s", "end_s"))
    return range(start, min(end, start + most, num_frames))


def follow(network: Any, streams: np.ndarray) -> np.ndarray:
    """The class that the network says of each frame, uint8 (streams, n, 3, H, W) -> (streams, n), step by step."""
    import paddle

    state, said = network.initial_state(len(streams), *streams.shape[3:]), []
    with paddle.no_grad():
        for frames in streams.swapaxes(0, 1):
            logits, state = network.step(paddle.to_tensor(np.ascontiguousarray(frames)), state)
            said.append(logits.numpy().argmax(1))
    return np.stack(said, 1)


def slide(network: Any, frames: np.ndarray, numbers: Sequence[int]) -> dict[int, int]:
    """The class that the network says of the window that ends with each of the frames."""
    import paddle

    said: dict[int, int] = {}
    for first in range(0, len(numbers), BATCH):
        some = numbers[first : first + BATCH]
        clips = np.stack([frames[number + 1 - WINDOW : number + 1] for number in some])
        with paddle.no_grad():
            said.update(zip(some, network(paddle.to_tensor(clips)).numpy().argmax(1).tolist()))
    return said


def cells(right: Mapping[str, list[list[bool]]]) -> list[list[str]]:
    """Rows of "accuracy (95% interval)", a column a side."""
    rows = []
    for columns in zip(*right.values()):
        intervals = [wilson_interval(sum(column), len(column)) for column in columns]
        shares = [np.mean(column) for column in columns]
        rows.append([f"{share:.3f} ({low:.3f} to {high:.3f})" for share, (low, high) in zip(shares, intervals)])
    return rows


def draw(curves: Mapping[str, Sequence[float]]) -> str:
    """An SVG: accuracy by frames since the change."""
    width, height, left, right, top, bottom = 720, 360, 60, 190, 30, 50
    count = max(map(len, curves.values()))

    def x(frames: int) -> float:
        return left + (width - left - right) * (frames - 1) / max(count - 1, 1)

    def y(share: float) -> float:
        return height - bottom - (height - top - bottom) * share

    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-size="13" font-family="sans-serif">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    parts.append(f'<text x="{left - 8}" y="14" text-anchor="end">top-1</text>')
    for level in (0, 0.25, 0.5, 0.75, 1):
        dash = ' stroke-dasharray="4 4"' if level == 0.25 else ""
        parts.append(f'<path d="M{left} {y(level)}H{width - right}" stroke="#cbd5e0"{dash}/>')
        parts.append(f'<text x="{left - 8}" y="{y(level) + 4}" text-anchor="end">{level:.0%}</text>')
    parts.append(f'<text x="{width - right}" y="{y(0.25) + 16}" text-anchor="end" fill="#718096">chance</text>')
    for frames in range(1, count + 1):
        parts.append(f'<text x="{x(frames):.1f}" y="{height - bottom + 20}" text-anchor="middle">{frames}</text>')
    title = f"frames since the direction changed ({FPS / STRIDE:.2f} a second)"
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 8}" text-anchor="middle">{title}</text>')
    for place, (name, curve) in enumerate(curves.items()):
        *_, colour, label = SIDES[name]
        points = " ".join(f"{x(frames):.1f},{y(share):.1f}" for frames, share in enumerate(curve, 1))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="3"/>')
        at = height - bottom - 120 + 24 * place
        parts.append(f'<path d="M{width - right + 12} {at}h20" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{width - right + 38}" y="{at + 4}" fill="{colour}">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    cli.run(main)
