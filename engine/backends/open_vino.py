"""OpenVINO, on CPUs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np

from video_zoo.engine.backends.base import FRAME, LOGITS, NO_BF16, Backend, Engine, Job, check_state, run_each
from video_zoo.utils.errors import InputError

_HINTS = {"fp32": "f32", "bf16": "bf16"}


@lru_cache(maxsize=1)
def core() -> Any:
    """The `openvino.Core` of this process, with its plugin for CPUs.

    A plugin gives the thread that makes it a stack for handlers of signals, and frees that when it goes. Where several
    go in another order than they came, the thread is left with a stack that is gone, and the next signal, as Ctrl-C,
    ends the process with SIGSEGV (Python 3.11 and newer). So one stays, and comes before those of other packages.
    """
    import openvino as ov

    made = ov.Core()
    made.get_property("CPU", "FULL_DEVICE_NAME")  # only now it has the plugin
    return made


class OpenVINO(Backend):
    """Runs clip after clip: a batch is no faster, as a clip's frames are one already, and with a fixed size
    nothing depends on their number."""

    def __init__(self, job: Job):
        import openvino as ov

        try:
            model = core().read_model(job.program)
            if job.state:
                inputs = {port.any_name: _sizes(port) for port in model.inputs}
                check_state(job, inputs, [port.any_name for port in model.outputs])
            model.reshape({port: [1, *_sizes(port)] for port in model.inputs})
        except RuntimeError as error:
            raise InputError(f"OpenVINO cannot read {job.program}: {_last_line(error)}") from error
        has_bf16 = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if job.precision == "bf16" and not has_bf16:
            raise InputError(NO_BF16)
        hint = _HINTS.get(job.precision, "bf16" if has_bf16 and job.rest_bf16 else "f32")
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": job.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled = core().compile_model(model, "CPU", settings)
        self._outputs = job.outputs
        self._requests = [self._compiled.create_infer_request() for _ in range(2)] if job.state else []
        version = ov.__version__.split("-")[0]
        self.description = f"OpenVINO {version}, {job.precision}, on the {job.device}"

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return run_each(partial(self._compiled, share_inputs=True), feeds, self._outputs)

    def step(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Of one stream without a copy of the state: two requests take turns, and each reads what the other wrote."""
        if len(feeds[FRAME]) > 1:
            return self.run(feeds)
        request, other = self._requests
        found = request.infer(feeds, share_inputs=True, share_outputs=True)
        self._requests = [other, request]  # a request that failed is the next one again
        outputs = {name: found[place] for place, name in enumerate(self._outputs)}
        return {**outputs, LOGITS: outputs[LOGITS].copy()}


def _sizes(port) -> list[int]:
    """Of an input's axes, but for the first."""
    return [size.get_length() for size in list(port.partial_shape)[1:]]


def _last_line(error: RuntimeError) -> str:
    return [line for line in str(error).splitlines() if line.strip()][-1]


ENGINE = Engine(
    "openvino",
    program="openvino",
    load=OpenVINO,
    packages={"openvino": "openvino"},
    cpu=("fp32", "bf16", "int8"),
    cpu_priority=10,  # benchmark/RESULTS.md, as of the others
)
