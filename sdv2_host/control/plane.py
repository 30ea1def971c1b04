"""One port for all surfaces: OSC over UDP, and over TCP whatever the first byte says.

    0xC0                    OSC 1.1 (SLIP)
    an upper-case letter    HTTP: the page, WebSocket, OSCQuery
    anything else           OSC 1.0 (sizes)

Shell around `Dispatch` and `Feedback`, which know no sockets. Everything runs in the daemon's loop,
which imports nothing heavy, so that the heartbeat is there before the model is.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from aiohttp import web

from sdv2_host.clock import now_ns
from sdv2_host.config import Config
from sdv2_host.control.console import Console
from sdv2_host.control.datagram_port import Outlet, open_port
from sdv2_host.control.monitor import Monitor
from sdv2_host.control.osc_conversation import OscConversation
from sdv2_host.control.osc_dispatch import Answer, Dispatch, Learnt, Peer, as_packet
from sdv2_host.control.osc_feedback import DEFAULT_RATE_HZ, Feedback, Lease, Parcel
from sdv2_host.control.osc_guests import check_targets, may_send, parse_networks, parse_targets
from sdv2_host.control.ports import bind_both
from sdv2_host.control.wires import MAX_CONNECTIONS, Datagrams, FirstByte, OscConnection
from sdv2_host.errors import ConfigError
from sdv2_host.status import OscCounts

GATHER_S = 0.002
"""Values that come within this time are one change."""
SETTLE_S = 1 / 60
"""From one change to the next: no output shows more frames than that, and each change costs as much
as ten messages. So a sender of 1 kHz costs little more than one of 60 Hz."""
TURN_S = 1 / 60
MAX_TOLD = 64
"""Different complaints about peers, each said once."""


class WebSite(Protocol):
    """What is served over HTTP."""

    def runner(self) -> web.AppRunner:
        """Not set up yet; its `server` makes the protocol of each connection."""

    async def start(self) -> None:
        """Its tasks run."""

    async def close(self) -> None:
        """Its clients were told goodbye and no task of it runs."""


class ControlPlane:
    """Owns the sockets. Fields live from `start` to `close`."""

    def __init__(
        self, console: Console, config: Config, site: WebSite, learnt: Learnt | None = None
    ) -> None:
        """Raises: ConfigError when `config.osc_from` or `config.osc_to` names no addresses."""
        self._console = console
        self._config = config
        self._site = site
        self._guests = parse_networks(config.osc_from)
        self._feedback = Feedback(console)
        self._targets = parse_targets(config.osc_to)
        self._conversation = OscConversation(self._feedback, own_port=lambda: self.port)
        self.monitor = Monitor()
        self._dispatch = Dispatch(console, self._conversation, self.monitor)
        if learnt is not None:
            self._dispatch.learnt = learnt
        self._udp: Outlet | None = None
        self._server: asyncio.Server | None = None
        self._runner: web.AppRunner | None = None
        self._connections: dict[Peer, OscConnection] = {}
        self._open: set[FirstByte] = set()
        self._silent: dict[FirstByte, None] = {}
        self._flushing: asyncio.TimerHandle | None = None
        self._flushed_s = -SETTLE_S
        self._turning: asyncio.Task[None] | None = None
        self._told: set[str] = set()
        self.port = 0

    @property
    def counts(self) -> OscCounts:
        return self._dispatch.counts

    async def start(self) -> None:
        """Every surface is open at `port`.

        Raises:
            ConfigError: the port is in use, the address is not one of this machine, or one of
                `config.osc_to` is out of its reach.
        """
        udp, tcp = bind_both(self._config.listen, self._config.port)
        host, self.port = udp.getsockname()[:2]
        try:
            check_targets(self._targets, host, self.port)
        except ConfigError:
            udp.close()
            tcp.close()
            raise
        for target in self._targets:
            self._feedback.subscribe(target, "/sdv2/", DEFAULT_RATE_HZ, now_ns(), Lease.LASTING)
        loop = asyncio.get_running_loop()
        self._udp = await open_port(udp, Datagrams(self))
        self._runner = self._site.runner()
        await self._runner.setup()
        await self._site.start()
        self._server = await loop.create_server(lambda: FirstByte(self), sock=tcp)
        stops = [self._console.listen(one) for one in (self._feedback, self.monitor)]
        self._turning = asyncio.create_task(self._turn(), name="osc feedback")
        self._turning.add_done_callback(lambda _: [stop() for stop in stops])

    async def close(self) -> None:
        """The port is free and nobody is connected any more."""
        if self._turning is not None:
            self._turning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._turning
        if self._flushing is not None:
            self._flushing.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections.values()):
            connection.close()
        await self._site.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._udp is not None:
            self._udp.close()

    def is_welcome(self, peer: Peer) -> bool:
        """Whether the peer may send OSC; refusals are counted, and told once per machine."""
        if may_send(peer.host, self._guests):
            return True
        self.counts.refused += 1
        self._tell_once(
            f"refused {peer.host}",
            peer,
            f"OSC refused: {peer.host} is not this machine; start with --osc-from {peer.host} "
            "to allow it",
        )
        return False

    def _tell_once(self, key: str, peer: Peer, text: str) -> None:
        if key not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(key)
            self._console.note("warning", f"osc {peer}", f"{text} (said once)")
        else:
            self.monitor.add(f"osc {peer}", "", f"warning: {text}")

    def received(self, data: bytes, peer: Peer) -> list[Answer]:
        """A packet of a welcome peer; its values are set within GATHER_S, in a storm SETTLE_S."""
        self._feedback.renew(peer, now_ns())
        answers = self._dispatch.packet(data, peer)
        if self._flushing is None:
            loop = asyncio.get_running_loop()
            due_s = max(loop.time() + GATHER_S, self._flushed_s + SETTLE_S)
            self._flushing = loop.call_at(due_s, self._flush)
        return [
            answer
            for answer in answers
            if answer.address != "/sdv2/error" or self._conversation.may_complain()
        ]

    def answer(self, answers: list[Answer], peer: Peer) -> None:
        """Sends them to where the peer listens: where it subscribed to hear, else its source."""
        targets = self._conversation.targets(peer)
        where = targets[0].peer if targets and peer.kind == "udp" else peer
        self.send(Parcel(where, answers))

    def send(self, parcel: Parcel) -> None:
        for message in parcel.messages:
            packet = as_packet(message)
            if parcel.peer.kind == "udp":
                if self._udp is not None:
                    self._udp.sendto(packet, (parcel.peer.host, parcel.peer.port))
            elif (connection := self._connections.get(parcel.peer)) is not None:
                connection.send(packet)

    def _flush(self) -> None:
        self._flushing = None
        self._flushed_s = asyncio.get_running_loop().time()
        self._dispatch.flush()

    async def _turn(self) -> None:
        while True:
            if self._feedback.targets:
                now = now_ns()
                self._feedback.turn(self._console.stage.snapshot(), now)
                for parcel in self._feedback.parcels(now):
                    self.send(parcel)
            await asyncio.sleep(TURN_S)

    def garbled(self, reason: str, peer: Peer) -> Answer:
        """What the peer of a connection is told whose bytes are no OSC."""
        return self._dispatch.garbled(reason, peer)

    def opened(self, connection: FirstByte, peer: Peer) -> None:
        """One more connection. Where there are too many, the longest silent one is closed, or,
        if all have spoken, this one."""
        self._open.add(connection)
        self._silent[connection] = None
        if len(self._open) > MAX_CONNECTIONS:
            self.counts.too_many += 1
            text = f"{MAX_CONNECTIONS} connections are open: one more was closed; end some programs"
            self._tell_once("too many", peer, text)
            longest_silent = next(iter(self._silent))
            self.closed(longest_silent)
            longest_silent.abort()

    def spoke(self, connection: FirstByte) -> None:
        """The connection is no more silent."""
        self._silent.pop(connection, None)

    def closed(self, connection: FirstByte) -> None:
        self._open.discard(connection)
        self._silent.pop(connection, None)

    def was_slow(self, peer: Peer) -> None:
        """The connection is closed because its peer did not read."""
        self.counts.slow += 1
        text = "OSC connection closed: it does not read what it subscribed to"
        self._tell_once(f"slow {peer.host}", peer, text)

    def joined(self, connection: OscConnection) -> None:
        self._connections[connection.peer] = connection

    def left(self, connection: OscConnection) -> None:
        self._connections.pop(connection.peer, None)
        self._feedback.unsubscribe(connection.peer)

    def http(self) -> asyncio.Protocol:
        """A new HTTP connection's protocol."""
        assert self._runner is not None, "started"
        assert self._runner.server is not None, "started"
        return self._runner.server()
