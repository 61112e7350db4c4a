"""Inference: every engine and precision of ours next to PyTorch, and to ONNX Runtime and OpenVINO on PyTorch's TSM.

    python benchmark/inference.py --torch_python=../peers/bin/python --rounds 5       (--help: sizes, parts)

What the project does not need goes into an environment of its own, Python 3.10 or newer; torch.compile also needs a
C++ compiler:

    python -m venv ../peers
    ../peers/bin/pip install torch numpy onnx onnxruntime openvino nncf decord2 pillow

Without it our rows alone are measured. Parts, all on the CPU:

network      one clip in memory (uint8) -> probabilities, each method in a process of its own; they take turns. Figures
             are medians of the rounds, ratios those of each round's; memory is the process's peak, with loading.
end_to_end   infer.py on many videos against a plain loop with the same OpenVINO program: decord2 with all cores, then
             Pillow, one video after the other. From the first video's request to the last row written or printed;
             whole runs, from start to end of the process, beside it.
start        infer.py on one video: seconds from its start to the first result, and to its end.

Both networks have the same random weights, and float32 probabilities must equal our dynamic network's, to 1e-4. Both
int8 programs are calibrated with the same clips. PyTorch's network gets every advantage we know: of two forms of its
shift (benchmark/torch_tsm.py) the quicker, ours for inference engines among them (the last column says which, with the
milliseconds); programs converted beforehand, with a fixed batch, and loaded by the code that loads ours; weights frozen
into torch.compile's code. What int8 costs in accuracy is no question for random weights: export.py answers it. Linux
only.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import inference_sides
from clips import KINDS, Kind, clip_file
from harness import CLIPS, ROOT, Row, Shape, Side, machine, print_table, ratio, run_marked, take_turns
from inference_sides import CHECKPOINT, CONFIG, DEPLOYMENT, FP32, INT8, ONNX

from video_zoo.engine.deployment import LABELS, Deployment
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger, set_up_logging

SCRIPT = inference_sides.__file__
OURS = {  # engine -> the kind of its program, its precisions
    "openvino": ("openvino", ("fp32", "bf16", "int8")),
    "onnxruntime": ("onnx", ("fp32",)),
    "paddle-inference": ("paddle", ("fp32", "bf16")),
    "paddle": (None, ("fp32",)),
}
THEIRS = {  # title -> engine, precision, the program's ending
    "ONNX Runtime on PyTorch's": ("onnxruntime", "fp32", ONNX),
    "OpenVINO on PyTorch's, fp32": ("openvino", "fp32", FP32),
    "OpenVINO on PyTorch's, bf16": ("openvino", "bf16", FP32),
    "OpenVINO on PyTorch's, int8": ("openvino", "int8", INT8),
}
EAGER = "PyTorch eager"
FORMS = ("rolled", "published")  # of PyTorch's shift
WHOLE_KINDS = (KINDS[0], KINDS[2])
ALLOWED = 1e-4  # difference of a probability, float32
SAME = 1e-5  # end to end, of the top-1's: the same program, the same pixels


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parts = {"network": part_network, "end_to_end": part_end_to_end, "start": part_start}
    parser.add_argument("--parts", nargs="+", choices=parts, default=[*parts], help="which (all)")
    parser.add_argument("--num_layers", type=int, choices=(18, 34, 50), default=50, help="of the ResNet (50)")
    parser.add_argument("--base_width", type=cli.positive_int, default=64, metavar="N", help="of the ResNet (64)")
    parser.add_argument("--size", type=cli.positive_int, default=224, metavar="PIXELS", help="of the frames (224)")
    parser.add_argument("--rounds", type=cli.positive_int, default=3, metavar="N", help="of network and start (3)")
    parser.add_argument("--videos", type=cli.positive_int, default=40, metavar="N", help="bf16, int8: half (40)")
    parser.add_argument("--torch_python", type=cli.path, default=sys.executable, metavar="PYTHON", help="has the peers")
    parser.add_argument("--folder", type=Path, default=CLIPS, metavar="DIR", help="of clips (benchmark/clips)")
    args = parser.parse_args()
    set_up_logging()
    print(f"{machine()}\n", flush=True)
    shape = Shape("TSM", args.num_layers, args.base_width, size=args.size)
    with tempfile.TemporaryDirectory(prefix="zoo_inference_") as name:
        folder, maker = Path(name), Side(SCRIPT, "ours")
        logger.info("making a checkpoint and a deployment folder")
        made = maker.do("make", shape=shape, folder=name, videos=[str(clip_file(args.folder, kind)) for kind in KINDS])
        maker.close()
        if "error" in made:
            raise InputError(f"the programs cannot be made: {made['error']}")
        for part in args.parts:
            parts[part](args, shape, folder, made["missing"])


# ---- network


def part_network(args: argparse.Namespace, shape: Shape, folder: Path, missing: dict[str, str]) -> None:
    rows = {row.title: row for row in [*our_rows(folder, missing), *torch_rows(args, shape, folder)]}
    for row in rows.values():
        logger.info("%s: warming up", row.title)
        row.start(shape=shape, folder=str(folder))
        is_float32 = not row.title.endswith(("bf16", "int8"))
        if not row.error and is_float32 and row.started["difference"] > ALLOWED:
            raise InputError(f"{row.title}: a probability is off by {row.started['difference']:.1e}")
    take_turns([*rows.values()], [{}] * args.rounds)
    table = []
    for row in rows.values():
        row.close()
        if row.error:
            table.append((row.title, f"left out: {row.error}"))
            continue
        cells = (ratio(row, rows[EAGER]), row.median("ms"), row.fastest(), 1000 / row.median("ms"))
        table.append((row.title, *cells, row.median("peak_mb"), f"{row.started['difference']:.0e}", row.note))
    print("- " + ", ".join(sorted({row.started["what"] for row in rows.values() if not row.error})) + "\n")
    header = " | x PyTorch eager's speed | ms | fastest | clips/s | peak MB | differs by at most | "
    print_table(f"TSM, {shape}", header, table)
    for precision in ("fp32", "bf16", "int8"):
        ours, peer = rows[our_title("openvino", precision)], rows[f"OpenVINO on PyTorch's, {precision}"]
        print(f"- ours against {peer.title}: {ratio(ours, peer) or 'not measured'} times as fast")
    int8, default = rows[our_title("openvino", "int8")], rows[our_title("openvino", "fp32")]
    print(f"- {int8.title} against {default.title}: {ratio(int8, default) or 'not measured'} times as fast\n")


def our_title(engine: str, precision: str) -> str:
    return f"ours: {engine} {precision}"


def our_program(folder: Path, kind: str, precision: str) -> str:
    """The program of the deployment folder for a precision."""
    return str(Deployment.read(folder / DEPLOYMENT).program(kind, precision))


def our_rows(folder: Path, missing: dict[str, str]) -> list[Row]:
    """Each engine in each precision."""
    rows = []
    for engine, (kind, precisions) in OURS.items():
        for precision in precisions:
            way = {"engine": engine, "precision": precision, "program": kind and our_program(folder, kind, precision)}
            error = missing.get("int8" if precision == "int8" else kind, "")
            rows.append(Row(our_title(engine, precision), SCRIPT, "engine", ways={"": way}, error=error))
    return rows


def torch_rows(args: argparse.Namespace, shape: Shape, folder: Path) -> list[Row]:
    """PyTorch itself, and the engines on what is made of its network."""
    rows = []
    for title, compiled, channels_last in (
        (EAGER, False, False),
        (f"{EAGER}, channels-last", False, True),
        ("torch.compile, channels-last, frozen", True, True),
    ):
        way = {"compiled": compiled, "channels_last": channels_last}
        ways = {form: {**way, "form": form} for form in (FORMS[:1] if compiled else FORMS)}  # it compiles for long
        rows.append(Row(title, SCRIPT, "torch", args.torch_python, ways=ways))
    maker, missing = Side(SCRIPT, "theirs", args.torch_python), {}
    for form in FORMS:
        logger.info("converting PyTorch's network, shift %s", form)
        answer = maker.do("make", shape=shape, folder=str(folder), form=form)
        missing[form] = answer.get("missing", dict.fromkeys((ONNX, FP32, INT8), answer.get("error", "")))
    maker.close()
    for title, (engine, precision, ending) in THEIRS.items():
        way = {"engine": engine, "precision": precision}
        made = [form for form in FORMS if ending not in missing[form]]
        ways = {form: {**way, "program": str(folder / f"torch_{form}_{ending}")} for form in made}
        error = "" if made else missing[FORMS[0]][ending]
        rows.append(Row(title, SCRIPT, "engine", args.torch_python, ways=ways, error=error))
    return rows


# ---- end to end, and start


def part_end_to_end(args: argparse.Namespace, shape: Shape, folder: Path, missing: dict[str, str]) -> None:
    table = []
    for kind in WHOLE_KINDS:
        paths = copies(clip_file(args.folder, kind), folder / Path(kind.file_name).stem, args.videos)
        for precision in ("fp32", "bf16", "int8"):
            chosen = paths if precision == "fp32" else paths[: math.ceil(args.videos / 2)]
            try:
                table.append(compare_whole(kind, precision, args, shape, folder, chosen))
            except RuntimeError as error:
                table.append((kind, precision, len(chosen), f"left out: {error}"))
    header = "clips |  | videos | x the plain loop's speed | ours, s | plain, s | ours, videos/s"
    header = f"{header} | ours, whole run, s | plain, whole run, s | same top-1"
    print_table("From video files to names, OpenVINO", header, table)


def copies(source: Path, folder: Path, count: int) -> list[Path]:
    """So many names of a file."""
    folder.mkdir()
    paths = [folder / f"{number:04}.mp4" for number in range(count)]
    for path in paths:
        path.symlink_to(source)
    return paths


def compare_whole(
    kind: Kind, precision: str, args: argparse.Namespace, shape: Shape, folder: Path, videos: Sequence[Path]
) -> tuple:
    """A row of the table. Raises RuntimeError: one of the two failed."""
    (folder / "videos.list").write_text("".join(f"{path}\n" for path in videos))
    flags = ["--weights", folder / DEPLOYMENT, "--filelist", folder / "videos.list", "--save_dir", folder]
    flags += ["--engine=openvino", f"--precision={precision}", "--use_gpu=False"]
    program = {"program": our_program(folder, "openvino", precision), "precision": precision}
    job = {"shape": shape, "labels": str(folder / DEPLOYMENT / LABELS), **program}
    logger.info("end to end, %s, %s", kind, precision)
    ours, plain, tops = run_infer(flags), *run_plain(args.torch_python, job, [*map(str, videos)])
    rows = map(json.loads, (folder / "TSM_infer_result.jsonl").read_text(encoding="utf-8").splitlines())
    found = {row["video"]: row["top"][0] for row in rows}
    same = sum(found[path]["class"] == top for path, top, _ in tops)
    largest = max(abs(found[path]["probability"] - probability) for path, _, probability in tops)
    far = "no, " if same < len(tops) or precision == "fp32" and largest > SAME else ""
    cells = (plain[0] / ours[0], ours[0], plain[0], len(videos) / ours[0], ours[1], plain[1])
    return (kind, precision, len(videos), *cells, f"{far}{same} of {len(tops)}, within {largest:.0e}")


def run_infer(flags: Sequence[str | Path]) -> tuple[float, float]:
    """Seconds of the pass, from the line that says which engine computes to the one of the end; and of the process."""
    marks = {"open": "engine openvino", "done": r"\[INFER\] infer finished"}
    seconds = run_marked([sys.executable, ROOT / "infer.py", "--model_name=TSM", *flags], marks)
    return seconds["done"] - seconds["open"], seconds["end"]


def run_plain(python: str, job: dict, videos: list[str]) -> tuple[tuple[float, float], list]:
    """Likewise of the plain loop, and what it said. Raises RuntimeError."""
    start = time.perf_counter()
    side = Side(SCRIPT, "plain", python)
    started = side.do("start", **job)
    answer = started if "error" in started else side.do("turn", videos=videos)
    side.close()
    if "error" in answer:
        raise RuntimeError(f"the plain loop failed: {answer['error']}")
    return (answer["seconds"], time.perf_counter() - start), answer["top"]


def part_start(args: argparse.Namespace, shape: Shape, folder: Path, missing: dict[str, str]) -> None:
    sources = {
        "a checkpoint": ["--config", folder / CONFIG, "--weights", folder / CHECKPOINT],
        "a deployment folder": ["--weights", folder / DEPLOYMENT],
    }
    command = [sys.executable, ROOT / "infer.py", "--model_name=TSM", "--save_dir", folder]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sources}
    for _ in range(args.rounds):
        for name, flags in sources.items():
            video = clip_file(args.folder, KINDS[0])
            found[name].append(run_marked([*command, *flags, "--input", video], {"first": r"^\s+\d+\.\d\d%  "}))
    rows = []
    for name, runs in found.items():
        ends = [run["end"] for run in runs]
        rows.append((name, median(run["first"] for run in runs), median(ends), min(ends)))
    header = "from | s to the first result | s to the end | fastest"
    print_table("infer.py on one video of 340x256", header, rows)


if __name__ == "__main__":
    cli.run(main)
