"""Paddle's dynamic mode: the network as it was trained, the measure for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from video_zoo.engine.backends.base import (
    FRAME,
    INPUT,
    LOGITS,
    OUTPUT,
    Backend,
    Engine,
    Job,
    state_input,
    state_output,
)
from video_zoo.utils.errors import InputError

if TYPE_CHECKING:
    import paddle
    from paddle import nn

    from video_zoo.models.network import VideoNetwork


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


class PaddleSteps(PaddleNetwork):
    """A network in evaluation mode that follows streams; its states stay Paddle's tensors in `step`.

    Args:
        network: has `step`.
        state: the names of its state's tensors.
        threads: for the log.
    """

    def __init__(self, network: VideoNetwork, state: Sequence[str], threads: int = 1):
        super().__init__(network, threads)
        self._state = tuple(state)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in self.step(feeds).items()}

    def step(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        import paddle

        from video_zoo.utils.paddle_env import cores

        cores().share()
        with paddle.no_grad():
            kept = {name: feeds[state_input(name)] for name in self._state}
            tensors = (paddle.to_tensor(each) if isinstance(each, np.ndarray) else each for each in kept.values())
            logits, state = self._network.step(paddle.to_tensor(feeds[FRAME]), dict(zip(kept, tensors)))
        return {LOGITS: logits.numpy(), **{state_output(name): tensor for name, tensor in state.items()}}


def _load(job: Job) -> Backend:
    """A program is no network."""
    raise InputError("--engine=paddle computes from a checkpoint, not from a deployment folder")


ENGINE = Engine("paddle", program=None, load=_load, cpu=("fp32",), gpu=("fp32",), cpu_priority=40, gpu_priority=20)
