"""The connections of the control plane: what asyncio calls, handed on. No decisions but framing."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from sdv2_host.control.osc_dispatch import Answer, Peer, as_packet
from sdv2_host.errors import ProtocolError
from sdv2_host.ipc.osc_stream import PacketStream, frame

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
MAX_UNSENT_BYTES = 256 * 1024
"""Of a subscriber over TCP that does not read."""


class Plane(Protocol):
    """Whom the connections serve."""

    def is_welcome(self, peer: Peer) -> bool: ...

    def received(self, data: bytes, peer: Peer) -> list[Answer]: ...

    def answer(self, answers: list[Answer], peer: Peer) -> None: ...

    def garbled(self, reason: str, peer: Peer) -> Answer: ...

    def was_slow(self, peer: Peer) -> None: ...

    def opened(self, connection: FirstByte, peer: Peer) -> None: ...

    def spoke(self, connection: FirstByte) -> None: ...

    def closed(self, connection: FirstByte) -> None: ...

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
        log.debug("OSC socket: %s", exc)


class FirstByte(asyncio.Protocol):
    """A TCP connection, which says with its first byte what it is, and then is that.

    A surface may connect at the start of the show and say nothing until a button is pressed.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._heir: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "TCP"
        self._transport = transport
        self._plane.opened(self, _peer_of(transport))

    def abort(self) -> None:
        assert self._transport is not None, "connected"
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None, "connected"
        if self._heir is None:
            self._plane.spoke(self)
            is_http = data[:1].isalpha() and data[:1].isupper()
            self._heir = self._plane.http() if is_http else OscConnection(self._plane)
            self._heir.connection_made(self._transport)
        self._heir.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._plane.closed(self)
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
        self.peer = _peer_of(transport)
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
            self.send(as_packet(self._plane.garbled(f"{error}; connection closed", self.peer)))
            # What it did not read before, it does not now.
            is_read = self._transport.get_write_buffer_size() == 0
            (self._transport.close if is_read else self._transport.abort)()
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
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._plane.was_slow(self.peer)
            self._transport.abort()
        else:
            self._transport.write(frame(packet, self._stream.framing))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _peer_of(transport: asyncio.Transport) -> Peer:
    host, port = transport.get_extra_info("peername")[:2]
    return Peer("tcp", host, port)
