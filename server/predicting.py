"""POST /predict: a video in, JSON out; at once, or line by line as it is computed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import secrets
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from video_zoo.datareader.checks import check_windows
from video_zoo.datareader.sampling import Windows
from video_zoo.server.analysis import Analyst, Question
from video_zoo.server.line import Line, LineFull
from video_zoo.server.uploads import SILENCE_S, Refused, save_body
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger

_RETRY_S = 5  # that a visitor is asked to wait when the line is full
_FLAGS = ("whole", "reverse", "strips", "stream")
_LOOK_S = 1.0  # after which one looks whether a visitor is still there


class Predicting:
    """The route.

    Args:
        analyst: is used in the one thread of `thread`.
        folder: for videos while they are needed.
        most_bytes: of a video.
    """

    def __init__(self, analyst: Analyst, thread: Executor, line: Line, folder: Path, most_bytes: int):
        self._analyst, self._thread, self._line = analyst, thread, line
        self._folder, self._most_bytes = folder, most_bytes

    async def answer(self, request: Request) -> Response:
        """Answers a request."""
        with contextlib.ExitStack() as stack:
            try:
                question = self._question(request.query_params)
                stack.enter_context(self._line.enter())
                path = self._folder / secrets.token_hex(8)
                stack.callback(self._thread.submit, path.unlink, missing_ok=True)  # behind what reads it
                await save_body(request, path, self._most_bytes)
            except Refused as error:
                return JSONResponse({"error": str(error)}, error.status)
            except LineFull:
                error = {"error": "too many videos are waiting; try again in a few seconds"}
                return JSONResponse(error, 503, {"Retry-After": str(_RETRY_S)})
            except ClientDisconnect:
                return Response(status_code=499)
            kept = stack.pop_all()  # the file stays until the answer is through
        if request.query_params.get("stream") in ("1", "true"):
            return _Lines(self._answers(path, question), kept)
        with kept:
            return await self._whole_answer(request, path, question)

    async def _whole_answer(self, request: Request, path: Path, question: Question) -> Response:
        answer: dict[str, Any] = {"model": self._analyst.model.name, "predictions": []}

        async def collect() -> None:
            answers = self._answers(path, question)
            try:
                async for part in answers:
                    if "prediction" in part:
                        answer["predictions"].append(part["prediction"])
                    elif "place" not in part:
                        answer.update(part)
            finally:
                await answers.aclose()

        task = asyncio.create_task(collect())
        try:
            while not (await asyncio.wait([task], timeout=_LOOK_S))[0]:
                if await request.is_disconnected():
                    return Response(status_code=499)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        task.result()
        if "error" in answer:
            return JSONResponse({"error": answer["error"]}, answer["status"])
        return JSONResponse(answer)

    async def _answers(self, path: Path, question: Question) -> AsyncIterator[dict[str, Any]]:
        """{"place": n} while others are before it, then what Analyst.answers gives; perhaps {"error", "status"}."""
        loop = asyncio.get_running_loop()
        with self._line.queue() as ticket:
            while place := ticket.place:
                yield {"place": place}
                await ticket.moved()
            answers = self._analyst.answers(path, question)
            try:
                while (part := await loop.run_in_executor(self._thread, next, answers, None)) is not None:
                    yield part
            except Refused as error:
                yield {"error": str(error), "status": error.status}
            except InputError as error:  # as of a deployment folder whose programs follow streams alone
                yield {"error": str(error), "status": 501}
            except Exception:  # of this visitor; the others go on
                logger.exception("a video was not predicted")
                yield {"error": "the server failed; its log says why", "status": 500}
            finally:
                self._thread.submit(answers.close)  # behind what the thread is doing, which is not waited for

    def _question(self, query: Mapping[str, str]) -> Question:
        """Raises Refused."""
        known = {"top_k", "window_s", "stride_s", *_FLAGS}
        if wrong := set(query) - known:
            raise Refused(400, f"unknown: {', '.join(sorted(wrong))}; there are {', '.join(sorted(known))}")
        top_k, window_s = _number(query, "top_k", 5), _number(query, "window_s", None)
        stride_s = _number(query, "stride_s", window_s)
        if wrong := [name for name in _FLAGS if query.get(name, "1") not in ("", "0", "1", "true", "false")]:
            raise Refused(400, f"{wrong[0]}={query[wrong[0]][:40]} is neither 1 nor 0")
        if top_k != int(top_k):
            raise Refused(400, f"top_k={top_k:g} is no whole number")
        if stride_s and not window_s:
            raise Refused(400, "stride_s is of window_s, which is missing")
        windows = Windows(window_s, stride_s) if window_s else None
        if windows:
            try:
                check_windows(self._analyst.model.settings, windows)
            except InputError as error:
                raise Refused(400, str(error)) from error
        flags = {name: query.get(name) in ("1", "true") for name in _FLAGS[:-1]}
        return Question(int(top_k), windows, **flags)


class _Lines(StreamingResponse):
    """A response of JSON lines, which holds what it needs until it is through, whether or not the visitor stays."""

    def __init__(self, parts: AsyncIterator[dict[str, Any]], kept: contextlib.ExitStack):
        super().__init__(_encoded(parts), media_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"})
        self._parts, self._kept = parts, kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            try:
                await asyncio.wait_for(send(message), SILENCE_S)
            except asyncio.TimeoutError:  # others wait behind one who does not read what comes
                raise ClientDisconnect from None

        with self._kept:
            try:
                await super().__call__(scope, receive, send_in_time)
            finally:
                await self.body_iterator.aclose()
                await self._parts.aclose()


async def _encoded(parts: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    async for part in parts:
        yield json.dumps(part, ensure_ascii=False).encode() + b"\n"


def _number(query: Mapping[str, str], name: str, otherwise: float | None) -> float | None:
    """Raises Refused: it is no positive number of a reasonable size."""
    if not query.get(name):
        return otherwise
    try:
        number = float(query[name])
    except ValueError:
        number = math.nan
    if not 0 < number < 1e6:
        raise Refused(400, f"{name}={query[name][:40]} is no number above 0 and below a million")
    return number
