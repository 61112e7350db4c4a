"""The server: its routes, put together."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from video_zoo.engine.html_document import read_part
from video_zoo.engine.page import BAR_STYLE, BASE_STYLE
from video_zoo.engine.streams import Streams
from video_zoo.models import MODELS
from video_zoo.server.analysis import Analyst, Model
from video_zoo.server.camera import Cameras, FrameWatcher, WindowWatcher
from video_zoo.server.counts import CONTENT_TYPE, Counts
from video_zoo.server.guard import Guard
from video_zoo.server.line import Line
from video_zoo.server.predicting import Predicting
from video_zoo.utils.files import scratch_folder

_PARTS = Path(__file__).with_name("html")
_SCRIPTS = ("demo.js", "camera.js")


@dataclass(frozen=True)
class Limits:
    """What visitors may do.

    Args:
        max_mb: of a video.
        max_s: seconds of a video.
        max_waiting: videos that are received or wait while another one is computed.
        max_cameras: at once.
    """

    max_mb: float = 200
    max_s: float = 600
    max_waiting: int = 8
    max_cameras: int = 4


@contextlib.contextmanager
def open_app(
    model: Model | None,
    *,
    streams: Streams | None = None,
    review: Sequence[BaseRoute] = (),
    limits: Limits = Limits(),
    hosts: Collection[str] = (),
) -> Iterator[Guard]:
    """The application, which uvicorn runs. At the end of the block its thread, its reader process and its temporary
    files are gone.

    Args:
        model: as video_zoo.load gives it; None: there are no predictions.
        streams: the same network, frame by frame, for cameras; None: they are predicted in windows.
        review: routes of the review page, whose first one is its page.
        hosts: names that requests may have in Host; empty: all.
    """
    counts = Counts()
    with contextlib.ExitStack() as stack:
        routes: list[BaseRoute] = [*review]
        if model is not None:
            routes += _model_routes(stack, model, streams, counts, limits, bool(review))
        else:
            routes.append(Route("/healthz", JSONResponse({"status": "ok", "model": None})))
            routes.append(Route("/", RedirectResponse(review[0].path)))

        async def metrics(request: Request) -> Response:
            return Response(counts.text(), media_type=CONTENT_TYPE)

        routes.append(Route("/metrics", metrics))
        routes.append(Route("/elements.js", Response(read_part("elements.js"), media_type="text/javascript")))
        paths = [route.path for route in routes if isinstance(route, Route) and "{" not in route.path]
        yield Guard(Starlette(routes=routes), counts=counts, hosts=hosts, paths=paths)


def _model_routes(
    stack: contextlib.ExitStack, model: Model, streams: Streams | None, counts: Counts, limits: Limits, has_review: bool
) -> list[BaseRoute]:
    transform = MODELS.get(model.settings.MODEL.name).eval_transform
    line = Line(limits.max_waiting + 1, counts.waiting.set)
    thread = ThreadPoolExecutor(1, "network")  # one network, one thread
    stack.callback(thread.shutdown, cancel_futures=True)
    analyst = Analyst(model, transform, counts, limits.max_s)
    stack.callback(analyst.close)  # before the thread, which may wait for the process that this ends
    thread.submit(analyst.warm_up)
    folder = stack.enter_context(scratch_folder())
    watcher = FrameWatcher(model, streams, transform) if streams else WindowWatcher(model, transform, counts)
    cameras = Cameras(watcher, thread, counts, model.settings.INFER.short_size, limits.max_cameras)
    predicting = Predicting(analyst, thread, line, folder, round(limits.max_mb * 1e6))

    about = {"name": model.name, "classes": len(model.names), "description": model.description}
    about |= {"max_mb": limits.max_mb, "max_s": limits.max_s, "review": has_review}

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "model": model.name, "waiting": line.waiting})

    style = BAR_STYLE + BASE_STYLE + _read("demo.css")
    return [
        Route("/", Response(_read("demo.html"), media_type="text/html")),
        Route("/demo.css", Response(style, media_type="text/css")),
        *(Route(f"/{name}", Response(_read(name), media_type="text/javascript")) for name in _SCRIPTS),
        Route("/about", JSONResponse(about)),
        Route("/predict", predicting.answer, methods=["POST"]),
        WebSocketRoute("/camera", cameras.follow),
        Route("/healthz", health),
    ]


def _read(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")
