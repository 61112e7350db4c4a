"""The rounds of inference.py's part "network": every method in a process of its own, one turn each a round."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmark import inference_programs, inference_sides
from benchmark.inference_sides import DEPLOYMENT, EXPECTED, Network
from benchmark.processes import Peer
from video_zoo.engine.backends import ENGINES, choose_engine
from video_zoo.engine.deployment import Deployment
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger

EAGER_FORMS, CONVERTED_FORMS = ("rolled", "published"), ("rolled", "joined")  # of PyTorch's shift: the quicker ones
EAGER = "PyTorch eager"
OPENVINO = {precision: f"OpenVINO on PyTorch's, {precision}" for precision in ("fp32", "bf16", "int8")}  # titles
_OURS = ("openvino", "onnxruntime", "paddle-inference", "paddle")
_ENDINGS = ("onnx", "fp32.xml", "int8.xml")  # of the files of a converted network
_ALLOWED = {False: 1e-4, True: 1e-2}  # of a probability, float32; on a GPU cuDNN rounds to TF32


class Method(NamedTuple):
    """A row: who computes, and in which ways it may do so, of which the quickest is taken.

    Args:
        title: of the row.
        precision: of the arithmetic.
        python: the interpreter that has its packages.
        side: of inference_sides.
        ways: name -> what `Runner.open` is given.
        is_ours: it computes our network.
    """

    title: str
    precision: str
    python: str
    side: str
    ways: dict[str, dict[str, Any]]
    is_ours: bool = False


@dataclass
class Figures:
    """What was measured of a method: a turn's milliseconds a round, peak memory, the largest difference of a
    probability from our dynamic network's; or why nothing was. what: the engine and its version."""

    turns: list[dict[str, float]] = field(default_factory=list)
    peak_mb: float = 0.0
    difference: float = 0.0
    what: str = ""
    note: str = ""
    error: str = ""

    @property
    def ms(self) -> float:
        return median(turn["ms"] for turn in self.turns)

    @property
    def fastest(self) -> float:
        return min(turn["fastest"] for turn in self.turns)


Found = dict[str, Figures]  # by the method's title


def measure(methods: list[Method], network: Network, folder: Path, rounds: int, on_gpu: bool) -> Found:
    """Every method's figures. Raises InputError if one of ours computes something else than our dynamic network."""
    found = {method.title: Figures() for method in methods}
    with contextlib.ExitStack() as stack:
        peers: dict[int, Peer] = {}
        for place, method in enumerate(methods):
            logger.info("%s: warming up", method.title)
            peer = _start(method, network, folder, found[method.title], on_gpu)
            if peer is not None:
                peers[place] = stack.enter_context(contextlib.closing(peer))
        for turn in range(rounds):
            logger.info("round %d of %d", turn + 1, rounds)
            for place in [*range(turn % len(methods), len(methods)), *range(turn % len(methods))]:
                figures = found[methods[place].title]
                if figures.error:
                    continue
                answer = peers[place].do("turn")
                figures.error = answer.get("error", "")
                figures.turns.append(answer)
        for place, peer in peers.items():
            found[methods[place].title].peak_mb = peer.do("peak").get("mb", 0)
    return found


def _start(method: Method, network: Network, folder: Path, figures: Figures, on_gpu: bool) -> Peer | None:
    """A process that is ready for its turns, of the way whose calls were quickest; the others end."""
    best: Peer | None = None
    times: dict[str, float] = {}
    for name, given in method.ways.items():
        peer = Peer(inference_sides.__file__, method.side, method.python)
        answer = _open(peer, given, method, network, folder, on_gpu)
        if "error" in answer:
            figures.error = figures.error or answer["error"]
            peer.close()
            continue
        is_best = best is None or answer["ms"] < min(times.values())
        times[name] = answer["ms"]
        if is_best:
            best, peer = peer, best
            figures.difference, figures.what = answer["difference"], answer["what"].split(",")[0]
        if peer is not None:
            peer.close()
    if best is not None:
        figures.error, figures.note = "", _ways_text(times)
    return best


def _open(
    peer: Peer, given: dict[str, Any], method: Method, network: Network, folder: Path, on_gpu: bool
) -> dict[str, Any]:
    """{"ms", "difference": the largest, of a probability from what is expected} or {"error"}."""
    path = folder / "said.npy"
    answer = peer.hello if "error" in peer.hello else peer.do("start", network=network, path=str(path), **given)
    if "error" in answer:
        return answer
    difference = float(np.abs(np.load(path) - np.load(folder / EXPECTED)).max())
    if method.precision == "fp32" and not difference <= _ALLOWED[on_gpu]:
        text = f"its probabilities differ from our dynamic network's by {difference:.1e}"
        if method.is_ours:
            raise InputError(f"{method.title}: {text}; allowed are {_ALLOWED[on_gpu]:.0e}")
        return {"error": text}
    return {**answer, "difference": difference}


def _ways_text(times: dict[str, float]) -> str:
    """The way that was taken, and what the others took when they warmed up."""
    best, *others = sorted(times, key=times.__getitem__)
    text = best + (f" ({times[best]:.1f}" if others else "")
    return text + "".join(f"; {name} {times[name]:.1f}" for name in others) + (")" if others else "")


# ---- the methods


def our_methods(folder: Path, python: str, on_gpu: bool, missing: dict[str, str]) -> Iterator[tuple[Method, str]]:
    """Each engine in each precision it has, and why it cannot be measured ("": it can)."""
    deployment = Deployment.read(folder / DEPLOYMENT)
    for name in _OURS:
        engine = ENGINES.get(name)
        for precision in engine.gpu if on_gpu else engine.cpu:
            program = deployment.program(engine.program, precision) if engine.program else None
            given = {"engine": name, "precision": precision, "program": program and str(program)}
            ways = {"": {**given, "folder": str(folder), "on_gpu": on_gpu}}
            method = Method(our_title(name, precision), precision, python, "engine", ways, is_ours=True)
            lacks = engine.program is not None and program is None
            yield method, missing.get("int8" if precision == "int8" else engine.program, "no program") if lacks else ""


def our_title(engine: str, precision: str) -> str:
    """Of a row of ours."""
    return f"ours: {engine} {precision}"


def default_title(folder: Path, on_gpu: bool) -> str:
    """Of the row that --engine=auto takes."""
    deployment = Deployment.read(folder / DEPLOYMENT)

    def obstacle(engine: Any) -> str | None:
        return None if engine.program and deployment.program(engine.program, "fp32") else "no program"

    return our_title(choose_engine("auto", "fp32", on_gpu, obstacle).engine.name, "fp32")


def torch_methods(folder: Path, python: str, on_gpu: bool) -> list[Method]:
    """PyTorch itself."""
    rows = [(EAGER, "eager", False, False), (f"{EAGER}, channels-last", "eager", True, False)]
    if on_gpu:
        rows.append((f"{EAGER}, channels-last, autocast fp16", "eager", True, True))
    else:
        rows.append(("torch.compile, channels-last, frozen", "compile", True, False))
    methods = []
    for title, way, channels_last, half in rows:
        common = {"folder": str(folder), "way": way, "channels_last": channels_last, "half": half, "on_gpu": on_gpu}
        forms = EAGER_FORMS if way == "eager" else EAGER_FORMS[:1]  # compiling takes half a minute
        ways = {form: {**common, "form": form} for form in forms}
        methods.append(Method(title, "fp16" if half else "fp32", python, "torch", ways))
    return methods


def converted_methods(folder: Path, python: str, network: Network) -> list[tuple[Method, str]]:
    """ONNX Runtime and OpenVINO on what they make of PyTorch's network, loaded as ours are; CPU only."""
    converter = Peer(inference_programs.__file__, "converter", python)
    with contextlib.closing(converter):
        missing: dict[str, dict[str, str]] = {}
        for form in CONVERTED_FORMS:
            logger.info("converting PyTorch's network, shift %s", form)
            answer = converter.do("convert", network=network, folder=str(folder), form=form)
            missing[form] = answer.get("missing", dict.fromkeys(_ENDINGS, answer.get("error", "")))
    methods = []
    for title, engine, precision, ending in (
        ("ONNX Runtime on PyTorch's", "onnxruntime", "fp32", "onnx"),
        (OPENVINO["fp32"], "openvino", "fp32", "fp32.xml"),
        (OPENVINO["bf16"], "openvino", "bf16", "fp32.xml"),
        (OPENVINO["int8"], "openvino", "int8", "int8.xml"),
    ):
        common = {"engine": engine, "precision": precision, "folder": str(folder), "on_gpu": False}
        ways = {
            form: {**common, "program": str(folder / f"torch_{form}_{ending}")}
            for form in CONVERTED_FORMS
            if ending not in missing[form]
        }
        error = "" if ways else next(iter(missing.values()))[ending]
        methods.append((Method(title, precision, python, "engine", ways), error))
    return methods
