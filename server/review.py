"""The page on which people go through predictions: right, or corrected, by one key each."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import mimetypes
import os
import threading
from collections.abc import Awaitable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from video_zoo.datareader.decode import VideoError
from video_zoo.engine.html_document import plain
from video_zoo.engine.page import BAR_STYLE, BASE_STYLE
from video_zoo.server.reading import StripSource
from video_zoo.server.review_decisions import EVENTS, LIST, Conflict, Decisions, is_decision
from video_zoo.server.review_results import Item, Results, find_results, read_results, token_of
from video_zoo.server.review_summary import Scores, random_ranks
from video_zoo.server.uploads import Refused, blocks_of
from video_zoo.utils.errors import InputError
from video_zoo.utils.json_files import check_fields, is_count, is_text, parse_json

_HTML = Path(__file__).with_name("html")
_SCRIPTS = ("review_data.js", "review_search.js", "review.js")
_BODY_BYTES = 1 << 16  # of a decision, at most
_DECISION = {"token": is_text, "item": is_count, "old": is_decision, "new": is_decision, "since": is_count}


@contextlib.contextmanager
def open_review(
    folder: str | os.PathLike,
    *,
    names: Sequence[str] = (),
) -> Iterator[list[Route]]:
    """The routes of the page, all of which begin with /review; the first one is the page itself. At the end of the
    block the process that reads the videos is gone.

    Args:
        folder: the --save_dir of infer.py or test.py, or the results in it.
        names: of a network's classes, which are taken if the results are of these; else as far as the results tell.

    Raises InputError: there are no results, they are damaged, or none of their videos is there; the decisions cannot
    be kept there.
    """
    review = Review(folder, names)

    def route(path: str, answer: Callable[..., Any], *methods: str, thread: Executor | None = None) -> Route:
        return Route(f"/review{path}", _endpoint(answer, thread), methods=methods or ["GET"])

    thread, strips = ThreadPoolExecutor(1, "strips"), StripSource()
    try:
        yield [
            route("", functools.partial(_part, "review.html")),
            *(route(f"/{name}", functools.partial(_part, name)) for name in _SCRIPTS),
            route("/review.css", functools.partial(_part, "review.css", before=BASE_STYLE + BAR_STYLE)),
            route("/data", lambda request: JSONResponse(review.data())),
            route("/changes", lambda request: JSONResponse(review.changes(*_version(request)))),
            route("/decisions", functools.partial(_decide, review), "POST"),
            route("/video/{item:int}", lambda request: _video(review.item(*_place(request)))),
            route("/frames/{item:int}", functools.partial(_frames, review, strips), thread=thread),
        ]
    finally:
        thread.shutdown(wait=False, cancel_futures=True)
        strips.close()


class Review:
    """Results and the decisions about them. Its methods may be called from several threads.

    Args: as of `open_review`, which says what is raised.
    """

    def __init__(self, folder: str | os.PathLike, names: Sequence[str] = ()):
        self._source = find_results(folder)
        self._read_results = functools.partial(read_results, self._source, names)
        self._lock = threading.Lock()
        self._take(self._read_results())

    def data(self) -> dict[str, Any]:
        """All that the page shows: columns of the items, the names of the classes, the decisions so far. Results that
        have changed are read again."""
        with self._lock:
            if token_of(self._source) != self._results.token:
                self._take(self._read_results())
            results, items = self._results, self._results.items
            names = {index: plain(name) for index, name in results.names.items()}
            windows = any(item.span for item in items)
            return {
                "title": _from_here(results.source),
                "token": results.token,
                "names": names,
                "complete": results.complete,
                "labelled": any(item.label is not None for item in items),
                "windows": windows,
                "list": _from_here(results.folder / (EVENTS if windows else LIST)),
                "videos": [plain(item.video) for item in items],
                "spans": [item.span for item in items],
                "choices": [item.choices for item in items],
                "labels": [item.label for item in items],
                "problems": [item.problem for item in items],
                "ranks": self._ranks.tolist(),
                **self._changes(0),
            }

    def changes(self, token: str, since: int) -> dict[str, Any]:
        """{"version", "all", "changes": [[item, decision], ...], "scores"}: what came after the version `since`."""
        with self._lock:
            self._check(token)
            return self._changes(since)

    def decide(self, token: str, item: int, old: Any, new: Any, since: int) -> dict[str, Any]:
        """Keeps a decision, and says what `changes` says. Raises Refused; InputError: it could not be kept."""
        with self._lock:
            target = self._item(token, item)
            if target.problem and is_count(new):
                raise Refused(409, f"Not saved. {target.problem}")
            if is_count(new) and new not in self._results.names:
                raise Refused(400, "There is no such class.")
            try:
                self._decisions.decide(target, old, new)
            except Conflict:
                why = "Somebody else has decided about this video meanwhile. Decide again to replace that."
                return {**self._changes(since), "error": why}
            return self._changes(since)

    def item(self, token: str, place: int) -> Item:
        """Raises Refused if there is none, or the results are others by now."""
        with self._lock:
            return self._item(token, place)

    def _take(self, results: Results) -> None:
        self._decisions = Decisions(results.folder, results.names)
        self._results, self._ranks = results, random_ranks(results.items)
        self._scores = Scores(results.items, self._ranks)
        self._places = {each.key: place for place, each in enumerate(results.items)}

    def _changes(self, since: int) -> dict[str, Any]:
        version, everything, changed, decisions = self._decisions.since(since)
        return {
            "version": version,
            "all": everything,
            "changes": [[self._places[key], new] for key, new in changed.items() if key in self._places],
            "scores": self._scores.of(decisions),
        }

    def _check(self, token: str) -> None:
        if token != self._results.token or token_of(self._source) != token:
            raise Refused(409, "The results have changed since this page was opened. Reload the page.")

    def _item(self, token: str, place: int) -> Item:
        self._check(token)
        if not 0 <= place < len(self._results.items):
            raise Refused(404, "There is no such prediction.")
        return self._results.items[place]


def _endpoint(answer: Callable[..., Response], thread: Executor | None) -> Callable[[Request], Awaitable[Response]]:
    """Answers requests outside of the event loop, in its threads or the given one; what is refused gets a message."""

    async def endpoint(request: Request) -> Response:
        try:
            body = [await _body(request)] if request.method == "POST" else []
            return await asyncio.get_running_loop().run_in_executor(thread, answer, request, *body)
        except Refused as error:
            return JSONResponse({"error": str(error)}, error.status)
        except InputError as error:
            return JSONResponse({"error": plain(str(error))}, 500)

    return endpoint


async def _body(request: Request) -> Any:
    """The decision that a request of this page sends. Raises Refused."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Refused(415, "A decision is sent as application/json.")
    data = b""
    async for part in blocks_of(request):
        data += part
        if len(data) > _BODY_BYTES:
            raise Refused(413, "The request is too large.")
    try:
        return check_fields(parse_json(data), _DECISION, needed=_DECISION)
    except ValueError as error:
        raise Refused(400, f"This is no decision: {plain(str(error))}") from None


def _decide(review: Review, request: Request, body: dict[str, Any]) -> Response:
    answer = review.decide(**{name: body[name] for name in _DECISION})
    return JSONResponse(answer, 409 if "error" in answer else 200)


def _from_here(path: Path) -> str:
    """A path as people of the working directory call it."""
    here = Path.cwd()
    return plain(str(path.relative_to(here) if here in path.parents else path))


def _version(request: Request) -> tuple[str, int]:
    since = request.query_params.get("since", "")
    is_number = since.isascii() and since.isdigit() and len(since) < 19
    return request.query_params.get("token", ""), int(since) if is_number else 0


def _place(request: Request) -> tuple[str, int]:
    return request.query_params.get("token", ""), request.path_params["item"]


def _part(name: str, request: Request, before: str = "") -> Response:
    kind = mimetypes.types_map[Path(name).suffix]
    return Response(before.encode() + (_HTML / name).read_bytes(), media_type=kind)


def _shown(item: Item) -> str:
    """The file of an item. Raises Refused if it is not there any more, or by now a link to another one."""
    if not item.real:
        raise Refused(404, item.problem)
    if os.path.realpath(item.real) != item.real or not os.path.isfile(item.real):
        raise Refused(404, "The video is missing: there is no such file any more.")
    return item.real


def _video(item: Item) -> Response:
    """The file, or the part of it that is asked for."""
    path = _shown(item)
    kind = mimetypes.guess_type(path)[0] or ""
    return FileResponse(path, media_type=kind if kind.startswith("video/") else "video/mp4")


def _frames(review: Review, strips: StripSource, request: Request) -> Response:
    item = review.item(*_place(request))
    try:
        return Response(strips.read(Path(_shown(item)), item.span), media_type="image/jpeg")
    except VideoError as error:
        raise Refused(415, f"The video cannot be read: {plain(str(error))}") from None
