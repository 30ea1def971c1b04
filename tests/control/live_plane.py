"""A control plane on real sockets, played by a fake stage."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from aiohttp import web

from sdv2_host.config import Config
from sdv2_host.control.console import Console
from sdv2_host.control.osc_dispatch import Learnt
from sdv2_host.control.plane import ControlPlane, WebSite
from sdv2_host.ipc.osc import OscMessage, decode
from sdv2_host.ipc.osc_encode import OutValue, encode_message
from tests.control.fake_stage import FakeStage, Witness

LOCAL = "127.0.0.1"


class PlainSite:
    """A web site of one page, and of one WebSocket that gives back what it gets."""

    def __init__(self) -> None:
        self.app = web.Application()
        self.app.router.add_get("/", self._page)
        self.app.router.add_get("/echo", self._echo)

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text="a page")

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(message.data)
        return ws

    def runner(self) -> web.AppRunner:
        return web.AppRunner(self.app, access_log=None, shutdown_timeout=0.5)

    async def start(self) -> None: ...

    async def close(self) -> None: ...


@dataclass
class Listener(asyncio.DatagramProtocol):
    """A UDP socket of a surface: sends, and remembers what it hears."""

    heard: list[OscMessage] = field(default_factory=list)
    transport: asyncio.DatagramTransport | None = None
    to: tuple[str, int] = (LOCAL, 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard += decode(data).messages

    @property
    def port(self) -> int:
        assert self.transport is not None
        return int(self.transport.get_extra_info("sockname")[1])

    def send(self, address: str, *values: OutValue) -> None:
        self.send_raw(encode_message(address, *values))

    def send_raw(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.sendto(data, self.to)

    def values(self, address: str) -> list[tuple[object, ...]]:
        return [m.args for m in self.heard if m.address == address]


@dataclass
class Play:
    """The plane under test."""

    plane: ControlPlane
    console: Console
    stage: FakeStage
    witness: Witness
    escaped: list[object]
    """Exceptions that no one caught."""

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)

    @asynccontextmanager
    async def surface(self) -> AsyncIterator[Listener]:
        loop = asyncio.get_running_loop()
        transport, listener = await loop.create_datagram_endpoint(
            Listener, local_addr=(LOCAL, 0), family=socket.AF_INET
        )
        listener.to = (LOCAL, self.plane.port)
        try:
            yield listener
        finally:
            transport.close()


@asynccontextmanager
async def live_plane(
    config: Config | None = None, site: WebSite | None = None, learnt: Learnt | None = None
) -> AsyncIterator[Play]:
    stage, witness, escaped = FakeStage(), Witness(), list[object]()
    console = Console(stage)
    console.listen(witness)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: escaped.append(context))
    plane = ControlPlane(console, config or Config(port=0), site or PlainSite(), learnt)
    await plane.start()
    try:
        yield Play(plane, console, stage, witness, escaped)
    finally:
        await plane.close()
    assert escaped == []
