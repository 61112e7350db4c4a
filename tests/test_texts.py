"""Text at the borders: any encoding and line end of a file, any name on a terminal, in a log, a page or a csv."""

from __future__ import annotations

import contextlib
import io
import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_zoo.datareader.labels import read_class_names
from video_zoo.datareader.video_list import read_video_list
from video_zoo.dataset.kinetics.kinetics_csv import read_clips
from video_zoo.dataset.video_lists import read_any_list
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger, set_up_logging
from video_zoo.utils.texts import PrintableStream, cell, for_display, hide_secrets, one_line, printable, read_text

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def clips_of(path: Path) -> list[str]:
    return [clip.label for clip in read_clips(path)]


def videos_of(path: Path) -> list[tuple]:
    found = read_video_list(str(path), num_classes=9, labelled=True, key="TRAIN.filelist")
    return [(video.path, video.label, video.line) for video in found]


def entries_of(path: Path) -> list[tuple]:
    return [(entry.path, entry.label, entry.line) for entry in read_any_list(str(path)).entries]


CSV = "label,youtube_id,time_start,time_end\nü,abc,0,10\nb,abd,0,10\n"
READERS = {
    "a list": (videos_of, "ü.mp4 1\nb.mp4 2\n", [("ü.mp4", 1, 1), ("b.mp4", 2, 2)]),
    "a list for the tools": (entries_of, "ü.mp4 1\nb.mp4 2\n", [("ü.mp4", 1, 1), ("b.mp4", 2, 2)]),
    "a label file": (read_class_names, "ü 0\nb 1\n", ["ü", "b"]),
    "a csv of Kinetics": (clips_of, CSV, ["ü", "b"]),
    "an INI": (lambda path: config.read(str(path)), "[A]\nx = 'ü'\ny = 2\n", {"A": {"x": "ü", "y": 2}}),
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("kind", READERS)
def test_a_mark_and_any_line_end_change_nothing(tmp_path, kind, encoding, end):
    read, text, wanted = READERS[kind]
    (tmp_path / "file").write_bytes(text.replace("\n", end).encode(encoding))
    assert read(tmp_path / "file") == wanted


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("kind", READERS)
def test_other_encodings_are_named(tmp_path, kind, encoding):
    read, text, _ = READERS[kind]
    (tmp_path / "file").write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=r"cannot read .*file.*; save it as UTF-8"):
        read(tmp_path / "file")


def test_a_file_is_not_read_beyond_its_limit(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * (1 << 20))
    assert len(read_text(tmp_path / "file", most=1 << 20)) == 1 << 20
    with open(tmp_path / "file", "ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="file: its 1,048,577 bytes are more than the 1,048,576 allowed"):
        read_text(tmp_path / "file", most=1 << 20)
    with pytest.raises(InputError, match="cannot read the config file /dev/full: it is no regular file"):
        config.read("/dev/full")


@pytest.mark.parametrize(
    ("block", "blocks", "most", "said"),
    [
        (b"a.mp4 1\n", 5, 1 << 20, None),
        (b"x" * 65536, 1000, 1 << 20, "more than 1 MiB"),
        (bytes(65536), 1000, 1 << 31, "zero bytes"),
    ],
)
def test_a_pipe_is_read_until_it_is_too_much(tmp_path, block, blocks, most, said):
    """As a shell's <(...) is one: no further than its limit, or than where it shows that it is no text."""

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), open(tmp_path / "pipe", "wb", buffering=0) as file:
            for _ in range(blocks):
                file.write(block)
                written.append(len(block))

    written: list[int] = []
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    if said is None:
        assert read_text(tmp_path / "pipe", most=most) == blocks * block.decode()
    else:
        with pytest.raises(InputError, match=said):
            read_text(tmp_path / "pipe", most=most)
    writer.join(10)
    assert not writer.is_alive() and sum(written) < 3 << 20


# --- names on a terminal and in the log

FORGED = "a\n[INFO: 12:00:00]: all is well\x1b[2J\x1b]0;title\x07\r\x9b31m\x7f\u202egpj.mp4\u2028\x85b"


@given(texts)
def test_what_is_printable_has_no_control_characters(text):
    for each in (printable(text), for_display(text)):
        assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", each)
    assert len(one_line(text).splitlines()) <= 1
    assert all(line[:1] in ("", " ", "\t") for line in for_display(text).split("\n")[1:])
    if text.isprintable() and "://" not in text:
        assert printable(text) == for_display(text) == one_line(text) == text


def test_a_name_forges_no_line_of_the_log(tmp_path, monkeypatch):
    stream = io.StringIO()
    stream.reconfigure = lambda **options: None
    for name in ("handlers", "propagate", "level"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    monkeypatch.setattr("sys.stdout", stream)
    set_up_logging()
    logger.info("reading %s", FORGED)
    logger.warning("x" * 10_000_000)
    lines = stream.getvalue().splitlines()
    assert [line[:6] for line in lines] == ["[INFO:", "  [INF", "[WARNI"]
    assert "\x1b" not in stream.getvalue() and "\\x1b[2J" in lines[1] and "\\u202egpj" in lines[1]
    assert len(lines[2]) < 3000 and "characters]" in lines[2]


@pytest.mark.parametrize("error", [InputError(FORGED), OSError(FORGED), InputError("x" * 10**7 + " the remedy")])
def test_an_error_is_short_and_cannot_do_more_than_be_read(monkeypatch, error):
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setattr("sys.excepthook", None)
    monkeypatch.setattr(cli, "_drop_stdout", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *words: None)

    def main() -> None:
        print(FORGED)
        raise error

    with pytest.raises(SystemExit, match="1"):
        cli.run(main)
    said = stderr.getvalue()
    assert said.startswith("error: ") and "\x1b" not in said and len(said) < 3000
    assert all(line.startswith("  ") for line in said.splitlines()[1:])
    assert "remedy" in said or "all is well" in said


def test_what_is_printed_is_escaped(capsys):
    stream = io.StringIO()
    print("a\tb\n", FORGED, file=PrintableStream(stream), flush=True)
    assert "\x1b" not in stream.getvalue() and "a\tb\n" in stream.getvalue() and "\\x1b[2J" in stream.getvalue()
    with pytest.raises(SystemExit):
        cli.Parser(prog="x").parse_args([f"--{FORGED}", "rtsp://me:secret@host/1"])
    said = capsys.readouterr().err
    assert "\x1b" not in said and "secret" not in said and "rtsp://***@host/1" in said


# --- secrets of addresses


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:pa@ss:w@host:554/1", "rtsp://***@host:554/1"),
        ("see rtsps://me:x@host/a and http://u@h/b", "see rtsps://***@host/a and http://***@h/b"),
        ("http://h/v?channel=1&token=abc&x=2", "http://h/v?channel=1&token=***&x=2"),
        ("https://h/v?X-Amz-Signature=ab/c%3D&Access_KEY=d#t", "https://h/v?X-Amz-Signature=***&Access_KEY=***#t"),
        ("rtsp://h/a@b", "rtsp://h/a@b"),
        ("http://h:8080/a@b", "http://h:8080/a@b"),
        ("rtsp://me:x@h:554/a@b", "rtsp://***@h:554/a@b"),
        ("rtsp://me:pa/ss@h:554/1", "rtsp://***@h:554/1"),
        ("http://h/v?user=me&pw=12&loginpas=34&codec=h264", "http://h/v?user=me&pw=***&loginpas=***&codec=h264"),
        ("https://h/v.m3u8?Policy=ab&hdnts=exp#token=c", "https://h/v.m3u8?Policy=***&hdnts=***#token=***"),
        ("rtsp://h/user=me_password=xyz_channel=1", "rtsp://h/user=me_password=***"),
        ("//share/me@home?token=1", "//share/me@home?token=1"),
    ],
)
def test_passwords_and_keys_of_addresses_are_left_out(address, shown):
    assert hide_secrets(address) == printable(address) == shown
    assert hide_secrets(shown) == shown


# --- cells


@given(texts)
def test_no_cell_is_a_formula(text):
    """Whether a program separates cells by commas or by semicolons."""
    shown = cell(text)
    assert not re.search(r"(^|[;\t\r\n])[\s\ufeff\u200b]*[=+\-@＝＋－＠]", shown) and shown[:1] not in (
        "\t",
        "\r",
        "\n",
    )
    assert shown.replace("'", "") == text.replace("'", "")


def test_ordinary_cells_stay():
    for value in ("a.mp4", "", "a=b", "3 - 2", "a;b", -1.5, None, 7):
        assert cell(value) is value
    assert [cell(text) for text in ("=1+1", "-x.mp4", " @a", "+1", "＝1", "a; =1", "\ufeff=1")] == [
        "'=1+1",
        "'-x.mp4",
        "' @a",
        "'+1",
        "'＝1",
        "a;' =1",
        "'\ufeff=1",
    ]
