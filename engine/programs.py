"""The kinds of programs a network is written as for inference engines; Paddle is imported when one is written.

A new kind is a function that writes it and a record in PROGRAMS.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import numpy as np

from video_zoo.engine.backends.base import BATCH_AXIS, Backend, Engine, Job, missing_packages
from video_zoo.engine.onnx_float16 import write_float16
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import heartbeat

if TYPE_CHECKING:
    from paddle import nn

_OPSET = 17
_CONVERT = (
    "import sys, paddle2onnx\n"
    "model, params, out, opset, options = *sys.argv[1:5], sys.argv[5:]\n"
    "paddle2onnx.export(model, params, out, opset_version=int(opset), **dict(each.split('=') for each in options))\n"
)


@dataclass(frozen=True)
class Program:
    """A kind of program.

    Args:
        engine: the name of the one that compares it with the network (engine/parity.py).
        files: precision -> the file in a deployment folder; what else belongs to it has the same stem.
        write: (network, job, path) writes a float32 program with the job's inputs and outputs, any number of clips or
            streams at once. Raises InputError if a converter fails.
        packages: what `write` needs beside Paddle: module -> pip name; may depend on the Paddle that is installed.
        quantize: (float32 program, inputs by name, with one clip or stream each, path) writes the int8 one, where there
            is one.
        quantize_packages: what `quantize` needs.
        halve: (float32 program, path) writes the float16 one, where there is one.
        also_compared: lower precisions in which its engine runs the float32 program, and which are compared, too.
    """

    engine: str
    files: Mapping[str, str]
    write: Callable[[nn.Layer, Job, Path], None]
    packages: Callable[[], dict[str, str]] = dict
    quantize: Callable[[Path, Sequence[Mapping[str, np.ndarray]], Path], None] | None = None
    quantize_packages: Callable[[], dict[str, str]] = dict
    halve: Callable[[Path, Path], None] | None = None
    also_compared: tuple[str, ...] = ()

    def made_for(self, precision: str) -> bool:
        """Whether a precision has a program that export.py makes of the float32 one when asked."""
        return precision != "fp32" and precision in self.files

    def missing(self, int8: bool = False) -> list[str]:
        """The pip names of what is not installed and writing the program, or the int8 one, too, needs."""
        return missing_packages({**self.packages(), **(self.quantize_packages() if int8 else {})})


def write_program(
    kind: str,
    network: nn.Layer,
    shape: Sequence[int],
    path: Path,
    state: Mapping[str, tuple[int, ...]] | None = None,
) -> Path:
    """Writes a float32 program of a kind; returns its path.

    Args:
        shape: of a clip, (T, 3, H, W); with a state, of a frame, (3, H, W).
        state: for a program that follows streams, the shapes of a stream's state (`VideoNetwork.state_shapes`).

    Raises InputError.
    """
    PROGRAMS[kind].write(network, Job(clip_shape=tuple(shape), state=state or {}), path)
    return path


def load_network(engine: Engine, network: nn.Layer, folder: Path, job: Job) -> Backend:
    """A backend of a network, by way of a program in `folder`, which must stay while the backend is used.

    Args:
        job: but for its program.

    Raises InputError.
    """
    if engine.program is None:
        from video_zoo.engine.backends.paddle_network import PaddleNetwork, PaddleSteps

        return PaddleSteps(network, job.state, job.threads) if job.state else PaddleNetwork(network, job.threads)
    path = folder / PROGRAMS[engine.program].files["fp32"]
    write_program(engine.program, network, job.clip_shape, path, job.state)
    return engine.load(replace(job, program=path))


def is_paddle_2() -> bool:
    """Whether the installed Paddle is 2.6, found out without importing it."""
    for package in ("paddlepaddle", "paddlepaddle-gpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package).startswith("2.")
    return False


@contextlib.contextmanager
def _to_convert(network: nn.Layer, job: Job, path: Path, newest_form: bool) -> Iterator[Path]:
    """Paddle's program of a network, beside `path` while the block runs."""
    from video_zoo.engine.static_program import save_static_program

    scratch = path.with_name(f"{path.stem}_scratch.pdmodel")
    try:
        yield save_static_program(network, job, scratch, newest_form=newest_form, for_converter=True)
    finally:
        for file in path.parent.glob(f"{scratch.stem}.*"):
            file.unlink()


def _write_paddle(network: nn.Layer, job: Job, path: Path) -> None:
    from video_zoo.engine.static_program import save_static_program

    save_static_program(network, job, path)


def _write_onnx(network: nn.Layer, job: Job, path: Path) -> None:
    """By paddle2onnx, in a process of its own, as it may end the process or install packages."""
    options = [] if is_paddle_2() else ["optimize_tool=None"]
    with _to_convert(network, job, path, newest_form=True) as source, heartbeat("converting to ONNX"):
        files = [str(source), str(source.with_suffix(".pdiparams")), str(path), str(_OPSET)]
        done = subprocess.run([sys.executable, "-c", _CONVERT, *files, *options], capture_output=True, text=True)
    if done.returncode or not path.is_file() or not path.stat().st_size:
        lines = (done.stdout + done.stderr).strip().splitlines()
        said = [line for line in lines if re.search("fail|error", line, re.IGNORECASE)] or lines[-1:]
        raise InputError(f"paddle2onnx failed (exit code {done.returncode}): {said[0] if said else 'it said nothing'}")
    _tidy_onnx(path, job)


def _onnx_packages() -> dict[str, str]:
    release = "1.3.1" if is_paddle_2() else "2.1.0"  # each for its Paddle
    return {"paddle2onnx": f"paddle2onnx=={release}", "packaging": "packaging", "onnx": "onnx"}


def _tidy_onnx(path: Path, job: Job) -> None:
    """Names outputs and the free axis, and leaves out constants that nothing uses."""
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    new_names = {output.name: name for output, name in zip(graph.output, job.outputs)}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new_names.get(name, name) for name in names]
    for output in graph.output:
        output.name = new_names[output.name]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH_AXIS
    used = {name for node in graph.node for name in node.input}
    kept = [constant for constant in graph.initializer if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _write_openvino(network: nn.Layer, job: Job, path: Path) -> None:
    import openvino as ov

    from video_zoo.engine.backends.open_vino import core

    with _to_convert(network, job, path, newest_form=False) as source:
        try:
            model = core().read_model(source)
        except RuntimeError as error:  # it knows no 3-D convolutions of Paddle's, but those of ONNX
            if missing := missing_packages(_onnx_packages()):
                raise InputError(
                    f"OpenVINO cannot convert the network ({error}); by way of ONNX it may, which needs: pip install"
                    f" {' '.join(missing)}"
                ) from error
            between = source.with_suffix(".onnx")
            _write_onnx(network, job, between)
            model = core().read_model(between)
        for port in model.inputs:
            port.set_names(port.names & job.inputs.keys())
        for port, name in zip(model.outputs, job.outputs):
            port.set_names({name})
        ov.save_model(model, path, compress_to_fp16=False)


def _quantize_openvino(source: Path, samples: Sequence[Mapping[str, np.ndarray]], path: Path) -> None:
    """By OpenVINO's own post-training quantisation (NNCF)."""
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        import nncf
        import openvino as ov

        from video_zoo.engine.backends.open_vino import core

        nncf.set_log_level(logging.ERROR)
        with heartbeat("quantising"):
            model = nncf.quantize(
                core().read_model(source),
                nncf.Dataset(samples),
                subset_size=len(samples),
                preset=nncf.QuantizationPreset.MIXED,
                # Weights of 7 bits: sums of two products of 8 bits saturate on processors without VNNI, and what was
                # checked on one kind of processor would not hold on the other.
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
            )
    ov.save_model(model, path, compress_to_fp16=False)


PROGRAMS: dict[str, Program] = {
    "paddle": Program(engine="paddle-inference", files={"fp32": "model.pdmodel"}, write=_write_paddle),
    "onnx": Program(
        engine="onnxruntime",
        files={"fp32": "model.onnx", "fp16": "model_fp16.onnx"},
        write=_write_onnx,
        packages=_onnx_packages,
        halve=write_float16,
    ),
    "openvino": Program(
        engine="openvino",
        files={"fp32": "openvino_fp32.xml", "int8": "openvino_int8.xml"},
        write=_write_openvino,
        packages=lambda: {"openvino": "openvino"},
        quantize=_quantize_openvino,
        quantize_packages=lambda: {"nncf": "nncf"},
        also_compared=("bf16",),
    ),
}
