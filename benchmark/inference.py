"""Inference: every engine and precision of ours next to PyTorch, ONNX Runtime and OpenVINO on PyTorch's TSM.

    python benchmark/inference.py --torch_python=../peers/bin/python --rounds 5       (--help: sizes, parts)

What the project does not need goes into an environment of its own, Python 3.10 or newer (on a GPU machine: a CUDA
build of torch); torch.compile also needs a C++ compiler:

    python -m venv ../peers
    ../peers/bin/pip install torch numpy onnx onnxruntime openvino decord2 pillow          (nncf: their int8 as well)

Without it our rows alone are measured. Parts:

network      one clip in memory (uint8) -> probabilities, each method in a process of its own; they take turns. Figures
             are medians of the rounds, ratios the medians of each round's; memory is the process's peak, with loading.
start        infer.py on one video: seconds from its start to the first result, and to its end.
end_to_end   infer.py on many videos against a plain loop with the same OpenVINO program: decord2 with all cores, then
             Pillow, one video after the other. From the first video's request to the last row written or printed;
             whole runs, from start to end of the process, beside it.

Both networks have the same weights (random ones, unless --weights says otherwise), and float32 probabilities must equal
our dynamic network's, to 1e-4, before anything is timed. PyTorch's gets every advantage we know: of two forms of its
shift (benchmark/torch_tsm.py) the quicker, ours for inference engines among them (the last column says which, with the
milliseconds); programs converted beforehand, with a fixed batch, and loaded by the code that loads ours; weights frozen
into torch.compile's code. ONNX comes from torch's own exporter (opset 17, dynamo=False, which does without onnxscript).

What int8 costs in accuracy is no question for random weights: export.py answers it for real ones, and writes no int8
program that is too far off. TensorRT is left out: it takes minutes to start. Linux only.
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

from benchmark import inference_programs, inference_sides
from benchmark.inference_rounds import (
    EAGER,
    OPENVINO,
    Figures,
    Found,
    Method,
    converted_methods,
    default_title,
    measure,
    our_methods,
    our_title,
    torch_methods,
)
from benchmark.inference_sides import CONFIG, Network
from benchmark.inference_whole import WHOLE_KINDS, measure_start, measure_whole
from benchmark.processes import Peer
from benchmark.reader_clips import clip_file
from benchmark.tables import machine, print_table
from video_zoo.configs.schema import Config
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger, set_up_logging

PARTS = ("network", "end_to_end", "start")
EAGER_BAR, OPENVINO_BAR, INT8_BAR, START_BAR_S = 1.5, 0.97, 1.5, 6
PACKAGES = "torch numpy onnx onnxruntime openvino decord2 pillow"
INSTALL = (
    f"to have it: python -m venv ../peers; ../peers/bin/pip install {PACKAGES}; --torch_python=../peers/bin/python"
)


def main() -> None:
    args = parse_arguments()
    set_up_logging()
    settings, network = read_settings(args)
    with tempfile.TemporaryDirectory(prefix="zoo_inference_") as name:
        folder = Path(name)
        on_gpu, missing = prepare(args, settings, network, folder)
        if "network" in args.parts:
            part_network(args, network, folder, on_gpu, missing)
        if "end_to_end" in args.parts:
            part_end_to_end(args, settings, folder)
        if "start" in args.parts:
            part_start(args, folder)


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which (all)")
    own = str(cli.CONFIGS / "tsm.txt")
    parser.add_argument("--config", type=cli.path, default=own, metavar="FILE", help="(configs/tsm.txt)")
    parser.add_argument("--weights", type=cli.optional_path, metavar="PATH", help="as infer.py takes them (random)")
    depths = (18, 34, 50, 101, 152)
    parser.add_argument("--num_layers", type=int, choices=depths, help="of the ResNet (config: 50)")
    parser.add_argument("--base_width", type=cli.positive_int, metavar="N", help="of the ResNet (config: 64)")
    parser.add_argument("--size", type=cli.positive_int, metavar="PIXELS", help="of the frames (config: 224)")
    parser.add_argument("--batch", type=cli.positive_int, default=1, metavar="N", help="clips at once (1)")
    parser.add_argument("--rounds", type=cli.positive_int, default=3, metavar="N", help="of network and start (3)")
    parser.add_argument(
        "--videos", type=cli.positive_int, default=40, metavar="N", help="end to end; bf16 and int8: half (40)"
    )
    parser.add_argument("--passes", type=cli.positive_int, default=1, metavar="N", help="over them (1)")
    parser.add_argument(
        "--torch_python", type=cli.optional_path, default=sys.executable, metavar="PYTHON", help="has the others"
    )
    folder = Path(__file__).parent / "clips"
    parser.add_argument("--folder", type=cli.path, default=folder, metavar="DIR", help="of clips (benchmark/clips)")
    return parser.parse_args()


def read_settings(args: argparse.Namespace) -> tuple[Config, Network]:
    """The config with the flags laid over it. Raises InputError: PyTorch's network has no such form."""
    model = {"num_layers": args.num_layers, "base_width": args.base_width}
    sizes = {"target_size": args.size, "short_size": args.size and round(args.size * 256 / 224)}
    overrides = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in {"MODEL": model, "INFER": sizes}.items()
    }
    settings = config.load(args.config, Config, overrides)
    settings = replace(settings, INFER=replace(settings.INFER, batch_size=1))
    model = settings.MODEL
    if model.name.upper() != "TSM" or model.shift != "bi" or model.seglen != 1 or model.base_width % 8:
        raise InputError(
            f"{args.config}: PyTorch's network here is a TSM with shift = 'bi', seglen = 1 and a base_width that is a"
            " multiple of 8"
        )
    if settings.INFER.keep_aspect:
        raise InputError(f"{args.config}: the plain loop scales as v1.5 did, without keep_aspect")
    dropout = 0.5 if model.dropout is None else model.dropout
    sizes = (model.num_layers, model.base_width, settings.seg_num("infer"), settings.INFER.target_size)
    return settings, Network(*sizes, model.num_classes, dropout, args.batch)


def prepare(args: argparse.Namespace, settings: Config, network: Network, folder: Path) -> tuple[bool, dict[str, str]]:
    """Fills the folder. Returns whether there is a GPU, and why programs are missing. Raises InputError."""
    config.write(folder / CONFIG, settings, "What benchmark/inference.py was given.")
    videos = [str(clip_file(Path(args.folder), kind)) for kind in WHOLE_KINDS]
    with contextlib.closing(Peer(inference_programs.__file__, "maker", sys.executable)) as maker:
        if "error" in maker.hello:
            raise InputError(f"Paddle does not start: {maker.hello['error']}")
        on_gpu = maker.hello["gpu"]
        if not on_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # then PyTorch has none either
        print(f"{machine()}\n\n- {maker.hello['versions']}, {maker.hello['device']}\n", flush=True)
        logger.info("making a checkpoint and a deployment folder")
        made = maker.do("make", network=network, folder=str(folder), weights=args.weights, videos=videos)
    if "error" in made:
        raise InputError(f"the programs cannot be made: {made['error']}")
    return on_gpu, made["missing"]


# ---- network


def part_network(
    args: argparse.Namespace, network: Network, folder: Path, on_gpu: bool, missing: dict[str, str]
) -> None:
    rows = list(our_methods(folder, sys.executable, on_gpu, missing))
    with contextlib.closing(Peer(inference_sides.__file__, "torch", args.torch_python)) as peer:
        why = peer.hello.get("error", "")
        if not why and on_gpu and not peer.hello["gpu"]:
            why = f"{peer.hello['versions']} sees no GPU"
    if why:
        print(f"- PyTorch's is left out: {why} ({INSTALL})", flush=True)
    else:
        rows += [(method, "") for method in torch_methods(folder, args.torch_python, on_gpu)]
        rows += converted_methods(folder, args.torch_python, network) if not on_gpu else []
    found = {method.title: Figures(error=error) for method, error in rows}
    found.update(measure([method for method, error in rows if not error], network, folder, args.rounds, on_gpu))
    print_network([method for method, _ in rows], found, network)
    if not on_gpu:
        print_bars(found, default_title(folder, on_gpu))


def print_network(methods: list[Method], found: Found, network: Network) -> None:
    """A row a method, its speed in PyTorch's first."""
    rows = []
    for title in (method.title for method in methods):
        figures = found[title]
        if figures.error:
            rows.append((title, f"left out: {figures.error}", *[""] * 6))
            continue
        rows.append(
            (title, ratio(found, title, EAGER), f"{figures.ms:.1f}", f"{figures.fastest:.1f}")
            + (f"{1000 * network.batch / figures.ms:.2f}", f"{figures.peak_mb:.0f}")
            + (f"{figures.difference:.0e}", figures.note)
        )
    width = f" of base width {network.base_width}" if network.base_width != 64 else ""
    title = f"TSM-{network.num_layers}{width}, {network.batch} x {network.segments} x {network.size} px"
    whats = {(method.is_ours, found[method.title].what) for method in methods if found[method.title].what}
    for is_ours, side in ((True, "ours"), (False, "PyTorch's")):
        said = sorted(what for whose, what in whats if whose == is_ours)
        print(f"- {side}: {', '.join(said)}" if said else "")
    print()
    header = ("", "x PyTorch eager's speed", "ms", "fastest", "clips/s", "peak MB", "differs by at most", "")
    print_table(title, header, rows)


def print_bars(found: Found, default: str) -> None:
    """Whether ours is as fast as it must be."""
    channels_last = ratio(found, default, f"{EAGER}, channels-last") or "not measured"
    print_bar(
        f"{default}, the default, against {EAGER} (channels-last: {channels_last})",
        times_as_fast(found, default, EAGER),
        EAGER_BAR,
    )
    for precision in ("fp32", "bf16"):
        ours = [title for title, each in found.items() if title.startswith("ours") and title.endswith(precision)]
        ours = [title for title in ours if not found[title].error]
        best = min(ours, key=lambda title: found[title].ms, default=default)
        theirs = OPENVINO[precision]
        print_bar(f"{best}, our best, against {theirs}", times_as_fast(found, best, theirs), OPENVINO_BAR)
    int8 = our_title("openvino", "int8")
    print_bar(f"{int8} against {default}", times_as_fast(found, int8, default), INT8_BAR)
    print(flush=True)


def ratio(found: Found, one: str, other: str) -> str:
    value = times_as_fast(found, one, other)
    return "" if value is None else f"{value:.2f}"


def times_as_fast(found: Found, one: str, other: str) -> float | None:
    """`other`'s time in `one`'s, the median over the rounds; None if either was not measured."""
    if any(title not in found or found[title].error for title in (one, other)):
        return None
    return median(theirs["ms"] / ours["ms"] for ours, theirs in zip(found[one].turns, found[other].turns))


def print_bar(what: str, value: float | None, bar: float) -> None:
    said = "not measured" if value is None else f"{value:.2f} times as fast: {'met' if value >= bar else 'missed'}"
    print(f"bar: {what}, at least {bar}: {said}", flush=True)


# ---- end to end, and start


def part_end_to_end(args: argparse.Namespace, settings: Config, folder: Path) -> None:
    found = measure_whole(folder, Path(args.folder), settings, args.torch_python, args.videos, args.passes)
    rows = []
    for (kind, precision), whole in found.items():
        if not whole.ours:
            rows.append((kind, precision, whole.videos, f"left out: {whole.error}", *[""] * 6))
            continue
        ours, our_run = map(median, zip(*whole.ours))
        plain, plain_run = map(median, zip(*whole.plain)) if whole.plain else (None, None)
        rows.append(
            (
                kind,
                precision,
                whole.videos,
                "" if whole.error else f"{whole.ratio():.2f}",
                seconds(ours),
                seconds(plain),
            )
            + (f"{whole.videos / ours:.2f}", seconds(our_run), seconds(plain_run), whole.error or whole.same)
        )
    header = ("clips", "", "videos", "x the plain loop's speed", "ours, s", "plain, s", "ours, videos/s")
    header += ("ours, whole run, s", "plain, whole run, s", "same top-1")
    print_table("From video files to names, OpenVINO", header, rows)
    for kind, bar in WHOLE_KINDS.items():
        whole = found[kind, "fp32"]
        print_bar(f"{kind}, fp32, against the plain loop", None if whole.error or whole.differs else whole.ratio(), bar)
    if any("ModuleNotFoundError" in whole.error for whole in found.values()):
        print(f"({INSTALL})")
    print(flush=True)


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def part_start(args: argparse.Namespace, folder: Path) -> None:
    found = measure_start(folder, Path(args.folder), args.rounds)
    rows = [
        (name, f"{median(start.first):.1f}", f"{median(start.end):.1f}", f"{min(start.end):.1f}")
        for name, start in found.items()
    ]
    header = ("from", "s to the first result", "s to the end", "fastest")
    print_table("infer.py on one video of 340x256", header, rows)
    for name, start in found.items():
        met = "met" if median(start.first) < START_BAR_S else "missed"
        print(f"bar: first result from {name} in under {START_BAR_S} s: {median(start.first):.1f} s: {met}")


if __name__ == "__main__":
    cli.run(main)
