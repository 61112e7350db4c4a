"""Paddle Inference, on CPUs (oneDNN) and GPUs."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import inference

from video_zoo.engine.backends import Job
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import captured_output

_GPU_POOL_MB = 256  # at the start; it grows


class PaddleInference:
    """Runs a batch at once."""

    name = "Paddle Inference"

    def __init__(self, job: Job):
        with captured_output() as said:
            try:
                self._predictor = inference.create_predictor(self.configure(job))
            except Exception as error:  # Paddle's own classes, and ValueError, RuntimeError
                raise InputError(f"{self.name} cannot load {job.program}: {_summary(error)}\n{said.text()}") from error
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])
        device = "GPU" if job.on_gpu else f"CPU, {job.threads} threads"
        self.description = f"{self.name} {paddle.__version__}, {job.precision}, on the {device}"

    def configure(self, job: Job) -> inference.Config:
        """Paddle's settings for a job. Raises InputError."""
        config = inference.Config(str(job.program), str(job.program.with_suffix(".pdiparams")))
        config.disable_glog_info()
        config.enable_memory_optim()
        if job.on_gpu:
            half = job.precision == "fp16"
            precision = inference.PrecisionType.Half if half else inference.PrecisionType.Float32
            config.enable_use_gpu(_GPU_POOL_MB, 0, precision)
        else:
            config.disable_gpu()
            config.enable_mkldnn()
            config.set_cpu_math_library_num_threads(job.threads)
            if job.precision == "bf16":
                config.enable_mkldnn_bfloat16()
        return config

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        self._input.reshape(clips.shape)
        self._input.copy_from_cpu(np.ascontiguousarray(clips))
        self._predictor.run()
        return self._output.copy_to_cpu()


def _summary(error: Exception) -> str:
    """The line of a Paddle error that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(("(", "Error:", "[Hint"))]
    return (marked or lines or [type(error).__name__])[0]


load = PaddleInference
