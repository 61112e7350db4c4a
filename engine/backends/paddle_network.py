"""Paddle's dynamic mode: the network as it was trained, the measure for the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from video_zoo.engine.backends.base import INPUT, OUTPUT, Backend, Engine, Job
from video_zoo.utils.errors import InputError

if TYPE_CHECKING:
    import paddle
    from paddle import nn


class PaddleNetwork(Backend):
    """A network in evaluation mode.

    Args:
        network: clips -> logits (n, classes).
        threads: for the log.
    """

    def __init__(self, network: nn.Layer, threads: int = 1):
        import paddle

        network.eval()
        self._network = network
        device = Job(on_gpu=paddle.get_device().startswith("gpu"), threads=threads).device
        self.description = f"Paddle {paddle.__version__}, dynamic mode, fp32, on the {device}"

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import paddle

        return {OUTPUT: paddle.nn.functional.softmax(self._compute(feeds[INPUT])).numpy()}

    def logits(self, clips: np.ndarray) -> np.ndarray:
        """The network's own."""
        return self._compute(clips).numpy()

    def _compute(self, clips: np.ndarray) -> paddle.Tensor:
        import paddle

        from video_zoo.utils.paddle_env import cores

        cores().share()
        with paddle.no_grad():
            return self._network(paddle.to_tensor(clips))


def _load(job: Job) -> Backend:
    """A program is no network."""
    raise InputError("--engine=paddle computes from a checkpoint, not from a deployment folder")


ENGINE = Engine("paddle", program=None, load=_load, cpu=("fp32",), gpu=("fp32",), cpu_priority=40, gpu_priority=20)
