"""Paddle Inference, on CPUs (oneDNN) and GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from video_zoo.engine.backends.base import NO_BF16, Backend, Engine, Job, check_state
from video_zoo.utils.errors import InputError
from video_zoo.utils.open_files import read_regular
from video_zoo.utils.runtime import captured_output

_GPU_POOL_MB = 256  # at the start; it grows
# What export.py writes, with either Paddle, and arithmetic. Others could write files, open connections or run code.
_OPERATORS = frozenset(
    (
        "batch_norm",
        "cast",
        "concat",
        "conv2d",
        "conv3d",
        "depthwise_conv2d",
        "dropout",
        "elementwise_add",
        "elementwise_div",
        "elementwise_floordiv",
    )
    + ("elementwise_mul", "elementwise_sub", "feed", "fetch", "fill_any_like", "fill_constant", "matmul_v2", "pool2d")
    + ("pool3d", "reduce_mean", "relu", "relu6", "reshape2", "scale", "shape", "slice", "softmax", "transpose2")
)
_MOST_PROGRAM_BYTES = 1 << 28  # without the weights, which lie beside it


class PaddleInference(Backend):
    """Runs a batch at once."""

    name = "Paddle Inference"

    def __init__(self, job: Job):
        import paddle
        from paddle import inference
        from paddle.base import core

        with captured_output() as said:
            try:
                config = self.configure(job)
                program = core.ProgramDesc(read_regular(job.program, _MOST_PROGRAM_BYTES))
                _check_operators(program, job.program)
                if job.state:
                    inputs = _inputs_of(program)  # its outputs have names of Paddle's, and the order of these
                    check_state(job, inputs, job.outputs if [*inputs] == [*job.inputs] else ())
                self._predictor = inference.create_predictor(config)
            except InputError:
                raise
            except Exception as error:  # Paddle's own classes, and ValueError, RuntimeError
                raise InputError(f"{self.name} cannot load {job.program}: {_summary(error)}\n{said.text()}") from error
        names = self._predictor.get_output_names()  # they are Paddle's
        self._outputs = {name: self._predictor.get_output_handle(own) for name, own in zip(job.outputs, names)}
        self.description = f"{self.name} {paddle.__version__}, {job.precision}, on the {job.device}"

    def configure(self, job: Job) -> Any:
        """Paddle's settings for a job, an `inference.Config`. Raises InputError."""
        from paddle import inference
        from paddle.base import core

        if job.precision == "bf16" and not core.supports_bfloat16():  # Paddle would compute in float32
            raise InputError(NO_BF16)
        config = inference.Config(str(job.program), str(job.program.with_suffix(".pdiparams")))
        config.disable_glog_info()
        config.enable_memory_optim()
        if job.on_gpu:
            config.enable_use_gpu(_GPU_POOL_MB, 0, paddle_precision(job))
        else:
            config.disable_gpu()
            config.enable_mkldnn()
            config.set_cpu_math_library_num_threads(job.threads)
            if job.precision == "bf16":
                config.enable_mkldnn_bfloat16()
        return config

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, array in feeds.items():
            handle = self._predictor.get_input_handle(name)
            handle.reshape(array.shape)
            handle.copy_from_cpu(np.ascontiguousarray(array))
        self._predictor.run()
        return {name: handle.copy_to_cpu() for name, handle in self._outputs.items()}


def paddle_precision(job: Job) -> Any:
    """Of the arithmetic on a GPU, as Paddle Inference calls it."""
    from paddle import inference

    return inference.PrecisionType.Half if job.precision == "fp16" else inference.PrecisionType.Float32


def _check_operators(program: Any, path: Path) -> None:
    """Raises InputError if a `ProgramDesc` holds an operator that a network has no use for, as `save`, which writes a
    file.

    What the program computes is loaded and run by Paddle, which trusts it; its checksum says only that it is the one
    that its maker wrote.
    """
    blocks = [program.block(number) for number in range(program.num_blocks())]
    foreign = {block.op(number).type() for block in blocks for number in range(block.op_size())} - _OPERATORS
    if foreign:
        names = ", ".join(map(repr, sorted(foreign)[:5]))
        raise InputError(
            f"{path} is refused: it holds operators that export.py does not write, and that may do anything: {names}"
        )


def _inputs_of(program: Any) -> dict[str, list[int]]:
    """The sizes of a program's inputs, by name and in its order, without the first axis."""
    block = program.block(0)
    feeds = [each for each in map(block.op, range(block.op_size())) if each.type() == "feed"]
    names = [each.output("Out")[0] for each in sorted(feeds, key=lambda each: each.attr("col"))]
    return {name: block.find_var(name.encode()).shape()[1:] for name in names}


def _summary(error: Exception) -> str:
    """The line of a Paddle error that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(("(", "Error:", "[Hint"))]
    return (marked or lines or [type(error).__name__])[0]


ENGINE = Engine(
    "paddle-inference",
    program="paddle",
    load=PaddleInference,
    cpu=("fp32", "bf16"),
    gpu=("fp32", "fp16"),
    cpu_priority=30,
    gpu_priority=10,
)
