"""A visitor's camera: frames come by a WebSocket, and what the network makes of them goes back. The newest wins."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import math
import struct
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image
from starlette.websockets import WebSocket, WebSocketDisconnect

from video_zoo.datareader.live import LiveWindows
from video_zoo.datareader.pace import FrameRate
from video_zoo.datareader.sampling import Windows
from video_zoo.datareader.views import View
from video_zoo.engine.evaluate import log_softmax
from video_zoo.engine.events import EventFinder, EventRules
from video_zoo.engine.streams import Streams
from video_zoo.server.analysis import Model, top_of
from video_zoo.server.counts import Counts
from video_zoo.utils.errors import InputError

MOST_BYTES = 1 << 20  # of a frame
WINDOWS = Windows(window_s=2.0, stride_s=0.25)
_MOST_SIDE = 2048  # px, of a frame
SILENCE_S = 10.0  # after which a camera that sends nothing, or reads no answer, gives its place back
_LONGEST_STEP_S = 1.0  # between two frames; after a longer one the stream begins anew
_TIME = struct.Struct("<d")  # before a frame's JPEG: the sender's clock, seconds
_FORM = "a message is a float64, the time, and a JPEG"
_TOP = 5


class _Newest(NamedTuple):
    """What the network is to have next: a frame (3, H, W) or a clip (T, 3, H, W), the times of its newest frame by the
    sender's clock and in the stream, and whether a new stream begins with it."""

    pixels: np.ndarray
    sent_s: float
    time_s: float
    begins: bool


class Watcher(Protocol):
    """Follows the streams of visitors."""

    fps: float  # frames a second that are to be sent
    window_s: float  # that its answers are about; 0: a frame
    collector: Callable[[], Callable[[float, np.ndarray], np.ndarray | None]]  # see `WindowWatcher`

    def answer(self, stream: int, newest: _Newest) -> dict[str, Any]: ...

    def leave(self, stream: int) -> None: ...


class WindowWatcher:
    """Predicts the last seconds of a stream, again and again.

    Args:
        transform: of the model's record; a name of transforms.TRANSFORMS.
    """

    window_s = WINDOWS.window_s

    def __init__(self, model: Model, transform: str, counts: Counts):
        self._model, self._counts = model, counts
        self._view = View.of(model.settings, "infer", transform)
        self.fps = 25.0 if self._view.seglen > 1 else 12.5  # neighbouring frames matter to a 3-D network

    def collector(self) -> Callable[[float, np.ndarray], np.ndarray | None]:
        """What takes one stream's frames, seconds and uint8 RGB (H, W, 3), and gives what is new for the network."""
        windows = LiveWindows(WINDOWS, self._view)

        def add(time_s: float, frame: np.ndarray) -> np.ndarray | None:
            complete = windows.add(time_s, lambda: self._view.transformed(frame))
            return complete[-1][1] if complete else None

        return add

    def answer(self, stream: int, newest: _Newest) -> dict[str, Any]:
        """JSON-able."""
        (row,) = self._model.probabilities(newest.pixels[None])
        self._counts.clips.inc()
        return {"top": top_of(row, self._model.names, _TOP)}

    def leave(self, stream: int) -> None:
        """Nothing is kept of a stream."""


class FrameWatcher:
    """Follows streams frame by frame, with a network that keeps a state of each.

    Args:
        transform: of the model's record.
    """

    window_s = 0.0

    def __init__(self, model: Model, streams: Streams, transform: str):
        self._names, self._streams = model.names, streams
        online = model.settings.ONLINE
        self._view, self._fps = View.of(model.settings, "infer", transform), online.fps
        self.fps = min(2.0 * online.fps, 30.0)  # of which those are taken that come when the network wants one
        self._rules = EventRules.of(online, model.names)
        self._finders: dict[int, EventFinder] = {}

    def collector(self) -> Callable[[float, np.ndarray], np.ndarray | None]:
        """As `WindowWatcher.collector`."""
        rate = FrameRate(self._fps)
        return lambda time_s, frame: self._view.transformed(frame) if rate.takes(time_s) else None

    def answer(self, stream: int, newest: _Newest) -> dict[str, Any]:
        """JSON-able; `event` is the one under way."""
        if newest.begins:
            self.leave(stream)
        if stream not in self._finders:
            self._finders[stream] = EventFinder(self._rules, len(self._names), 1 / self._fps)
        finder = self._finders[stream]
        logits = self._streams.step({stream: newest.pixels})[stream]
        finder.add(newest.time_s, np.exp(log_softmax(logits)))
        event = None if finder.label is None else self._names[finder.label]
        return {"top": top_of(finder.smoothed, self._names, _TOP), "event": event}

    def leave(self, stream: int) -> None:
        """Forgets a stream."""
        self._streams.leave(stream)
        self._finders.pop(stream, None)


class Cameras:
    """The route /camera.

    First comes {"fps", "window_s", "short_size"}. A message to it is a little-endian float64, the sender's clock in
    seconds, and a JPEG. Each is answered by {"got": that clock}, so that the sender need not send faster than is read;
    and what the network says by {"at": the clock of its newest frame, "top", "event"?, "ms", "left"}.

    Args:
        watcher: is used in the one thread of `thread`.
        most: cameras at once.
    """

    def __init__(self, watcher: Watcher, thread: Executor, counts: Counts, short_size: int, most: int):
        self._watcher, self._thread, self._counts = watcher, thread, counts
        self._short_size, self._most = short_size, most
        self._connected, self._numbers = 0, itertools.count()

    async def follow(self, socket: WebSocket) -> None:
        """Follows one camera until it leaves."""
        await socket.accept()
        if self._connected >= self._most:
            await self._refuse(
                socket, f"{self._most} cameras are connected, which is all that may; try again later", 1013
            )
            return
        self._connected += 1
        self._counts.cameras.inc()
        camera = _Camera(socket, self._watcher, self._thread, next(self._numbers), self._counts)
        try:
            hello = {"fps": self._watcher.fps, "window_s": self._watcher.window_s, "short_size": self._short_size}
            await socket.send_json(hello)
            await camera.follow()
        except InputError as error:
            await self._refuse(socket, str(error), 1003)
        except asyncio.TimeoutError:
            await self._refuse(
                socket, f"nothing came from the camera for {SILENCE_S:g} s, so it was ended: start it again", 1013
            )
        except WebSocketDisconnect:
            pass
        finally:
            self._connected -= 1
            self._counts.cameras.dec()

    async def _refuse(self, socket: WebSocket, message: str, code: int) -> None:
        async def say() -> None:
            await socket.send_json({"error": message})
            await socket.close(code)

        with contextlib.suppress(RuntimeError, WebSocketDisconnect, asyncio.TimeoutError):
            await asyncio.wait_for(say(), SILENCE_S)


class _Camera:
    """One that is connected."""

    def __init__(self, socket: WebSocket, watcher: Watcher, thread: Executor, number: int, counts: Counts):
        self._socket, self._watcher, self._thread = socket, watcher, thread
        self._number, self._counts = number, counts
        self._newest: _Newest | None = None
        self._came = asyncio.Event()
        self._left = 0  # frames or windows that were left out, as newer ones came

    async def follow(self) -> None:
        """Raises WebSocketDisconnect when it leaves, InputError if it sends what is no frame, asyncio.TimeoutError if
        it sends nothing, or reads no answer."""
        tasks = [asyncio.create_task(each) for each in (self._receive(), self._compute())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._run(self._watcher.leave, self._number)
        for task in tasks:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception()

    async def _receive(self) -> None:
        last_s, offset_s, collect = float("nan"), 0.0, None
        begins = True
        while True:
            try:
                message = await asyncio.wait_for(self._socket.receive_bytes(), SILENCE_S)
            except KeyError:  # of a message that is text
                raise InputError(_FORM) from None
            sent_s, frame = await asyncio.to_thread(read_frame, message)
            if collect is None or not 0 < sent_s - last_s <= _LONGEST_STEP_S:
                collect, offset_s, begins = self._watcher.collector(), sent_s, True
            last_s, time_s = sent_s, sent_s - offset_s
            pixels = await asyncio.to_thread(collect, time_s, frame)
            self._counts.camera_frames.inc()
            if pixels is not None:
                if self._newest is not None:
                    self._left += 1
                    begins |= self._newest.begins
                self._newest, begins = _Newest(pixels, sent_s, time_s, begins), False
                self._came.set()
            await asyncio.wait_for(self._socket.send_json({"got": sent_s}), SILENCE_S)

    async def _compute(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            newest = await self._run(self._answer)
            if newest is not None:
                await self._socket.send_json(newest)

    def _answer(self) -> dict[str, Any] | None:
        """In the network's thread: what is newest is taken when the turn has come, and not before."""
        newest, self._newest = self._newest, None
        if newest is None:
            return None
        start = time.monotonic()
        answer = self._watcher.answer(self._number, newest)
        ms = round(1000 * (time.monotonic() - start), 1)
        return {"at": newest.sent_s, **answer, "ms": ms, "left": self._left}

    async def _run(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)


def read_frame(message: bytes) -> tuple[float, np.ndarray]:
    """A message's time, in seconds, and its frame, uint8 RGB (H, W, 3). Raises InputError: it is no JPEG of a
    reasonable size."""
    try:
        (sent_s,) = _TIME.unpack_from(message)
        if not math.isfinite(sent_s):
            raise InputError(_FORM)
        with Image.open(io.BytesIO(message[_TIME.size :]), formats=["JPEG"]) as image:
            if max(image.size) > _MOST_SIDE:
                raise InputError(f"a frame of {image.width} x {image.height} px; {_MOST_SIDE} is the most of a side")
            return sent_s, np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise InputError(_FORM) from error
