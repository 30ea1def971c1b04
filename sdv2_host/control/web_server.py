"""What aiohttp answers by itself to bytes that are no HTTP, answered as every other refusal is."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from sdv2_host.control.guard import GUARD_HEADERS
from sdv2_host.control.web_gate import failure
from sdv2_host.control.web_limits import count
from sdv2_host.status import WebCounts


class HttpConnection(web.RequestHandler):
    """Fields, per connection: where refusals are counted."""

    def __init__(self, server: web.Server, counts: WebCounts, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._counts = counts

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

    def __init__(self, like: web.Server, counts: WebCounts, **settings: Any) -> None:
        super().__init__(like.request_handler, request_factory=like.request_factory, **settings)
        self._counts = counts

    def __call__(self) -> web.RequestHandler:
        return HttpConnection(self, self._counts, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Serves an application by an `HttpServer`."""

    def __init__(self, app: web.Application, counts: WebCounts, **settings: Any) -> None:
        super().__init__(app, **settings)
        self._counts = counts

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return HttpServer(made, self._counts, **self._kwargs)
