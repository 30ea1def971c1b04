"""One HTTP connection: ended where it asks or reads nothing; what is no HTTP is refused."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from sdv2_host.control.guard import GUARD_HEADERS
from sdv2_host.control.osc_guests import may_send
from sdv2_host.control.web_gate import failure
from sdv2_host.control.web_limits import Limits, Reason, count
from sdv2_host.status import WebCounts


class HttpConnection(web.RequestHandler):
    """Fields, per connection: of which server; counts and limits; what was not sent yet when that
    was looked at last; the alarms for a request that does not come and for an answer that is not
    read. A WebSocket minds both itself."""

    def __init__(
        self, server: web.Server, counts: WebCounts, limits: Limits, **settings: Any
    ) -> None:
        super().__init__(server, **settings)
        self._server = server
        self._counts = counts
        self._limits = limits
        self._unsent_bytes = 0
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None, "connected"
        is_crowded = len(self._server.connections) > self._limits.max_connections
        if is_crowded and not may_send(str((self.peername or ("",))[0]), ()):
            self._drop(self.transport, "too_many")
            return
        # Told of every byte that waits: what is closed waits for its reader, for ever if need be.
        self.transport.set_write_buffer_limits(high=0)
        loop = asyncio.get_running_loop()
        self._late = loop.call_later(self._limits.hello_s, self._drop, self.transport, "late")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._late is not None and self._request_count > 0:
            self._late.cancel()

    def set_parser(self, *parser: Any, **settings: Any) -> None:
        """It is a WebSocket from now on."""
        super().set_parser(*parser, **settings)
        if self.transport is not None:
            self.transport.set_write_buffer_limits()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        for alarm in (self._late, self._unread):
            if alarm is not None:
                alarm.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._payload_parser is None and self.transport is not None:
            self._look_again(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    # The transport is passed on: aiohttp forgets it when it closes it, which is not the end.
    def _look_again(self, transport: asyncio.Transport) -> None:
        self._unsent_bytes = transport.get_write_buffer_size()
        loop = asyncio.get_running_loop()
        self._unread = loop.call_later(self._limits.slow_s, self._look, transport)

    def _look(self, transport: asyncio.Transport) -> None:
        # Of who reads slowly some was sent meanwhile.
        if transport.get_write_buffer_size() == self._unsent_bytes:
            self._drop(transport, "slow")
        else:
            self._look_again(transport)

    def _drop(self, transport: asyncio.Transport, reason: Reason) -> None:
        count(self._counts, reason)
        self.force_close()
        transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Counted and not logged: strangers must not fill the disk. Our own faults are logged."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        count(self._counts, "bad_messages")
        answer = failure(status, "not_http", "not a request that HTTP knows")
        answer.headers.update(GUARD_HEADERS)
        answer.force_close()
        return answer


class HttpServer(web.Server):
    """Makes the protocol of each connection."""

    def __init__(
        self, like: web.Server, counts: WebCounts, limits: Limits, **settings: Any
    ) -> None:
        super().__init__(like.request_handler, request_factory=like.request_factory, **settings)
        self._counts = counts
        self._limits = limits

    def __call__(self) -> web.RequestHandler:
        return HttpConnection(self, self._counts, self._limits, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Serves an application by an `HttpServer`."""

    def __init__(
        self, app: web.Application, counts: WebCounts, limits: Limits, **settings: Any
    ) -> None:
        super().__init__(app, **settings)
        self._counts = counts
        self._limits = limits

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return HttpServer(made, self._counts, self._limits, **self._kwargs)
