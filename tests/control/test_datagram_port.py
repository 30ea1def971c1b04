from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator

import pytest

from sdv2_host.control.datagram_port import REST_S, DatagramPort, Outlet, open_port

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there asyncio reads the socket")


class Ear(asyncio.DatagramProtocol):
    """Remembers what came, and how often somebody looked."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.turns = 0
        self.errors: list[Exception] = []
        self._is_counted = False

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.append(data)
        if not self._is_counted:
            self._is_counted = True
            self.turns += 1
            asyncio.get_running_loop().call_soon(self._next_turn)

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def _next_turn(self) -> None:
        self._is_counted = False

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[Ear, socket.socket, Outlet]]:
    """An ear at a port, and a socket that is connected to it."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    opened.bind(("127.0.0.1", 0))
    ear = Ear()
    port = await open_port(opened, ear)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
        mouth.bind(("127.0.0.1", 0))
        mouth.connect(opened.getsockname())
        yield ear, mouth, port
    port.close()


def test_a_message_that_comes_alone_waits_for_no_other() -> None:
    async def run() -> None:
        async with listening() as (ear, mouth, port):
            for number in range(3):
                await asyncio.sleep(2 * REST_S)
                mouth.send(b"%d" % number)
                await ear.until(number + 1)
                assert isinstance(port, DatagramPort)

            assert ear.heard == [b"0", b"1", b"2"]

    asyncio.run(run())


def test_a_storm_is_read_whole_and_in_order_at_few_looks() -> None:
    async def run() -> None:
        async with listening() as (ear, mouth, _):
            sent = [b"%d" % number for number in range(300)]
            for data in sent:
                mouth.send(data)
                await asyncio.sleep(0.0005)
            await ear.until(len(sent))

            assert ear.heard == sent
            assert ear.turns < len(sent) / 3

    asyncio.run(run())


def test_what_cannot_be_sent_is_an_error_of_that_message_alone() -> None:
    async def run() -> None:
        async with listening() as (ear, mouth, port):
            port.sendto(b"x" * 70_000, mouth.getsockname())
            port.sendto(b"short", mouth.getsockname())

            assert mouth.recv(100) == b"short"
            assert len(ear.errors) == 1

    asyncio.run(run())


def test_nothing_is_heard_after_the_end_of_a_port_that_rests() -> None:
    async def run() -> None:
        async with listening() as (ear, mouth, port):
            for _ in range(20):
                mouth.send(b"x")
            await ear.until(20)
            port.close()
            with contextlib.suppress(OSError):
                mouth.send(b"late")
            await asyncio.sleep(3 * REST_S)

            assert len(ear.heard) == 20

    asyncio.run(run())
