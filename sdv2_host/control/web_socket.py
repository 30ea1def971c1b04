"""One WebSocket connection: limits kept, pings answered; closed for a reason, which is counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import IntEnum

from aiohttp import WSMessage, WSMsgType, web
from aiohttp.http_websocket import WebSocketError

from sdv2_host.clock import now_ns
from sdv2_host.control.web_limits import Limits, MessageBucket, Reason, count
from sdv2_host.control.web_messages import MAX_TEXT_BYTES
from sdv2_host.control.web_outbox import Message, Outbox
from sdv2_host.status import WebCounts

GOODBYE_S = 1.0
"""How long a client may take to answer that it is closed."""


class CloseCode(IntEnum):
    """Why we close; below 4000 those of RFC 6455."""

    GOING_AWAY = 1001
    TOO_BIG = 1009
    TRY_AGAIN_LATER = 1013
    BAD_HELLO = 4400
    TOKEN = 4401
    SLOW = 4408
    FLOOD = 4429


class ClientSocket:
    """Fields, per connection: the socket; what is left of its message rate; whether it is being
    closed by us."""

    def __init__(
        self, request: web.Request, counts: WebCounts, limits: Limits, protocols: tuple[str, ...]
    ) -> None:
        self._request = request
        self._transport = request.transport
        self._counts = counts
        self._limits = limits
        self._bucket = MessageBucket(limits.messages_per_s, limits.burst, limits.burst, now_ns())
        self._is_closing = False
        self._protocols = protocols
        # No compression: it costs more than loopback does, and inflates what strangers send.
        self.response = web.WebSocketResponse(
            timeout=GOODBYE_S,
            autoping=False,
            heartbeat=limits.heartbeat_s,
            protocols=protocols,
            compress=False,
            max_msg_size=MAX_TEXT_BYTES,
        )

    @property
    def peername(self) -> tuple[str, int] | None:
        """Address and port of the client; None when it is gone."""
        found = self._transport.get_extra_info("peername") if self._transport else None
        return (str(found[0]), int(found[1])) if found else None

    async def open(self) -> None:
        """Raises: web.HTTPBadRequest when the request asks for no WebSocket of ours."""
        values = [self._request.headers.get(name, "") for name in _HANDSHAKE]
        if not "".join(values).isascii():  # aiohttp would fail on it, and write a trace
            raise web.HTTPBadRequest(text="the handshake is not ASCII")
        offered = offered_protocols(self._request)
        if offered and not set(offered) & set(self._protocols):
            # aiohttp would go on without one, and log a line of the client's own at each try.
            expected = " or ".join(self._protocols)
            raise web.HTTPBadRequest(text=f"expected Sec-WebSocket-Protocol: {expected}, or none")
        await self.response.prepare(self._request)

    async def receive(self) -> Message | None:
        """The next message; None when there will be no more."""
        while True:
            message = await self.response.receive()
            if message.type not in _FROM_CLIENT:
                await self._ended(message)
                return None
            if not self._bucket.take(now_ns()):
                await self.drop("flooding", CloseCode.FLOOD)
                return None
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                content: Message = message.data
                return content
            if message.type is WSMsgType.PING:
                try:
                    async with asyncio.timeout(self._limits.slow_s):
                        await self.response.pong(message.data)
                except TimeoutError:
                    await self.drop("slow", CloseCode.SLOW)
                    return None
                except ConnectionError:
                    return None

    def was_asked_for(self) -> None:
        """The message received last does not count against the rate."""
        self._bucket.give_back()

    async def send(self, message: Message) -> None:
        """Raises: TimeoutError when the client does not read for too long."""
        async with asyncio.timeout(self._limits.slow_s):
            if isinstance(message, str):
                await self.response.send_str(message)
            else:
                await self.response.send_bytes(message)

    @contextlib.asynccontextmanager
    async def sending(self, outbox: Outbox) -> AsyncIterator[None]:
        """What comes into the outbox is sent; afterwards nothing of this runs any more."""
        task = asyncio.create_task(self._send_all(outbox), name="web client")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _send_all(self, outbox: Outbox) -> None:
        try:
            await outbox.send_all(self)
        except TimeoutError:
            await self.drop("slow", CloseCode.SLOW)
        except ConnectionError:
            pass  # gone: `receive` ends, too

    async def close(self, code: CloseCode, reason: str = "") -> None:
        """Closed, and gone within a second or two even if the client does not play along."""
        self._is_closing = True
        try:
            # Writing a goodbye waits for the client to read what came before.
            async with asyncio.timeout(GOODBYE_S):
                await self.response.close(code=code, message=reason.encode()[:120])
        except TimeoutError:
            pass
        finally:
            self._abort_unread()

    async def drop(self, reason: Reason, code: CloseCode) -> None:
        """Closed, and counted as refused."""
        if not self._is_closing:
            count(self._counts, reason)
            await self.close(code, reason)

    async def _ended(self, message: WSMessage) -> None:
        """Counts why, where it was not the client's wish."""
        fault = self.response.exception() or message.data
        if self._is_closing:
            return
        if isinstance(fault, TimeoutError):
            count(self._counts, "slow")  # pings were not answered
        elif isinstance(fault, WebSocketError):
            is_big = fault.code == CloseCode.TOO_BIG
            count(self._counts, "oversized" if is_big else "bad_messages")
        self._abort_unread()

    def _abort_unread(self) -> None:
        """A transport that is closed waits for its buffer to be read, for ever if need be."""
        if self._transport is not None and self._transport.get_write_buffer_size() > 0:
            self._transport.abort()


def offered_protocols(request: web.Request) -> tuple[str, ...]:
    """The subprotocols that the client speaks; () = it does not say."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    return tuple(filter(None, (name.strip() for name in offered)))


_FROM_CLIENT = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG)
_HANDSHAKE = (
    *("Connection", "Upgrade"),
    *("Sec-WebSocket-Version", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol"),
)
