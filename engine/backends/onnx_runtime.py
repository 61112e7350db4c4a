"""ONNX Runtime; on a GPU with onnxruntime-gpu, which has CUDA's kernels."""

from __future__ import annotations

import numpy as np
import onnxruntime

from video_zoo.engine.backends import Job
from video_zoo.engine.deployment import INPUT
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import captured_output

_ERRORS_ONLY = 3
_INSTALL = 'pip install "onnxruntime-gpu[cuda,cudnn]" in place of onnxruntime'


class OnnxRuntime:
    """Runs a batch at once."""

    def __init__(self, job: Job):
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
        device = "GPU" if job.on_gpu else f"CPU, {job.threads} threads"
        self.description = f"ONNX Runtime {onnxruntime.__version__}, fp32, on the {device}"

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        return self._session.run(None, {INPUT: clips})[0]


load = OnnxRuntime
