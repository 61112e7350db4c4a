"""Signals ask first, and end then."""

from __future__ import annotations

import os
import signal
import time

import pytest

from video_zoo.utils.stop import Stop, Stopped


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
