"""The preview page's server: who may talk to it, what it says, what it refuses."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from sdv2_host.config import Config
from sdv2_host.control.guard import is_allowed
from sdv2_host.control.pictures import HEADER, MAX_SIDE_PX, encode_picture
from sdv2_host.control.web import Hello, PreviewServer
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.params import PARAMS, Params, Patch, apply
from sdv2_host.status import HostState, HostStatus
from sdv2_host.types import Frame, FrameMeta, Size
from tests.hosts import unique_name

PORT = 9400
HELLO = Hello("passthrough", "127.0.0.1", {"neon": "neon lights"})


class FakeStudio:
    """A daemon's face without a daemon."""

    def __init__(self) -> None:
        self.params = Params()

    def apply(self, patch: Patch, origin: str) -> Params:
        self.params = apply(self.params, patch)
        return self.params

    def snapshot(self) -> HostStatus:
        return HostStatus(HostState.LIVE, "", "passthrough", Size(8, 8), fps=25.0)


@asynccontextmanager
async def served(config: Config) -> AsyncIterator[tuple[PreviewServer, FakeStudio]]:
    studio = FakeStudio()
    server = PreviewServer(studio, config, HELLO)
    await server.start(0)
    try:
        yield server, studio
    finally:
        await server.close()


async def receive(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """The next text message of that type."""
    async for message in socket:
        if message.type == aiohttp.WSMsgType.TEXT:
            content: dict[str, Any] = json.loads(message.data)
            if content["type"] == kind:
                return content
    raise AssertionError(f"the socket closed before {kind!r}")


async def answer(text: str) -> tuple[dict[str, Any], Params]:
    """What the page is told after sending `text`, and the parameters then."""
    async with (
        served(Config(name=unique_name())) as (server, studio),
        aiohttp.ClientSession() as session,
        session.ws_connect(server.url + "socket") as socket,
    ):
        await receive(socket, "hello")
        await socket.send_str(text)
        async for message in socket:
            content: dict[str, Any] = json.loads(message.data)
            if content["type"] in ("ack", "error"):
                return content, studio.params
    raise AssertionError("no answer")


async def status_of(path: str, headers: dict[str, str], *, upgrade: bool = False) -> int:
    async with (
        served(Config(name=unique_name())) as (server, _),
        aiohttp.ClientSession() as session,
    ):
        filled = {k: v.replace("PORT", str(server.port)) for k, v in headers.items()}
        if upgrade:
            filled |= {"Connection": "Upgrade", "Upgrade": "websocket"}
            filled |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "A" * 22 + "=="}
        async with session.get(server.url + path, headers=filled) as response:
            return response.status


@pytest.mark.parametrize("host", ["127.0.0.1:9400", "localhost:9400", "[::1]:9400"])
def test_our_own_addresses_are_answered(host: str) -> None:
    assert is_allowed({"Host": host}, PORT)
    assert is_allowed({"Host": host, "Origin": f"http://{host}"}, PORT)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "evil.example"},
        {"Host": "evil.example:9400"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:80"},
        {"Host": "127.0.0.1.evil.example:9400"},
        {"Host": "127.0.0.1:9400", "Origin": "http://evil.example"},
        {"Host": "127.0.0.1:9400", "Origin": "null"},
        {"Host": "127.0.0.1:9400", "Origin": "https://127.0.0.1:9400"},
        {"Host": "127.0.0.1:9400", "Origin": "http://localhost:9400"},
        {"Host": "127.0.0.1:9400", "Sec-Fetch-Site": "cross-site"},
        {"Host": "127.0.0.1:9400", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_anybody_else_is_refused(headers: dict[str, str]) -> None:
    assert not is_allowed(headers, PORT)


@pytest.mark.parametrize("path", ["", "page.js", "nothing", "socket"])
def test_a_hostile_host_gets_403_everywhere(path: str) -> None:
    assert asyncio.run(status_of(path, {"Host": "evil.example:PORT"})) == 403


def test_a_hostile_origin_cannot_open_the_socket() -> None:
    headers = {"Host": "127.0.0.1:PORT", "Origin": "http://evil.example"}

    assert asyncio.run(status_of("socket", headers, upgrade=True)) == 403


def test_every_answer_carries_the_guard_headers() -> None:
    async def headers(path: str) -> tuple[int, str, str]:
        async with (
            served(Config(name=unique_name())) as (server, _),
            aiohttp.ClientSession() as session,
            session.get(server.url + path) as response,
        ):
            found = response.headers
            return response.status, found["Content-Security-Policy"], found["Content-Type"]

    for path, status in (("", 200), ("page.js", 200), ("page.css", 200), ("other.js", 404)):
        got, policy, content_type = asyncio.run(headers(path))
        assert got == status
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "charset=utf-8" in content_type


def test_hello_holds_the_whole_parameter_table() -> None:
    async def hello() -> dict[str, Any]:
        async with (
            served(Config(name=unique_name())) as (server, _),
            aiohttp.ClientSession() as session,
            session.ws_connect(server.url + "socket") as socket,
        ):
            return await receive(socket, "hello")

    message = asyncio.run(hello())

    assert [row["name"] for row in message["params"]] == list(PARAMS)
    assert message["values"] == Params().model_dump()
    assert message["styles"] == {"neon": "neon lights"}


def test_a_set_is_answered_with_what_is_in_force() -> None:
    values = {"prompt": "neon", "steps": 9, "noise_s_min": 0.95}
    message, params = asyncio.run(answer(json.dumps({"type": "set", "id": 7, "values": values})))

    assert (message["type"], message["id"]) == ("ack", 7)
    assert message["values"] == params.model_dump()
    assert (params.prompt, params.steps) == ("neon", 4)
    assert params.noise_s_min == params.noise_s_max == 0.95


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 50_000,
        "7",
        "{}",
        '{"type": "quit"}',
        '{"type": "set"}',
        '{"type": "set", "values": [1]}',
        '{"type": "set", "values": {"no_such": 1}}',
        '{"type": "set", "values": {"steps": "many"}}',
        '{"type": "set", "values": {"steps": null}}',
        '{"type": "set", "values": {"steps": {"deep": 1}}}',
        '{"type": "set", "values": {"noise_s_min": NaN}}',
        '{"type": "set", "values": {"seed": 1' + "0" * 400 + "}}",
        '{"type": "set", "values": {"prompt": "kept out", "steps": "many"}}',
    ],
)
def test_what_cannot_be_done_is_an_error_and_changes_nothing(text: str) -> None:
    message, params = asyncio.run(answer(text))

    assert message["type"] == "error"
    assert message["message"]
    assert params == Params()


def test_pictures_stop_for_a_page_that_does_not_draw() -> None:
    async def count_pictures() -> int:
        config = Config(name=unique_name())
        pixels = np.zeros((16, 16, 4), np.uint8)
        with FrameWriter(config.output_stream) as ring:
            async with (
                served(config) as (server, _),
                aiohttp.ClientSession() as session,
                session.ws_connect(server.url + "socket") as socket,
            ):
                num_pictures = 0
                for _ in range(40):
                    ring.publish(pixels, FrameMeta(16, 16))
                    try:
                        message = await socket.receive(0.05)
                    except TimeoutError:
                        continue
                    num_pictures += message.type == aiohttp.WSMsgType.BINARY
                return num_pictures

    assert 1 <= asyncio.run(count_pictures()) <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (1919, 1081), (256, 256)])
def test_pictures_are_small_jpegs_of_the_same_proportions(size: tuple[int, int]) -> None:
    width, height = size
    frame = Frame(FrameMeta(width, height, frame=5), np.full((height, width, 4), 200, np.uint8))

    message = encode_picture(1, frame)

    assert HEADER.unpack_from(message) == (1, width, height, 5)
    tmp = Image.open(io.BytesIO(message[HEADER.size :]))
    assert max(tmp.size) <= MAX_SIDE_PX
    assert tmp.size[0] / tmp.size[1] == pytest.approx(width / height, rel=0.05, abs=0.01)
