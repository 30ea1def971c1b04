"""A web plane on a real socket, played by a fake stage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from sdv2_host.config import Config
from sdv2_host.control.access import Access
from sdv2_host.control.console import Console
from sdv2_host.control.monitor import Monitor
from sdv2_host.control.osc_dispatch import Answer, Peer
from sdv2_host.control.web_api import LearnBook
from sdv2_host.control.web_limits import LIMITS, Limits
from sdv2_host.control.web_messages import SUBPROTOCOL
from sdv2_host.control.web_plane import WebPlane
from sdv2_host.status import WebCounts
from tests.control.fake_stage import FakeStage
from tests.hosts import unique_name

LOCAL = Access("127.0.0.1", "")
HELLO = {"type": "hello", "protocol": 1}


@dataclass
class FakeDoor:
    """Remembers the OSC that came in; answers each packet the same."""

    packets: list[tuple[bytes, Peer]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    monitor: Monitor = field(default_factory=Monitor)

    def received(self, data: bytes, peer: Peer) -> list[Answer]:
        self.packets.append((data, peer))
        return self.answers


@dataclass
class Web:
    """The plane under test and somebody to talk to it."""

    plane: WebPlane
    runner: web.AppRunner
    console: Console
    stage: FakeStage
    door: FakeDoor
    session: aiohttp.ClientSession
    host: str
    port: int
    escaped: list[dict[str, Any]]
    """Exceptions that no one caught."""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def counts(self) -> WebCounts:
        return self.plane.counts

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """Status, and the content: of JSON the object, else the text."""
        return await self.request("GET", path, None, headers)

    async def post(self, path: str, content: object, **headers: str) -> tuple[int, Any]:
        return await self.request("POST", path, content, headers)

    async def request(
        self, method: str, path: str, content: object, headers: dict[str, str]
    ) -> tuple[int, Any]:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        filled = {key: value.replace("PORT", str(self.port)) for key, value in named.items()}
        sending = self.session.request(
            method, self.url + path, json=content, headers=filled, allow_redirects=False
        )
        async with sending as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(text) if is_json else text

    @asynccontextmanager
    async def page(self, hello: dict[str, Any] | None = None) -> AsyncIterator[PageSocket]:
        """A client that was welcomed."""
        async with self.socket() as socket:
            await socket.send(hello or HELLO)
            socket.welcome = await socket.next("welcome")
            yield socket

    @asynccontextmanager
    async def socket(self, path: str = "/socket", **headers: str) -> AsyncIterator[PageSocket]:
        """A client that has said nothing yet."""
        protocols = (SUBPROTOCOL,) if path == "/socket" else ()
        opening = self.session.ws_connect(
            self.url + path, protocols=protocols, headers=headers, max_msg_size=0
        )
        async with opening as ws:
            yield PageSocket(ws)


@dataclass
class PageSocket:
    ws: aiohttp.ClientWebSocketResponse
    welcome: dict[str, Any] = field(default_factory=dict)

    async def send(self, message: dict[str, Any]) -> None:
        await self.ws.send_str(json.dumps(message))

    async def next(self, *kinds: str) -> dict[str, Any]:
        """The next message of one of these types."""
        async with asyncio.timeout(20):
            while True:
                message = await self.ws.receive()
                assert message.type is not aiohttp.WSMsgType.CLOSED, f"closed before {kinds}"
                assert message.type is not aiohttp.WSMsgType.CLOSE, f"closed before {kinds}"
                if message.type is aiohttp.WSMsgType.TEXT:
                    content: dict[str, Any] = json.loads(message.data)
                    if content["type"] in kinds:
                        return content

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """What is answered to it."""
        await self.send(message)
        return await self.next("ack", "result", "error", "pong", "welcome")

    async def closed(self) -> int | None:
        """The code with which the host closes, whatever it sends before."""
        async with asyncio.timeout(20):
            while True:
                message = await self.ws.receive()
                if message.type is aiohttp.WSMsgType.CLOSE:
                    return int(message.data)
                if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                    return self.ws.close_code


@asynccontextmanager
async def live_web(
    config: Config | None = None,
    access: Access = LOCAL,
    limits: Limits = LIMITS,
    learnt: LearnBook | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[Web]:
    stage, door, escaped = FakeStage(), FakeDoor(), list[dict[str, Any]]()
    console = Console(stage)
    plane = WebPlane(
        console,
        config or Config(name=unique_name(), listen=access.listen),
        access,
        lambda: {"neon": "neon lights"},
        osc=lambda: door,
        learnt=learnt,
        limits=limits,
    )
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: escaped.append(context))
    runner = plane.runner()
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    await plane.start()
    port = int(runner.addresses[0][1])
    try:
        async with aiohttp.ClientSession() as session:
            yield Web(plane, runner, console, stage, door, session, host, port, escaped)
    finally:
        await plane.close()
        await runner.cleanup()
    assert escaped == []
