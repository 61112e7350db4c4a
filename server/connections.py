"""Connections that ask nothing: uvicorn keeps them for ever, and a process may have only so many open."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from video_zoo.server.uploads import SILENCE_S

MOST = 200  # at once; a process of macOS may have 256 open files


class Connection(H11Protocol):
    """uvicorn's, which is closed if no whole request comes within SILENCE_S after it is made, or within twice that time
    after the visitor has taken the last of an answer, and at once while there are MOST others."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
        else:
            self.loop.call_later(SILENCE_S, self._look, None, 0)

    def _look(self, request: Any, left: int) -> None:
        """Closes it if its last request, None: there was none, is still the given one, and is answered, and so many
        bytes of the answer are still left."""
        if self not in self.connections:  # it is closed, or a WebSocket by now
            return
        now = self.transport.get_write_buffer_size()
        if self.cycle is request and now == left and (request is None or request.response_complete):
            self.transport.abort()
        else:
            self.loop.call_later(SILENCE_S, self._look, self.cycle, now)
