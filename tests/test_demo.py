"""The command demo.py: what it starts with, what it listens to, and how it ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from media import levels, make_video

for _package in ("starlette", "uvicorn", "httpx", "websockets"):
    pytest.importorskip(_package, reason="requirements/demo.txt is not installed")

import httpx
from served import served

from video_zoo import demo
from video_zoo.demo import listen, names_of, open_model, parse_arguments
from video_zoo.server.app import open_app
from video_zoo.utils.errors import InputError


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
    root = Path(demo.__file__).parent
    code = (
        "import sys; sys.path.insert(0, 'tests'); from served import MadeUp; import video_zoo.demo as demo;"
        "from video_zoo.utils import cli; demo.open_model = lambda args: MadeUp(); cli.run(demo.main)"
    )
    command = [sys.executable, "-c", code, "--weights=made_up", "--open=False", *flags]
    where = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": where, "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=root, env=environment, text=True, **pipes)


def test_ctrl_c_ends_the_command_at_once_and_leaves_nothing(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mp4", levels(20, 36, 48))
    video = path.read_bytes()
    path.unlink()
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


def test_a_container_has_every_package():
    root = Path(demo.__file__).parent
    ignored = (root / ".dockerignore").read_text().splitlines()
    packages = re.findall(r'"video_zoo\.(\w+)"', (root / "pyproject.toml").read_text())
    needed = {*packages, "video_zoo", "demo.py", "pyproject.toml"} - {"scripts"}  # --version reads pyproject.toml
    assert {line[1:] for line in ignored if line.startswith("!")} >= needed


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


def test_answers_do_not_wait_for_fuller_packets():
    async def has_no_delay() -> int:
        with listen("127.0.0.1", 0) as listener:
            given = asyncio.get_running_loop().create_future()
            server = await asyncio.start_server(lambda _, writer: given.set_result(writer), sock=listener)
            _, client = await asyncio.open_connection(*listener.getsockname())
            writer = await given
            found = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for each in (client, writer, server):
                each.close()
            return found

    assert asyncio.run(has_no_delay())


@pytest.mark.parametrize("host", ["a..b", "192.0.2.1", "no.such.host.invalid"])
def test_what_is_no_address_of_this_machine_is_one_message(host):
    with pytest.raises(InputError, match=f"cannot listen on {host}, port 0: .*; --host is an address or a name of"):
        listen(host, 0)


def test_this_machine_s_names_and_those_given_are_answered_to(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Box.lan")
    own = {"localhost", "box.lan", "box", "box.local"}
    assert names_of([]) == own and names_of(["*"]) == ()
    assert names_of(["Zoo.example.org", "b.example"]) == {*own, "zoo.example.org", "b.example"}
    monkeypatch.setattr(sys, "argv", ["demo.py", "--weights=x", "--name=a", "--name", "b", "c"])
    assert parse_arguments().name == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["https://zoo.example.org", "zoo.example.org:8443", "zoo.example.org/"])
def test_a_name_that_no_request_can_have_is_one_message(name):
    with pytest.raises(InputError, match=f"--name={name}: give the name alone, as zoo.example.org"):
        names_of([name])
