"""Writes quickstart/report.html: what TSM saw of moving shapes, and TSN did not. One file, nothing from the network."""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import base64
import contextlib
import importlib.metadata
import json
import sys
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
from visualdl import LogReader

from video_zoo.datareader.decode import decode_video
from video_zoo.datareader.sampling import segment_indices
from video_zoo.engine.page import BAR_STYLE, draw_bar, link_to
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file
from video_zoo.utils.texts import html

COLORS = {"TSM": "#0b6e99", "TSN": "#c05621"}
EXPECTED = {"TSM": (0.95, 1.0), "TSN": (0.0, 0.40)}  # top-1, from and to
WIDTH, HEIGHT, MARGIN = 560, 260, 40  # of the curves, px

PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Quick start: TSM and TSN on moving shapes</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a202c }}
h2 {{ margin-top: 2.5rem }} small, .note {{ color: #4a5568 }}
.clip {{ display: grid; grid-template-columns: minmax(0, 1fr) 15rem 15rem; gap: 1rem; align-items: center }}
.clip {{ margin: 1rem 0 }}
svg {{ max-width: 100%; height: auto }} a {{ color: inherit }} p, small {{ overflow-wrap: anywhere }}
.clip img {{ width: 100%; image-rendering: pixelated; border-radius: 4px }}
.clip {{ --label: 3.5rem }} {bar_style}
.right::after {{ content: " ✓" }} .wrong::after {{ content: " ✗" }}
@media (max-width: 48rem) {{ .clip {{ grid-template-columns: minmax(0, 1fr) }} }}
</style>
<h1>Moving shapes: what time is worth</h1>
<p>A shape moves left, right, up or down over noise and wraps round. One frame says nothing about the direction, nor do
all frames in any order. <b style="color:{tsm}">TSM</b> shifts an eighth of its channels from the frame before and an
eighth from the frame after; <b style="color:{tsn}">TSN</b> is the same ResNet-18 without the shift. Both were trained
alike, from scratch, with Paddle {paddle}: {seconds} s in all, data set included.</p>
<p class="note">Made {made}; the weights are in {weights}. A clip's name opens the video.</p>
<h2>Top-1 accuracy on the {count} validation clips</h2>
{curves}
<p>{verdict}</p>
<h2>Clips</h2>
<p class="note">The 8 frames the models saw, and their four classes. ✓ and ✗: was the first one right?</p>
{clips}
<h2>The same clip, played backwards</h2>
<p class="note">Its frames are those of the clip above, in reverse: the truth is the opposite direction. TSN sees the
same frames, and answers the same but for what the second encoding lost.</p>
{backwards}
</html>
"""


def read_curve(folder: Path) -> list[float]:
    """Validation top-1 (0 to 1) after each epoch, from VisualDL's newest file in `folder`, which has it in percent."""
    files = sorted((folder / "visualdl").glob("vdlrecords.*.log"))
    if not files:
        raise InputError(f"no curves in {folder}/visualdl: run bash scripts/quickstart.sh")
    return [point.value / 100 for point in LogReader(file_path=str(files[-1])).get_data("scalar", "valid/top1")]


def read_predictions(path: Path) -> dict[str, list[dict]]:
    """infer.py's JSON Lines: video id -> its classes, the most probable first."""
    try:
        with open(path, encoding="utf-8") as file:
            return {row["video"]: row["top"] for row in map(json.loads, file)}
    except FileNotFoundError:
        raise InputError(f"no {path}: run bash scripts/quickstart.sh") from None


def draw_curves(curves: dict[str, list[float]]) -> str:
    """An SVG: top-1 by epoch, one line a model, and the chance level."""
    epochs = max(map(len, curves.values()))

    def x(epoch: int) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * (epoch - 1) / max(epochs - 1, 1)

    def y(top1: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * top1

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" font-size="12" font-family="sans-serif">']
    for level in (0, 0.25, 0.5, 0.75, 1):
        dash = ' stroke-dasharray="4 4"' if level == 0.25 else ""
        parts.append(f'<path d="M{MARGIN} {y(level)}H{WIDTH - MARGIN}" stroke="#cbd5e0"{dash}/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y(level) + 4}" text-anchor="end">{level:.0%}</text>')
    parts.append(f'<text x="{WIDTH - MARGIN}" y="{y(0.25) + 15}" text-anchor="end" fill="#718096">chance</text>')
    for epoch in range(1, epochs + 1):
        parts.append(f'<text x="{x(epoch)}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{epoch}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 4}" text-anchor="middle">epoch</text>')
    for name, curve in curves.items():
        points = " ".join(f"{x(epoch):.1f},{y(top1):.1f}" for epoch, top1 in enumerate(curve, 1))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLORS[name]}" stroke-width="3"/>')
        parts.append(f'<text x="{WIDTH - MARGIN + 5}" y="{y(curve[-1]) + 4}" fill="{COLORS[name]}">{name}</text>')
    return "\n".join([*parts, "</svg>"])


def draw_clip(path: Path, page: Path, title: str, truth: str, tops: dict[str, list[dict]]) -> str:
    """A film strip of the 8 frames that a model gets, and each model's bars, for a page in the folder `page`."""
    frames = decode_video(path, lambda count: segment_indices(count, 8)).frames
    gap = np.full((frames[0].shape[0], 2, 3), 255, np.uint8)
    strip = np.concatenate([piece for frame in frames for piece in (frame, gap)][:-1], axis=1)  # (H, 8 * (W + 2), 3)
    png = base64.b64encode(cv2.imencode(".png", strip[..., ::-1])[1]).decode()
    bars = "".join(f"<div>{draw_bars(name, truth, top)}</div>" for name, top in tops.items())
    return (
        f'<div class="clip"><div><small><a href="{link_to(path, page)}">{html(title)}</a>: <b>{html(truth)}</b></small>'
        f'<img alt="8 frames" src="data:image/png;base64,{png}"></div>{bars}</div>'
    )


def draw_bars(name: str, truth: str, top: list[dict]) -> str:
    """A model's classes as bars, the most probable first."""
    verdict = "right" if top[0]["name"] == truth else "wrong"
    lines = [f'<b class="{verdict}" style="color:{COLORS[name]}">{name}</b>']
    for row in top[:5]:
        share, label = row["probability"], html(row["name"])
        label = f"<b>{label}</b>" if row["name"] == truth else label
        lines.append(draw_bar(label, share, COLORS[name]))
    return "".join(lines)


def paddle_version() -> str:
    """The version of the installed Paddle, whichever build it is."""
    for package in ("paddlepaddle", "paddlepaddle-gpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return "?"


def main() -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("quickstart"), metavar="DIR", help="(quickstart)")
    parser.add_argument("--data", type=Path, default=Path("dataset/moving_shapes/videos"), metavar="DIR")
    parser.add_argument("--seconds", type=int, default=0, metavar="N", help="what it all took, for the page")
    args = parser.parse_args()
    curves = {name: read_curve(args.out / name) for name in COLORS}
    predictions = {name: read_predictions(args.out / name / f"{name}_infer_result.jsonl") for name in COLORS}
    best = {name: max(curve) for name, curve in curves.items()}
    met = all(low <= best[name] <= high for name, (low, high) in EXPECTED.items())
    verdict = "; ".join(
        f"{name}: {best[name]:.1%} at best (expected: {low:.0%} to {high:.0%})"
        for name, (low, high) in EXPECTED.items()
    )

    def clip(video: str, title: str, truth: str) -> str:
        return draw_clip(args.data / video, args.out, title, truth, {name: predictions[name][video] for name in COLORS})

    videos = [video for video in predictions["TSM"] if "/" in video]
    page = PAGE.format(
        bar_style=BAR_STYLE.strip(),
        tsm=COLORS["TSM"],
        tsn=COLORS["TSN"],
        count=len((args.data / "val.list").read_text(encoding="utf-8").split("\n")) - 1,
        paddle=paddle_version(),
        seconds=args.seconds,
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        weights=html(" and ".join(f"{args.out / name}/{name}_best" for name in COLORS)),
        curves=draw_curves(curves),
        verdict=html(verdict),
        clips="\n".join(clip(video, video, Path(video).name.split("_")[0]) for video in videos),
        backwards=clip(videos[1], videos[1], "left") + clip("backwards.mp4", f"{videos[1]} backwards", "right"),
    )
    with atomic_file(args.out / "report.html") as file:
        file.write(page)
    print(verdict)
    if not met:
        print("error: this is not what the quick start should show; please report it with quickstart/", file=sys.stderr)
    return 0 if met else 1


if __name__ == "__main__":
    cli.run(main)
