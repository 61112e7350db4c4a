"""The parts "start" and "end_to_end" of inference.py: whole commands, from a video file to names."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmark import inference_loops
from benchmark.inference_sides import CONFIG, DEPLOYMENT, WEIGHTS
from benchmark.reader_clips import KINDS, Kind, clip_file
from video_zoo.configs.schema import Config
from video_zoo.engine.deployment import LABELS, Deployment
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger

WHOLE_KINDS = {KINDS[0]: 1.1, KINDS[2]: 1.5}  # -> times the plain loop's speed, the bar
_ROOT = Path(__file__).resolve().parents[1]
_RESULT = re.compile(rb"^\s+\d+\.\d\d%  ")
_SAME = 1e-5  # difference of the top-1's probability, float32: the same program, the same pixels


@dataclass
class Start:
    """Seconds from the start of infer.py to its first result, and to its end, a run each."""

    first: list[float]
    end: list[float]


def measure_start(folder: Path, clips: Path, rounds: int) -> dict[str, Start]:
    """infer.py on one video, from a checkpoint and from a deployment folder, in turn. Raises InputError."""
    video = str(clip_file(clips, KINDS[0]))
    sources = {
        "a checkpoint": ["--config", str(folder / CONFIG), "--weights", str(folder / WEIGHTS)],
        "a deployment folder": ["--weights", str(folder / DEPLOYMENT)],
    }
    found = {name: Start([], []) for name in sources}
    for turn in range(rounds):
        logger.info("start: round %d of %d", turn + 1, rounds)
        for name, flags in sources.items():
            first, end = _run_once([*flags, "--input", video, "--save_dir", str(folder / "results")])
            found[name].first.append(first)
            found[name].end.append(end)
    return found


def _run_once(flags: list[str]) -> tuple[float, float]:
    command = [sys.executable, str(_ROOT / "infer.py"), "--model_name=TSM", *flags]
    begin, first, said = time.perf_counter(), None, b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            said = line
            if first is None and _RESULT.match(line):
                first = time.perf_counter() - begin
    if process.returncode or first is None:
        raise InputError(f"infer.py failed: {said.decode(errors='replace').strip()}")
    return first, time.perf_counter() - begin


# ---- end to end


@dataclass
class Whole:
    """One kind of clip in one precision: seconds of each pass, ours and the plain loop's, without start-up and with
    it; whether the top-1 of each video is the same; or why ours, or the plain loop, was not measured."""

    videos: int
    ours: list[tuple[float, float]] = field(default_factory=list)
    plain: list[tuple[float, float]] = field(default_factory=list)
    same: str = ""
    error: str = ""

    @property
    def differs(self) -> bool:
        """Whether a pass gave other results."""
        return self.same.startswith("no")

    def ratio(self, with_start: bool = False) -> float:
        """Times the plain loop's speed."""
        return median(plain[with_start] / ours[with_start] for ours, plain in zip(self.ours, self.plain))


def measure_whole(
    folder: Path, clips: Path, settings: Config, python: str, videos: int, passes: int
) -> dict[tuple[Kind, str], Whole]:
    """infer.py against the plain loop, each with OpenVINO, in turn, on so many copies of a clip; on half as many in
    lower precisions, which are not judged."""
    deployment = Deployment.read(folder / DEPLOYMENT)
    found = {}
    for kind in WHOLE_KINDS:
        source, copies = clip_file(clips, kind), folder / kind.file_name.removesuffix(".mp4")
        paths = [copies / f"{number:04}.mp4" for number in range(videos)]
        copies.mkdir()
        for path in paths:
            path.symlink_to(source.resolve())
        for precision in ("fp32", "bf16", "int8"):
            chosen = paths if precision == "fp32" else paths[: math.ceil(videos / 2)]
            whole = found[kind, precision] = Whole(len(chosen))
            program = deployment.program("openvino", precision)
            if program is None:
                whole.error = f"no {precision} program of OpenVINO"
                continue
            for turn in range(passes):
                logger.info("end to end, %s, %s: pass %d of %d", kind, precision, turn + 1, passes)
                _pass(whole, turn, folder, program, precision, settings, python, chosen)
    return found


def _pass(
    whole: Whole,
    turn: int,
    folder: Path,
    program: Path,
    precision: str,
    settings: Config,
    python: str,
    paths: list[Path],
) -> None:
    """Both, in an order that changes."""
    infer, results = settings.INFER, folder / "results"
    filelist = folder / "videos.list"
    filelist.write_text("".join(f"{path}\n" for path in paths))
    flags = ["--weights", str(folder / DEPLOYMENT), "--filelist", str(filelist), "--save_dir", str(results)]
    flags += ["--engine=openvino", f"--precision={precision}", "--use_gpu=False"]
    sizes = {"segments": settings.seg_num("infer"), "short_size": infer.short_size, "size": infer.target_size}
    labels = str(folder / DEPLOYMENT / LABELS)
    job = {"program": str(program), "precision": precision, "labels": labels, "videos": [*map(str, paths)], **sizes}
    loops = [("ours", sys.executable, {"arguments": flags}), ("plain", python, job)]
    seconds, predictions = {"ours": whole.ours, "plain": whole.plain}, []
    for name, interpreter, given in loops if turn % 2 == 0 else loops[::-1]:
        answer = _run_loop(name, interpreter, given, folder)
        if "error" in answer:
            whole.error = answer["error"]
            continue
        seconds[name].append((answer["seconds"], answer["wall_s"]))
        predictions = answer.get("predictions", predictions)
    if not whole.error and not whole.differs:
        whole.same = _compare(results / "TSM_infer_result.jsonl", predictions, precision)


def _run_loop(name: str, python: str, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the loop answers, and {"wall_s"}; or {"error"}."""
    job_file, answer = folder / "job.json", folder / "answer.json"
    job_file.write_text(json.dumps({**job, "answer": str(answer)}))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    begin = time.perf_counter()
    done = subprocess.run([python, inference_loops.__file__, name, str(job_file)], capture_output=True, env=environment)
    wall_s = time.perf_counter() - begin
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return {"error": f"the {name} loop failed: {said[-1] if said else done.returncode}".replace("|", "/")}
    return {**json.loads(answer.read_text()), "wall_s": wall_s}


def _compare(results: Path, predictions: list[list[Any]], precision: str) -> str:
    """Whether both say the same of each video."""
    rows = {row["video"]: row["top"][0] for row in map(json.loads, results.read_text(encoding="utf-8").splitlines())}
    if rows.keys() != {path for path, _, _ in predictions}:
        return "no, other videos"
    same = sum(rows[path]["class"] == top for path, top, _ in predictions)
    largest = max(abs(rows[path]["probability"] - probability) for path, _, probability in predictions)
    far = precision == "fp32" and largest > _SAME
    return f"{'no, ' if same < len(predictions) or far else ''}{same} of {len(predictions)}, within {largest:.0e}"
