"""TSM frame by frame, as a stream with state: milliseconds a frame by engine, beside a window and PyTorch.

    python benchmark/online.py --torch_python=../peers/bin/python        (--help: networks, rounds, frames)

MobileNetV2 and ResNet-50, MODEL.shift = uni, frames of 224 px, one stream, on the CPU; random weights. Each engine and
PyTorch is a process of its own; they take turns. An engine's process has three parts, whose calls alternate:

frame      a step of the stream, uint8 frame -> logits, with the state in and out (engine/streams.py)
window     TSM, bi, of 8 frames, as it is given a stream without a state: "a window costs" so many frames
no state   one frame of the same network without shifts (TSN); what a step takes longer is the state's share

PyTorch is eager, in inference mode, in the quicker of its memory formats, with the state as tensors that go in and come
out (benchmark/torch_stream.py), as in MIT's online demo; its network has as many parameters and as large a state.
Figures are medians of the rounds, ratios those of each round's. Then the quickest engine follows --frames frames of
each network for the percentiles, and --memory_frames of a small one, whose memory at a tenth and at the end is
compared. The last lines say which bars are met. bf16 is left out where the CPU has none; int8 needs a deployment folder
that was calibrated, and is not measured here.
"""

from __future__ import annotations

import argparse
import sys

import online_sides
from harness import Row, machine, print_table, ratio, spread, take_turns

from video_zoo.utils import cli
from video_zoo.utils.log import logger, set_up_logging

NETWORKS = {"mobilenet_v2": {"backbone": "mobilenet_v2"}, "resnet50": {"num_layers": 50}}
SMALL = {"num_layers": 18, "base_width": 16}
ENGINES = [("openvino", "fp32"), ("openvino", "bf16"), ("onnxruntime", "fp32"), ("paddle-inference", "fp32")]
TORCH = "PyTorch eager"
FPS_BAR = {"mobilenet_v2": 60, "resnet50": 15}
WINDOW_BAR, TORCH_BAR, STATE_BAR = 6, 1.5, 0.05


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS], help="which (all)")
    parser.add_argument("--engines", nargs="+", choices=dict(ENGINES), default=[*dict(ENGINES)], help="which (all)")
    parser.add_argument("--size", type=cli.positive_int, default=224, metavar="PIXELS", help="of the frames (224)")
    parser.add_argument("--rounds", type=cli.positive_int, default=5, metavar="N", help="(5)")
    parser.add_argument("--frames", type=cli.positive_int, default=2000, metavar="N", help="for percentiles (2000)")
    parser.add_argument("--memory_frames", type=cli.positive_int, default=20000, metavar="N", help="(20000)")
    parser.add_argument("--torch_python", type=cli.path, default=sys.executable, metavar="PYTHON", help="has PyTorch")
    args = parser.parse_args()
    set_up_logging()
    print(f"{machine()}\n", flush=True)
    verdicts = [line for name in args.networks for line in measure(name, args)]
    verdicts.append(follow_small(args))
    print("\n".join(f"- {line}" for line in verdicts))


def measure(name: str, args: argparse.Namespace) -> list[str]:
    """Prints a network's tables; returns what is said of the bars."""
    keys = {"backbone": "resnet", **NETWORKS[name]}
    ours = [row_of(engine, precision, ["window", "still"]) for engine, precision in ENGINES if engine in args.engines]
    ways = {form: {"channels_last": form == "channels-last"} for form in ("contiguous", "channels-last")}
    peer = Row(TORCH, online_sides.__file__, "torch", args.torch_python, ways=ways)
    for row in (*ours, peer):
        logger.info("%s, %s: warming up", name, row.title)
        row.start(network=NETWORKS[name] if row is not peer else keys, size=args.size)
    take_turns([*ours, peer], [{}] * args.rounds)
    there = [row for row in ours if not row.error]
    best = min(there, key=lambda row: row.median("ms"), default=None)
    followed = best.side.do("follow", frames=args.frames) if best else {}
    for row in (*ours, peer):
        row.close()
    print_rows(f"{name}, {args.size} px", ours, peer)
    if best is None or "error" in followed:
        return [f"{name}: not measured: {followed.get('error') or ours[0].error}"]
    percentiles = " / ".join(f"{followed[each]:.1f}" for each in ("p50", "p95", "p99"))
    print(f"- {best.title}, {args.frames} frames: p50 / p95 / p99 {percentiles} ms a frame")
    sizes = {(row.started["parameters"], row.started["bytes"]) for row in (*there, peer) if not row.error}
    print("- parameters and bytes of the state, of all: " + "; ".join(f"{a:,} and {b:,}" for a, b in sorted(sizes)))
    print("- " + ", ".join(sorted({row.started["what"] for row in (*there, peer) if not row.error})) + "\n", flush=True)
    return bars(name, best, peer)


def row_of(engine: str, precision: str, parts: list[str]) -> Row:
    """An engine's process."""
    way = {"engine": engine, "precision": precision, "parts": parts}
    return Row(f"{engine} {precision}", online_sides.__file__, "ours", ways={"": way})


def print_rows(title: str, ours: list[Row], peer: Row) -> None:
    """The table of a network."""
    table = []
    for row in (*ours, peer):
        if row.error:
            table.append((row.title, f"left out: {row.error}"))
            continue
        ms = row.median("ms")
        cells = (ms, row.fastest(), 1000 / ms, ratio(row, peer))
        if row is not peer:
            share = spread([100 * share_of_state(turn) for turn in row.turns])
            cells += (row.median("window_ms"), spread([each["window_ms"] / each["ms"] for each in row.turns]), share)
        table.append((row.title + (f", {row.note}" if row is peer else ""), *cells))
    header = " | frame, ms | fastest | FPS | x PyTorch's speed | window, ms | a window costs, frames | the state, %"
    print_table(title, header, table)


def share_of_state(turn: dict[str, float]) -> float:
    """Of a frame's time."""
    return 1 - turn["still_ms"] / turn["ms"]


def bars(name: str, best: Row, peer: Row) -> list[str]:
    """A line a bar: what was found of the quickest engine."""
    windows = [turn["window_ms"] / turn["ms"] for turn in best.turns]
    fps = 1000 / best.median("ms")
    found = [
        (f"a window costs {spread(windows)} frames", sorted(windows)[len(windows) // 2] >= WINDOW_BAR, WINDOW_BAR),
        (f"{fps:.0f} frames/s", fps >= FPS_BAR[name], FPS_BAR[name]),
    ]
    shares = sorted(share_of_state(turn) for turn in best.turns)
    found.append((f"the state takes {100 * shares[len(shares) // 2]:.1f}%", shares[len(shares) // 2] < STATE_BAR, "5%"))
    if not peer.error:
        times = sorted(theirs["ms"] / ours["ms"] for ours, theirs in zip(best.turns, peer.turns))
        middle = times[len(times) // 2]
        found.append((f"{ratio(best, peer)} times as fast as PyTorch", middle >= TORCH_BAR, TORCH_BAR))
    return [f"{name}, {best.title}: {text}: {'met' if met else 'NOT met'} (bar {bar})" for text, met, bar in found]


def follow_small(args: argparse.Namespace) -> str:
    """Memory over many frames of a small network, in the first of the engines."""
    row = row_of(args.engines[0], "fp32", [])
    row.start(network=SMALL, size=56)
    said = {"error": row.error} if row.error else row.side.do("follow", frames=args.memory_frames)
    row.close()
    if "error" in said:
        return f"memory: not measured: {said['error']}"
    early, late = said["early_mb"], said["late_mb"]
    return (
        f"memory of a ResNet-18 of base width 16, 56 px, {row.title}: {early:.1f} MB after"
        f" {args.memory_frames // 10:,} frames, {late:.1f} MB after {args.memory_frames:,}"
    )


if __name__ == "__main__":
    cli.run(main)
