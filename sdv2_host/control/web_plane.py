"""The web plane: page, WebSocket, HTTP API, OSCQuery and metrics as one aiohttp application.

    plane = WebPlane(console, config, access, styles, osc=lambda: control_plane)
    plane.app, plane.start(), plane.close()

What is pushed: changes at most 30 times a second, the status five times, notices at once, pictures
as fast as a client draws them. A client that falls behind falls behind alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from aiohttp import web

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.config import Config
from sdv2_host.control.access import Access
from sdv2_host.control.console import Change, Console, Notice
from sdv2_host.control.osc_guests import parse_networks
from sdv2_host.control.pictures import PictureFeed
from sdv2_host.control.web_answers import Answers
from sdv2_host.control.web_api import Api, LearnBook
from sdv2_host.control.web_clients import WebClients
from sdv2_host.control.web_gate import Answer, Gate, add_headers, wants_page, wants_socket
from sdv2_host.control.web_limits import LIMITS, Limits
from sdv2_host.control.web_messages import MAX_TEXT_BYTES, NoticeMessage
from sdv2_host.control.web_oscquery import OscDoor, OscQuery
from sdv2_host.control.web_pages import INDEX, page_files, page_response
from sdv2_host.control.web_server import Runner
from sdv2_host.control.web_talk import Talk
from sdv2_host.status import WebCounts

log = logging.getLogger(__name__)

KEEPALIVE_S = 30.0
LINGER_S = 2.0
"""How long what is left of a refused body is read, so that its sender sees the answer."""


class WebPlane:
    """Fields, per process: counts; who is connected; pictures of both rings; and from `start` to
    `close` the tasks, and when changes were told last."""

    def __init__(
        self,
        console: Console,
        config: Config,
        access: Access,
        styles: Callable[[], Mapping[str, str]],
        *,
        osc: Callable[[], OscDoor],
        learnt: LearnBook | None = None,
        limits: Limits = LIMITS,
        run_dir: Path | None = None,
    ) -> None:
        """Raises: ConfigError when `config.osc_from` names no addresses."""
        self.counts = WebCounts()
        self._console = console
        self._limits = limits
        self._answers = Answers(console, config, styles)
        self._query = OscQuery(self._answers, self.counts, osc)
        talk = Talk(self._answers, access, self.counts, limits)
        self._clients = WebClients(talk, self._query, self.counts, limits)
        self._files = page_files()
        guests = parse_networks(config.osc_from)
        self._gate = Gate(access, guests, frozenset(self._files), self.counts, limits)
        self._feed = PictureFeed(config.input_stream, config.output_stream, run_dir)
        self._tasks: list[asyncio.Task[None]] = []
        self._flushing: asyncio.TimerHandle | None = None
        self._flushed_ns = 0
        self._stop_listening: Callable[[], None] = _nothing
        self.app = self._application(learnt)

    def _application(self, learnt: LearnBook | None) -> web.Application:
        api = Api(
            self._answers,
            self._gate,
            self._clients.rows,
            learnt,
            lambda: self._query.door().monitor,
        )

        @web.middleware
        async def gate(request: web.Request, handler: Answer) -> web.StreamResponse:
            return await self._gate.answer(request, handler)

        app = web.Application(middlewares=[gate], client_max_size=MAX_TEXT_BYTES)
        app.on_response_prepare.append(add_headers)
        app.add_routes([*api.routes(), web.get("/socket", self._clients.serve_page)])
        app.add_routes([web.get(path, self._page) for path in self._files])
        app.add_routes([web.get("/{address:.*}", self._root)])
        return app

    def runner(self) -> web.AppRunner:
        """Serves the application; its `server` makes the protocol of each connection."""
        return Runner(
            self.app,
            self.counts,
            self._limits,
            access_log=None,
            logger=log,
            shutdown_timeout=0.5,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
        )

    async def start(self) -> None:
        """Changes, status and pictures are pushed from now on."""
        self._stop_listening = self._console.listen(self)
        self._tasks = [
            asyncio.create_task(self._push_status(), name="web status"),
            asyncio.create_task(self._push_pictures(), name="web pictures"),
        ]

    async def close(self) -> None:
        """Every client was told goodbye, and nothing of the plane runs."""
        self._stop_listening()
        self._stop_listening = _nothing
        if self._flushing is not None:
            self._flushing.cancel()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._clients.close()
        self._feed.close()

    def on_change(self, change: Change) -> None:
        """A `Listener`'s: gathered, and told within a thirtieth of a second."""
        for client in self._clients.told("params"):
            client.outbox.gather(change)
        if self._flushing is None and self._clients.is_anybody_there:
            loop = asyncio.get_running_loop()
            passed_s = (now_ns() - self._flushed_ns) / NS_PER_S
            wait_s = max(0.0, self._limits.state_period_s - passed_s)
            self._flushing = loop.call_later(wait_s, self._flush)

    def on_notice(self, notice: Notice) -> None:
        """A `Listener`'s."""
        told = self._clients.told("notices")
        if told:
            row = self._answers.notice(notice)
            text = NoticeMessage(**row.model_dump()).model_dump_json()
            for client in told:
                client.outbox.notice(text)

    def _flush(self) -> None:
        self._flushing = None
        self._flushed_ns = now_ns()
        for client in self._clients.told("params"):
            client.outbox.release()
        self._query.refresh()

    async def _push_status(self) -> None:
        while True:
            await asyncio.sleep(self._limits.status_period_s)
            told = self._clients.told("status")
            if told:
                text = self._answers.status_text()
                for client in told:
                    client.outbox.offer("status", text)
            self._query.refresh_readings()

    async def _push_pictures(self) -> None:
        """Pictures are read and encoded only while somebody watches and draws them."""
        while True:
            await self._clients.watched.wait()
            watching = self._clients.told("preview")
            if any(client.outbox.wants_pictures for client in watching):
                for kind, picture in await self._feed.newest():
                    for client in self._clients.told("preview"):
                        client.outbox.offer_picture(kind, picture)
            await asyncio.sleep(self._feed.period_s)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return page_response(self._files[request.path])

    async def _root(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/" and wants_socket(request):
            return await self._clients.serve_query(request)
        if wants_page(request):
            return page_response(self._files[f"/{INDEX}"])
        return await self._query.get(request)


def _nothing() -> None:
    """What there is to undo before `start` and after `close`."""
