"""Who comes to a host in a soak: pages, sleepers, OSC clients, viewers. None of them stays long.

What the host answers is read and not judged; what breaks off on our side is counted by its name.
`python -m sdv2_host.bench.soak_guests STREAM` is a viewer, which reads until it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import aiohttp

from sdv2_host.actions import ACTION_BY_ADDRESS
from sdv2_host.bench.end_process import kill_at_once
from sdv2_host.bench.soak_script import Order, Turn, Way
from sdv2_host.control.web_messages import SUBPROTOCOL, TOPICS
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.ipc.osc_encode import encode_bundle, encode_message
from sdv2_host.ipc.osc_stream import Framing, frame

BURST = 500
PATHS = (
    *("/", "/page.js", "/page.css", "/api/state", "/api/status", "/metrics", "/healthz"),
    *("/api/schema", "/api/notices", "/?HOST_INFO", "/sdv2/noise/s_max", "/no/such/place"),
)
RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: the connection ends with a reset, as of a program that was killed."""
GUEST_S = 60.0
"""Longer than any of them should stay, but for controllers."""


class Guests:
    """Fields, per run: the host; the HTTP session, the UDP socket and the OSC connections that
    stay; who is there now; how many came of each kind, and what broke off."""

    def __init__(self, host: HostFile) -> None:
        self.came: Counter[str] = Counter()
        self.broke: Counter[str] = Counter()
        """By kind of guest and error."""
        self._host = host
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setblocking(False)
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._streams: dict[Way, asyncio.StreamWriter] = {}
        self._there: set[asyncio.Task[None]] = set()
        self._doing: dict[str, Callable[[random.Random], Coroutine[Any, Any, None]]] = {
            "osc burst": self._burst,
            "osc malformed": self._malformed,
            "osc connection": self._connection,
            "osc subscriber": self._subscriber,
            "page": self._page,
            "sleeper": self._sleeper,
            "http": self._ask,
            "viewer": self._viewer,
        }

    async def open(self) -> None:
        """The controllers that stay are there: one of each way. Raises: OSError, ClientError."""
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=GUEST_S))
        self._socket = await self._connect(["params", "status", "notices"])
        for way in (Way.SIZES, Way.SLIP):
            reader, writer = await asyncio.open_connection(self._host.address, self._host.port)
            self._streams[way] = writer
            self._spawn("controller", _read_on(reader), None)
        self._spawn("controller", self._listen(self._socket), None)

    async def close(self) -> None:
        """Nobody is there any more."""
        for task in self._there:
            task.cancel()
        if self._there:
            await asyncio.wait(self._there)
        for writer in self._streams.values():
            writer.close()
        self._streams.clear()
        if self._socket is not None:
            await self._socket.close()
        if self._http is not None:
            await self._http.close()
        self._http = self._socket = None

    def end(self) -> None:
        self._udp.close()

    def move_faders(self, number: int) -> None:
        """Two faders, one step further: 60 messages a second of a show of 30 frames a second."""
        level = 0.3 + number % 100 / 500
        for address in ("/sdv2/noise/s_max", "/sdv2/noise/motion_gain"):
            self._datagram(encode_message(address, level))

    def do(self, turn: Turn) -> None:
        """A guest comes, or an order is given; neither is waited for."""
        self.came[turn.kind] += 1
        doing = self._doing.get(turn.kind)
        if doing is not None:
            self._spawn(turn.kind, doing(random.Random(turn.seed)))
        for order in turn.orders:
            self._spawn(turn.way.value, self._give(order, turn.way))

    def _spawn(
        self, kind: str, work: Coroutine[Any, Any, None], stays_s: float | None = GUEST_S
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._watched(kind, work, stays_s))
        self._there.add(task)
        task.add_done_callback(self._there.discard)

    async def _watched(
        self, kind: str, work: Coroutine[Any, Any, None], stays_s: float | None
    ) -> None:
        try:
            async with asyncio.timeout(stays_s):
                await work
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            self.broke[f"{kind}: {type(error).__name__}"] += 1

    async def _give(self, order: Order, way: Way) -> None:
        packet = encode_message(order.address, *order.args)
        match way:
            case Way.UDP:
                self._datagram(packet)
            case Way.SIZES | Way.SLIP:
                framing = Framing.SIZES if way is Way.SIZES else Framing.SLIP
                self._streams[way].write(frame(packet, framing))
            case Way.SOCKET:
                assert self._socket is not None, "open"
                await self._socket.send_str(json.dumps(_message(order)))
            case Way.HTTP:
                body = _message(order)
                await self._post(f"/api/{body.pop('type')}", body)

    def _datagram(self, packet: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # as a network does: it is lost
            self._udp.sendto(packet, (self._host.address, self._host.port))

    async def _post(self, path: str, body: Mapping[str, object]) -> None:
        assert self._http is not None, "open"
        async with self._http.post(self._host_url(path), json=body) as answer:
            await answer.read()

    def _host_url(self, path: str) -> str:
        return f"http://{self._host.host}:{self._host.port}{path}"

    async def _connect(self, topics: Sequence[str]) -> aiohttp.ClientWebSocketResponse:
        assert self._http is not None, "open"
        opened = await self._http.ws_connect(
            self._host_url("/socket"), protocols=(SUBPROTOCOL,), max_msg_size=0
        )
        hello = {"type": "hello", "client": "soak", "subscribe": list(topics)}
        await opened.send_str(json.dumps(hello))
        return opened

    async def _listen(
        self, opened: aiohttp.ClientWebSocketResponse, num_messages: int | None = None
    ) -> None:
        """Reads so many messages, None = all, and draws what is to be drawn, as the page does."""
        for number in itertools.count(1):
            message = await opened.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                await opened.send_str('{"type": "drawn"}')
            elif message.type is not aiohttp.WSMsgType.TEXT:
                return
            if number == num_messages:
                return

    async def _page(self, rng: random.Random) -> None:
        """A page is opened, played for a while and closed: well, by a cut, or by a reset."""
        topics = rng.sample(TOPICS, rng.randint(1, len(TOPICS)))
        opened = await self._connect(topics)
        for _ in range(rng.randint(1, 5)):
            level = round(rng.random(), 3)
            await opened.send_str(json.dumps({"type": "set", "values": {"sink_threshold": level}}))
            await self._listen(opened, 10)
        await _leave(opened, rng.choice(("well", "cut", "reset")))

    async def _sleeper(self, rng: random.Random) -> None:
        """A page whose computer sleeps: it wants everything and reads nothing."""
        opened = await self._connect(TOPICS)
        await asyncio.sleep(rng.uniform(1, 12))
        await _leave(opened, "reset")

    async def _ask(self, rng: random.Random) -> None:
        """A browser or a script; some do not wait for the answer."""
        path = rng.choice(PATHS)
        if rng.random() < 0.8:
            assert self._http is not None, "open"
            headers = {"Accept": "text/html"} if path == "/" else {}
            async with self._http.get(self._host_url(path), headers=headers) as answer:
                await answer.read()
            return
        _, writer = await asyncio.open_connection(self._host.address, self._host.port)
        request = f"GET {path} HTTP/1.1\r\nHost: {self._host.host}\r\n\r\n".encode()
        writer.write(request[: rng.randint(1, len(request))])
        await writer.drain()
        writer.transport.abort()

    async def _burst(self, rng: random.Random) -> None:
        """As many as a sequencer sends at a bar, some of them as one bundle."""
        packets = [encode_message("/sdv2/noise/hold", rng.random()) for _ in range(BURST)]
        for packet in packets:
            self._datagram(packet)
        self._datagram(encode_bundle(packets[:50]))
        self._datagram(encode_message("/sdv2/noise/hold", 0.0))

    async def _malformed(self, rng: random.Random) -> None:
        whole = encode_message("/sdv2/prompt", "neon", 1.5)
        spot = rng.randrange(len(whole))
        for packet in (
            rng.randbytes(rng.randint(1, 200)),
            whole[:spot],
            whole[:spot] + rng.randbytes(1) + whole[spot + 1 :],
            encode_message(f"/sdv2/{rng.randbytes(6).hex()}", rng.random()),
            encode_message("/sdv2/steps", "many"),
        ):
            self._datagram(packet)

    async def _connection(self, rng: random.Random) -> None:
        """OSC over TCP in either framing, or what is neither; ends well or by a reset."""
        reader, writer = await asyncio.open_connection(self._host.address, self._host.port)
        framing = rng.choice(tuple(Framing))
        try:
            if rng.random() < 0.2:
                writer.write(b"\0\0\0\x04" + rng.randbytes(64))
            else:
                writer.write(frame(encode_message("/sdv2/subscribe"), framing))
                for _ in range(rng.randint(1, 20)):
                    writer.write(frame(encode_message("/sdv2/noise/hold", 0.0), framing))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rng.uniform(0.01, 0.5)):
                    await reader.read(4096)
        finally:
            if rng.random() < 0.5:
                writer.transport.abort()
            writer.close()

    async def _subscriber(self, rng: random.Random) -> None:
        """Subscribes over UDP and is gone without a word: its lease ends by itself."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
            heard.bind(("127.0.0.1", 0))
            packet = encode_message("/sdv2/subscribe", heard.getsockname()[1])
            heard.sendto(packet, (self._host.address, self._host.port))
            await asyncio.sleep(rng.uniform(0.05, 1.0))

    async def _viewer(self, rng: random.Random) -> None:
        """A program that shows the output, and is killed in the middle of it."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sdv2_host.bench.soak_guests", f"{self._host.name}-out"),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert child.stdout is not None, "a pipe"
            await child.stdout.readline()  # it has a frame
            await asyncio.sleep(rng.uniform(0.0, 0.5))
        finally:
            kill_at_once(child.pid)
            await child.wait()


async def _leave(opened: aiohttp.ClientWebSocketResponse, how: str) -> None:
    if how == "well":
        await opened.close()
        return
    held: socket.socket | None = opened.get_extra_info("socket")
    if held is not None:  # None: the host was quicker
        with contextlib.suppress(OSError):
            if how == "reset":
                held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            held.shutdown(socket.SHUT_RDWR)
    await opened.close()


async def _read_on(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


def _message(order: Order) -> dict[str, Any]:
    """The order as WebSocket and HTTP take it."""
    action = ACTION_BY_ADDRESS.get(order.address)
    if action is not None:
        return {"type": "call", "action": action.name, "args": list(order.args)}
    return {"type": "set", "values": {order.address: order.args[0]}}


def view(stream: str) -> None:
    """Reads the stream for ever; says so once it has a frame."""
    has_told = False
    with FrameReader(stream) as reader:
        while True:
            if reader.read_newest() is not None and not has_told:
                print("attached", flush=True)
                has_told = True
            time.sleep(0.005)


if __name__ == "__main__":
    view(sys.argv[1])
