"""Command lines in forks of a process that has imported Paddle and the commands already, which is most of what a small
run costs. A fork ends without freeing its objects one by one, which is most of the rest.

Tests of what happens while packages are imported, and after a command, start a process of their own.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import inspect
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
_MOST_BYTES = 1 << 20  # of a request
# The bits depend on it, so it is the same for any number of ranks; a second thread only waits in networks this small.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def save_time() -> None:
    """Leaves out, in this process, what takes time and no test needs; commands in their own processes have it.

    `os.fsync` checks its argument, and does not wait for the disk: no test cuts the power. At each sum of a program
    that it makes, Paddle reads the whole stack, deep in pytest, and keeps it with each operator: it gets the nearest
    calls, and a program takes a third of the time.
    """
    os.fsync = os.fstat
    inspect.stack = _nearest
    traceback.extract_stack = functools.partial(traceback.extract_stack, limit=2)


def _nearest(context: int = 1) -> list[inspect.FrameInfo]:
    """What `inspect.stack` gives of the function that asks and of its caller."""
    frame = sys._getframe(1)
    return [inspect.FrameInfo(each, *inspect.getframeinfo(each, context)) for each in (frame, frame.f_back)]


class Fork:
    """A command line that is running: what the tests need of subprocess.Popen."""

    def __init__(self, status: int, stdout: IO[str] | None):
        self._status, self.stdout = status, stdout  # the descriptor gives its number, then its exit status
        self.pid = self._read()
        self.returncode: int | None = None

    def __enter__(self) -> Fork:
        return self

    def __exit__(self, *error: object) -> None:
        self.wait()
        if self.stdout:
            self.stdout.close()

    def send_signal(self, number: int) -> None:
        """Sends a signal; one that has ended gets none."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def poll(self, timeout: float = 0) -> int | None:
        """Its exit code, as Popen.poll gives it; None if it still runs after so many seconds."""
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = os.waitstatus_to_exitcode(self._read())
            os.close(self._status)
        return self.returncode

    def wait(self, timeout: float = 120) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired after so many seconds."""
        if self.poll(timeout) is None:
            self.kill()
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self.returncode

    def _read(self) -> int:
        data = os.read(self._status, 4)
        if len(data) < 4:
            raise RuntimeError("the process that starts command lines has ended")
        return int.from_bytes(data, "little")


class Preloaded:
    """The process that has imported Paddle; it is started with the first command line."""

    def __init__(self) -> None:
        self._channel: socket.socket | None = None

    def start(
        self,
        command: Sequence[str],
        stdout: int | None = None,
        stderr: int | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> Fork:
        """Runs a script with its arguments.

        Args:
            stdout, stderr: descriptors; without them, both come as lines of text through `Fork.stdout`.
            environment: variables beside those of this process; what is read while Paddle is imported has no effect.
            cwd: the folder that it runs in.
        """
        if self._channel is None:
            self._channel, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            server = [sys.executable, __file__, str(far.fileno())]
            ends = {"pass_fds": [far.fileno()], "stdin": subprocess.DEVNULL}
            subprocess.Popen(server, cwd=ROOT, env={**os.environ, **ONE_THREAD}, **ends)
            far.close()
        status, status_end = os.pipe()
        reader = None
        if stdout is None:
            read, stdout = os.pipe()
            reader = os.fdopen(read, encoding="utf-8")
        ends = [stdout, stdout if stderr is None else stderr, status_end]
        request = [list(command), {**os.environ, **ONE_THREAD, **(environment or {})}, str(cwd)]
        socket.send_fds(self._channel, [json.dumps(request).encode()], ends)
        for each in ends[:1] + ends[2:] if reader else ends[2:]:
            os.close(each)
        return Fork(status, reader)

    def run(self, command: Sequence[str], timeout: float = 120, **options: object) -> subprocess.CompletedProcess:
        """Runs a script to its end, with `start`'s options; returns its exit code and its output as text."""
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            code = self.start(command, stdout.fileno(), stderr.fileno(), **options).wait(timeout)
            texts = []
            for file in (stdout, stderr):
                file.seek(0)
                texts.append(file.read().decode("utf-8"))
        return subprocess.CompletedProcess(command, code, *texts)


PRELOADED = Preloaded()


def rank_environments() -> list[dict[str, str]]:
    """What the launcher tells each of two ranks."""
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        ends = [f"127.0.0.1:{each.getsockname()[1]}" for each in (first, second)]
    common = {"PADDLE_MASTER": ends[0], "PADDLE_TRAINER_ENDPOINTS": ",".join(ends), "PADDLE_DISTRI_BACKEND": "gloo"}
    common.update(PADDLE_TRAINERS_NUM="2", PADDLE_LOCAL_SIZE="2", **ONE_THREAD)
    ranks = [{"PADDLE_TRAINER_ID": str(rank), "PADDLE_RANK_IN_NODE": str(rank)} for rank in range(2)]
    return [{**common, **rank, "PADDLE_CURRENT_ENDPOINT": end} for rank, end in zip(ranks, ends)]


def _serve(channel: socket.socket) -> tuple[list[str], dict[str, str], str]:
    """Forks for every request; returns what to run, in the process that is to run it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while True:
        request, ends, _, _ = socket.recv_fds(channel, _MOST_BYTES, 3)
        if not request:
            os._exit(0)  # the tests are through
        if os.fork():
            for end in ends:
                os.close(end)
            continue
        channel.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        pid = os.fork()
        if not pid:
            for number, end in enumerate(ends[:2], 1):
                os.dup2(end, number)
            for end in ends:
                os.close(end)
            return tuple(json.loads(request))
        os.write(ends[2], pid.to_bytes(4, "little"))
        for end in ends[:2]:
            os.close(end)
        os.write(ends[2], os.waitpid(pid, 0)[1].to_bytes(4, "little"))
        os._exit(0)


def _run(script: str) -> int:
    """Runs a script in this process, and what is due at a process's end; returns its exit code. An exception but
    SystemExit comes through, and gets its traceback from the interpreter."""
    code = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # waits for the threads that are no daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    import visualdl  # noqa: F401

    # Before other modules of video_zoo, as it sets what Paddle reads while it is imported.
    import video_zoo.train  # isort: split

    import onnxruntime  # noqa: F401
    import openvino  # noqa: F401

    import video_zoo.export
    import video_zoo.infer
    import video_zoo.test  # noqa: F401

    save_time()
    gc.freeze()  # the forks do not look through it, and so do not copy its pages
    sys.argv, environment, cwd = _serve(socket.socket(fileno=int(sys.argv[1])))
    os.chdir(cwd)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, errors="backslashreplace", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    os._exit(_run(sys.argv[0]))
