"""Text that comes in from files, and names that go out to a terminal, a log, a page or a spreadsheet."""

from __future__ import annotations

import os
import re
from html import escape
from typing import IO, Any

from video_zoo.utils.errors import InputError
from video_zoo.utils.open_files import open_regular

LIST_BYTES = 1 << 31  # of a list or a label file, at most
CONFIG_BYTES = 1 << 20  # of a config file, at most
_LINE, _MESSAGE = 2000, 20_000  # characters of a line, and of a message, that are shown
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # UTF-32's begins like the first
_BLOCK = 1 << 20

# C0, DEL, C1, the line and paragraph separators, and what changes the direction of the text that follows
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# User and password of an address: up to the last @ before its first slash; or, if what follows the colon is no port, a
# password with a slash in it.
_USER = re.compile(
    r"([a-z][a-z0-9+.-]{0,30}://)(?:[^/\s]*|[^/\s@:]*:(?!\d{1,5}(?:/|$))[^\s@]*)@",
    re.IGNORECASE,
)
_QUERY = re.compile(
    r"([?&;#/_](?:[^=&#?;/\s]{0,40}(?:token|key|auth|sig|pas|pwd|secret|cred|session|jwt)[^=&#?;/\s]{0,40}"
    r"|pw|sid|code|policy|hdnts)=)[^&#;\s]+",
    re.IGNORECASE,
)
_BLANK = r"[\s\ufeff\u200b-\u200f\u2060]*"
# What a spreadsheet takes for a formula, also behind a semicolon or a tab, which separate cells in many countries.
_FORMULA = re.compile(rf"(?:^|(?<=[;\t\r\n]))(?={_BLANK}[=+\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\r\n])")


def read_bytes(path: str | os.PathLike, name: str | None = None, most: int = LIST_BYTES) -> bytes:
    """The content of a file of text in an 8-bit encoding, or what comes out of a pipe.

    Args:
        name: the file as messages call it; None: its path.
        most: bytes that it may have.

    Raises InputError: it cannot be read, is a device, is larger, or has zero bytes in it, as UTF-16 has.
    """
    name, blocks, size = name or str(path), [], 0
    try:
        with open_regular(path, most, pipes=True) as file:
            while block := file.read(_BLOCK):  # in blocks: a pipe need not end
                if not blocks and block.startswith(_UTF16_MARKS):
                    raise InputError(f"cannot read {name}: it is UTF-16 text; save it as UTF-8")
                if b"\0" in block:
                    raise InputError(
                        f"cannot read {name}: it has zero bytes in it, so it is no UTF-8 text; save it as UTF-8"
                    )
                size += len(block)
                if size > most:
                    raise InputError(f"cannot read {name}: it has more than {most >> 20} MiB")
                blocks.append(block)
    except (OSError, ValueError) as error:  # ValueError: no possible path
        raise InputError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error
    return b"".join(blocks)


def read_text(path: str | os.PathLike, name: str | None = None, most: int = LIST_BYTES) -> str:
    """The text of a UTF-8 file, with or without a byte order mark; its lines end in "\\n", whether they end in LF, CRLF
    or CR in the file. Raises InputError as read_bytes, or if it is not UTF-8."""
    try:
        text = read_bytes(path, name, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"cannot read {name or path}: not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_lines(path: str | os.PathLike, name: str | None = None) -> list[str]:
    """The lines of a text file, without their ends; one more, which is empty, if the last has its end. Raises
    InputError as read_text."""
    return read_text(path, name).split("\n")


def printable(text: str) -> str:
    """Text for a terminal or a page: control characters are escaped, as \\x1b, but for line ends and tabs, and the
    passwords and keys of addresses are left out."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), hide_secrets(text))


def one_line(name: str) -> str:
    """`printable`, with line ends and tabs escaped, too."""
    return printable(name).replace("\n", "\\n").replace("\t", "\\t")


def html(text: str) -> str:
    """Text for HTML, XML and SVG: `one_line`, without markup."""
    return escape(one_line(text))


def for_display(text: str) -> str:
    """A message or a log line as it is shown: `printable`, with the middle of an overlong line left out. Lines after
    the first are indented, so that no name can look like a line of its own."""
    # An address is looked at whole: of one that is cut, a part of the password would be left.
    lines = (_cut(printable(line), _LINE) for line in _cut(hide_secrets(text), _MESSAGE).split("\n"))
    return re.sub(r"\n(?=\S)", "\n  ", "\n".join(lines))


def hide_secrets(text: str) -> str:
    """Text whose addresses have neither user nor password, nor a value of a query that is a key by its name."""
    if "://" not in text:
        return text
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", text))


def cell(value: Any) -> Any:
    """A value for a cell of a csv: text that a spreadsheet would take for a formula gets an apostrophe in front.

    Source: OWASP, "CSV Injection".
    """
    return _FORMULA.sub("'", value) if isinstance(value, str) else value


def _cut(text: str, most: int) -> str:
    """Of a longer text the beginning and the end, which has the remedy."""
    if len(text) <= most:
        return text
    head = most * 3 // 4
    tail = most - head
    return f"{text[:head]} ... [{len(text) - most:,} characters] ... {text[-tail:]}"


class PrintableStream:
    """A text stream that writes what `printable` makes of each text; all else is the stream's own.

    Args:
        stream: is there as `unescaped`, too.
    """

    def __init__(self, stream: IO[str]):
        self.unescaped = stream

    def write(self, text: str) -> int:
        return self.unescaped.write(printable(text))

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unescaped, name)
