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


class FeatureNetwork(PaddleNetwork):
    """A network in evaluation mode that gives its features, too: what its last layer is given, averaged over the places
    of a 3-D network's map.

    Args:
        network: clips -> logits (n, classes).
        threads: for the log.

    Attributes:
        size: D, of a vector.
        collected: the features of all clips whose probabilities were computed, float32 (n, D) of each call.
    """

    def __init__(self, network: VideoNetwork, threads: int = 1):
        super().__init__(network, threads)
        last = network.last()
        last.register_forward_pre_hook(self._keep)
        shape = last.weight.shape  # (D, classes), or of a convolution (classes, D, 1, 1, 1)
        self.size = shape[0] if len(shape) == 2 else shape[1]
        self.collected: list[np.ndarray] = []
        self._latest: paddle.Tensor | None = None

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        probabilities = super().__call__(clips)
        self.collected.append(self._take())
        return probabilities

    def features(self, clips: np.ndarray) -> np.ndarray:
        """uint8 clips (n, T, 3, H, W) -> float32 (n, D)."""
        self._compute(clips)
        return self._take()

    def _keep(self, layer: nn.Layer, inputs: tuple[paddle.Tensor, ...]) -> None:
        self._latest = inputs[0]

    def _take(self) -> np.ndarray:
        """(n, D), or (n, D, T, H, W) -> (n, D)."""
        latest, self._latest = self._latest, None
        return (latest.mean([2, 3, 4]) if latest.ndim == 5 else latest).numpy()


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
