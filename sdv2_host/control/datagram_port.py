"""The UDP socket of the control plane, read in batches while many messages come.

A message that comes alone is read at once. In a storm, such as two senders of 1 kHz, waking for
each message would take a core from the engine a thousand times a second, for values of which one
in ten is ever shown: so the socket is left alone for REST_S after each look, then emptied.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from typing import Protocol

log = logging.getLogger(__name__)

REST_S = 0.008
STORM_S = 0.004
"""Looks that find something again so soon are of a storm."""
STORM_MESSAGES = 4
"""So are as many messages at one look."""
MAX_BATCH = 512
"""Other tasks have their turn after as many."""
MAX_DATAGRAM_BYTES = 65536


class Outlet(Protocol):
    """What of a socket is needed to send."""

    def sendto(self, data: bytes, addr: tuple[str, int]) -> None: ...

    def close(self) -> None: ...


async def open_port(opened: socket.socket, protocol: asyncio.DatagramProtocol) -> Outlet:
    """The protocol hears what comes in at this bound socket, which belongs to the port now."""
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":  # its loop does not tell when a socket can be read
        transport, _ = await loop.create_datagram_endpoint(lambda: protocol, sock=opened)
        return transport
    return DatagramPort(loop, opened, protocol)


class DatagramPort:
    """Fields, from construction to `close`: the socket; when it was looked at last; the timer of
    the rest, None = it is listened to."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        opened: socket.socket,
        protocol: asyncio.DatagramProtocol,
    ) -> None:
        self._loop = loop
        self._socket = opened
        self._protocol = protocol
        self._looked_s = -1.0
        self._rest: asyncio.TimerHandle | None = None
        loop.add_reader(opened, self._look)

    def sendto(self, data: bytes, addr: tuple[str, int]) -> None:
        """The datagram is on its way, or lost, as datagrams are: nobody waits for a receiver."""
        try:
            self._socket.sendto(data, addr)
        except OSError as error:  # a full buffer is one too
            self._protocol.error_received(error)

    def close(self) -> None:
        if self._socket.fileno() < 0:
            return
        if self._rest is not None:
            self._rest.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _look(self) -> None:
        begin_s = self._loop.time()
        count = self._read()
        is_storm = count >= STORM_MESSAGES or begin_s - self._looked_s < STORM_S
        self._looked_s = begin_s
        if is_storm and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._rest = self._loop.call_later(REST_S, self._listen)

    def _listen(self) -> None:
        self._rest = None
        self._loop.add_reader(self._socket, self._look)

    def _read(self) -> int:
        """All that has come is handed on; how many."""
        for count in range(MAX_BATCH):
            try:
                data, addr = self._socket.recvfrom(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return count
            except OSError as error:
                self._protocol.error_received(error)
                return count
            self._protocol.datagram_received(data, addr)
        return MAX_BATCH
