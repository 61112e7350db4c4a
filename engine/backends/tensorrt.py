"""TensorRT through Paddle Inference, on NVIDIA GPUs; it needs a Paddle that was built with it."""

from __future__ import annotations

from typing import Any

from video_zoo.engine.backends.base import Engine, Job
from video_zoo.engine.backends.paddle_inference import PaddleInference, paddle_precision
from video_zoo.utils.errors import InputError

_WORKSPACE_BYTES = 1 << 30
_SMALLEST_PART = 3  # operators; smaller parts of the network stay with Paddle


class TensorRT(PaddleInference):
    """Builds its kernels when it is loaded, which takes minutes."""

    name = "TensorRT through Paddle"

    def configure(self, job: Job) -> Any:
        from paddle import inference

        if inference.get_trt_compile_version() == (0, 0, 0):
            raise InputError(
                "--engine=tensorrt: this Paddle was built without TensorRT; --engine=paddle-inference computes on the"
                " GPU too"
            )
        config = super().configure(job)
        config.enable_tensorrt_engine(
            workspace_size=_WORKSPACE_BYTES,
            max_batch_size=job.batch_size,
            min_subgraph_size=_SMALLEST_PART,
            precision_mode=paddle_precision(job),
            use_static=False,
            use_calib_mode=False,
        )
        one, most = ({name: [size, *job.inputs[name]] for name in job.inputs} for size in (1, job.batch_size))
        config.set_trt_dynamic_shape_info(one, most, most)
        return config


ENGINE = Engine("tensorrt", program="paddle", load=TensorRT, gpu=("fp32", "fp16"))
