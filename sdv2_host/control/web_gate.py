"""The gate that every HTTP request passes: who may ask for what, and refusals as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ValidationError

from sdv2_host.control.access import Access
from sdv2_host.control.guard import (
    GUARD_HEADERS,
    Refusal,
    check_content,
    check_origin,
    check_token,
)
from sdv2_host.control.osc_guests import Network, may_send
from sdv2_host.control.web_answers import json_text
from sdv2_host.control.web_limits import Limits, count
from sdv2_host.control.web_messages import (
    Failure,
)
from sdv2_host.control.web_parse import MessageError, first_fault, parse_object
from sdv2_host.errors import HostError
from sdv2_host.status import WebCounts

HTML = "text/html"
OPEN_PATHS = frozenset(("/healthz", "/socket"))
"""Need no token: one says nothing but whether we live, the other is told it in its hello."""

T = TypeVar("T", bound=BaseModel)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Gate:
    """Fields, per process. `guests` may read the OSC address space without a token, as they may
    play it over UDP; `files` are the paths of the page."""

    access: Access
    guests: tuple[Network, ...]
    files: frozenset[str]
    counts: WebCounts
    limits: Limits

    async def answer(self, request: web.Request, handler: Answer) -> web.StreamResponse:
        """The handler's answer, or a refusal that is counted."""
        self.counts.requests += 1
        refusal = self._judge(request)
        if refusal is not None:
            count(self.counts, refusal.counter)
            return failure(refusal.status, refusal.code, refusal.text)
        try:
            return await handler(request)
        except MessageError as error:
            count(self.counts, "bad_messages")
            return failure(400, error.code, str(error))
        except HostError as error:
            return failure(400, "refused", str(error))
        except ConnectionError:
            return failure(400, "gone", "the client is gone")  # which nobody reads
        except web.HTTPException as error:
            if error.status < 400:
                raise
            if error.status == 400:
                count(self.counts, "bad_messages")
            code = error.reason.lower().replace(" ", "_")
            return failure(error.status, code, error.text or error.reason)

    def _judge(self, request: web.Request) -> Refusal | None:
        headers, path = request.headers, request.path
        is_page = path in self.files or wants_page(request)
        refusal = check_origin(headers, port_of(request), self.access, is_page=is_page)
        if (
            refusal is None
            and not is_page
            and path not in OPEN_PATHS
            and not self._is_guest(request)
        ):
            refusal = check_token(headers, self.access)
        return refusal or check_content(request.method, request.content_type)

    def _is_guest(self, request: web.Request) -> bool:
        is_space = not request.path.startswith(("/api/", "/metrics"))
        return is_space and may_send(request.remote or "", self.guests)

    async def body(self, request: web.Request) -> dict[str, object]:
        """The JSON object that was sent.

        Raises:
            MessageError: it is none.
            web.HTTPException: too large, or too slow to arrive.
        """
        try:
            async with asyncio.timeout(self.limits.hello_s):
                raw = await request.read()
        except TimeoutError:
            count(self.counts, "late")
            raise web.HTTPRequestTimeout from None
        except web.HTTPRequestEntityTooLarge:
            count(self.counts, "oversized")
            raise
        except (ConnectionError, web.RequestPayloadError, HttpProcessingError):
            raise MessageError("bad_message", "the body broke off") from None
        return dict(parse_object(raw))

    async def parsed(self, request: web.Request, model: type[T]) -> T:
        """The body as this message; raises as `body`."""
        content = await self.body(request)
        try:
            return model.model_validate(content)
        except ValidationError as error:
            raise MessageError("bad_message", first_fault(error)) from None


def wants_page(request: web.Request) -> bool:
    """A person's browser asks for the root: not a program for the OSC address space."""
    return (
        request.path == "/"
        and request.method in ("GET", "HEAD")
        and HTML in request.headers.get("Accept", "")
        and not request.query_string
        and not wants_socket(request)
    )


def wants_socket(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").strip().lower() == "websocket"


def port_of(request: web.Request) -> int:
    """The port that the request came in at; 0 when it is gone already."""
    address = request.transport.get_extra_info("sockname") if request.transport else None
    return int(address[1]) if address else 0


def failure(status: int, code: str, message: str) -> web.Response:
    return json_answer(Failure(code=code, message=message), status)


def json_answer(content: object, status: int = 200) -> web.Response:
    text = content.model_dump_json() if isinstance(content, BaseModel) else json_text(content)
    return web.Response(text=text, status=status, content_type="application/json")


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`."""
    response.headers.update(GUARD_HEADERS)
