"""One step of training: forward and backward over the micro-batches of a batch, then the optimizer's update."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import paddle
from paddle.nn import functional as F

from video_zoo.engine.ranks import Ranks
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger
from video_zoo.utils.paddle_env import cores

_DTYPES = {"off": None, "fp16": "float16", "bf16": "bfloat16"}


def clip_losses(logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
    """Cross entropy of each clip, (n,), in nats; 0 where the label is -1."""
    return F.cross_entropy(logits, labels, ignore_index=-1, reduction="none").flatten()


def usable_amp(amp: str) -> str:
    """TRAIN.amp, or "off" with a warning where there is no GPU."""
    if amp != "off" and not paddle.get_device().startswith("gpu"):
        logger.warning("TRAIN.amp = %s has no effect: Paddle has mixed precision for GPUs alone", amp)
        return "off"
    return amp


class Outcome(NamedTuple):
    """What a network gives for a batch, float32. losses: (n,), in nats. logits: (n, num_classes)."""

    losses: np.ndarray
    logits: np.ndarray


class Stepper:
    """A network and its optimizer. A step is `forward`, a look at the outcome, and `update`.

    Args:
        network: clips -> logits.
        optimizer: of the network's weights, with `schedule` as its learning rate.
        schedule: counts steps.
        ranks: over which the gradients are averaged.
        amp: "fp16" (with dynamic loss scaling), "bf16" or "off"; on a GPU. Mixed precision: Micikevicius et al., ICLR
            2018.
        micro_batches: how many a batch is computed in, one after the other, where memory is short.
    """

    def __init__(
        self,
        network: paddle.nn.Layer,
        optimizer: paddle.optimizer.Optimizer,
        schedule: paddle.optimizer.lr.LRScheduler,
        ranks: Ranks,
        *,
        amp: str = "off",
        micro_batches: int = 1,
    ):
        self.network = network
        self.schedule = schedule
        self.optimizer = optimizer
        self._ranks = ranks
        self._wrapped = ranks.wrap(network)
        self._dtype = _DTYPES[amp]
        self._scaler = paddle.amp.GradScaler(enable=amp == "fp16")
        self._micro_batches = micro_batches
        self._loss: paddle.Tensor | None = None

    def forward(self, clips: np.ndarray, labels: np.ndarray, global_batch_size: int) -> Outcome:
        """The losses and logits of a batch. The backward passes of all its micro-batches but the last are done here.

        Args:
            clips: uint8 (n, T, 3, H, W), this rank's.
            labels: int64 (n,); a clip with label -1 has no part in the loss.
            global_batch_size: the clips of all ranks' batches together; the sum of their losses is divided by it.
        """
        cores().share()
        padding = (labels < 0).all()
        if padding:
            self.network.eval()  # what stands in for clips that could not be read leaves no trace in the statistics
        losses, logits = [], []
        micro_batches = np.array_split(np.arange(len(clips)), min(self._micro_batches, len(clips)))
        for indices in micro_batches:
            if indices is not micro_batches[0]:
                with self._no_sync():
                    self._backward()
            with self._no_sync() if indices is not micro_batches[-1] else contextlib.nullcontext():
                with paddle.amp.auto_cast(self._dtype is not None, level="O1", dtype=self._dtype or "float16"):
                    own_logits = self._wrapped(paddle.to_tensor(clips[indices]))
                own_logits = own_logits.astype("float32")
                own_losses = clip_losses(own_logits, paddle.to_tensor(labels[indices]))
            # The exchange of gradients takes their mean over the ranks.
            self._loss = own_losses.sum() * (self._ranks.size / global_batch_size)
            losses.append(own_losses.numpy())  # waits for a GPU here, not after the backward pass, which runs on
            logits.append(own_logits.numpy())
        if padding:
            self.network.train()
        return Outcome(np.concatenate(losses), np.concatenate(logits))

    def update(self) -> float:
        """The last backward pass, the optimizer's step and the schedule's; returns the learning rate of this one."""
        self._backward()
        learning_rate = self.schedule()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.clear_grad()
        self.schedule.step()
        return learning_rate

    def state(self) -> dict[str, Any]:
        """The loss scale and its counts, fit for JSON; {} without one."""
        state = self._scaler.state_dict()
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in state.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Sets what `state` gave; nothing, if it came from a training without a loss scale. Raises InputError."""
        if not state or not self._scaler.is_enable():
            return
        try:
            scale = np.asarray(state["scale"], np.float32)
            if scale.shape != (1,) or not 0 < scale[0] < np.inf:
                raise ValueError
            self._scaler.load_state_dict({**state, "scale": scale})
        except (KeyError, TypeError, ValueError):
            raise InputError(f"the checkpoint's loss_scale is damaged: {state}") from None

    def _backward(self) -> None:
        self._ranks.backward(self._scaler.scale(self._loss))
        self._loss = None

    def _no_sync(self) -> contextlib.AbstractContextManager:
        """The ranks exchange gradients once a step, with the last micro-batch's; this is for the passes before."""
        return contextlib.nullcontext() if self._wrapped is self.network else self._wrapped.no_sync()
