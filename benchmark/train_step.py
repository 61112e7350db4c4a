"""A training step: TSM against TSN, and against the same network in PyTorch, taking turns on the same machine.

    python benchmark/train_step.py --torch_python=../peers/bin/python --rounds 5       (--help: sizes, batches)

PyTorch is a package that the project does not need. It goes into an environment of its own, Python 3.10 or newer (on a
GPU machine: a CUDA build of torch):

    python -m venv ../peers
    ../peers/bin/pip install torch numpy

Without the flag it is looked for in the environment that runs this. Each network trains in a process of its own;
PyTorch's is taken in the memory format that was faster when it warmed up. Figures are medians of the rounds, ratios
those of each round's; "fastest" is the fastest step's. A step is that from clips in memory to the optimizer's; on a GPU
the times of its parts are those of launching them. "reader": how long a step waits for the next batch of our reader,
with the clips made here, and the clips a second of that loop.

The bars: on a CPU ours is at least as fast as PyTorch for ResNet-50, and 0.7 times as fast for the small network; on a
GPU at least 0.95 times as fast (--channels_last and amp), and a step of TSM takes at most 1.05 times TSN's, as the
shift must cost nothing. Linux only: memory is what /proc says.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import train_sides
from clips import KINDS, clip_file
from harness import CLIPS, Row, Shape, Side, machine, print_table, ratio, take_turns
from train_sides import PARTS

from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger, set_up_logging

MODELS = ("TSM", "TSN")
SCRIPT = train_sides.__file__
CPU_SHAPES = (Shape(), Shape(num_layers=18, base_width=16, size=56, batch=16))
GPU_SHAPES = (Shape(batch=16), Shape(batch=32))
ALLOWED = 1e-4  # between the logits of the two frameworks, of the largest


def main() -> None:
    args = parse_arguments()
    set_up_logging()
    print(f"{machine()}\n")
    on_gpu = check_networks(args)
    if not on_gpu and (args.channels_last or args.amp not in (None, ["off"])):
        raise InputError(
            "--amp and --channels_last need a GPU: on a CPU the first does nothing, and the second is no faster"
        )
    found = {}
    for shape in shapes(args, GPU_SHAPES if on_gpu else CPU_SHAPES):
        for amp in args.amp or (["off", "fp16", "bf16"] if on_gpu else ["off"]):
            title = f"{shape}, amp {amp}{', channels-last' if args.channels_last else ''}"
            logger.info("%s: warming up", title)
            found[title] = compare(title, shape, amp, args)
    pairs = {
        "Paddle's TSM / PyTorch's": ("Paddle TSM", "PyTorch TSM"),
        "Paddle's TSN / PyTorch's": ("Paddle TSN", "PyTorch TSN"),
        "Paddle: TSM's time / TSN's": ("Paddle TSN", "Paddle TSM"),
        "PyTorch: TSM's time / TSN's": ("PyTorch TSN", "PyTorch TSM"),
        "to_static / eager": ("Paddle TSM, to_static", "Paddle TSM"),
    }
    table = [(title, *(ratio(rows[a], rows[b]) for a, b in pairs.values())) for title, rows in found.items()]
    print_table("Times as fast, and what the shift costs", " | ".join(["", *pairs]), table)


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--batch", type=cli.positive_int, metavar="N", help="clips a step (GPU: 16 and 32)")
    parser.add_argument("--amp", nargs="+", choices=("off", "fp16", "bf16"), help="(GPU: all; CPU: off)")
    parser.add_argument("--num_layers", type=int, choices=(18, 34, 50), help="(50; on a CPU also a small 18)")
    parser.add_argument("--base_width", type=cli.positive_int, metavar="N", help="of the ResNet (64)")
    parser.add_argument("--size", type=cli.positive_int, metavar="PIXELS", help="of the frames (224)")
    parser.add_argument("--rounds", type=cli.positive_int, default=3, metavar="N", help="(3)")
    parser.add_argument("--channels_last", action="store_true", help="Paddle's memory format, on a GPU")
    parser.add_argument("--torch_python", type=cli.path, default=sys.executable, metavar="PYTHON", help="has torch")
    parser.add_argument("--folder", type=Path, default=CLIPS, metavar="DIR", help="of clips (benchmark/clips)")
    return parser.parse_args()


def shapes(args: argparse.Namespace, known: tuple[Shape, ...]) -> list[Shape]:
    """The default shapes, or the one that flags ask for."""
    given = {key: getattr(args, key) for key in ("num_layers", "base_width", "size", "batch")}
    given = {key: value for key, value in given.items() if value}
    return [replace(known[0], **given)] if given else [*known]


def check_networks(args: argparse.Namespace) -> bool:
    """Prints who takes part, and whether their networks say the same with the same weights. Returns whether Paddle has
    a GPU. Raises InputError: they do not, or Paddle does not start."""
    ours = Side(SCRIPT, "paddle")
    if "error" in ours.hello:
        raise InputError(f"Paddle does not start: {ours.hello['error']}")
    if not ours.hello["gpu"]:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # then PyTorch has none either
    peer = Side(SCRIPT, "torch", args.torch_python)
    print(f"- {ours.hello['versions']}\n- {peer.hello.get('versions') or peer.hello['error']}")
    for model in MODELS if "error" not in peer.hello else ():
        shape = replace(shapes(args, CPU_SHAPES)[0], model=model, batch=2)
        with tempfile.TemporaryDirectory() as folder:
            saved = ours.do("save", shape=shape, folder=folder)
            found = saved if "error" in saved else peer.do("differ", shape=shape, folder=folder)
        if "error" in found:
            raise InputError(f"the networks cannot be compared: {found['error']}")
        text = f"{model}, {shape}: logits differ by at most {found['difference']:.1e}, of {found['largest']:.1f}"
        if not found["difference"] <= ALLOWED * found["largest"]:
            raise InputError(text)
        print(f"- {text}", flush=True)
    ours.close()
    peer.close()
    print(flush=True)
    return ours.hello["gpu"]


def compare(title: str, shape: Shape, amp: str, args: argparse.Namespace) -> dict[str, Row]:
    """Measures every method on a shape, and prints it."""
    rows = {}
    for model, static in (("TSM", False), ("TSN", False), ("TSM", True)):
        name = f"Paddle {model}{', to_static' if static else ''}"
        way = {"shape": replace(shape, model=model), "channels_last": args.channels_last, "static": static}
        rows[name] = Row(name, SCRIPT, "paddle", ways={"": way})
    for model in MODELS:
        formats = {"channels first": False, "channels-last": True}
        ways = {name: {"shape": replace(shape, model=model), "channels_last": last} for name, last in formats.items()}
        rows[f"PyTorch {model}"] = Row(f"PyTorch {model}", SCRIPT, "torch", args.torch_python, ways=ways)
    for row in rows.values():
        row.start(amp=amp)
    take_turns([*rows.values()], [{}] * args.rounds)
    table = []
    for row in rows.values():
        if row.error:
            table.append((row.title, f"left out: {row.error}"))
            continue
        is_eager = row.name == "paddle" and "to_static" not in row.title
        fed = feed(row, shape, args.folder) if is_eager else ("", "")
        row.close()
        ms, peer = row.median("ms"), rows["PyTorch TSN" if "TSN" in row.title else "PyTorch TSM"]
        cells = (ratio(row, peer), 1000 * shape.batch / ms, ms, row.fastest(), *map(row.median, PARTS), *fed)
        table.append((row.title, *cells, row.median("peak_mb"), row.note))
    header = " | x PyTorch's speed | clips/s | ms a step | fastest | forward | backward | optimizer"
    print_table(title, f"{header} | reader | clips/s with it | peak MB | ", table)
    return rows


def feed(row: Row, shape: Shape, clips: Path) -> tuple[object, object]:
    """Milliseconds that a step waits for our reader, and clips a second with it."""
    steps = max(1, min(20, round(3000 / row.median("ms"))))
    with tempfile.TemporaryDirectory() as folder:
        filelist = Path(folder) / "train.list"
        filelist.write_text(f"{clip_file(clips, KINDS[0])} 0\n" * ((steps + 4) * shape.batch))
        found = row.side.do("feed", filelist=str(filelist), steps=steps)
    if "error" in found:
        return "", found["error"]
    return found["reader"], 1000 * shape.batch / found["ms"]


if __name__ == "__main__":
    cli.run(main)
