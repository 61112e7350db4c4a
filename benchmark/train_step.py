"""A training step: TSM against TSN, and against the same network in PyTorch, taking turns on the same machine.

    python benchmark/train_step.py                   (--help: sizes, batches, parts)

PyTorch is a package that the project does not need. It goes into an environment of its own, Python 3.10 or newer (on a
GPU machine: a CUDA build of torch):

    python -m venv ../peers
    ../peers/bin/pip install torch numpy
    python benchmark/train_step.py --torch_python=../peers/bin/python

Without the flag it is looked for in the environment that runs this. Each network trains in a process of its own, which
gives the GPU's memory back after its turn; PyTorch's is taken in the memory format that was faster when it warmed up.
Figures are medians of the rounds, ratios the medians of each round's; "fastest" is the fastest round's.

Clips a second are those of whole steps, from clips in memory to the optimizer's; on a GPU nothing waits for it between
their parts, whose times come from other steps, which do. "reader": how long a step waits for the next batch of our
reader, with the clips made here, and the clips a second of that loop.

On a CPU there is no bar: Paddle's convolutions have no fast way to train there. On a GPU there are two: ours is at
least 0.95 times as fast as PyTorch (--channels_last and amp), and a step of TSM takes at most 1.05 times TSN's, as the
shift must cost nothing. Linux only: memory is what /proc says.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.reader_clips import KINDS
from benchmark.tables import machine, print_table
from benchmark.train_step_rounds import Found, Method, check, compare, describe, reader_rate, start_side
from benchmark.train_step_sides import PARTS, Cell
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger, set_up_logging

TORCH_BAR, SHIFT_BAR = 0.95, 1.05
DESIGN_NOTE = "about 9 to 1, of a ResNet-18 on 32 images of 56 px"
CPU_SHAPES = ((50, 64, 224, [1]), (18, 16, 56, [16]))  # num_layers, base_width, size, batches
GPU_SHAPES = ((50, 64, 224, [16, 32]),)
INSTALL = (
    "to have it: python -m venv ../peers; ../peers/bin/pip install torch numpy; --torch_python=../peers/bin/python"
)


def main() -> None:
    args = parse_arguments()
    set_up_logging()
    on_gpu, missing = meet(args)
    amps = args.amp or (["off", "fp16", "bf16"] if on_gpu else ["off"])
    if not on_gpu and amps != ["off"]:
        raise InputError("--amp needs a GPU: on a CPU Paddle computes in float32 whatever it is told")
    if not on_gpu and args.channels_last:
        logger.info("--channels_last is for a GPU: Paddle's convolutions on a CPU take channels first")
    args.warmup = args.warmup or (5 if on_gpu else 2)
    found: dict[Cell, Found] = {}
    for shape in cells(args, GPU_SHAPES if on_gpu else CPU_SHAPES):
        for amp in amps:
            cell = replace(shape, amp=amp, channels_last=args.channels_last and on_gpu)
            found[cell] = compare(cell, args, on_gpu, missing)
            print_cell(cell, found[cell], args)
    print_ratios(found, args, on_gpu)


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=("TSM", "TSN"), default=["TSM", "TSN"], help="which (both)")
    parser.add_argument("--batch", nargs="+", type=cli.positive_int, metavar="N", help="clips a step (GPU: 16 32)")
    parser.add_argument("--amp", nargs="+", choices=("off", "fp16", "bf16"), help="(GPU: all; CPU: off)")
    parser.add_argument(
        "--num_layers", type=int, choices=(18, 34, 50, 101, 152), help="of the ResNet (50; on a CPU also a small 18)"
    )
    parser.add_argument("--base_width", type=cli.positive_int, metavar="N", help="of the ResNet (64)")
    parser.add_argument("--size", type=cli.positive_int, metavar="PIXELS", help="of the frames (224)")
    parser.add_argument("--segments", type=cli.positive_int, default=8, metavar="N", help="frames a clip (8)")
    parser.add_argument("--steps", type=cli.positive_int, metavar="N", help="a round (as many as take a second)")
    parser.add_argument(
        "--warmup", type=cli.positive_int, metavar="N", help="steps before, or five seconds (GPU: 5, CPU: 2)"
    )
    parser.add_argument("--rounds", type=cli.positive_int, default=3, metavar="N", help="(3)")
    parser.add_argument("--channels_last", action="store_true", help="Paddle's memory format, on a GPU")
    parts = ("split", "reader", "to_static")
    parser.add_argument("--parts", nargs="*", choices=parts, default=parts, help="beside the speed (all)")
    parser.add_argument(
        "--torch_python", type=cli.optional_path, default=sys.executable, metavar="PYTHON", help="has torch"
    )
    folder = Path(__file__).parent / "clips"
    parser.add_argument("--folder", type=cli.path, default=folder, metavar="DIR", help="of clips (benchmark/clips)")
    return parser.parse_args()


def cells(args: argparse.Namespace, shapes: tuple) -> list[Cell]:
    """The default shapes, or the one that flags ask for."""
    if args.num_layers or args.size or args.base_width or args.batch:
        num_layers, base_width, size, batches = shapes[0]
        shapes = ((args.num_layers or num_layers, args.base_width or base_width, args.size or size, batches),)
    return [
        Cell(args.models[0], num_layers, base_width, size, args.segments, batch)
        for num_layers, base_width, size, batches in shapes
        for batch in args.batch or batches
    ]


def meet(args: argparse.Namespace) -> tuple[bool, str]:
    """Prints who takes part, and whether their networks are equal. Returns whether Paddle has a GPU, and why PyTorch is
    missing ("": it is not)."""
    with contextlib.closing(start_side("paddle", sys.executable)) as ours, tempfile.TemporaryDirectory() as folder:
        if "error" in ours.hello:
            raise InputError(f"Paddle does not start: {ours.hello['error']}")
        on_gpu = ours.hello["gpu"]
        if not on_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # then PyTorch has none either
            print(f"{machine()}\n")
        print(f"- {ours.hello['versions']}, {ours.hello['device']}")
        with contextlib.closing(start_side("torch", args.torch_python)) as peer:
            missing = f"{peer.hello['error']} ({INSTALL})" if "error" in peer.hello else ""
            if not missing and on_gpu and not peer.hello["gpu"]:
                missing = f"{peer.hello['versions']} sees no GPU ({INSTALL})"
            print(
                f"- PyTorch is left out: {missing}"
                if missing
                else f"- {peer.hello['versions']}, {peer.hello['device']}"
            )
            for model in args.models if not missing else ():
                cell = cells(args, CPU_SHAPES)[0]
                cell = replace(cell, model=model, batch=2, size=min(cell.size, 112))
                print(f"- {check(cell, ours, peer, Path(folder))}", flush=True)
    print(flush=True)
    return on_gpu, missing


# ---- printing


def print_cell(cell: Cell, found: Found, args: argparse.Namespace) -> None:
    """A row a method, its speed in PyTorch's first."""
    header = ("", "x PyTorch's speed", "clips/s", "ms a step", "fastest", *PARTS, "reader", "clips/s with it")
    header += ("peak MB", "")
    rows = []
    for method, figures in found.items():
        if figures.error:
            rows.append((method, f"left out: {figures.error}", *[""] * (len(header) - 2)))
            continue
        fed = figures.fed if "step" in figures.fed else None
        rows.append(
            (method, ratio(found, method, Method("torch", method.model)))
            + (f"{1000 * cell.batch / figures.ms('step'):.2f}", f"{figures.ms('step'):.0f}")
            + (f"{min(turn['step'] for turn in figures.turns):.0f}",)
            + tuple(f"{figures.ms(part):.0f}" if "split" in args.parts else "" for part in PARTS)
            + ((f"{fed['reader']:.0f}", f"{1000 * cell.batch / fed['step']:.2f}") if fed else ("", ""))
            + (f"{figures.peak_mb:.0f}", figures.note or figures.fed.get("error", ""))
        )
    print_table(describe(cell), header, rows)
    if "reader" in args.parts:
        rate = reader_rate(replace(cell, amp="off", channels_last=False), Path(args.folder))
        print(f"The reader alone gives {rate:.1f} clips/s ({KINDS[0]}).\n", flush=True)


def print_ratios(found: dict[Cell, Found], args: argparse.Namespace, on_gpu: bool) -> None:
    """Every cell's ratios, and whether they meet the bars."""
    columns = {
        f"Paddle's {model} / PyTorch's": (Method("paddle", model), Method("torch", model)) for model in args.models
    }
    if {*args.models} == {"TSM", "TSN"}:
        for side, name in (("paddle", "Paddle"), ("torch", "PyTorch")):
            columns[f"{name}: TSM's time / TSN's"] = (Method(side, "TSN"), Method(side, "TSM"))
    if "to_static" in args.parts:
        one = args.models[0]
        columns["to_static / eager"] = (Method("paddle", one, True), Method("paddle", one))
    rows = [(describe(cell), *(ratio(each, *pair) for pair in columns.values())) for cell, each in found.items()]
    print_table("Times as fast, and what the shift costs", ("", *columns), rows)
    against = {cell: times_as_fast(each, *next(iter(columns.values()))) for cell, each in found.items()}
    against = {cell: value for cell, value in against.items() if value}
    if not on_gpu:
        print("No bars on a CPU: Paddle has no fast convolutions for training there.", end=" ")
        if against:
            times = " and ".join(f"{1 / value:.1f}" for value in against.values())
            print(f"PyTorch's {args.models[0]} is {times} times as fast (the design's notes: {DESIGN_NOTE}).")
        else:
            print(f"By the design's notes PyTorch is faster, {DESIGN_NOTE}.")
        return
    amp = [value >= TORCH_BAR for cell, value in against.items() if cell.amp != "off" and cell.channels_last]
    print(f"Bar, at least {TORCH_BAR} times as fast as PyTorch (channels-last, amp): {verdict(amp)}.")
    shift = [times_as_fast(each, Method("paddle", "TSN"), Method("paddle", "TSM")) for each in found.values()]
    print(f"Bar, TSM's time at most {SHIFT_BAR} of TSN's: {verdict([value <= SHIFT_BAR for value in shift if value])}.")


def ratio(found: Found, one: Method, other: Method) -> str:
    value = times_as_fast(found, one, other)
    return "" if value is None else f"{value:.2f}"


def times_as_fast(found: Found, one: Method, other: Method) -> float | None:
    """`other`'s time in `one`'s, the median over the rounds; None if either was not measured."""
    if any(method not in found or found[method].error for method in (one, other)):
        return None
    turns = zip(found[one].turns, found[other].turns)
    return median(theirs["step"] / ours["step"] for ours, theirs in turns)


def verdict(met: list[bool]) -> str:
    return f"met in {sum(met)} of {len(met)} rows" if met else "not measured"


if __name__ == "__main__":
    cli.run(main)
