"""The server of demo.py: what it answers, what it refuses, and what it leaves behind."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media import levels, make_audio, make_video, zero_packets

for _package in ("starlette", "uvicorn", "httpx", "websockets"):
    pytest.importorskip(_package, reason="requirements/demo.txt is not installed")

import httpx
from served import NAMES, MadeUp, served
from starlette.requests import ClientDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from video_zoo import demo
from video_zoo.demo import listen, names_of, open_model, parse_arguments
from video_zoo.server import app as server_app
from video_zoo.server import camera as server_camera
from video_zoo.server import predicting, uploads
from video_zoo.server.app import Limits, open_app
from video_zoo.server.counts import Counts
from video_zoo.utils.errors import InputError

LIMITS = Limits(max_mb=1, max_s=20, max_waiting=1, max_cameras=1)


@pytest.fixture(scope="module")
def model() -> MadeUp:
    return MadeUp()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the server keeps its temporary files."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def address(model, folder):
    """Of a server that runs for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        with open_app(model, limits=LIMITS, hosts=("localhost",)) as app, served(app) as where:
            yield where
    assert [path for path in folder.iterdir() if not path.name.startswith("pymp-")] == []  # of Python's fork server


@pytest.fixture
def ask(address, folder):
    """Asks the server; afterwards nothing of a video is left."""
    with httpx.Client(base_url=address, timeout=20) as client:
        yield client
    deadline = time.monotonic() + 10
    while left := list(folder.glob(".zoo_*/*")):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    """4 s that become brighter, and 2 s that become darker."""
    frames = np.concatenate([levels(100, 36, 48, first=20), levels(50, 36, 48, first=70)[::-1]])
    return make_video(tmp_path_factory.mktemp("videos") / "a b.mp4", frames).read_bytes()


def best(prediction: dict[str, Any], key: str = "top") -> str:
    return prediction[key][0]["name"]


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


# --- what it answers


def test_a_form_and_the_bare_file_get_the_same_answer(ask, video):
    form = ask.post("predict", files={"file": ("a b.mp4", video)}, data={"other": "x"}, params={"top_k": 2})
    bare = ask.post("predict?top_k=2", content=video)
    assert form.status_code == bare.status_code == 200
    answer = form.json()
    assert answer["predictions"] == bare.json()["predictions"]
    (prediction,) = answer["predictions"]
    assert prediction["top"] == sorted(prediction["top"], key=lambda each: -each["probability"])
    assert best(prediction) == "brighter" and len(prediction["top"]) == 2 and set(prediction) == {"top"}
    assert answer["model"] == "TSM" and answer["video"] == {"duration_s": 6.0, "frames": 150, "width": 48, "height": 36}


def test_windows_and_both_directions(ask, video):
    answer = ask.post("predict?window_s=2&stride_s=1&reverse=1", content=video).json()["predictions"]
    assert [(each["start_s"], each["end_s"]) for each in answer] == [(0, 2), (1, 3), (2, 4), (3, 5), (4, 6)]
    assert [best(each) for each in answer[:3]] == ["brighter"] * 3 and best(answer[4]) == "darker"
    assert [best(each, "reverse") for each in answer[:3]] == ["darker"] * 3 and best(answer[4], "reverse") == "brighter"
    assert all(0 < each["reverse_of_first"] < each["top"][0]["probability"] for each in (answer[0], answer[4]))


def test_lines_come_as_they_are_computed_with_the_frames_that_the_network_saw(ask, video):
    answer = ask.post("predict?window_s=2&whole=1&strips=1&stream=1", content=video)
    first, *middle, last = lines(answer)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert first["video"]["duration_s"] == 6 and last["seconds"] > 0
    assert [each["done"] for each in middle] == [1.0, 0.3333, 0.6667, 1.0]
    assert ["start_s" in each["prediction"] for each in middle] == [False, True, True, True]
    strip = middle[1]["prediction"]["strip"].removeprefix("data:image/jpeg;base64,")
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(strip), np.uint8), cv2.IMREAD_GRAYSCALE)
    parts = [part.mean() for part in np.array_split(pixels, 4, axis=1)]
    assert parts == sorted(parts) and parts[-1] - parts[0] > 20


def test_a_short_video_has_no_windows_beside_the_whole(ask, video):
    assert len(ask.post("predict?window_s=9&whole=1", content=video).json()["predictions"]) == 1


def test_a_damaged_video_is_used_up_to_the_damage_and_that_is_said(ask, tmp_path):
    whole = make_video(tmp_path / "a.mp4", levels(100, 36, 48), codec_options={"g": "10"})
    answer = ask.post("predict", content=zero_packets(whole, [60], 30)).json()
    assert len(answer["predictions"]) == 1 and "whole frames are used" in answer["damage"]


def test_health_and_metrics(ask, video):
    assert ask.get("healthz").json() == {"status": "ok", "model": "TSM", "waiting": 0}

    def numbers() -> dict[str, float]:
        rows = [row.rsplit(" ", 1) for row in ask.get("metrics").text.splitlines() if not row.startswith("#")]
        return {name: float(value) for name, value in rows}

    before = numbers()
    ask.post("predict?window_s=2", content=video)
    ask.post("predict", content=b"no video")
    ask.get("no/such/path")
    after = numbers()
    change = {name: value - before.get(name, 0) for name, value in after.items()}
    assert change['zoo_requests_total{path="/predict",status="200"}'] == 1
    assert change['zoo_requests_total{path="/predict",status="415"}'] == 1
    assert change['zoo_requests_total{path="other",status="404"}'] == 1
    assert change['zoo_request_seconds_count{path="/predict"}'] == 2
    assert change["zoo_videos_total"] == 1 and change["zoo_clips_total"] == 3
    assert after["zoo_queue_length"] == 0


# --- what it refuses


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("top_k=0", "top_k=0 is no number above 0"),
        ("top_k=1.5", "top_k=1.5 is no whole number"),
        ("top_k=nan", "top_k=nan is no number"),
        ("window_s=-1", "window_s=-1 is no number above 0"),
        ("stride_s=2", "stride_s is of window_s"),
        ("window_s=500&stride_s=0.5", "would overlap"),
        ("window_s=0.002", "more than 2000 windows"),
        ("topk=3", "unknown: topk; there are"),
        ("top_k=1e9", "top_k=1e9 is no number above 0 and below a million"),
        ("whole=yes", "whole=yes is neither 1 nor 0"),
    ],
)
def test_a_wrong_question_is_said(ask, video, query, said):
    answer = ask.post(f"predict?{query}", content=video)
    assert answer.status_code == 400 and said in answer.json()["error"]


def test_what_is_no_video_is_said(ask, tmp_path):
    picture = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    for content, status, said in (
        (b"", 400, "there is no video"),
        (b"hello", 415, "it is no video"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n", 415, "this is no video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 415, "this is no video"),
        (picture, 415, "it is a picture"),
        (make_audio(tmp_path / "a.mp4").read_bytes(), 415, "there is no video in it"),
    ):
        for query in ("", "?stream=1"):
            answer = ask.post(f"predict{query}", content=content)
            error = answer.json()
            assert said in error["error"] and "Traceback" not in answer.text, content[:20]
            assert (error.get("status", answer.status_code)) == status


def test_damaged_forms_are_said(ask, video):
    kind = {"content-type": "multipart/form-data; boundary=b"}
    whole = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + video + b"\r\n--b--\r\n"
    assert ask.post("predict", content=whole, headers=kind).status_code == 200
    for content in (
        whole[:-10],
        b"--c\r\n\r\nx\r\n--c--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nx\r\n--b--',
        b"--b\r\nContent-Disposition: " + b"x" * 99_999,
    ):
        answer = ask.post("predict", content=content, headers=kind)
        assert answer.status_code == 400 and answer.json()["error"]
    assert ask.post("predict", content=whole, headers={"content-type": "multipart/form-data"}).status_code == 400


def test_sizes_and_lengths_are_limited(ask, tmp_path):
    for content in (b"x" * 1_000_001, iter([b"x" * 600_000, b"x" * 600_000])):  # with and without Content-Length
        answer = ask.post("predict", content=content)
        assert (
            answer.status_code == 413
            and answer.json()["error"] == "the video is larger than 1 MB, which --max_mb allows"
        )
    assert ask.post("predict", files={"file": b"x" * 1_000_001}).status_code == 413
    long = make_video(tmp_path / "long.mp4", levels(21), times_ms=range(0, 21_000, 1000)).read_bytes()
    answer = ask.post("predict", content=long)
    assert answer.status_code == 413 and "takes 21.0 s, and --max_s allows 20 s" in answer.json()["error"]


def test_pages_of_other_sites_are_refused(ask, address, video):
    own = address.rstrip("/")
    for headers, status in (
        ({"host": "evil.example"}, 421),  # a name that leads to this machine: DNS rebinding
        ({"host": "evil.example:80@127.0.0.1.evil.example"}, 421),
        ({"host": "evil.example@127.0.0.1"}, 421),
        *(({"host": host}, 421) for host in ("[::1", "127.0.0.1.evil.example", "127.1.evil:80", "localhost.evil", "")),
        *(({"host": host}, 200) for host in ("localhost", "LOCALHOST:1", "192.0.2.7:8000", "[2001:db8::1]:80")),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": own}, 200),
        ({}, 200),
    ):
        assert ask.post("predict", content=video, headers=headers).status_code == status, headers
    where = address.replace("http", "ws") + "camera"
    for origin in ("http://evil.example", "null"):
        with pytest.raises(InvalidStatus, match="403"):
            connect(where, origin=origin)
    for name in ("", "demo.js", "healthz", "no/such"):
        answer = ask.get(name)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


# --- many visitors


def test_visitors_wait_in_a_line_that_has_an_end(ask, model, video, monkeypatch):
    monkeypatch.setattr(model, "seconds", 0.4)
    model.most_at_once = 0
    answers: list[list[dict]] = []

    def visit() -> None:
        answers.append(lines(httpx.post(ask.base_url.join("predict?stream=1&window_s=2"), content=video, timeout=20)))

    threads = [threading.Thread(target=visit) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while ask.get("healthz").json()["waiting"] < 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    full = ask.post("predict", content=video)
    assert full.status_code == 503 and full.headers["retry-after"] == "5" and "try again" in full.json()["error"]
    for thread in threads:
        thread.join()
    assert sorted(answer[0].get("place", 0) for answer in answers) == [0, 1]
    assert all("seconds" in answer[-1] for answer in answers) and model.most_at_once == 1


def test_a_visitor_who_leaves_frees_the_network(ask, model, video, monkeypatch):
    for query in ("window_s=0.1&stream=1", "window_s=0.1"):
        monkeypatch.setattr(model, "seconds", 0.1)
        with socket.create_connection((ask.base_url.host, ask.base_url.port)) as connection:
            head = f"POST /predict?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(video)}\r\n\r\n"
            connection.sendall(head.encode() + video)
            time.sleep(0.3)  # it is computed by now, or waits for it: both must end
        monkeypatch.setattr(model, "seconds", 0.0)
        assert ask.post("predict", content=video).status_code == 200


def test_who_takes_nothing_of_an_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(predicting, "SILENCE_S", 0.05)
    kept, freed = contextlib.ExitStack(), []
    kept.callback(freed.append, True)

    async def parts() -> AsyncIterator[dict[str, Any]]:
        yield {"place": 1}

    async def forever(*message: Any) -> None:
        await asyncio.Event().wait()

    async def answer() -> None:
        lines = predicting._Lines(parts(), kept)
        await asyncio.wait_for(lines({"type": "http", "asgi": {"spec_version": "2.3"}}, forever, forever), 10)

    with pytest.raises(ClientDisconnect):
        asyncio.run(answer())
    assert freed == [True]


def test_who_sends_too_slowly_is_given_up(ask, video, monkeypatch):
    monkeypatch.setattr(uploads, "SILENCE_S", 0.3)

    def drops() -> Iterator[bytes]:
        for place in range(10):
            time.sleep(0.1)
            yield video[place : place + 1]

    answer = ask.post("predict", content=drops())
    assert answer.status_code == 408 and "or too little" in answer.json()["error"]


# --- the camera


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
        assert all(best(each) == "brighter" and 101.5 < each["at"] < 105 and each["ms"] >= 0 for each in answers)
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


# --- the command


def test_a_real_network_says_what_it_says_in_python(place):
    arguments = ["demo.py", f"--weights={place}/weights", f"--config={place}/tiny.yaml", "--engine=paddle"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", arguments)
        model = open_model(parse_arguments())
    assert model.streams() is None
    path = place / "videos/a b.mp4"
    with open_app(model) as app, served(app) as address:
        answer = httpx.post(f"{address}predict?window_s=1&reverse=1", content=path.read_bytes(), timeout=60).json()
    expected = model.predict(path, window_s=1)
    assert len(answer["predictions"]) == len(expected) == 2
    for found, prediction in zip(answer["predictions"], expected):
        assert [(each["name"], each["probability"]) for each in found["top"]] == [
            (name, pytest.approx(share, abs=1e-5)) for name, share in prediction.classes
        ]
        clip = np.ascontiguousarray(prediction.frames[::-1].transpose(0, 3, 1, 2))  # (T, H, W, 3) -> (T, 3, H, W)
        (row,) = model.probabilities(clip[None])
        assert found["reverse"][0]["probability"] == pytest.approx(row.max(), abs=1e-5)


def run_demo(*flags: str) -> subprocess.Popen:
    root = Path(server_app.__file__).parents[1]
    code = (
        "import sys; sys.path.insert(0, 'tests'); from served import MadeUp; import video_zoo.demo as demo;"
        "from video_zoo.utils import cli; demo.open_model = lambda args: MadeUp(); cli.run(demo.main)"
    )
    command = [sys.executable, "-c", code, "--weights=made_up", "--open=False", *flags]
    where = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": where, "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=root, env=environment, text=True, **pipes)


def test_a_fault_of_the_server_is_said_and_the_next_visitor_is_served(ask, model, video, monkeypatch, log):
    monkeypatch.setattr(model, "seconds", "no number")
    for query in ("", "?stream=1"):
        answer = ask.post(f"predict{query}", content=video)
        assert "the server failed" in answer.text and "Traceback" not in answer.text
    assert "a video was not predicted" in log.text
    monkeypatch.undo()
    model.at_once = 0
    assert ask.post("predict", content=video).status_code == 200


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


def test_a_network_with_a_state_follows_the_camera_frame_by_frame(tmp_path):
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
            assert best(answer) == answer["event"] == "brighter" and len(streams.last) == 1
        deadline = time.monotonic() + 10
        while streams.last:  # forgotten as it leaves
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_ctrl_c_ends_the_command_at_once_and_leaves_nothing(tmp_path, video, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with run_demo("--port=0") as process:
        address = process.stdout.readline().split(" is ")[1].split(";")[0]
        assert httpx.post(f"{address}predict", content=video, timeout=20).status_code == 200
        with socket.create_connection(("127.0.0.1", httpx.URL(address).port)) as connection:  # a body that never ends
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\nabc")
            deadline = time.monotonic() + 10
            while not any(path.is_file() for path in tmp_path.glob(".zoo_*/*")):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            output, error = process.communicate(timeout=20)
    assert process.returncode == 130 and error == "stopped.\n" and list(tmp_path.iterdir()) == []


def test_packages_that_are_missing_are_one_message(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["demo.py", "--weights=x"])
    monkeypatch.setitem(demo._PACKAGES, "no_such_module", "no-such-package")
    with pytest.raises(InputError, match="needs no-such-package: pip install -r requirements/demo.txt"):
        demo.main()


def test_a_port_in_use_is_one_message():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1, port {port}: .*--port=0 takes one"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["a..b", "192.0.2.1", "no.such.host.invalid"])
def test_what_is_no_address_of_this_machine_is_one_message(host):
    with pytest.raises(InputError, match=f"cannot listen on {host}, port 0: .*; --host is an address or a name of"):
        listen(host, 0)


def test_this_machine_s_names_and_those_given_are_answered_to(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Box.lan")
    own = {"localhost", "box.lan", "box", "box.local"}
    assert names_of([]) == own and names_of(["*"]) == ()
    assert names_of(["Zoo.example.org", "b.example"]) == {*own, "zoo.example.org", "b.example"}


def test_names_are_lines_of_text(ask, video):
    answer = ask.post("predict?top_k=6", content=video).json()
    assert sorted(each["name"] for each in answer["predictions"][0]["top"]) == sorted(NAMES)
