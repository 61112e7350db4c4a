"""Signals ask first, and end then."""

from __future__ import annotations

import os
import pty
import signal
import sys
import time
from pathlib import Path

import pytest

from video_zoo.utils.stop import SIGNALS, Stop, Stopped, held, interrupting

ROOT = Path(__file__).resolve().parents[1]


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_ends(number, capfd):
    before = signal.getsignal(number)
    with Stop("stopping soon") as stop:
        assert stop.signal is None
        stop.check()
        send(number)
        assert stop.signal == number
        with pytest.raises(Stopped) as stopped:
            stop.check()
        assert stopped.value.code == 128 + number
        with pytest.raises(SystemExit) as ended:
            send(number)
        assert ended.value.code == 128 + number
    assert capfd.readouterr().err == "stopping soon\n"
    assert signal.getsignal(number) == before


def test_where_it_does_no_harm_the_first_signal_stops():
    with Stop("") as stop:
        with pytest.raises(Stopped), stop.at_once():
            send(signal.SIGTERM)
            pytest.fail("it went on")
        with pytest.raises(Stopped), stop.at_once():
            pytest.fail("it went on, though a signal had come before")


def test_after_a_harmless_place_a_signal_is_noted_again():
    with Stop("") as stop:
        with stop.at_once():
            pass
        send(signal.SIGINT)
        assert stop.signal == signal.SIGINT


def test_a_launcher_may_repeat_itself():
    with Stop("", repeats_s=60) as stop:
        for _ in range(3):
            send(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM


def test_another_rank_that_was_told_stops_this_one():
    with pytest.raises(Stopped) as stopped:
        Stop("").end()
    assert stopped.value.code == 143


@pytest.mark.parametrize("first, then", [("SIGHUP", "SIGHUP"), ("SIGHUP", "SIGTERM"), ("SIGTERM", "SIGHUP")])
def test_the_signals_of_a_session_that_ends_are_one(first, then):
    """A shell and the system each send SIGHUP, and systemd SIGTERM with it: they are one request."""
    with Stop("") as stop:
        send(getattr(signal, first))
        send(getattr(signal, then))
        assert stop.signal == getattr(signal, first)
    with pytest.raises(Stopped) as stopped, interrupting():
        try:
            send(getattr(signal, first))
        finally:
            send(getattr(signal, then))
            tidied = True
    assert stopped.value.code == 128 + getattr(signal, first) and tidied


@pytest.mark.parametrize(
    "first, then, seconds",
    [("SIGHUP", "SIGINT", 5), ("SIGHUP", "SIGHUP", 0), ("SIGHUP", "SIGTERM", 0), ("SIGINT", "SIGHUP", 0)],
)
def test_a_signal_that_comes_later_or_is_ctrl_c_is_a_second_one(monkeypatch, first, then, seconds):
    """Also a SIGHUP: `seconds` is how long signals of a session's end are taken for one."""
    monkeypatch.setattr("video_zoo.utils.stop._HANGUP_REPEATS_S", seconds)
    with Stop("") as stop:
        send(getattr(signal, first))
        with pytest.raises(SystemExit) as ended:
            send(getattr(signal, then))
    assert stop.signal == getattr(signal, first) and ended.value.code == 128 + getattr(signal, then)


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop("") as stop, interrupting():
            send(signal.SIGHUP)
            assert stop.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_where_signals_are_held_they_wait(number):
    before = signal.getsignal(number)
    done = []
    with pytest.raises((KeyboardInterrupt, Stopped)), interrupting() as received:
        with held():
            send(number)
            done.append("the block")
        done.append("what follows")
    assert done == ["the block"] and received() == number
    assert signal.getsignal(number) == before


@pytest.mark.contract
def test_a_signal_while_a_program_is_made_of_a_network_is_no_error_of_paddle(tmp_path):
    """Paddle catches every exception in a network's forward, and raises one with its own text."""
    from paddle import Tensor

    from video_zoo.engine.backends.base import Job
    from video_zoo.engine.static_program import save_static_program
    from video_zoo.models.network import VideoNetwork

    class Still(VideoNetwork):
        def classify(self, clips: Tensor) -> Tensor:
            return clips.mean([1, 3, 4])

    class Signalling(Still):
        def classify(self, clips: Tensor) -> Tensor:
            send(signal.SIGTERM)
            return super().classify(clips)

    network = Signalling([0.5] * 3, [0.5] * 3)
    with pytest.raises(Stopped) as stopped, interrupting():
        save_static_program(network, Job(clip_shape=(2, 3, 8, 8)), tmp_path / "model.pdmodel")
    assert stopped.value.code == 143
    save_static_program(Still([0.5] * 3, [0.5] * 3), Job(clip_shape=(2, 3, 8, 8)), tmp_path / "later.pdmodel")


TRAINING = """
import os, sys, time
from video_zoo.utils import cli
from video_zoo.utils.log import logger, set_up_logging
from video_zoo.utils.stop import Stop
def main():
    set_up_logging()
    with Stop("stopping") as stop:
        logger.info("ready")
        while stop.signal is None:
            time.sleep(0.01)
        logger.info("the step is done")
        open(sys.argv[1], "w").write("saved")
        print("saved", flush=True)
        stop.check()
cli.run(main)
"""


@pytest.mark.parametrize("ignored, code", [(False, 129), (True, 0)])
def test_a_terminal_that_is_closed_loses_nothing(tmp_path, ignored, code):
    """What is then written to it is an error (EIO). Ignored is SIGHUP after `disown`."""
    program = TRAINING
    if ignored:
        program = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + program
        program = program.replace("stop.signal is None", "os.isatty(1)")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", program, str(tmp_path / "state")])
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
    assert (tmp_path / "state").read_text() == "saved"
