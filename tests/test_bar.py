"""The progress bar on a terminal, which the tests read at its other end; lines elsewhere."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from unittest import mock

import pytest

from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import Progress, bar, be_verbose, heartbeat, logger, print_line, set_up_logging


class Screen:
    """A terminal of so many columns."""

    def __init__(self, columns: int, monkeypatch):
        self._near, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stdout, self.columns, self._monkeypatch = os.fdopen(far, "w", encoding="utf-8"), columns, monkeypatch

    def set_up(self) -> None:
        """The log and what is printed go there from now on."""
        self._monkeypatch.setattr("sys.stdout", self.stdout)
        set_up_logging()

    def sent(self) -> str:
        """What has been written to it since the last call."""
        data = b""
        while select.select([self._near], [], [], 0.1)[0]:
            data += os.read(self._near, 1 << 16)
        return data.decode()

    def drawn(self, progress: Progress, what: str) -> str:
        """The bar's line, as far as the terminal has place."""
        share = progress.done / progress.total
        text = f"{progress.pace}  {what}  {progress.shares}"
        return f"{share:4.0%}|{'█' * int(16 * share):16}| {text}"[: self.columns - 1]

    def close(self) -> None:
        bar.attach(None)
        self.stdout.close()
        os.close(self._near)


@pytest.fixture(params=[120, 45])
def screen(request, monkeypatch):
    """The logger is as it was afterwards."""
    pytest.importorskip("tqdm")
    monkeypatch.setenv("TERM", "xterm")
    level = logger.level
    for name in ("handlers", "propagate"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    screen = Screen(request.param, monkeypatch)
    yield screen
    be_verbose(False)
    logger.setLevel(level)
    screen.close()


CLEARED = r"\r +\r"


def test_a_progress_is_a_bar_below_the_lines_of_a_terminal(screen):
    screen.set_up()
    progress = Progress(8)
    progress.add(2, reader=1.0, compute=3.0)
    progress.say("[TRAIN] Epoch 0, iter 0")
    assert screen.sent().rsplit("\r", 1)[1] == screen.drawn(progress, "[TRAIN] Epoch 0, iter 0")
    logger.warning("a video is damaged")
    print_line("a prediction")
    said = screen.sent()
    assert re.search(CLEARED + r"\[WARNING: [\d:]+\]: a video is damaged\r\n", said)
    assert "\ra prediction\r\n\r" in said and said.endswith(screen.drawn(progress, "[TRAIN] Epoch 0, iter 0"))
    progress.add(4, reader=1.0, compute=1.0)
    progress.say("[TRAIN] Epoch 0, iter 1", due=False)  # is not yet shown, or is
    progress.say("[TRAIN] Epoch 0, iter 2")
    assert screen.sent().endswith(screen.drawn(progress, "[TRAIN] Epoch 0, iter 2"))
    progress.add(2, reader=1.0)
    assert re.fullmatch(CLEARED, screen.sent())
    progress.say("the end")
    assert screen.sent().endswith(f"the end, {progress}\r\n")


def test_a_heartbeat_goes_by_in_the_bar(screen):
    screen.set_up()
    progress = Progress(8)
    progress.add(2, compute=1.0)
    progress.say("here")
    with heartbeat("waiting", every_s=0.01):
        time.sleep(0.1)
    said = screen.sent()
    assert "\n" not in said and ("waiting, 0 seconds so far" in said or screen.columns == 45)


def test_an_error_takes_the_place_of_the_bar(screen):
    def fail() -> None:
        Progress(8).say("here")
        raise InputError("bad input")

    screen.set_up()
    with pytest.raises(SystemExit), mock.patch.object(sys, "stderr", screen.stdout):
        cli.run(fail)
    assert re.search(CLEARED + r"error: bad input\r\n$", screen.sent())


@pytest.mark.parametrize("how", ["verbose", "dumb", "pipe"])
def test_elsewhere_a_progress_is_lines(screen, how, monkeypatch):
    be_verbose(how == "verbose")
    monkeypatch.setenv("TERM", "dumb" if how == "dumb" else "xterm")
    with io.TextIOWrapper(io.BytesIO(), write_through=True) as pipe:
        screen.stdout, terminal = (pipe if how == "pipe" else screen.stdout), screen.stdout
        screen.set_up()
        progress = Progress(8)
        progress.add(2, compute=1.0)
        progress.say("here", ", there")
        progress.say("between", due=False)
        said = screen.sent() + pipe.buffer.getvalue().decode()
        screen.stdout = terminal
    assert re.fullmatch(r"\[INFO: [\d:]+\]: here, 2.0 videos/s, 0:00:03 left, compute 100%, there\r?\n", said)


def test_other_ranks_have_no_bar(screen):
    screen.set_up()
    logger.setLevel(logging.WARNING)  # as train.py does
    progress = Progress(8)
    progress.say("here")
    progress.say("between", due=False)
    assert screen.sent() == ""


def test_without_tqdm_a_progress_is_lines(screen, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    screen.set_up()
    Progress(8).say("here")
    assert re.fullmatch(r"\[INFO: [\d:]+\]: here, 0.0 videos/s\r\n", screen.sent())
