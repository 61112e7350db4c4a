"""The server of demo.py: what it answers, what it refuses, and what it leaves behind. Cameras: test_camera.py."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from media import levels, make_audio, make_video, zero_packets

for _package in ("starlette", "uvicorn", "httpx", "websockets"):
    pytest.importorskip(_package, reason="requirements/demo.txt is not installed")

import httpx
import served as served_module
from served import NAMES, MadeUp, served
from starlette.requests import ClientDisconnect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from video_zoo.server import connections, predicting, uploads
from video_zoo.server.app import Limits, open_app

LIMITS = Limits(max_mb=1, max_s=20, max_waiting=1)


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
    long = b"x" * 99_999
    for form in ({"data": {"other": long}, "files": {"file": b"x"}}, {"files": [("a", b"x"), ("b", long)]}):
        answer = ask.post("predict", **form)
        assert answer.status_code == 413 and "more than 64 kB beside its first file" in answer.json()["error"]
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
    go_on = threading.Event()
    monkeypatch.setattr(served_module, "time", SimpleNamespace(sleep=lambda seconds: go_on.wait(10)))
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
    go_on.set()
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
    monkeypatch.setattr(uploads, "SILENCE_S", 0.2)

    def drops() -> Iterator[bytes]:
        for place in range(10):
            time.sleep(0.05)
            yield video[place : place + 1]

    answer = ask.post("predict", content=drops())
    assert answer.status_code == 408 and "or too little" in answer.json()["error"]


def test_connections_that_ask_nothing_are_closed_and_their_number_has_an_end(ask, monkeypatch):
    monkeypatch.setattr(connections, "SILENCE_S", 0.1)
    where = (ask.base_url.host, ask.base_url.port)
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"

    def end_of(connection: socket.socket) -> bytes:
        with connection, contextlib.suppress(ConnectionError):
            return b"".join(iter(lambda: connection.recv(9999), b""))
        return b""

    for sent, got in ((b"", b""), (get, b""), (get + b"\r\n" + get, b"200 OK")):
        connection = socket.create_connection(where, timeout=10)
        connection.sendall(sent)
        assert got in end_of(connection)
    monkeypatch.setattr(connections, "SILENCE_S", 20)
    monkeypatch.setattr(connections, "MOST", 4)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(socket.create_connection(where, timeout=10))
        assert end_of(socket.create_connection(where, timeout=10)) == b""
    monkeypatch.undo()
    assert ask.get("healthz").status_code == 200


def test_a_long_answer_that_is_still_taken_is_not_cut_off(monkeypatch):
    """uvicorn calls an answer complete when all of it waits to be sent, which a slow network takes long for."""
    left, looks, aborted = [3000, 2000, 1000, 1000], [], []
    monkeypatch.setattr(connections.Connection, "__init__", lambda self: None)
    connection, answered = connections.Connection(), SimpleNamespace(response_complete=True)
    connection.connections, connection.cycle = {connection}, answered
    connection.loop = SimpleNamespace(call_later=lambda seconds, look, *args: looks.append(args))
    connection.transport = SimpleNamespace(
        get_write_buffer_size=lambda: left.pop(0), abort=lambda: aborted.append(len(left))
    )
    connection._look(None, 0)
    while looks:
        connection._look(*looks.pop())
    assert aborted == [0]


def test_a_fault_of_the_server_is_said_and_the_next_visitor_is_served(ask, model, video, monkeypatch, log):
    monkeypatch.setattr(model, "seconds", "no number")
    for query in ("", "?stream=1"):
        answer = ask.post(f"predict{query}", content=video)
        assert "the server failed" in answer.text and "Traceback" not in answer.text
    assert "a video was not predicted" in log.text
    monkeypatch.undo()
    model.at_once = 0
    assert ask.post("predict", content=video).status_code == 200


def test_names_are_lines_of_text(ask, video):
    answer = ask.post("predict?top_k=6", content=video).json()
    assert sorted(each["name"] for each in answer["predictions"][0]["top"]) == sorted(NAMES)
