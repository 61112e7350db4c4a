"""A page that shows what a network says of videos and of the camera: `python demo.py --weights=FOLDER`."""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import argparse
import contextlib
import errno
import ipaddress
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from video_zoo.engine.backends import add_engine_flags
from video_zoo.engine.backends.base import missing_packages
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger, set_up_logging

if TYPE_CHECKING:
    from video_zoo.engine.predictor import Predictor

_PACKAGES = {
    **{"starlette": "starlette", "uvicorn": "uvicorn", "websockets": "websockets"},
    **{"python_multipart": "python-multipart", "prometheus_client": "prometheus-client"},
}


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(
        description="Shows in the browser what a network says of videos and of the camera, and answers POST /predict."
        " In brackets: what a flag left out means.",
        epilog="examples:\n"
        "  python demo.py --weights=mine/TSM_best\n"
        "  python demo.py --weights=exported/TSM --host=0.0.0.0 --open=False\n"
        "  python demo.py --review=results\n"
        "  curl -F file=@holiday.mp4 'http://127.0.0.1:8000/predict?top_k=3'",
    )
    add, path = parser.add_argument, cli.optional_path
    add("--weights", type=path, metavar="PATH", help="a checkpoint or a deployment folder, or a released name, as TSM")
    add("--config", type=path, metavar="FILE", help="replaces what the weights say of the network and its clips")
    add("--review", type=path, metavar="FOLDER", help="also a page to go through the results in this folder")
    add("--device", default="auto", choices=("auto", "cpu", "gpu"), help="what computes (auto)")
    add_engine_flags(parser)
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="0.0.0.0: for the whole network (127.0.0.1)")
    add(
        "--name",
        nargs="+",
        action="extend",
        default=[],
        metavar="HOST",
        help="names of a proxy or of DNS that are answered to, beside addresses and this machine's own; *: all",
    )
    add("--port", type=cli.at_most(cli.count, 65535), default=8000, metavar="N", help="0: any that is free (8000)")
    add("--open", type=cli.boolean, default=True, metavar="BOOL", help="opens the page in the browser (True)")
    add("--max_mb", type=cli.positive_int, default=200, metavar="N", help="of a video that is sent (200)")
    add("--max_s", type=cli.positive_int, default=600, metavar="S", help="seconds that it may have (600)")
    add("--max_waiting", type=cli.count, default=8, metavar="N", help="videos that may wait for the network (8)")
    add("--max_cameras", type=cli.count, default=4, metavar="N", help="cameras at once (4)")
    args = parser.parse_args()
    if not (args.weights or args.review):
        parser.error("give --weights=FOLDER, a network to predict with, or --review=FOLDER, results to go through")
    return args


def main() -> None:
    args = parse_arguments()
    set_up_logging()
    if missing := missing_packages(_PACKAGES):
        raise InputError(f"the page needs {', '.join(missing)}: pip install -r requirements/demo.txt")
    from video_zoo.server.app import Limits, open_app

    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(args.host, args.port))  # a port in use is said before a network is loaded
        model = streams = None
        if args.weights:
            model = open_model(args)
            streams = model.streams() if args.max_cameras else None
        limits = Limits(args.max_mb, args.max_s, args.max_waiting, args.max_cameras)
        hosts = names_of(args.name)
        review = stack.enter_context(open_review(args.review, model.names if model else ()))
        app = stack.enter_context(open_app(model, streams=streams, review=review, limits=limits, hosts=hosts))
        serve(app, listener, args.open)


def open_model(args: argparse.Namespace) -> Predictor:
    """The network. Raises InputError."""
    import video_zoo

    how = {"device": args.device, "engine": args.engine or "auto", "precision": args.precision, "config": args.config}
    return video_zoo.load(args.weights, **how)


def open_review(folder: str | None, names: Sequence[str]) -> contextlib.AbstractContextManager[Sequence[Any]]:
    """Gives the routes of the review page, for results of classes with these names. Raises InputError."""
    if folder is None:
        return contextlib.nullcontext(())
    from video_zoo.server import review

    return review.open_review(folder, names=names)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises InputError: the port is in use, or there is no such address."""
    listener = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        *kind, _, address = found[0]
        # With the protocol, by which asyncio knows TCP: else it leaves TCP_NODELAY out, and an answer may wait 40 ms.
        listener = socket.socket(*kind)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except (OSError, UnicodeError) as error:  # UnicodeError: of what no name of a host can be
        if listener is not None:
            listener.close()
        why = getattr(error, "strerror", None) or error
        in_use = getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES)
        remedy = "--port=0 takes one that is free" if in_use else "--host is an address or a name of this machine"
        raise InputError(f"cannot listen on {host}, port {port}: {why}; {remedy}") from error
    return listener


def names_of(names: Sequence[str]) -> Collection[str]:
    """The names that requests may have in Host beside addresses: this machine's and the given ones; none, which means
    all, if "*" is one of these. Raises InputError: a name has more to it than a name."""
    from video_zoo.server.guard import own_names

    for name in names:
        if ":" in name or "/" in name:
            raise InputError(f"--name={name}: give the name alone, as zoo.example.org, without https:// and the port")
    return () if "*" in names else own_names() | {name.lower() for name in names}


def address_of(listener: socket.socket) -> str:
    """The page's, for a browser of this machine."""
    host, port = listener.getsockname()[:2]
    where = ipaddress.ip_address(host.partition("%")[0])
    if where.is_unspecified:
        host = "127.0.0.1" if where.version == 4 else "::1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def serve(app: Any, listener: socket.socket, show: bool) -> None:
    """Answers requests until a signal comes, which then counts as ever."""
    import uvicorn

    from video_zoo.server.camera import MOST_BYTES
    from video_zoo.server.connections import Connection

    quiet: dict[str, Any] = {"log_level": "critical", "access_log": False, "lifespan": "off"}
    safe = {"server_header": False, "proxy_headers": False, "ws_max_size": MOST_BYTES, "http": Connection}
    safe["backlog"] = 100  # that are accepted in a row, before the first of them can be closed
    configuration = uvicorn.Config(app, **quiet, **safe, timeout_graceful_shutdown=0)
    address = address_of(listener)
    logger.info("the page is %s; Ctrl-C ends it", address)
    if show and has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    uvicorn.Server(configuration).run(sockets=[listener])


def has_screen() -> bool:
    """Whether a browser that is started would have a window: one for terminals would take over this one."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    cli.run(main)
