"""The log: on stdout, in a file, while something is slow; and how far a run has come."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import threading
import time
from pathlib import Path

import pytest
from media import PLANTS, logged, plant

from video_zoo.utils import log as log_module
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import Progress, format_seconds, heartbeat, log_to_file, logger, set_up_logging, timed


class Terminal:
    """The log on an ASCII terminal, and what it wrote there."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch
        self._stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)

    def set_up(self, **options: bool) -> None:
        with self._monkeypatch.context() as patch:
            patch.setattr("sys.stdout", self._stream)
            set_up_logging(**options)

    def lines(self) -> list[str]:
        return self._stream.buffer.getvalue().decode().splitlines()


@pytest.fixture
def terminal(monkeypatch):
    """The logger is as it was afterwards."""
    level = logger.level
    for name in ("handlers", "propagate"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    yield Terminal(monkeypatch)
    logger.setLevel(level)


# --- the file


def test_the_file_has_the_lines_of_before_it_was_opened_too(terminal, tmp_path):
    """In their order, with the date; the terminal has them once."""
    terminal.set_up(file_later=True)
    logger.info("before %d", 1)
    logger.warning("before 2")
    with log_to_file(tmp_path / "train.log"):
        logger.info("within")
    logger.info("after")
    date = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    lines = (tmp_path / "train.log").read_text().splitlines()
    for line, (level, text) in zip(lines, [("INFO", "before 1"), ("WARNING", "before 2"), ("INFO", "within")]):
        assert re.fullmatch(rf"\[{level}: {date}\]: {text}", line), line
    assert len(lines) == 3
    said = [line.partition("]: ")[2] for line in terminal.lines()]
    assert said == ["before 1", "before 2", "within", "after"]
    assert re.fullmatch(r"\[INFO: \d\d:\d\d:\d\d\]: before 1", terminal.lines()[0])


def test_the_file_is_continued(terminal, tmp_path):
    for number in range(3):
        terminal.set_up(file_later=True)
        logger.info("run %d", number)
        with log_to_file(tmp_path / "train.log"):
            pass
    assert [line[-5:] for line in (tmp_path / "train.log").read_text().splitlines()] == ["run 0", "run 1", "run 2"]


@pytest.mark.parametrize("kind", PLANTS)
def test_what_lies_in_the_place_of_the_file_is_not_written_to(terminal, tmp_path, kind):
    victim, place = tmp_path / "victim", tmp_path / "train.log"
    victim.write_text("precious")
    plant(kind, place, victim)
    terminal.set_up()
    with pytest.raises(InputError, match=r"cannot write .*train\.log: it is a link.*; remove it"), log_to_file(place):
        pass
    assert victim.read_text() == "precious"


def test_without_a_file_to_come_nothing_is_kept(terminal, tmp_path):
    terminal.set_up()
    logger.info("before")
    with log_to_file(tmp_path / "log"):
        logger.info("within")
    assert len((tmp_path / "log").read_text().splitlines()) == 1 and len(logger.handlers) == 1


def test_the_file_has_what_the_terminal_escapes(terminal, tmp_path):
    """And what is no character at all is escaped in it, too."""
    terminal.set_up(file_later=True)
    logger.info("grün 漢 \udcff.mp4")
    with log_to_file(tmp_path / "train.log"):
        logger.info("grün 漢 \udcff.mp4")
    text = (tmp_path / "train.log").read_text(encoding="utf-8")
    assert text.count("grün 漢 \\udcff.mp4") == 2
    assert [line.partition("]: ")[2] for line in terminal.lines()] == ["gr\\xfcn \\u6f22 \\udcff.mp4"] * 2


@pytest.mark.parametrize(
    "error, said",
    [
        (InputError("no such file: grün.mp4"), "ended: no such file: grün.mp4"),
        (KeyboardInterrupt(), "ended by KeyboardInterrupt "),
        (SystemExit(143), None),  # on purpose: what exits has said why
    ],
)
def test_what_ends_the_block_is_the_files_last_line(terminal, tmp_path, error, said):
    """The terminal hears of it elsewhere. The logger is as it was afterwards."""
    terminal.set_up(file_later=True)
    with pytest.raises(type(error)) as caught, log_to_file(tmp_path / "train.log"):
        logger.info("before")
        raise error
    logger.info("no longer")
    assert caught.value is error and len(logger.handlers) == 1
    before, *last = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert before.endswith("]: before") and len(last) == (said is not None)
    assert said is None or re.fullmatch(rf"\[ERROR: [-\d]+ [:,\d]+\]: {re.escape(said)}", last[0])
    assert [line.partition("]: ")[2] for line in terminal.lines()] == ["before", "no longer"]


def test_an_error_leaves_its_traceback_in_the_file(terminal, tmp_path):
    terminal.set_up(file_later=True)
    with pytest.raises(ZeroDivisionError), log_to_file(tmp_path / "train.log"):
        logger.info("before")
        raise ZeroDivisionError("what it was")
    logger.info("no longer")
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert lines[0].endswith("]: before") and lines[1].endswith("]: ended by ZeroDivisionError what it was")
    assert lines[2].startswith("  Traceback") and any(Path(__file__).name in line for line in lines[3:])
    assert lines[-1] == "  ZeroDivisionError: what it was"
    assert len(logger.handlers) == 1 and len(terminal.lines()) == 2


@pytest.fixture
def full(monkeypatch) -> str:
    """A full disk to test with, which Linux has; it is a device, which `open_own` refuses."""
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is Linux's")
    monkeypatch.setattr(log_module, "open_own", open)
    return "/dev/full"


def test_a_full_disk_is_an_input_error(terminal, full):
    """With the file's name, at the line that did not fit; the terminal has it."""
    terminal.set_up()
    with pytest.raises(InputError, match="^cannot write /dev/full: No space left on device$"), log_to_file(full):
        logger.info("too much")
        pytest.fail("the line must not be lost in silence")
    logger.info("no longer")
    assert [line.partition("]: ")[2] for line in terminal.lines()] == ["too much", "no longer"]


def test_a_full_disk_at_the_end_leaves_the_error_that_ends_the_block(terminal, full):
    terminal.set_up()
    with pytest.raises(ZeroDivisionError), log_to_file(full):
        raise ZeroDivisionError
    assert len(logger.handlers) == 1


def test_a_full_disk_for_the_lines_of_before_is_an_input_error(terminal, full):
    terminal.set_up(file_later=True)
    logger.info("before")
    with pytest.raises(InputError, match="^cannot write /dev/full: No space left on device$"), log_to_file(full):
        pytest.fail("the block must not run")


def test_a_line_is_in_the_file_at_once(terminal, tmp_path):
    """Whatever kills the process then."""
    terminal.set_up(file_later=True)
    with log_to_file(tmp_path / "train.log"):
        logger.info("now")
        assert (tmp_path / "train.log").read_text().endswith("now\n")


def test_a_place_that_cannot_be_written_is_an_input_error(terminal, tmp_path):
    terminal.set_up(file_later=True)
    with pytest.raises(InputError, match=f"cannot write {tmp_path}: Is a directory"), log_to_file(tmp_path):
        pytest.fail("the block must not run")


# --- the heartbeat


def test_a_slow_block_says_so_and_for_how_long():
    with logged() as lines:
        with heartbeat("waiting for a test", every_s=0.05):
            deadline = time.monotonic() + 20
            while len(lines) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
        after = len(lines)
        time.sleep(0.15)
    assert len(lines) == after >= 3  # and no longer when it is through
    assert all(re.fullmatch(r"waiting for a test, \d+ seconds so far", line) for line in lines)


def test_the_seconds_of_a_heartbeat(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(log_module.time, "monotonic", lambda: clock[0])
    with logged() as lines, heartbeat("it", every_s=0.01):
        clock[0] = 161.9
        while not [line for line in lines if "61" in line]:
            threading.Event().wait(0.01)
    assert lines[-1] == "it, 61 seconds so far"


@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
def test_a_fast_block_logs_nothing(error):
    """And leaves no thread, however it ends."""
    threads = threading.active_count()
    with logged() as lines:
        for _ in range(50):
            with contextlib.suppress(ZeroDivisionError, KeyboardInterrupt), heartbeat("it"):
                if error:
                    raise error
    assert lines == [] and threading.active_count() == threads


# --- waits


def test_timed_gives_each_item_and_what_it_took():
    clock = []

    def slow():
        for number in range(3):
            clock.append(number)
            time.sleep(0.02)
            yield number

    rows = list(timed(slow()))
    assert [item for item, _ in rows] == [0, 1, 2] and all(0.02 <= seconds < 1 for _, seconds in rows)
    assert list(timed([])) == []


def test_every_wait_is_inside_of_its_context_and_no_work_is():
    """The wait for the end, too."""
    events = []

    @contextlib.contextmanager
    def waiting():
        events.append("wait")
        try:
            yield
        finally:
            events.append("got")

    def items():
        for number in range(2):
            events.append(f"read {number}")
            yield number
        events.append("end")

    for item, _ in timed(items(), waiting):
        events.append(f"work {item}")
    parts = ["wait", "read 0", "got", "work 0", "wait", "read 1", "got", "work 1", "wait", "end", "got"]
    assert events == parts


def test_an_error_of_the_reader_passes_through():
    def items():
        yield 1
        raise InputError("bad")

    with pytest.raises(InputError, match="bad"):
        list(timed(items()))


# --- progress


def test_progress_counts_and_says_what_is_left():
    progress = Progress(100)
    progress.add(20, reader=1.0, compute=3.0)
    assert str(progress) == "5.0 videos/s, 0:00:16 left, reader 25% compute 75%"
    progress.add(80, reader=5.0, compute=1.0)
    assert str(progress) == "10.0 videos/s, 0:00:10 in all, reader 60% compute 40%"
    assert progress.milliseconds() == {"reader_ms": 3000.0, "compute_ms": 2000.0}


def test_where_parts_are_given_other_time_does_not_count(monkeypatch):
    """A validation between two epochs; where they are not, it is the clock's."""
    clock = [0.0]
    monkeypatch.setattr(log_module.time, "monotonic", lambda: clock[0])
    training, plain = Progress(100), Progress(100)
    training.add(10, compute=1.0)
    plain.add(10)
    clock[0] = 1000.0
    assert str(training).startswith("10.0 videos/s, 0:00:09 left")
    assert str(plain) == "0.0 videos/s, 2:30:00 left"


def test_progress_of_a_list_of_unknown_length_and_of_one_that_ends_early():
    unknown = Progress(None, "clips")
    unknown.add(4, compute=2.0)
    assert str(unknown) == "2.0 clips/s, compute 100%"
    unknown.finish()
    early = Progress(10)
    early.add(4, compute=2.0)
    early.finish()
    assert str(early) == "2.0 videos/s, 0:00:02 in all, compute 100%"
    assert Progress(5).milliseconds() == {}


@pytest.mark.parametrize(
    "seconds, text", [(0, "0:00:00"), (59.6, "0:01:00"), (3661, "1:01:01"), (90000, "1 day, 1:00:00")]
)
def test_seconds_as_hours(seconds, text):
    assert format_seconds(seconds) == text


def test_levels_below_info_are_in_the_file_and_said_only_where_asked_for(terminal, tmp_path):
    terminal.set_up(file_later=True)
    logger.debug("detail")
    logger.info("said")
    with log_to_file(tmp_path / "log"):
        kept = [line.partition("]: ")[2] for line in (tmp_path / "log").read_text().splitlines()]
    assert kept == ["detail", "said"]
    assert [line[-6:] for line in terminal.lines()] == [": said"] and logging.getLogger("zoo") is logger
