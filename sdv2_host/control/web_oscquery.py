"""OSCQuery over HTTP and WebSocket: the tree of addresses, and values as they change.

WebSocket on `/`: text {"COMMAND": "LISTEN" or "IGNORE", "DATA": address}; binary, both ways, single
OSC messages. What comes in is taken as OSC of any other socket is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from sdv2_host.control.monitor import Monitor
from sdv2_host.control.osc_dispatch import Answer, Peer
from sdv2_host.control.osc_feedback import board_values, metric_values, status_values
from sdv2_host.control.oscquery import Host, Node, address_space, answer, host_info, tree, value_at
from sdv2_host.control.web_answers import Answers
from sdv2_host.control.web_gate import failure, json_answer, port_of
from sdv2_host.control.web_limits import count
from sdv2_host.control.web_outbox import Message, Outbox
from sdv2_host.control.web_parse import MessageError, parse_object
from sdv2_host.ipc.osc_encode import encode_message
from sdv2_host.param_table import ParamValue
from sdv2_host.status import WebCounts


class OscDoor(Protocol):
    """Where OSC is taken in: the control plane."""

    @property
    def monitor(self) -> Monitor:
        """Who is told of each message."""

    def received(self, data: bytes, peer: Peer) -> list[Answer]:
        """Takes the packet of a welcome peer; the answers to it."""


@dataclass(slots=True)
class QueryClient:
    """One WebSocket of OSCQuery. Fields, per connection: who it is; what it listens to, with the
    message that it knows last of it, told by us or sent by itself."""

    peer: Peer
    outbox: Outbox = field(default_factory=Outbox)
    known: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class OscQuery:
    """Fields, per process: the clients; the values of addresses that can only be read, as of the
    newest `refresh_readings`."""

    answers: Answers
    counts: WebCounts
    door: Callable[[], OscDoor]
    clients: dict[Peer, QueryClient] = field(default_factory=dict)
    _readings: dict[str, ParamValue] = field(default_factory=dict)

    async def get(self, request: web.Request) -> web.Response:
        """Answers GET of any address."""
        if "HOST_INFO" in request.query:
            return json_answer(host_info(self.answers.config.name, port_of(request)))
        self._read()
        root: Node = tree(address_space(self._host()))
        reply = answer(root, request.path, list(request.query))
        match reply.status:
            case 404:
                return failure(404, "not_found", "no such OSC address; GET / has all")
            case 400:
                return failure(400, "bad_attribute", "no such attribute; ?HOST_INFO has all")
            case 204:
                return web.Response(status=204)
        return json_answer(reply.content)

    def take(self, client: QueryClient, message: Message) -> None:
        """Does what the client's message asks for."""
        if isinstance(message, bytes):
            self._osc(client, message)
            return
        try:
            content = parse_object(message.encode("utf-8", "surrogatepass"))
        except MessageError:
            content = {}
        command, address = content.get("COMMAND"), content.get("DATA")
        if not isinstance(address, str) or command not in ("LISTEN", "IGNORE"):
            count(self.counts, "bad_messages")
        elif command == "IGNORE":
            client.known.pop(address, None)
        else:
            self._read()
            values = value_at(self._host(), address)
            if values is not None:
                client.known[address] = encode_message(address, *values)

    def _osc(self, client: QueryClient, packet: bytes) -> None:
        for reply in self.door().received(packet, client.peer):
            client.outbox.reply(encode_message(reply.address, *reply.values))
        address = packet.partition(b"\0")[0].decode("latin-1")
        if address in client.known:
            client.known[address] = packet

    def refresh(self) -> None:
        """Listeners are told what differs from what they know."""
        if not any(client.known for client in self.clients.values()):
            return
        host = self._host()
        for client in self.clients.values():
            for address, known in client.known.items():
                values = value_at(host, address)
                message = encode_message(address, *values) if values is not None else known
                if message != known:
                    client.known[address] = message
                    client.outbox.offer(address, message)

    def refresh_readings(self) -> None:
        """As `refresh`, with the status and metrics of now."""
        if any(client.known for client in self.clients.values()):
            self._read()
            self.refresh()

    def _read(self) -> None:
        console = self.answers.console
        status = console.stage.snapshot()
        self._readings = {**status_values(status), **metric_values(status)}
        for address, values in board_values(console.board).items():
            if len(values) == 1:  # lists change their type with their length
                self._readings[address] = values[0]

    def _host(self) -> Host:
        console = self.answers.console
        return Host(console.params, console.board, self._readings)
