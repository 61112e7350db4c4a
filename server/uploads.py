"""What a visitor sends: a body, raw or as a form, into a file, up to a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

SILENCE_S = 30.0  # after which a visitor who sends nothing, or takes nothing of an answer, is given up
_LEAST_RATE = 10e3  # bytes a second, on the average after the first SILENCE_S
_FORM_BYTES = 64 << 10  # that a form may have beside its file
_HEADER_BYTES = 8 << 10  # of a header of a form's part


class Refused(Exception):
    """What a visitor gets in place of what was asked for.

    Args:
        status: of HTTP, 4xx or 503.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


async def save_body(request: Request, path: Path, most_bytes: int) -> None:
    """Writes the video of a request to a file: of a form its first file, else the body as it is.

    Raises Refused: it is too large, there is none, the form is damaged, or nothing comes any more;
    starlette.requests.ClientDisconnect: the visitor has left.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    is_form = kind == b"multipart/form-data"
    limit = most_bytes + is_form * _FORM_BYTES
    too_large = Refused(413, f"the video is larger than {most_bytes / 1e6:g} MB, which --max_mb allows")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    got = 0
    with path.open("xb") as file:
        form = _Form(options.get(b"boundary", b""), file) if is_form else None
        async for block in blocks_of(request):
            got += len(block)
            if got > limit:
                raise too_large
            file.write(block) if form is None else form.write(block)
            if got - file.tell() > _FORM_BYTES:  # small parts take a parser long, which everybody would wait for
                raise Refused(413, f"the form has more than {_FORM_BYTES >> 10} kB beside its first file")
        if form is not None:
            form.finish()
        if file.tell() > most_bytes:
            raise too_large
        if not file.tell():
            raise Refused(400, "there is no video: send a file in a form, or the file itself as the body")


async def blocks_of(request: Request) -> AsyncIterator[bytes]:
    """A request's body as it comes. Raises Refused: nothing comes any more, or too little;
    starlette.requests.ClientDisconnect."""
    stream = request.stream()
    until = time.monotonic() + SILENCE_S
    while True:
        try:
            block = await asyncio.wait_for(stream.__anext__(), min(SILENCE_S, until - time.monotonic()))
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            raise Refused(408, f"nothing came for {SILENCE_S:g} seconds, or too little") from None
        until += len(block) / _LEAST_RATE
        yield block


class _Form:
    """A form, whose first file goes into `file`; its other parts are passed over."""

    def __init__(self, boundary: bytes, file: IO[bytes]):
        self._file, self._name, self._value = file, b"", b""
        self._wanted, self._found, self._is_whole = False, False, False
        calls = (
            self._begin,
            self._add_name,
            self._add_value,
            self._end_header,
            self._add_data,
            self._end_part,
            self._end,
        )
        names = ("part_begin", "header_field", "header_value", "header_end", "part_data", "part_end", "end")
        on = {f"on_{name}": call for name, call in zip(names, calls)}
        try:
            self._parser = MultipartParser(boundary, on)
        except FormParserError as error:
            raise Refused(400, f"the form is damaged: {error}") from error

    def write(self, block: bytes) -> None:
        """The next part of the body. Raises Refused."""
        try:
            self._parser.write(block)
        except FormParserError as error:
            raise Refused(400, f"the form is damaged: {error}") from error

    def finish(self) -> None:
        """Raises Refused: the form breaks off."""
        if not self._is_whole:
            raise Refused(400, "the form is damaged: it breaks off")

    def _begin(self) -> None:
        self._name = self._value = b""

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name = _longer(self._name, data[start:end])

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value = _longer(self._value, data[start:end])

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._wanted = not self._found and b"filename" in parse_options_header(self._value)[1]
        self._name = self._value = b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._found = True
            self._file.write(data[start:end])

    def _end_part(self) -> None:
        self._wanted = False

    def _end(self) -> None:
        self._is_whole = True


def _longer(text: bytes, more: bytes) -> bytes:
    """Raises Refused: a header takes more than a header does."""
    if len(text) + len(more) > _HEADER_BYTES:
        raise Refused(400, "the form is damaged: a header is too long")
    return text + more
