"""Networks trained alike on both variants of moving shapes: accuracy against cost, as a table and a picture.

    OMP_NUM_THREADS=1 python benchmark/zoo_accuracy.py          (--help: networks, variants, sizes, epochs, folder)

Each is trained by train.py and tested by test.py, one after the other. What is done is kept in the folder, and a run
that was stopped goes on behind it; with --only_show nothing is trained. All have about a quarter of the published
channels (base_width 16, width_multiplier 0.25), and see the same videos as often. They start from random weights for
the variant "direction", and from their own weights of it for "order". Of several learning rates each network keeps the
one whose training loss in the last epoch is lowest.
"""

from __future__ import annotations

import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from harness import ROOT, machine, print_table

from video_zoo.configs.schema import Config
from video_zoo.dataset.moving_shapes.make_moving_shapes import VARIANTS
from video_zoo.models import MODELS, build_network, clip_cost
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file

BATCH, FRAMES, STEP_PX = 8, 32, 2  # clips a step; of a video, and its motion a frame
_TSM = {"num_layers": 18, "base_width": 16, "seg_num": 8}
_CHROMIUM = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars")


@dataclass(frozen=True)
class Network:
    """A network, and the smallest clips that it takes: frames, from one to the next, and px."""

    model: str
    keys: Mapping[str, object]
    frames: int = 8
    stride: int = 4
    size: int = 56
    kind: str = "3-D"

    def files(self, data: Path, rate: float, epochs: int) -> dict[str, dict[str, Any]]:
        """Its config for a data set."""
        clip = {"seglen": self.frames, "frame_stride": self.stride} if self.kind == "3-D" else {}
        sizes = {"short_size": round(self.size * 8 / 7), "target_size": self.size}
        shared = {**sizes, "batch_size": BATCH, "num_reader_threads": 1}
        schedule = {"epoch": epochs, "learning_rate": rate, "lr_schedule": "cosine", "flip": False}
        names = {"name": self.model, "num_classes": 4, "class_names": str(data / "label.txt")}
        return {
            "MODEL": {**names, **clip, **self.keys},
            "TRAIN": {**shared, **schedule, "filelist": str(data / "train.list")},
            "TEST": {**shared, "filelist": str(data / "val.list"), **(_MIDDLE if clip else {})},
        }


_MIDDLE = {"sampling": "mmaction2_3d"}  # one clip, from the middle
_WIDTH = {"width_multiplier": 0.25}
NETWORKS = {
    "TSN-18": Network("TSN", _TSM, kind="TSN"),
    "TSM-18": Network("TSM", _TSM, kind="TSM"),
    "TSM-18 uni": Network("TSM", {**_TSM, "shift": "uni"}, kind="TSM"),
    "R(2+1)D-18": Network("R2PLUS1D", _WIDTH),
    "R3D-18": Network("R2PLUS1D", {**_WIDTH, "form": "r3d"}),
    "MC3-18": Network("R2PLUS1D", {**_WIDTH, "form": "mc3"}),
    "I3D-ResNet50": Network("I3DRESNET50", _WIDTH),
    "P3D-63": Network("P3D", _WIDTH, 16, 2, 129),
    "S3D": Network("S3D", _WIDTH, 13, 2, 209),
    "I3D": Network("I3D", _WIDTH, 9, 3, 193),
}


def main() -> None:
    parser = cli.Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="N", help="(all)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="(both)")
    parser.add_argument("--train", type=cli.positive_int, default=320, metavar="N", help="training videos (320)")
    parser.add_argument("--val", type=cli.positive_int, default=160, metavar="N", help="videos to test with (160)")
    parser.add_argument("--epochs", type=cli.positive_int, default=6, metavar="N", help="(6)")
    parser.add_argument(
        "--rates", nargs="+", type=float, default=[0.02, 0.001], metavar="RATE", help="to choose from (0.02 0.001)"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmark/zoo_accuracy", metavar="DIR", help="(beside this)"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="to draw; with Chromium, FILE.png too")
    parser.add_argument("--only_show", action="store_true", help="what is done; train nothing")
    args = parser.parse_args()
    if args.picture and args.picture.suffix != ".svg":
        raise InputError(f"--picture={args.picture}: its name must end in .svg")
    chosen = {name: NETWORKS[name] for name in args.networks}
    for variant in () if args.only_show else args.variants:
        data = make_videos(args.out, variant, args.train, args.val)
        for name, network in chosen.items():
            for rate in args.rates:
                run(args.out, variant, name, network, data, rate, args.epochs)
    found = {name: {variant: best(args.out, variant, name) for variant in args.variants} for name in chosen}
    found = {name: results for name, results in found.items() if any(results.values())}
    show(found, args.variants)
    if args.picture:
        draw(args.picture, found, args.variants)


# ---- training and testing


def make_videos(out: Path, variant: str, train: int, val: int) -> Path:
    """The folder of a variant, which is made if it is not there."""
    folder = out / f"{variant}_{train}_{val}"
    sizes = (f"--train={train}", f"--val={val}", f"--frames={FRAMES}", f"--step_px={STEP_PX}")
    command("dataset/moving_shapes/make_moving_shapes.py", f"--variant={variant}", f"--out={folder}", *sizes)
    return folder


def run(out: Path, variant: str, name: str, network: Network, data: Path, rate: float, epochs: int) -> None:
    """Trains and tests, and writes result.json; nothing if that is there, of as many videos and epochs."""
    folder, content = place(out, variant, name) / f"{rate:g}", network.files(data, rate, epochs)
    result, file = folder / "result.json", folder / "given.yaml"
    if result.exists() and json.loads(file.read_text()) == content:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file.write_text(json.dumps(content, indent=1))  # JSON is YAML
    settings = config.load(str(file), Config, {}, cli.model_sections(MODELS), network.model)
    weights = [each for each in build_network(settings, "test").parameters() if not each.stop_gradient]
    say = {"gflops": clip_cost(settings) / 1e9, "parameters": sum(each.size for each in weights)}
    shared = (f"--model_name={network.model}", f"--config={file}", f"--save_dir={folder}", "--log_interval=0")
    start = start_weights(out, variant, name)
    say["train_s"], say["train_cpu_s"] = command("train.py", *shared, f"--pretrain={start}", "--valid_interval=0")
    say["weights"] = f"{folder / network.model}_epoch{epochs - 1}"
    command("test.py", *shared, f"--weights={say['weights']}")
    lines = map(json.loads, (folder / "curves.jsonl").read_text().splitlines())
    losses = [line["loss"] for line in lines if line.get("phase") == "train"]
    say["loss"] = mean(losses[-len(losses) // epochs :])
    say["top1"] = json.loads((folder / "eval/eval.json").read_text())["scores"]["natural"]["top1"]
    say["rate"], say["clip"] = rate, f"{network.frames} x {network.size} px"
    with atomic_file(result) as writing:
        writing.write(json.dumps(say))
    print(f"{variant}, {name}, rate {rate:g}: loss {say['loss']:.3f}, top-1 {say['top1']['value']:.3f}", flush=True)


def start_weights(out: Path, variant: str, name: str) -> str:
    """What a network starts from on a variant, as --pretrain takes it."""
    if variant == "direction":
        return "none"
    before = best(out, "direction", name)
    if before is None:
        raise InputError(f'{name} must be trained on "direction" before "{variant}": add it to --variants')
    return before["weights"]


def command(script: str, *arguments: str) -> tuple[float, float]:
    """Runs one of the project's scripts; its seconds by the clock and of the processor. InputError: it failed."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([sys.executable, script, *arguments], cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        raise InputError(f"{script} failed: {(ended.stderr.strip() or ended.stdout.strip())[-300:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - begin, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def place(out: Path, variant: str, name: str) -> Path:
    """The folder of a network's results."""
    return out / f"results_{variant}" / name.replace(" ", "_")


def best(out: Path, variant: str, name: str) -> dict[str, Any] | None:
    """The result of the learning rate with the lowest training loss; None: there is none yet."""
    results = [json.loads(file.read_text()) for file in place(out, variant, name).glob("*/result.json")]
    return min(results, key=lambda result: result["loss"], default=None)


# ---- what is shown


def show(found: Mapping[str, Mapping[str, Any]], variants: Sequence[str]) -> None:
    """The table."""
    rows = []
    for name, results in found.items():
        done = [result for result in results.values() if result]
        spent = [f"{sum(result[key] for result in done):.0f}" for key in ("train_s", "train_cpu_s")]
        rates = ", ".join(f"{result['rate']:g}" for result in done)
        scores = [_score(results[variant]) for variant in variants]
        size = (f"{done[0]['parameters'] / 1e6:.2f}", f"{done[0]['gflops']:.3f}")
        rows.append((name, done[0]["clip"], *size, *spent, rates, *scores))
    print(f"{machine()}\n")
    header = "network | clip | M parameters | GFLOPs a clip | training, s | CPU s | learning rate"
    print_table("The zoo on moving shapes", " | ".join([header, *(f"top-1, {variant}" for variant in variants)]), rows)


def _score(result: Mapping[str, Any] | None) -> str:
    return "{value:.3f} ({low:.3f} to {high:.3f})".format(**result["top1"]) if result else "not trained"


_PANEL, _LEFT, _TOP, _HIGH, _GAP = 420, 56, 46, 300, 64  # width of a panel, margins, height and distance, px
_COLOURS = {"TSN": "#c05621", "TSM": "#0b6e99", "3-D": "#2f7d4f"}


def draw(path: Path, found: Mapping[str, Mapping[str, Any]], variants: Sequence[str]) -> None:
    """Accuracy against cost: an SVG, a panel a variant, and beside it a PNG if Chromium is there."""
    costs = [result["gflops"] for results in found.values() for result in results.values() if result]
    low, high = math.log10(min(costs)) - 0.2, math.log10(max(costs)) + 0.5
    width, height = _LEFT + len(variants) * (_PANEL + _GAP), _TOP + _HIGH + 52
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="system-ui, sans-serif" font-size="13" fill="#1a202c">',
        f'<title>Top-1 accuracy against cost</title><rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, variant in enumerate(variants):
        left = _LEFT + number * (_PANEL + _GAP)
        points = [(name, results[variant]) for name, results in found.items() if results[variant]]
        parts += [*_axes(left, variant, low, high), *_points(left, points, low, high)]
    with atomic_file(path) as writing:
        writing.write("\n".join([*parts, "</svg>\n"]))
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser:
        with tempfile.TemporaryDirectory() as profile:
            where = (f"--user-data-dir={profile}", f"--screenshot={path.with_suffix('.png').resolve()}")
            flags = (*_CHROMIUM, "--disable-background-networking", f"--window-size={width},{height}", *where)
            subprocess.run([browser, *flags, path.resolve().as_uri()], check=True, capture_output=True, timeout=120)


def _axes(left: float, variant: str, low: float, high: float) -> list[str]:
    """A panel's title, grid and axes."""
    parts = [f'<text x="{left}" y="18" font-size="16" font-weight="600">Moving shapes: {variant}</text>']
    parts.append(f'<text x="{left}" y="36" fill="#4a5568">top-1, with 95% intervals</text>')
    for level in (0, 0.25, 0.5, 0.75, 1):
        y, dash = _TOP + _HIGH * (1 - level), ' stroke-dasharray="5 4"' if level == 0.25 else ""
        parts.append(f'<path d="M{left} {y}h{_PANEL}" stroke="#cbd5e0"{dash}/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{level:.0%}</text>')
    parts.append(f'<text x="{left + _PANEL}" y="{_TOP + _HIGH * 0.75 + 15}" text-anchor="end">chance</text>')
    for level in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10):
        if low <= math.log10(level) <= high:
            x, y = left + _PANEL * (math.log10(level) - low) / (high - low), _TOP + _HIGH
            parts.append(f'<path d="M{x:.1f} {y}v5" stroke="#4a5568"/>')
            parts.append(f'<text x="{x:.1f}" y="{y + 19}" text-anchor="middle">{level:g}</text>')
    middle = left + _PANEL / 2
    parts.append(f'<text x="{middle}" y="{_TOP + _HIGH + 40}" text-anchor="middle">GFLOPs a clip (log scale)</text>')
    return parts


def _points(left: float, points: Sequence[tuple[str, Any]], low: float, high: float) -> list[str]:
    """A mark, an interval and a name for each network; names that would cover each other stand below each other."""
    parts, labels = [], []
    ordered = sorted(points, key=lambda point: -point[1]["top1"]["value"])
    across = [left + _PANEL * (math.log10(result["gflops"]) - low) / (high - low) for _, result in ordered]
    for (name, result), x in zip(ordered, across):
        y, top, bottom = (_TOP + _HIGH * (1 - result["top1"][key]) for key in ("value", "high", "low"))
        colour = _COLOURS[NETWORKS[name].kind]
        parts.append(f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" stroke="{colour}" stroke-width="2" opacity="0.5"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')
        below, beside = y + 4, max(other for other in across if abs(other - x) < 60)  # right of its neighbours' marks
        while any(abs(below - other) < 15 and abs(beside - there) < 95 for there, other in labels):
            below += 1
        labels.append((beside, below))
        parts.append(f'<text x="{beside + 9:.1f}" y="{below:.1f}" fill="{colour}">{name}</text>')
    return parts


if __name__ == "__main__":
    cli.run(main)
