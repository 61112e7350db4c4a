"""OpenVINO, on CPUs."""

from __future__ import annotations

import numpy as np
import openvino as ov

from video_zoo.engine.backends import Job
from video_zoo.utils.errors import InputError

_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVINO:
    """Runs clip after clip: a batch is no faster, as a clip's frames are one already, and with a fixed size the masks
    of the shift vanish."""

    def __init__(self, job: Job):
        core = ov.Core()
        try:
            model = core.read_model(job.program)
            model.reshape([1, *(size.get_length() for size in list(model.input(0).partial_shape)[1:])])
        except RuntimeError as error:
            raise InputError(f"OpenVINO cannot read {job.program}: {_last_line(error)}") from error
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if job.precision == "bf16" and not has_bf16:
            raise InputError("--precision=bf16: this CPU has no bfloat16 arithmetic; fp32 and int8 are there")
        # Between int8 convolutions the rest may be bfloat16.
        hint = _HINTS.get(job.precision, "bf16" if has_bf16 else "f32")
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": job.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled = core.compile_model(model, "CPU", settings)
        version = ov.__version__.split("-")[0]
        self.description = f"OpenVINO {version}, {job.precision}, on the CPU, {job.threads} threads"

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        return np.concatenate([self._compiled(clip[None])[0] for clip in clips])


def _last_line(error: RuntimeError) -> str:
    return [line for line in str(error).splitlines() if line.strip()][-1]


load = OpenVINO
