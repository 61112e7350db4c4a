"""ONNX Runtime; on a GPU with onnxruntime-gpu, which has CUDA's kernels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from video_zoo.engine.backends.base import Backend, Engine, Job
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import captured_output

_ERRORS_ONLY = 3
_INSTALL = 'pip install "onnxruntime-gpu[cuda,cudnn]" in place of onnxruntime'


class OnnxRuntime(Backend):
    """Runs a batch at once."""

    def __init__(self, job: Job):
        import onnxruntime

        onnxruntime.disable_telemetry_events()  # of builds that do not ask the environment (video_zoo/__init__.py)
        provider = "CUDAExecutionProvider" if job.on_gpu else "CPUExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise InputError(f"--engine=onnxruntime: this ONNX Runtime has no CUDA: {_INSTALL}")
        if job.on_gpu and hasattr(onnxruntime, "preload_dlls"):
            with captured_output():  # it says what it does not find
                onnxruntime.preload_dlls()  # CUDA's libraries, where pip has put them
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job.threads
        options.log_severity_level = _ERRORS_ONLY
        try:
            # TF32 would differ from the network by more than 1e-4.
            settings = [(provider, {"use_tf32": "0"} if job.on_gpu else {})]
            self._session = onnxruntime.InferenceSession(str(job.program), options, providers=settings)
        except Exception as error:  # its own classes have no common one
            raise InputError(f"ONNX Runtime cannot load {job.program}: {error}") from error
        if self._session.get_providers()[0] != provider:
            raise InputError(
                f"--engine=onnxruntime: it cannot load CUDA's libraries: {_INSTALL}; --use_gpu=False takes the CPU"
            )
        self._outputs = job.outputs
        self.description = f"ONNX Runtime {onnxruntime.__version__}, fp32, on the {job.device}"

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._outputs, self._session.run(None, dict(feeds))))


ENGINE = Engine(
    "onnxruntime",
    program="onnx",
    load=OnnxRuntime,
    packages={"onnxruntime": "onnxruntime"},
    cpu=("fp32",),
    gpu=("fp32",),
    cpu_priority=20,  # its speed on GPUs has not been measured
)
