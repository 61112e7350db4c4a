"""A network -> programs for inference engines (engine/deployment.py lists them)."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from video_zoo.engine.backends import Backend, Engine, Job
from video_zoo.engine.backends.paddle_network import PaddleNetwork
from video_zoo.engine.deployment import INPUT, OUTPUT, is_paddle_2
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import heartbeat
from video_zoo.utils.runtime import captured_output

if TYPE_CHECKING:
    from video_zoo.models.network import VideoNetwork

_OPSET = 17
_CONVERT = (
    "import sys, paddle2onnx\n"
    "model, params, out, opset, options = *sys.argv[1:5], sys.argv[5:]\n"
    "paddle2onnx.export(model, params, out, opset_version=int(opset), **dict(each.split('=') for each in options))\n"
)


class _Classifier(nn.Layer):
    """Clips -> probabilities."""

    def __init__(self, network: nn.Layer):
        super().__init__()
        self.network = network

    def forward(self, clips: paddle.Tensor) -> paddle.Tensor:
        return F.softmax(self.network(clips))


def write_program(kind: str, network: VideoNetwork, shape: Sequence[int], path: Path) -> Path:
    """Writes a float32 program of a kind ("paddle", "onnx", "openvino") that takes uint8 clips (any number, *shape).

    Returns: the file to load. Raises InputError if a converter fails.
    """
    if kind == "paddle":
        return _save(network, shape, path, rolled=False)
    scratch = path.with_name(f"{path.stem}_scratch")
    if kind == "onnx":
        _convert_to_onnx(_save(network, shape, scratch.with_suffix(".json"), rolled=True), path)
    else:
        _convert_to_openvino(_save(network, shape, scratch.with_suffix(".pdmodel"), rolled=True), path)
    for file in path.parent.glob(f"{scratch.name}.*"):
        file.unlink()
    return path


def load_network(engine: Engine, network: VideoNetwork, folder: Path, job: Job) -> Backend:
    """A backend of a network, by way of a program in `folder`, which must stay while the backend is used.

    Args:
        job: but for its program.

    Raises InputError.
    """
    if engine.program is None:
        return PaddleNetwork(network, job.threads)
    if engine.program == "openvino":  # it reads Paddle's
        program = _save(network, job.clip_shape, folder / "openvino.pdmodel", rolled=True)
    else:
        suffix = {"paddle": ".pdmodel", "onnx": ".onnx"}[engine.program]
        program = write_program(engine.program, network, job.clip_shape, folder / f"model{suffix}")
    return engine.load(dataclasses.replace(job, program=program))


def quantize_openvino(source: Path, clips: Sequence[np.ndarray], path: Path) -> None:
    """Writes an int8 program from OpenVINO's float32 one, by its own post-training quantisation (NNCF).

    Args:
        clips: uint8 (1, T, C, H, W) each, to calibrate with.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        import nncf
        import openvino as ov

        nncf.set_log_level(logging.ERROR)
        with heartbeat("quantising"):
            model = nncf.quantize(
                ov.Core().read_model(source),
                nncf.Dataset(clips),
                subset_size=len(clips),
                preset=nncf.QuantizationPreset.MIXED,
            )
    ov.save_model(model, path, compress_to_fp16=False)


def _save(network: VideoNetwork, shape: Sequence[int], path: Path, *, rolled: bool) -> Path:
    """Paddle's own program, with the weights beside it in .pdiparams. A path that ends in .json is Paddle 3's
    intermediate representation, and becomes .pdmodel where Paddle is 2.

    .pdmodel wherever it will do: Paddle Inference runs it 1.3 times as fast on a CPU, OpenVINO reads it, and so does
    either Paddle.
    """
    new = path.suffix == ".json" and not is_paddle_2()
    old_form = getattr(getattr(paddle, "pir_utils", None), "OldIrGuard", contextlib.nullcontext)
    classifier = _Classifier(network)
    classifier.eval()
    # Nothing in them depends on a tensor's value, so their code need not be translated, which takes half of the time.
    paddle.jit.ignore_module([sys.modules[type(layer).__module__] for layer in classifier.sublayers(include_self=True)])
    form = network.prepare_for_export() if rolled else contextlib.nullcontext()
    with form, captured_output(), contextlib.nullcontext() if new else old_form():
        spec = paddle.static.InputSpec([None, *shape], "uint8", INPUT)
        program = paddle.jit.to_static(classifier, input_spec=[spec], full_graph=True)
        paddle.jit.save(program, str(path.with_suffix("")))
    path.with_suffix(".pdiparams.info").unlink(missing_ok=True)  # names for further training
    return path if new else path.with_suffix(".pdmodel")


def _convert_to_onnx(source: Path, path: Path) -> None:
    """By paddle2onnx, in a process of its own, as it may end the process or install packages."""
    options = [] if is_paddle_2() else ["optimize_tool=None"]
    files = [str(source), str(source.with_suffix(".pdiparams")), str(path), str(_OPSET)]
    with heartbeat("converting to ONNX"):
        done = subprocess.run([sys.executable, "-c", _CONVERT, *files, *options], capture_output=True, text=True)
    if done.returncode or not path.is_file() or not path.stat().st_size:
        lines = (done.stdout + done.stderr).strip().splitlines()
        said = [line for line in lines if re.search("fail|error", line, re.IGNORECASE)] or lines[-1:]
        raise InputError(f"paddle2onnx failed (exit code {done.returncode}): {said[0] if said else 'it said nothing'}")
    _tidy_onnx(path)


def _tidy_onnx(path: Path) -> None:
    """Names input, output and the free axis, and leaves out constants that nothing uses."""
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    old = graph.output[0].name
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == old:
                node.output[place] = OUTPUT
    graph.output[0].name = OUTPUT
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "clips"
    used = {name for node in graph.node for name in node.input}
    kept = [constant for constant in graph.initializer if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _convert_to_openvino(source: Path, path: Path) -> None:
    import openvino as ov

    try:
        model = ov.Core().read_model(source)
    except RuntimeError as error:
        raise InputError(f"OpenVINO cannot convert the network: {error}") from error
    model.input(0).set_names({INPUT})
    model.output(0).set_names({OUTPUT})
    ov.save_model(model, path, compress_to_fp16=False)
