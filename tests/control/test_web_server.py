"""HTTP connections below the requests: bytes that are none, and clients that do not play along."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest

from sdv2_host.control.guard import GUARD_HEADERS
from sdv2_host.control.web_limits import Limits
from tests.control.live_web import Web, live_web
from tests.control.test_web_refusals import QUICK, refused


@pytest.mark.parametrize(
    "raw",
    [
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: " + b"x" * 20000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
    ],
)
def test_bytes_that_are_no_http_are_answered_as_others_counted_and_fill_no_log(
    raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def deed(web: Web) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(raw)
        async with asyncio.timeout(20):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert b" 400 " in head
        for name, value in GUARD_HEADERS.items():
            assert f"\r\n{name}: {value}\r\n" in head.decode()
        assert json.loads(body)["code"] == "not_http"

    assert refused(deed) == {"bad_messages": 1}
    assert caplog.records == []


@pytest.mark.parametrize("said", [b"", b"GE", b"GET / HTTP/1.1\r\nHost: us\r\nX: "])
def test_half_a_request_is_waited_for_no_longer_than_a_hello(said: bytes) -> None:
    async def deed(web: Web) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(said)
        while web.counts.late == 0:
            await asyncio.sleep(0.01)
            writer.write(b"y" if said.endswith(b" ") else b"")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    assert refused(deed, limits=QUICK) == {"late": 1}


def test_who_asked_once_may_take_its_time() -> None:
    async def deed(web: Web) -> None:
        for _ in range(2):
            assert (await web.get("/healthz"))[0] == 200
            await asyncio.sleep(2 * QUICK.hello_s)

    assert refused(deed, limits=QUICK) == {}


def test_who_reads_no_answers_is_dropped() -> None:
    async def deed(web: Web) -> None:
        with await _client(web, 4096) as deaf:
            await asyncio.wait_for(_ask_on(web, deaf), 20)

    assert refused(deed, limits=QUICK) == {"slow": 1}


async def _ask_on(web: Web, deaf: socket.socket) -> None:
    """Asks for the page until it is dropped."""
    loop = asyncio.get_running_loop()
    asked = f"GET /page.css HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n\r\n".encode()
    with contextlib.suppress(ConnectionError):
        while web.counts.slow == 0:
            await loop.sock_sendall(deaf, asked * 10)


def test_who_reads_slowly_gets_everything() -> None:
    size = 16_000_000

    async def deed(web: Web) -> None:
        web.console.publish({"presets": ["x" * size]}, "t")
        loop, left = asyncio.get_running_loop(), size
        asked = f"GET /api/state HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n\r\n"
        with await _client(web, 100_000) as slow:
            await loop.sock_sendall(slow, asked.encode())
            # The system tells of room for more only when a third of its own buffer was read.
            while left > 0:
                await asyncio.sleep(0.02)
                got = await loop.sock_recv(slow, 250_000)
                assert got, "the host hung up"
                left -= len(got)

    assert refused(deed, limits=Limits(slow_s=1)) == {}


class _Wire(asyncio.Transport):
    """A connection from this address, to nowhere."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1)})
        self.is_open = True

    def is_closing(self) -> bool:
        return not self.is_open

    def abort(self) -> None:
        self.is_open = False

    close = abort

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


def test_however_many_come_from_the_network_this_machine_finds_room() -> None:
    async def run() -> tuple[list[bool], int]:
        async with live_web(limits=Limits(max_connections=2)) as web:
            server = web.runner.server
            assert server is not None
            wires = [_Wire(one) for one in ("10.0.0.9",) * 3 + ("127.0.0.1", "::1")]
            connections = [server() for _ in wires]
            for connection, wire in zip(connections, wires, strict=True):
                connection.connection_made(wire)
            connections[2].data_received(b"GET /healthz HTTP/1.1\r\nHost: us\r\n\r\n")
            await asyncio.sleep(0.05)
            assert web.counts.requests == 0
            got = [wire.is_open for wire in wires], web.counts.too_many
            for connection in connections:
                connection.connection_lost(None)
            return got

    assert asyncio.run(run()) == ([True, True, False, True, True], 1)


async def _client(web: Web, buffer_bytes: int) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", web.port))
    return client
