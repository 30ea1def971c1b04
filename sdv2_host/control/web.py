"""The preview page: input beside output, prompt and parameters, in a browser on this computer.

Text messages are JSON objects with a `type`:
    server  hello   once: version, the parameter table, values, styles, engine, OSC host
            status  5 times a second: the daemon's HostStatus
            values  when parameters changed, whoever changed them
            ack     answers `set`: id, the values now in force
            error   answers anything that could not be done: id, message
    client  set     id, values {name: value}
            drawn   one picture was drawn: another may be sent
Binary messages are pictures: kind u8 (0 input, 1 output), 3 bytes 0, width u16, height u16,
frame u64, all little-endian, then a JPEG.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from sdv2_host import __version__
from sdv2_host.config import Config
from sdv2_host.control.guard import GUARD_HEADERS, is_allowed
from sdv2_host.control.pictures import PictureFeed
from sdv2_host.errors import ConfigError, ParamError
from sdv2_host.params import PARAMS, Params, ParamValue, Patch, coerce
from sdv2_host.status import HostStatus

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
STATUS_PERIOD_S = 0.2
MAX_CLIENTS = 8
MAX_TEXT_BYTES = 64 * 1024
PICTURES_IN_FLIGHT = 3
"""Pictures sent and not yet drawn, per client; more would be latency in socket buffers."""
PAGE_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
PAGE_TYPES |= {".svg": "image/svg+xml"}


class Studio(Protocol):
    """What the page needs of a daemon."""

    @property
    def params(self) -> Params: ...

    def apply(self, patch: Patch, origin: str) -> Params: ...

    def snapshot(self) -> HostStatus: ...


class Client:
    """One open page. All sending is done by one task, newest of each kind first come."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._replies: list[str] = []
        self._newest: dict[str, str] = {}
        self._pictures: dict[int, bytes] = {}
        self._credit = PICTURES_IN_FLIGHT
        self._wake = asyncio.Event()

    def reply(self, message: Mapping[str, Any]) -> None:
        """To be sent in order, nothing left out."""
        self._replies.append(json.dumps(message))
        self._wake.set()

    def offer(self, kind: str, message: str) -> None:
        """To be sent unless a newer one of the kind comes first."""
        self._newest[kind] = message
        self._wake.set()

    def offer_picture(self, kind: int, message: bytes) -> None:
        """To be sent when the page has drawn what it got, unless a newer one comes first."""
        self._pictures[kind] = message
        self._wake.set()

    def drawn(self) -> None:
        self._credit = min(self._credit + 1, PICTURES_IN_FLIGHT)
        self._wake.set()

    async def send(self) -> None:
        """Sends for as long as the socket is open; a slow page holds up nobody else."""
        while not self._socket.closed:
            await self._wake.wait()
            self._wake.clear()
            replies, self._replies = self._replies, []
            newest, self._newest = self._newest, {}
            for text in (*replies, *newest.values()):
                await self._socket.send_str(text)
            while self._pictures and self._credit > 0:
                kind = next(iter(self._pictures))
                self._credit -= 1
                await self._socket.send_bytes(self._pictures.pop(kind))


@dataclass(frozen=True, slots=True)
class Hello:
    """What a page is told first, beside the parameter table."""

    engine: str
    listen: str
    """Address that OSC is listened on; the port is in every status."""
    styles: Mapping[str, str]
    """Text of each button beside the prompt, and the prompt that it asks for."""


class PreviewServer:
    """Serves the page on loopback. Fields live from `start` to `close`."""

    def __init__(self, studio: Studio, config: Config, hello: Hello) -> None:
        self._studio = studio
        self._hello = hello
        self._clients: set[Client] = set()
        self._pictures = PictureFeed(config.input_stream, config.output_stream)
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/"

    async def start(self, port: int) -> None:
        """The page is served at `url`; port 0 takes any free one.

        Raises:
            ConfigError: the port is in use.
        """
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/", self._page)
        app.router.add_get("/socket", self._open_socket)
        app.router.add_get("/{name:[a-z_]+\\.(?:js|css|svg)}", self._page)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, LOOPBACK, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"--port {port}: {LOOPBACK}:{port} cannot be used ({error.strerror}); choose "
                f"another one, for example --port {port % 65535 + 1}, or 0 for any free one"
            ) from error
        self.port = int(self._runner.addresses[0][1])
        self._tasks = [
            asyncio.create_task(self._send_status(), name="preview status"),
            asyncio.create_task(self._send_pictures(), name="preview pictures"),
        ]

    async def close(self) -> None:
        """Every page was told goodbye and the port is free."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._runner is not None:
            await self._runner.cleanup()
        self._pictures.close()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if not is_allowed(request.headers, self.port):
            raise web.HTTPForbidden(text="This page answers only to its own address.")
        response: web.StreamResponse = await handler(request)
        return response

    async def _page(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "index.html")
        resource = files("sdv2_host.control") / "page" / name
        if not resource.is_file():
            raise web.HTTPNotFound
        content_type = PAGE_TYPES["." + name.rsplit(".", 1)[-1]]
        return web.Response(text=resource.read_text("utf-8"), content_type=content_type)

    async def _open_socket(self, request: web.Request) -> web.StreamResponse:
        if len(self._clients) >= MAX_CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_CLIENTS} pages are open already.")
        socket = web.WebSocketResponse(heartbeat=5.0, max_msg_size=MAX_TEXT_BYTES)
        await socket.prepare(request)
        client = Client(socket)
        client.reply(self._hello_message())
        self._clients.add(client)
        sender = asyncio.create_task(client.send(), name="preview client")
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    self._receive(client, message.data)
        finally:
            self._clients.discard(client)
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sender
        return socket

    def _receive(self, client: Client, text: str) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            client.reply({"type": "error", "message": "not JSON"})
            return
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "drawn":
            client.drawn()
        elif kind == "set":
            client.reply(self._set(message.get("values"), message.get("id")))
        else:
            client.reply({"type": "error", "message": "unknown message type"})

    def _set(self, values: object, id_: object) -> dict[str, Any]:
        """Applies the values, all or none, and says what is in force then."""
        try:
            patch = _to_patch(values)
        except ParamError as error:
            return {"type": "error", "id": id_, "message": str(error)}
        params = self._studio.apply(patch, "page")
        return {"type": "ack", "id": id_, "values": params.model_dump()}

    def _hello_message(self) -> dict[str, Any]:
        return {
            "type": "hello",
            "protocol": 1,
            "version": __version__,
            "engine": self._hello.engine,
            "listen": self._hello.listen,
            "styles": dict(self._hello.styles),
            "params": [
                {
                    "name": spec.name,
                    "address": spec.address,
                    "kind": spec.kind.__name__,
                    "default": spec.default,
                    "minimum": spec.minimum,
                    "maximum": spec.maximum,
                    "unit": spec.unit,
                    "help": spec.help,
                }
                for spec in PARAMS.values()
            ],
            "values": self._studio.params.model_dump(),
        }

    async def _send_status(self) -> None:
        """Status to every page, and the values when anybody changed them."""
        shown = self._studio.params
        while True:
            await asyncio.sleep(STATUS_PERIOD_S)
            if not self._clients:
                continue
            status = json.dumps({"type": "status", **self._studio.snapshot().to_json()})
            has_changed = self._studio.params != shown
            shown = self._studio.params
            for client in self._clients:
                client.offer("status", status)
                if has_changed:
                    values = {"type": "values", "values": shown.model_dump()}
                    client.offer("values", json.dumps(values))

    async def _send_pictures(self) -> None:
        """Pictures are read and encoded only while a page is open."""
        while True:
            await asyncio.sleep(self._pictures.period_s)
            if self._clients:
                for kind, message in await self._pictures.newest():
                    for client in self._clients:
                        client.offer_picture(kind, message)


def _to_patch(values: object) -> Patch:
    """The values of a `set` message, coerced and clamped as those of a fader are.

    Raises:
        ParamError: not an object, an unknown name, or a value of the wrong kind.
    """
    if not isinstance(values, dict):
        raise ParamError("page: values must be an object of names and values")
    patch: dict[str, ParamValue] = {}
    for name, value in values.items():
        spec = PARAMS.get(name)
        if spec is None:
            raise ParamError(f"page: unknown parameter {name!r}, known are {', '.join(PARAMS)}")
        if not isinstance(value, str | int | float):
            raise ParamError(f"page: {name} = {value!r}, expected {spec.allowed}")
        patch[name] = coerce(spec, value).value
    return patch


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(GUARD_HEADERS)
