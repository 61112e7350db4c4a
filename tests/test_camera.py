"""The cameras of demo.py's server: what a WebSocket gets, and what it is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest

for _package in ("starlette", "uvicorn", "httpx", "websockets"):
    pytest.importorskip(_package, reason="requirements/demo.txt is not installed")

from served import MadeUp, served
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from video_zoo.server import camera as server_camera
from video_zoo.server.app import Limits, open_app
from video_zoo.server.counts import Counts


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a server that takes one camera."""
    with open_app(MadeUp(), limits=Limits(max_cameras=1)) as app, served(app) as where:
        yield where


def frame(level: int, size: tuple[int, int] = (36, 48)) -> bytes:
    return cv2.imencode(".jpg", np.full((*size, 3), level, np.uint8))[1].tobytes()


def send(camera: Any, time_s: float, jpeg: bytes) -> list[dict[str, Any]]:
    """Sends a frame; returns what comes up to the answer that it was read."""
    camera.send(struct.pack("<d", time_s) + jpeg)
    heard = [json.loads(camera.recv(timeout=10))]
    while "got" not in heard[-1] and "error" not in heard[-1]:
        heard.append(json.loads(camera.recv(timeout=10)))
    return heard


@contextlib.contextmanager
def welcome(address: str) -> Iterator[Any]:
    """A camera that is connected; the one before may not have left yet."""
    deadline = time.monotonic() + 20
    while True:
        with connect(address.replace("http", "ws") + "camera") as camera:
            hello = json.loads(camera.recv(timeout=10))
            if "fps" in hello:
                camera.hello = hello
                yield camera
                return
        assert time.monotonic() < deadline, hello
        time.sleep(0.02)


def test_the_camera_s_last_seconds_are_predicted(address):
    with welcome(address) as camera:
        assert camera.hello == {"fps": 12.5, "window_s": 2.0, "short_size": 32}
        heard = [each for n in range(60) for each in send(camera, 100 + n / 12.5, frame(3 * n))]
        while not (answers := [each for each in heard if "top" in each]):
            heard.append(json.loads(camera.recv(timeout=10)))
        assert all(
            each["top"][0]["name"] == "brighter" and 101.5 < each["at"] < 105 and each["ms"] >= 0 for each in answers
        )
        with connect(address.replace("http", "ws") + "camera") as second:
            assert "1 cameras are connected" in json.loads(second.recv(timeout=10))["error"]
            with pytest.raises(ConnectionClosed):
                second.recv(timeout=10)


def test_a_camera_that_sends_nothing_gives_its_place_to_the_next(address, monkeypatch):
    monkeypatch.setattr(server_camera, "SILENCE_S", 0.2)
    with welcome(address) as camera:
        assert "nothing came from the camera for 0.2 s" in json.loads(camera.recv(timeout=10))["error"]
        with pytest.raises(ConnectionClosed, match="1013"):
            camera.recv(timeout=10)
        with welcome(address) as second:
            assert "got" in send(second, 0.0, frame(9))[-1]


def test_a_camera_that_reads_nothing_gives_its_place_to_the_next(monkeypatch):
    monkeypatch.setattr(server_camera, "SILENCE_S", 0.1)

    class Deaf:
        sent = 0

        async def accept(self) -> None: ...

        async def close(self, code: int) -> None: ...

        async def receive_bytes(self) -> bytes:
            return struct.pack("<d", 0.0) + frame(9)

        async def send_json(self, message: Any) -> None:
            self.sent += 1
            if self.sent > 1:
                await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as thread:
        counts = Counts()
        watcher = server_camera.WindowWatcher(MadeUp(), "center_crop", counts)
        cameras = server_camera.Cameras(watcher, thread, counts, 32, 1)
        asyncio.run(asyncio.wait_for(cameras.follow(Deaf()), 10))


@pytest.mark.parametrize(
    "message",
    [
        *(b"", b"x" * 20, "text"),
        struct.pack("<d", 1.0) + frame(0, (3000, 10)),
        *(struct.pack("<d", float(time_s)) + frame(0) for time_s in ("nan", "inf")),
    ],
)
def test_a_camera_that_sends_something_else_is_told_and_left(address, message):
    with welcome(address) as camera:
        camera.send(message)
        with pytest.raises(ConnectionClosed, match="1003"):
            for _ in range(3):
                assert "error" in json.loads(camera.recv(timeout=10))
    with welcome(address):
        pass  # the next one can be served


def test_times_that_jump_begin_the_stream_anew(address):
    with welcome(address) as camera:
        for time_s in (0.0, 1e300, -1e300, -5.0, -4.9):
            (heard,) = send(camera, time_s, frame(9))
            assert "got" in heard


class FollowsFrames:
    """A network that keeps a state: the brightness of the last frame."""

    def __init__(self):
        self.last: dict[int, float] = {}

    def step(self, frames):
        logits = {}
        for stream, frame in frames.items():
            assert frame.shape == (3, 32, 32)
            rise = frame.mean() - self.last.get(stream, frame.mean())
            self.last[stream] = frame.mean()
            logits[stream] = np.array([rise, -rise, 0, 0, 0, 0], np.float32)
        return logits

    def leave(self, stream):
        self.last.pop(stream, None)


def test_a_network_with_a_state_follows_the_camera_frame_by_frame():
    streams = FollowsFrames()
    with open_app(MadeUp(), streams=streams) as app, served(app) as address:
        with connect(address.replace("http", "ws") + "camera") as camera:
            hello = json.loads(camera.recv(timeout=10))
            assert hello["window_s"] == 0 and hello["fps"] == 16  # twice ONLINE.fps, of which every second is taken
            for n in range(0, 24, 2):
                heard = [*send(camera, n / 16, frame(20 + 5 * n)), *send(camera, (n + 1) / 16, frame(255))]
                while not any("top" in each for each in heard):
                    heard.append(json.loads(camera.recv(timeout=10)))
                (answer,) = [each for each in heard if "top" in each]
                assert answer["at"] == n / 16 and answer["left"] == 0
            assert answer["top"][0]["name"] == answer["event"] == "brighter" and len(streams.last) == 1
        deadline = time.monotonic() + 10
        while streams.last:  # forgotten as it leaves
            assert time.monotonic() < deadline
            time.sleep(0.02)
