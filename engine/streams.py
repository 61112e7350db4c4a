"""The states of live streams that one program follows frame by frame."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from video_zoo.datareader.online_frames import LOOK_S, OnlineFrames, TakenFrame
from video_zoo.engine.backends.base import FRAME, LOGITS, Backend, state_input, state_output
from video_zoo.engine.deployment import Deployment
from video_zoo.engine.inference import LoadNetwork, open_backend
from video_zoo.utils.errors import InputError

if TYPE_CHECKING:
    from video_zoo.utils.fluid_vars import VariableStore


class Streams:
    """Computes the frames of many streams at once, and keeps the state of each; any thread may call it. The states of
    the streams that had the last frames stay together as the engine gave them: they are put together anew only where
    other streams follow.

    Args:
        backend: a program that follows streams, and nothing beside these.
        state_shapes: of a stream's state, by name, without the axis of the streams.
        frame_shape: (3, H, W).

    Attributes:
        description: engine, version, precision and device, for the log.
    """

    def __init__(self, backend: Backend, state_shapes: Mapping[str, tuple[int, ...]], frame_shape: tuple[int, ...]):
        self.description = backend.description
        self._backend, self._frame_shape = backend, tuple(frame_shape)
        self._shapes = {name: tuple(shape) for name, shape in state_shapes.items()}
        self._together: tuple[Hashable, ...] = ()  # the streams of the last step
        self._batch: dict[str, Any] = {}  # their state: name -> (streams, *shape), in the engine's own form
        self._apart: dict[Hashable, dict[str, np.ndarray]] = {}  # the other streams' states
        self._left: deque[Hashable] = deque()  # streams that are forgotten before the next step
        self._one_at_a_time = threading.Lock()  # the backend has one set of buffers

    def step(self, frames: Mapping[Hashable, np.ndarray]) -> dict[Hashable, np.ndarray]:
        """A stream -> its next frame, uint8 RGB (3, H, W); returns the stream -> float32 logits (classes,) of it.

        A stream that is new begins with a state of zeros; one that is not among `frames` keeps its own. What is
        computed for a stream does not depend on the others.

        Raises InputError: a frame has another shape or type; all states stay as they were.
        """
        if not frames:
            return {}
        for stream, frame in frames.items():
            if frame.shape != self._frame_shape or frame.dtype != np.uint8:
                raise InputError(
                    f"stream {stream}: a frame is {frame.dtype} {list(frame.shape)}, and the network"
                    f" follows frames of uint8 {list(self._frame_shape)}"
                )
        with self._one_at_a_time:
            while self._left:
                self._forget(self._left.popleft())
            if frames.keys() != set(self._together):
                self._put_together(tuple(frames))
            state = {state_input(name): tensor for name, tensor in self._batch.items()}
            pixels = np.stack([frames[stream] for stream in self._together])
            found = self._backend.step({FRAME: pixels, **state})
            self._batch = {name: found[state_output(name)] for name in self._shapes}
            return dict(zip(self._together, np.array(found[LOGITS])))  # a copy, as the buffers are

    def leave(self, stream: Hashable) -> None:
        """Forgets a stream: if it comes again, it begins anew. One that is not there is none. It waits for nothing, as
        Python may end an iterator that follows a stream in the middle of another one's step."""
        self._left.append(stream)

    def _forget(self, stream: Hashable) -> None:
        if stream in self._together:
            self._take_apart()
        self._apart.pop(stream, None)

    def _put_together(self, streams: tuple[Hashable, ...]) -> None:
        self._take_apart()
        states = [self._apart.pop(stream, None) or self._begin() for stream in streams]
        self._batch = {name: np.stack([state[name] for state in states]) for name in self._shapes}
        self._together = streams

    def _take_apart(self) -> None:
        """Copies: the engine may write again where its arrays are."""
        arrays = {name: np.asarray(tensor) for name, tensor in self._batch.items()}
        for place, stream in enumerate(self._together):
            self._apart[stream] = {name: array[place].copy() for name, array in arrays.items()}
        self._together, self._batch = (), {}

    def _begin(self) -> dict[str, np.ndarray]:
        return {name: np.zeros(shape, np.float32) for name, shape in self._shapes.items()}


def follow(
    streams: Streams, frames: OnlineFrames, changed: threading.Condition
) -> Iterator[tuple[TakenFrame, np.ndarray]]:
    """The frames of one stream as they come, each with its logits, float32 (classes,); at the end the source is closed.

    Args:
        changed: that of `frames`.

    Raises InputError: the source broke off for good.
    """
    with contextlib.closing(frames), contextlib.ExitStack() as stack:
        stack.callback(streams.leave, frames)
        while not frames.ended or frames.is_waiting:
            frames.watch()
            with changed:
                if not (frames.is_waiting or frames.ended):
                    changed.wait(LOOK_S)
            if frames.broke():
                streams.leave(frames)
            if (frame := frames.take()) is not None:
                yield frame, streams.step({frames: frame.pixels})[frames]
    if frames.failure is not None:
        raise InputError(f"{frames.name}: {frames.failure}")


def open_streams(
    source: Deployment | LoadNetwork,
    engine: str,
    precision: str,
    use_gpu: bool | None,
    frame_shape: tuple[int, ...],
    most_streams: int,
) -> tuple[Streams, VariableStore | None]:
    """What follows streams, and where its weights are from. Arguments and errors are those of `open_backend`.

    Args:
        frame_shape: (3, H, W).
        most_streams: at once.

    Raises InputError: also if the network, or the folder's programs, cannot follow streams.
    """
    backend, store = open_backend(source, engine, precision, use_gpu, most_streams, frame_shape, online=True)
    return Streams(backend, backend.state, frame_shape), store
