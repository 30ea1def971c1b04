"""`python -m sdv2_host.sinks.raw_feed`: the output ring as raw BGRA over HTTP, for players that
load no plug-in. OBS' own Media Source is one.

    GET /640x480 HTTP/1.1      ->      200, then frames of 640 * 480 * 4 bytes, for ever

A player of raw video is told the size once, by its user. So the size stands in the address, and a
connection keeps it for life: pictures of that size arrive as they are, others are scaled into it.
The host may change its size, or start again with another one, and no player shows noise.

Each new frame is sent once, as it comes; when none comes the last one again, ten times a second.
A client that reads slowly misses frames, one that does not read is dropped. Loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.errors import ConfigError
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.ipc.pixels import to_bgra8, to_rgba8
from sdv2_host.sinks.child import StateTeller, begin_child, run_sink
from sdv2_host.sinks.fit import black, fit
from sdv2_host.types import Size

ADDRESS = "127.0.0.1"
LOOPBACK_NAMES = ("127.0.0.1", "localhost")
POLL_S = 0.002
IDLE_S = 0.05
"""Between two looks while nobody reads."""
REPEAT_NS = 100 * NS_PER_MS
SHORTEST_NS = 15 * NS_PER_MS
"""Players are told 120 frames a second and must get fewer: what comes faster than they are told
they queue, and show later and later."""
HELLO_S = 3.0
STALL_S = 5.0
"""A client that takes no byte for so long is gone."""
MAX_CLIENTS = 16
MAX_SIDE_PX = 8192
MAX_REQUEST_BYTES = 8192
SEND_BUFFER_BYTES = 256 * 1024
"""Small: what waits in a socket is late when it is shown."""
_REQUEST = re.compile(rb"GET /(\d{1,5})x(\d{1,5}) HTTP/1\.[01]\r\n")
_HOST = re.compile(rb"\r\nhost:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)
_BROWSER = re.compile(rb"\r\n(?:origin|sec-fetch-[a-z]+):", re.IGNORECASE)
_HEADERS = (
    b"Content-Type: application/octet-stream\r\nCache-Control: no-store\r\n"
    b"X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
)

Pixels = NDArray[np.uint8]


def parse_request(raw: bytes) -> Size | str:
    """The size that is asked for, or the status line of a refusal."""
    host = _HOST.search(raw)
    name = host[1].decode("latin-1").rsplit(":", 1)[0].lower() if host else ADDRESS
    # A page could take all connections, or the pictures by a name that was made to resolve to us.
    if name not in LOOPBACK_NAMES or _BROWSER.search(raw):
        return "403 Forbidden: this is not for web pages"
    found = _REQUEST.match(raw)
    if found is None:
        return "404 Not Found: ask for /WIDTHxHEIGHT, such as /640x480"
    size = Size(int(found[1]), int(found[2]))
    if not (0 < size.width <= MAX_SIDE_PX and 0 < size.height <= MAX_SIDE_PX):
        return f"404 Not Found: sides are 1 to {MAX_SIDE_PX} px"
    return size


class RawFeed:
    """Serves any number of clients from one ring. Used by one loop.

    Fields, per process: the newest picture (RGBA), its number and when it came; clients.
    """

    def __init__(self, reader: FrameReader, server: socket.socket, teller: StateTeller) -> None:
        """`server` listens already."""
        self._reader = reader
        self._server = server
        self._teller = teller
        self._newest: Pixels | None = None
        self._number = 0
        self._changed_ns = now_ns()
        self._news = asyncio.Event()
        self._clients: set[asyncio.Task[None]] = set()

    async def run(self, is_stopped: Callable[[], bool]) -> None:
        accepting = asyncio.create_task(self._accept())
        self._tell()
        try:
            while not is_stopped():
                self._look()
                if accepting.done():
                    accepting.result()
                await asyncio.sleep(POLL_S if self._clients else IDLE_S)
        finally:
            for task in (accepting, *self._clients):
                task.cancel()
            await asyncio.gather(accepting, *self._clients, return_exceptions=True)

    def _look(self) -> None:
        now = now_ns()
        if not self._clients or now - self._changed_ns < SHORTEST_NS:
            return
        frame = self._reader.read_newest()
        if frame is not None:
            self._newest = to_rgba8(frame)
        elif now - self._changed_ns < REPEAT_NS:
            return
        self._changed_ns = now
        self._number += 1
        self._news.set()
        self._news = asyncio.Event()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._server)
            if len(self._clients) >= MAX_CLIENTS:
                client.close()
                continue
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(self._serve(client))
            self._clients.add(task)
            task.add_done_callback(self._leave)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._clients.discard(task)
        if not task.cancelled():
            task.result()
        self._tell()

    async def _serve(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with client:
            try:
                async with asyncio.timeout(HELLO_S):
                    size = await self._greet(client)
                if size is None:
                    return
                self._tell()
                seen = self._number  # the picture of when somebody last looked may be old
                while True:
                    if seen == self._number:
                        await self._news.wait()
                    seen = self._number
                    async with asyncio.timeout(STALL_S):
                        await loop.sock_sendall(client, self._picture(size))
            except (OSError, TimeoutError):
                return  # it left, or does not read: nobody else is concerned

    async def _greet(self, client: socket.socket) -> Size | None:
        """The size that the client asks for, once it was answered; None = refused."""
        loop = asyncio.get_running_loop()
        raw = b""
        while b"\r\n\r\n" not in raw and len(raw) < MAX_REQUEST_BYTES:
            part = await loop.sock_recv(client, MAX_REQUEST_BYTES)
            if not part:
                return None
            raw += part
        size = parse_request(raw)
        if isinstance(size, str):
            await loop.sock_sendall(client, f"HTTP/1.1 {size}\r\n".encode() + _HEADERS)
            return None
        await loop.sock_sendall(client, b"HTTP/1.1 200 OK\r\n" + _HEADERS)
        return size

    def _picture(self, size: Size) -> memoryview:
        rgba = black(size) if self._newest is None else fit(self._newest, size)
        return to_bgra8(rgba).data.cast("B")

    def _tell(self) -> None:
        port = self._server.getsockname()[1]
        num = len(self._clients)
        readers = "nobody reads" if not num else "1 reader" if num == 1 else f"{num} readers"
        self._teller.tell(f"http://{ADDRESS}:{port}/WIDTHxHEIGHT, {readers}")


def listen(port: int) -> socket.socket:
    """A socket that players connect to; 0 = any free port.

    Raises:
        ConfigError: the port cannot be used.
    """
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if sys.platform != "win32":  # there it would let two hosts share the port
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((ADDRESS, port))
        server.listen(MAX_CLIENTS)
    except OSError as error:
        server.close()
        raise ConfigError(
            f"--obs-port {port} cannot be used: {error.strerror}; stop the program that has it or "
            "choose another port"
        ) from error
    server.setblocking(False)
    return server


def serve(
    stream: str, run_dir: Path | None, port: int, teller: StateTeller, stop: threading.Event
) -> None:
    """Serves until `stop` is set. Raises: ConfigError, RingError."""
    with listen(port) as server, FrameReader(stream, run_dir=run_dir) as reader:

        async def run() -> None:
            await RawFeed(reader, server, teller).run(stop.is_set)

        asyncio.run(run())


def main(argv: list[str]) -> int:
    """The exit code, after it was told to end."""
    parser = argparse.ArgumentParser(prog="sdv2_host.sinks.raw_feed", description="Raw frames.")
    parser.add_argument("--stream", required=True, help="name of the ring to serve")
    parser.add_argument("--run-dir", type=Path, help="folder of the rings' descriptors")
    parser.add_argument("--port", type=int, required=True, help="TCP port, 0 = any free one")
    args = parser.parse_args(argv)
    stop = begin_child()
    teller = StateTeller(sys.stdout.buffer)
    return run_sink(lambda: serve(args.stream, args.run_dir, args.port, teller, stop))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
