"""ONNX Runtime; on a GPU with onnxruntime-gpu, which has CUDA's kernels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from video_zoo.engine.backends.base import BATCH_AXIS, LOGITS, Backend, Engine, Job, check_state, run_each
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import captured_output

_CUDA = "CUDAExecutionProvider"
ERRORS_ONLY, FATAL_ONLY = 3, 4
_INSTALL = 'pip install "onnxruntime-gpu[cuda,cudnn]" in place of onnxruntime'


def import_onnxruntime() -> ModuleType:
    """The module, which reports nothing."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # of builds that do not ask the environment (video_zoo/__init__.py)
    return onnxruntime


def _no_cuda() -> str | None:
    if _CUDA not in import_onnxruntime().get_available_providers():
        return f"this ONNX Runtime has no CUDA: {_INSTALL}"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides the GPUs"
    return None


class OnnxRuntime(Backend):
    """Runs a batch at once. On a CPU, for batches of one clip, the session is made for just one: with a fixed number of
    clips, sums with the shortcut and their ReLU become parts of convolutions, and where frames begin is a constant."""

    def __init__(self, job: Job):
        onnxruntime = import_onnxruntime()
        if job.on_gpu and hasattr(onnxruntime, "preload_dlls"):
            with captured_output():  # it says what it does not find
                onnxruntime.preload_dlls()  # CUDA's libraries, where pip has put them
            onnxruntime.set_default_logger_severity(FATAL_ONLY)  # an error a convolution cuDNN has another way for
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job.threads
        options.log_severity_level = ERRORS_ONLY
        self._one_clip = job.batch_size == 1 and not job.on_gpu
        if self._one_clip:
            options.add_free_dimension_override_by_name(BATCH_AXIS, 1)
        if job.precision == "fp16" and not job.on_gpu:  # so that each step is rounded (engine/onnx_float16.py)
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        provider = _CUDA if job.on_gpu else "CPUExecutionProvider"
        # With TF32 probabilities would differ from the network's by more than 1e-4.
        settings = {"use_tf32": "1" if job.precision == "tf32" else "0"} if job.on_gpu else {}
        try:
            self._session = onnxruntime.InferenceSession(str(job.program), options, providers=[(provider, settings)])
        except Exception as error:  # its own classes have no common one
            raise InputError(f"ONNX Runtime cannot load {job.program}: {error}") from error
        if self._session.get_providers()[0] != provider:
            raise InputError(
                f"--engine=onnxruntime: it cannot load CUDA's libraries: {_INSTALL}; --use_gpu=False takes the CPU"
            )
        if job.state:
            inputs = {port.name: port.shape[1:] for port in self._session.get_inputs()}
            check_state(job, inputs, [port.name for port in self._session.get_outputs()])
        self._outputs, self._place = job.outputs, "cuda" if job.on_gpu else "cpu"
        self.description = f"ONNX Runtime {onnxruntime.__version__}, {job.precision}, on the {job.device}"

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self._one_clip:
            return run_each(self._compute, feeds, self._outputs)
        return dict(zip(self._outputs, self._compute(feeds)))

    def step(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """The state stays on the device: from one frame to the next only pixels go there, and logits come back."""
        if self._one_clip:
            return self.run(feeds)
        binding = self._session.io_binding()
        for name, value in feeds.items():
            if isinstance(value, _OnDevice):
                binding.bind_ortvalue_input(name, value.tensor)
            else:
                binding.bind_cpu_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, "cpu" if name == LOGITS else self._place)
        self._session.run_with_iobinding(binding)
        found = dict(zip(self._outputs, map(_OnDevice, binding.get_outputs())))
        return {**found, LOGITS: np.asarray(found[LOGITS])}

    def _compute(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return self._session.run(None, dict(feeds))


class _OnDevice:
    """A tensor of ONNX Runtime's where it was computed; np.asarray copies it to main memory."""

    def __init__(self, tensor: Any):
        self.tensor = tensor  # an OrtValue

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.tensor.numpy(), dtype)


ENGINE = Engine(
    "onnxruntime",
    program="onnx",
    load=OnnxRuntime,
    packages={"onnxruntime": "onnxruntime"},
    cpu=("fp32",),
    gpu=("fp32", "tf32", "fp16"),
    no_gpu=_no_cuda,
    cpu_priority=20,
    gpu_priority=5,  # nothing else has been measured on a GPU (benchmark/RESULTS.md)
)
