"""Whatever comes in by WebSocket and HTTP: nothing escapes, nothing hangs, nothing is left, and the
host answers afterwards. With --soak a million inputs in all."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from sdv2_host.config import Config
from sdv2_host.control.osc_dispatch import Peer
from sdv2_host.control.web_limits import Limits
from sdv2_host.control.web_oscquery import QueryClient
from sdv2_host.control.web_talk import Client
from sdv2_host.ipc.osc_encode import encode_message
from tests.control.live_web import HELLO, Web, live_web
from tests.control.mutations import BYTES, mutated, texts
from tests.control.test_web_refusals import client_frame, upgrade


def counts(usual: int, slow: int, soak: int) -> list[Any]:
    """How many inputs: always, as CI does, and for whoever has the time."""
    longest = pytest.param(soak, marks=[pytest.mark.soak, pytest.mark.timeout(600)])
    return [usual, pytest.param(slow, marks=pytest.mark.slow), longest]


MANY = counts(3_000, 100_000, 700_000)
FRAMES = counts(1_500, 30_000, 220_000)
REQUESTS = counts(300, 10_000, 80_000)
ROOMY = Limits(messages_per_s=1e9, burst=1e9, heartbeat_s=60, hello_s=5)
GROWTH_BYTES = 24 * 1024**2
"""Of this process between warm and done; a leak of 100 bytes per input would be four times this."""

GOOD: list[dict[str, Any]] = [
    HELLO,
    {"type": "hello", "protocol": 1, "token": "t", "client": "c", "subscribe": ["status"]},
    {"type": "set", "id": 1, "values": {"steps": 3, "prompt": "neon:2 | gold", "mix": 0.5}},
    {"type": "set", "id": "a", "values": {"/sdv2/noise/s_min": 0.9, "lora": "a:0.5"}, "fade": 1.5},
    {"type": "set", "values": {"width": 512, "freeze": True, "seed": 7, "quantize": "bar"}},
    {"type": "call", "id": 2, "action": "prompt_blend", "args": ["a", 1, "b", 2.5]},
    {"type": "call", "action": "noise_bounds", "args": [0.1, 0.9]},
    {"type": "call", "action": "preset_load", "args": ["neon", 2]},
    {"type": "call", "action": "panic"},
    {"type": "drawn"},
    {"type": "ping", "id": 3},
    {"COMMAND": "LISTEN", "DATA": "/sdv2/steps"},
    {"COMMAND": "IGNORE", "DATA": "/sdv2/steps"},
]


@asynccontextmanager
async def besieged(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Web]:
    """A host that must be as good after the siege as before."""
    caplog.set_level(logging.ERROR)
    async with live_web(Config(), limits=ROOMY) as web:
        before = asyncio.all_tasks()
        yield web
        await web.until(lambda: web.counts.clients == 0)
        await web.until(lambda: asyncio.all_tasks() == before)
        async with web.page() as page:
            ack = await page.ask({"type": "set", "values": {"seed": 4711}})
            assert ack["values"] == {"seed": 4711}
        assert (await web.get("/api/state"))[1]["values"]["seed"] == 4711
    assert [record.getMessage() for record in caplog.records] == []


class Scale:
    """Weighs this process: what it gained since it was warm."""

    def __init__(self, total: int) -> None:
        self._warm_at = total // 5
        self._total = total
        self._warm_bytes = 0

    def step(self, done: int) -> None:
        if self._warm_bytes == 0 and done >= self._warm_at:
            self._warm_bytes = self._bytes()

    def check(self) -> None:
        gained = self._bytes() - self._warm_bytes
        assert gained < GROWTH_BYTES, f"{gained / 1e6:.1f} MB gained by {self._total} inputs"

    @staticmethod
    def _bytes() -> int:
        gc.collect()
        return int(psutil.Process().memory_info().rss)


@pytest.mark.parametrize("total", MANY)
def test_no_text_escapes_the_conversation(total: int, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with besieged(caplog) as web:
            talk, query = web.plane._clients.talk, web.plane._clients.query
            client = Client(1, "", "", frozenset())
            asker = QueryClient(Peer("ws", "127.0.0.1", 1))
            query.clients[asker.peer] = asker
            scale = Scale(total)
            for index, text in enumerate(texts(random.Random(1), GOOD, total)):
                talk.take(client, text, web.port)
                query.take(asker, text)
                while (reply := client.outbox.take()) is not None:
                    assert isinstance(reply, str)
                    assert isinstance(json.loads(reply, parse_constant=_no_number), dict)
                if index % 500 == 0:
                    scale.step(index)
                    query.refresh_readings()
                    while asker.outbox.take() is not None:
                        pass
                    await asyncio.sleep(0)
            scale.check()
            del query.clients[asker.peer]

    asyncio.run(run())


def _no_number(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def _frames(chance: random.Random, total: int) -> Iterator[bytes]:
    """Frames, most of them whole; of the other ones most end their connection."""
    messages = texts(chance, GOOD, total)
    packets = [encode_message("/sdv2/steps", 3), encode_message("/sdv2/prompt", "neon")]
    good = [client_frame(1, json.dumps(one).encode()) for one in GOOD]
    for text in messages:
        payload = text.encode("utf-8", "surrogateescape")[:60_000]
        match chance.randrange(40):
            case 0:
                yield mutated(chance, chance.choice(good), good)
            case 1:
                yield client_frame(chance.randrange(16), payload, first=chance.choice((0x80, 0)))
            case 2:
                yield client_frame(8, payload[:100])
            case 3:
                half = len(payload) // 2
                yield client_frame(1, payload[:half], first=0) + client_frame(0, payload[half:])
            case 4 | 5:
                yield client_frame(9, payload[:125])
            case 6 | 7:
                yield client_frame(2, mutated(chance, chance.choice(packets), packets))
            case _:
                yield client_frame(1, payload.decode("utf-8", "replace").encode())


@pytest.mark.parametrize("path", ["/socket", "/"])
@pytest.mark.parametrize("total", FRAMES)
def test_no_frame_hangs_the_host(total: int, path: str, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with besieged(caplog) as web:
            scale, done = Scale(total // 2), 0
            frames = _frames(random.Random(2), total // 2)
            while done < total // 2:
                done += await _session(web, path, frames)
                scale.step(done)
            scale.check()

    asyncio.run(run())


async def _session(web: Web, path: str, frames: Iterator[bytes]) -> int:
    """Sends frames until the host closes or there are no more; how many."""
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    lines = "".join(f"{key}: {value}\r\n" for key, value in upgrade().items())
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n{lines}\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    hello = {**HELLO, "subscribe": ["params"]}
    writer.write(client_frame(1, json.dumps(hello).encode()))
    drain = asyncio.create_task(_read_all(reader))
    sent = 0
    try:
        for frame in frames:
            writer.write(frame)
            sent += 1
            await writer.drain()
            await asyncio.sleep(0)  # the host takes it, or has closed
            if drain.done():
                break
    except ConnectionError:
        pass
    writer.close()
    async with asyncio.timeout(20):
        await drain
    return max(sent, 1)


async def _read_all(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(65536):
            pass
    except ConnectionError:
        pass


def _requests(port: int) -> list[bytes]:
    """Good ones."""
    host = f"Host: 127.0.0.1:{port}\r\n".encode()
    end = b"Connection: close\r\n\r\n"
    found = [
        b"GET / HTTP/1.1\r\n" + host + b"Accept: text/html\r\n" + end,
        b"GET /page.js HTTP/1.1\r\n" + host + end,
        b"GET /sdv2/steps?VALUE HTTP/1.1\r\n" + host + end,
        b"GET /?HOST_INFO HTTP/1.1\r\n" + host + end,
        b"GET /api/state HTTP/1.1\r\n" + host + b"Authorization: Bearer abc\r\n" + end,
        b"GET /api/notices?after=12.5 HTTP/1.1\r\n" + host + end,
        b"GET /metrics HTTP/1.1\r\n" + host + b"Origin: http://127.0.0.1\r\n" + end,
        b"HEAD /healthz HTTP/1.0\r\n" + host + end,
    ]
    lines = "".join(f"{key}: {value}\r\n" for key, value in upgrade().items()).encode()
    found.append(b"GET /socket HTTP/1.1\r\n" + host + lines + b"\r\n" + client_frame(8, b""))
    for path, body in (
        ("set", {"values": {"steps": 3, "prompt": "neon"}, "fade": 1}),
        ("call", {"action": "noise_bounds", "args": [0.1, 0.9]}),
        ("learn", {"target": "mix"}),
    ):
        raw = json.dumps(body).encode()
        head = f"POST /api/{path} HTTP/1.1\r\nContent-Type: application/json\r\n".encode()
        length = f"Content-Length: {len(raw)}\r\n".encode()
        found.append(head + host + length + end + raw)
        chunked = f"Transfer-Encoding: chunked\r\n{end.decode()}{len(raw):x}\r\n".encode()
        found.append(head + host + chunked + raw + b"\r\n0\r\n\r\n")
    return found


@pytest.mark.parametrize("total", REQUESTS)
def test_no_request_hangs_the_host(total: int, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with besieged(caplog) as web:
            chance, scale = random.Random(3), Scale(total)
            good = _requests(web.port)
            for done in range(0, total, 20):
                batch = [mutated(chance, chance.choice(good), good) for _ in range(20)]
                batch[0] = chance.choice(BYTES) * chance.randrange(1, 20_000)
                await asyncio.gather(*(_request(web, raw) for raw in batch))
                scale.step(done)
            scale.check()

    asyncio.run(run())


async def _request(web: Web, raw: bytes) -> None:
    """Sends the bytes and reads to the end, which comes soon."""
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    writer.write(raw)
    try:
        writer.write_eof()
        async with asyncio.timeout(20):
            await _read_all(reader)
    except ConnectionError:
        pass
    writer.close()
