"""What holds for all requests: who may ask, what a page may do, and what is counted."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from video_zoo.server.counts import Counts

# Nothing is fetched from elsewhere, and no script or style runs that is not a file of the server.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data: blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Refuses requests that another site makes a visitor's browser send, adds headers to answers, and counts them.

    A request is refused with 421 if its Host is neither an IP address nor one of `hosts` (a name of another site may
    lead to this machine: DNS rebinding), and with 403 if a page of another origin sent it, also a WebSocket.

    Args:
        hosts: names without a port, in lower case, that Host may have beside addresses; empty: all.
        paths: that are counted by their names.
    """

    def __init__(self, app: ASGIApp, *, counts: Counts, hosts: Collection[str] = (), paths: Collection[str] = ()):
        self._app, self._counts, self._hosts, self._paths = app, counts, frozenset(hosts), frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope))
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})  # a 403 to the browser
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        start, statuses = time.monotonic(), [499]  # the client left before it had an answer

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            if refusal is None:
                await self._app(scope, receive, send_counted)
            else:
                status, error = refusal
                await JSONResponse({"error": error}, status)(scope, receive, send_counted)
        finally:
            self._counts.requests.labels(path, statuses[-1]).inc()
            self._counts.seconds.labels(path).observe(time.monotonic() - start)

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        if self._hosts and name.lower() not in self._hosts and not _is_address(name):
            known = ", ".join(sorted(self._hosts))
            return 421, f"this server is not {name[:100]}: it answers to addresses, {known}; --name=HOST adds a name"
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return 403, f"a page of {origin} may not use this server"
        return None


def own_names() -> set[str]:
    """The names of this machine, in lower case, that a browser in its network may have it under."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return {"localhost", name, short, f"{short}.local"}


def _is_address(name: str) -> bool:
    """Whether a Host without its port is an IP address, which no site can make lead elsewhere."""
    try:
        ipaddress.ip_address(name[1:-1] if name.startswith("[") else name)
    except ValueError:
        return False
    return True
