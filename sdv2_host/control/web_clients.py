"""The WebSocket clients: accepted, talked to until they go, and told what they subscribed to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from aiohttp import web

from sdv2_host.control.osc_dispatch import Peer
from sdv2_host.control.web_gate import port_of
from sdv2_host.control.web_limits import Limits, count
from sdv2_host.control.web_messages import SUBPROTOCOL, ClientRow, Topic
from sdv2_host.control.web_oscquery import OscQuery, QueryClient
from sdv2_host.control.web_socket import ClientSocket, CloseCode, offered_protocols
from sdv2_host.control.web_talk import Client, Talk
from sdv2_host.status import WebCounts


@dataclass(slots=True)
class WebClients:
    """Fields, per process: how clients are talked to; open sockets; those that said hello, by id;
    `watched` is set when somebody wants pictures."""

    talk: Talk
    query: OscQuery
    counts: WebCounts
    limits: Limits
    watched: asyncio.Event = field(default_factory=asyncio.Event)
    _sockets: set[ClientSocket] = field(default_factory=set)
    _clients: dict[int, Client] = field(default_factory=dict)
    _last_id: int = 0

    @property
    def is_anybody_there(self) -> bool:
        return bool(self._sockets)

    @property
    def is_full(self) -> bool:
        """Strangers take nobody's place: they have a few seconds to say who they are."""
        return len(self._clients) + len(self.query.clients) >= self.limits.max_clients

    def told(self, topic: Topic) -> list[Client]:
        """Those that want to be told of it."""
        return [client for client in self._clients.values() if topic in client.topics]

    def rows(self) -> list[ClientRow]:
        return [client.row() for client in self._clients.values()]

    async def serve_page(self, request: web.Request) -> web.StreamResponse:
        """One client of protocol v1, until it goes."""
        socket = await self._accept(request, (SUBPROTOCOL,))
        try:
            hello = await self.talk.introduce(socket)
            if hello is not None and self.is_full:
                await socket.drop("too_many", CloseCode.TRY_AGAIN_LATER)
            elif hello is not None:
                self._last_id += 1
                topics = frozenset(hello.subscribe)
                client = Client(self._last_id, hello.client, request.remote or "", topics)
                await self._converse(client, socket, port_of(request))
        finally:
            self._leave(socket)
        return socket.response

    async def _converse(self, client: Client, socket: ClientSocket, port: int) -> None:
        self._clients[client.id] = client
        try:
            self.talk.welcome(client, port)
            async with socket.sending(client.outbox):
                self._look_for_watchers()
                while (message := await socket.receive()) is not None:
                    if not self.talk.take(client, message, port):
                        socket.was_asked_for()
                    if client.outbox.is_full:
                        await socket.drop("slow", CloseCode.SLOW)
                    self._look_for_watchers()
        finally:
            del self._clients[client.id]

    def _look_for_watchers(self) -> None:
        if self.told("preview"):
            self.watched.set()
        else:
            self.watched.clear()

    async def serve_query(self, request: web.Request) -> web.StreamResponse:
        """One client of OSCQuery, until it goes."""
        # OSCQuery has no subprotocol: whatever a client calls it is fine.
        socket = await self._accept(request, offered_protocols(request))
        client = QueryClient(Peer("ws", *(socket.peername or ("", 0))))
        self.query.clients[client.peer] = client
        try:
            async with socket.sending(client.outbox):
                while (message := await socket.receive()) is not None:
                    self.query.take(client, message)
                    if client.outbox.is_full:
                        await socket.drop("slow", CloseCode.SLOW)
        finally:
            del self.query.clients[client.peer]
            self._leave(socket)
        return socket.response

    async def _accept(self, request: web.Request, protocols: tuple[str, ...]) -> ClientSocket:
        """Raises: web.HTTPException when there is no room, or no WebSocket is asked for."""
        if self.is_full:
            count(self.counts, "too_many")
            text = f"{self.limits.max_clients} WebSocket clients are there already"
            raise web.HTTPServiceUnavailable(text=text)
        socket = ClientSocket(request, self.counts, self.limits, protocols)
        self._sockets.add(socket)
        self.counts.clients = len(self._sockets)
        try:
            await socket.open()
        except BaseException:
            self._leave(socket)
            raise
        return socket

    def _leave(self, socket: ClientSocket) -> None:
        self._sockets.discard(socket)
        self.counts.clients = len(self._sockets)
        self._look_for_watchers()

    async def close(self) -> None:
        """Everybody was told goodbye."""
        closing = [socket.close(CloseCode.GOING_AWAY) for socket in list(self._sockets)]
        await asyncio.gather(*closing)
