"""The connections of the control plane: what asyncio calls, handed on. No decisions but framing."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from sdv2_host.control.osc_dispatch import Answer, Peer, as_packet
from sdv2_host.errors import ProtocolError
from sdv2_host.ipc.osc_stream import PacketStream, frame
from sdv2_host.status import OscCounts

log = logging.getLogger(__name__)

FIRST_BYTE_S = 5.0
MAX_CONNECTIONS = 64
MAX_UNSENT_BYTES = 256 * 1024
"""Of a subscriber over TCP that does not read."""


class Plane(Protocol):
    """Whom the connections serve."""

    @property
    def counts(self) -> OscCounts: ...

    def is_welcome(self, peer: Peer) -> bool: ...

    def received(self, data: bytes, peer: Peer) -> list[Answer]: ...

    def answer(self, answers: list[Answer], peer: Peer) -> None: ...

    def opened(self) -> bool: ...

    def closed(self) -> None: ...

    def joined(self, connection: OscConnection) -> None: ...

    def left(self, connection: OscConnection) -> None: ...

    def http(self) -> asyncio.Protocol: ...


class Datagrams(asyncio.DatagramProtocol):
    """OSC over UDP."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        peer = Peer("udp", addr[0], addr[1])
        if self._plane.is_welcome(peer):
            answers = self._plane.received(data, peer)
            if answers:
                self._plane.answer(answers, peer)

    def error_received(self, exc: Exception) -> None:
        # Windows reports here that an earlier reply of ours met a closed port.
        log.debug("OSC socket: %s", exc)


class FirstByte(asyncio.Protocol):
    """A TCP connection that has not said yet what it is; hands over and is gone."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._heir: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "TCP"
        self._transport = transport
        if not self._plane.opened():
            transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(FIRST_BYTE_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None, "connected"
        if self._timer is not None:
            self._timer.cancel()
        if self._heir is None:
            is_http = data[:1].isalpha() and data[:1].isupper()
            self._heir = self._plane.http() if is_http else OscConnection(self._plane)
            self._heir.connection_made(self._transport)
        self._heir.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._plane.closed()
        if self._timer is not None:
            self._timer.cancel()
        if self._heir is not None:
            self._heir.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self._heir.eof_received() if self._heir is not None else None

    def pause_writing(self) -> None:
        if self._heir is not None:
            self._heir.pause_writing()

    def resume_writing(self) -> None:
        if self._heir is not None:
            self._heir.resume_writing()


class OscConnection(asyncio.Protocol):
    """OSC over TCP, in either framing; answers go back in the same."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._stream = PacketStream()
        self._transport: asyncio.Transport | None = None
        self.peer = Peer("tcp", "", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "TCP"
        self._transport = transport
        host, port = transport.get_extra_info("peername")[:2]
        self.peer = Peer("tcp", host, port)
        if self._plane.is_welcome(self.peer):
            self._plane.joined(self)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        try:
            packets = self._stream.feed(data)
        except ProtocolError as error:
            self._plane.counts.bad_datagrams += 1
            log.debug("OSC connection of %s closed: %s", self.peer, error)
            self._transport.abort()
            return
        for packet in packets:
            for answer in self._plane.received(packet, self.peer):
                self.send(as_packet(answer))

    def connection_lost(self, exc: Exception | None) -> None:
        self._plane.left(self)

    def send(self, packet: bytes) -> None:
        """Sends it; a peer that does not read is left alone after a while."""
        if self._transport is None or self._stream.framing is None:
            return
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._transport.abort()
        else:
            self._transport.write(frame(packet, self._stream.framing))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
