"""Paddle's dynamic mode: the network as it was trained, the measure for the others."""

from __future__ import annotations

import numpy as np
import paddle
from paddle.nn import functional as F

from video_zoo.engine.backends import Job
from video_zoo.utils.errors import InputError


class PaddleNetwork:
    """A network in evaluation mode.

    Args:
        network: clips -> logits (n, classes).
        threads: for the log.
    """

    def __init__(self, network: paddle.nn.Layer, threads: int = 1):
        network.eval()
        self._network = network
        device = "GPU" if paddle.get_device().startswith("gpu") else f"CPU, {threads} threads"
        self.description = f"Paddle {paddle.__version__}, dynamic mode, fp32, on the {device}"

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            return F.softmax(self._network(paddle.to_tensor(clips))).numpy()


def load(job: Job) -> PaddleNetwork:
    """A program is no network."""
    raise InputError("--engine=paddle computes from a checkpoint, not from a deployment folder")
