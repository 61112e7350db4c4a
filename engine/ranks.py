"""The processes of a training on several GPUs or machines: Paddle's collective engine, or one process alone."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable

import numpy as np
import paddle
from paddle import distributed

from video_zoo.utils.errors import InputError
from video_zoo.utils.log import heartbeat, logger
from video_zoo.utils.runtime import Launch

_LAUNCHER_S = 15  # until the launcher has noticed which rank ended first, and ends this one
_EXCHANGE = ("gloo", "nccl", "tcp", "socket", "connect", "peer")  # words in the errors of an exchange


class Ranks:
    """This process among the others. All of them must make the same calls in the same order.

    Args:
        launch: what the launcher says of this process; one process alone exchanges nothing.

    Raises InputError if the others cannot be reached.
    """

    def __init__(self, launch: Launch):
        self.rank, self.size = launch.rank, launch.size
        if self.size > 1:
            if paddle.get_device() == "cpu":
                os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"  # also where the launcher saw GPUs
            said = io.StringIO()  # flags that Paddle has changed by itself
            with self._peers(), heartbeat("waiting for the other processes"), contextlib.redirect_stderr(said):
                distributed.init_parallel_env()
            logger.debug("%s", said.getvalue().strip())
            logger.info("%d processes work together, each with its part of every batch", self.size)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def wrap(self, network: paddle.nn.Layer) -> paddle.nn.Layer:
        """The network whose backward pass averages the gradients over the ranks; all begin with rank 0's weights."""
        if self.size == 1:
            return network
        with self._peers():
            return paddle.DataParallel(network)

    def all_reduce(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
        """The sums over the ranks, float64."""
        total = np.asarray(values, np.float64)
        if self.size == 1:
            return total
        tensor = paddle.to_tensor(total)
        with self._peers():
            distributed.all_reduce(tensor)
            return tensor.numpy()

    def all_gather(self, value: Any) -> list[Any]:
        """Each rank's value, in their order."""
        if self.size == 1:
            return [value]
        values: list[Any] = []
        with self._peers():
            distributed.all_gather_object(values, value)
        return values

    def broadcast(self, tensors: Iterable[paddle.Tensor]) -> None:
        """Sets the tensors to rank 0's."""
        if self.size > 1:
            with self._peers():
                for tensor in tensors:
                    distributed.broadcast(tensor, 0)

    def broadcast_object(self, value: Any) -> Any:
        """Rank 0's value."""
        return self.all_gather(value)[0]

    def first_calls(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What a function gives in rank 0, which alone calls it. Its InputError is raised in all ranks."""
        result = None
        if self.first:
            try:
                result = function(*args, **options)
            except InputError as error:
                result = error
        result = self.broadcast_object(result)
        if isinstance(result, InputError):
            raise result
        return result

    def backward(self, loss: paddle.Tensor) -> None:
        """The backward pass, in which a wrapped network exchanges gradients."""
        with self._peers():
            loss.backward()

    @contextlib.contextmanager
    def _peers(self) -> Iterator[None]:
        """An exchange that fails because another rank has ended is no error of this one."""
        try:
            yield
        except (RuntimeError, OSError, ValueError) as error:
            if self.size == 1 or not any(word in str(error).lower() for word in _EXCHANGE):
                raise
            if "PADDLE_LOG_DIR" in os.environ:
                time.sleep(_LAUNCHER_S)  # the launcher reports the rank that ends first: not this one
            reason = str(error).strip().splitlines()
            raise InputError(
                f"rank {self.rank} cannot reach another rank ({reason[-1] if reason else type(error).__name__}); what"
                " ended that one is in its own workerlog, in the launcher's --log_dir"
            ) from error
