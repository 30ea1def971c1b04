"""Who and what is refused or dropped: counted, and the stage is as it was."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Any

import aiohttp
import psutil
import pytest

from sdv2_host.config import Config
from sdv2_host.control.access import Access, is_loopback
from sdv2_host.control.web_limits import Limits
from sdv2_host.control.web_messages import MAX_TEXT_BYTES, SUBPROTOCOL
from tests.control.live_web import HELLO, LOCAL, PageSocket, Web, live_web
from tests.hosts import unique_name

TOKEN = "correct-horse"
LAN = Access("0.0.0.0", TOKEN, frozenset(("127.0.0.1", "localhost", "studio.local")))
QUICK = Limits(hello_s=0.2, slow_s=0.5, heartbeat_s=60, status_period_s=0.01)
SMALL = Limits(max_clients=2)

Deed = Callable[[Web], Awaitable[object]]


def refused(deed: Deed, access: Access = LOCAL, limits: Limits = Limits()) -> dict[str, int]:  # noqa: B008
    """The counters that the deed raised. The stage is as it was, and the host still answers."""

    async def run() -> dict[str, int]:
        async with live_web(access=access, limits=limits) as web:
            await deed(web)
            await web.until(lambda: web.counts.clients == 0)
            raised = {key: value for key, value in asdict(web.counts).items() if value}
            assert web.stage.applied == []
            assert web.door.packets == []
            assert (await web.get("/healthz"))[0] == 200
            raised.pop("requests", None)
            return raised

    return asyncio.run(run())


def upgrade(**headers: str) -> dict[str, str]:
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "A" * 22 + "==",
        **headers,
    }


@pytest.mark.parametrize("path", ["/", "/page.js", "/nothing", "/socket", "/api/state", "/metrics"])
def test_a_hostile_host_gets_403_everywhere(path: str) -> None:
    async def deed(web: Web) -> None:
        for headers in ({"Host": "evil.example:PORT"}, upgrade(Host="evil.example:PORT")):
            status, content = await web.get(path, **headers)
            assert (status, content["code"]) == (403, "evil_host")

    assert refused(deed) == {"evil_host": 2}


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "file://", "http://localhost:1"])
@pytest.mark.parametrize("path", ["/", "/socket", "/api/set"])
def test_a_hostile_origin_gets_403_everywhere(path: str, origin: str) -> None:
    async def deed(web: Web) -> None:
        for status, content in (
            await web.get(path, Origin=origin),
            await web.get(path, **upgrade(Origin=origin)),
            await web.post(path, {"values": {"steps": 3}}, Origin=origin),
        ):
            assert (status, content["code"]) == (403, "evil_origin")

    assert refused(deed) == {"evil_origin": 3}


def test_a_form_of_another_site_changes_nothing() -> None:
    async def deed(web: Web) -> None:
        body = json.dumps({"action": "panic", "x": "="})
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            sending = web.session.post(
                web.url + "/api/call", data=body, headers={"Content-Type": kind}
            )
            async with sending as response:
                assert response.status == 415
        sending = web.session.post(web.url + "/api/call", headers={"Sec-Fetch-Site": "cross-site"})
        async with sending as response:
            assert response.status == 403

    assert refused(deed) == {"bad_messages": 3, "evil_origin": 1}


def test_on_the_network_everything_but_the_page_and_health_needs_the_token() -> None:
    async def deed(web: Web) -> None:
        html = {"Accept": "text/html"}
        for path, headers in (("/", html), ("/page.js", {}), ("/healthz", {})):
            assert (await web.get(path, **headers))[0] == 200
        for path in ("/api/status", "/api/state", "/api/schema", "/api/notices", "/metrics"):
            assert (await web.get(path))[0] == 401
            assert (await web.get(path, Authorization="Bearer wrong"))[0] == 401
            assert (await web.get(path, Authorization=f"Bearer {TOKEN}"))[0] == 200
        for path in ("/api/set", "/api/call", "/api/learn"):
            assert (await web.post(path, {"values": {"steps": 3}, "action": "panic"}))[0] == 401

    assert refused(deed, LAN) == {"no_token": 8, "wrong_token": 5}


def test_on_the_network_the_first_message_needs_the_token() -> None:
    async def codes(web: Web) -> list[int | None]:
        found = []
        for hello in (HELLO, {**HELLO, "token": "wrong"}, {**HELLO, "token": TOKEN + "x"}):
            async with web.socket() as client:
                await client.send(hello)
                await client.send({"type": "set", "values": {"steps": 3}})
                found.append(await client.closed())
        async with web.page({**HELLO, "token": TOKEN}) as page:
            assert (await page.ask({"type": "ping"}))["type"] == "pong"
        assert found == [4401, 4401, 4401]
        return found

    assert refused(codes, LAN) == {"no_token": 1, "wrong_token": 2}


def _own_address() -> str:
    """One of this machine that is not loopback; '' = it has none."""
    cards = psutil.net_if_addrs().values()
    found = [one.address for card in cards for one in card if one.family == socket.AF_INET]
    return next((one for one in found if not is_loopback(one)), "")


@pytest.mark.skipif(not _own_address(), reason="this machine has no address but loopback")
def test_the_address_space_is_open_to_whom_may_send_osc_and_closed_to_others() -> None:
    own = _own_address()

    async def asked(osc_from: str) -> list[int]:
        config = Config(name=unique_name(), listen="0.0.0.0", osc_from=osc_from)
        async with live_web(config, LAN, host=own) as web:
            paths = ("/?HOST_INFO", "/sdv2/steps", "/api/state", "/metrics")
            return [(await web.get(path))[0] for path in paths]

    assert asyncio.run(asked("203.0.113.0/24")) == [401, 401, 401, 401]
    # Who may play over UDP may read what there is to play; the API needs the token all the same.
    assert asyncio.run(asked(own)) == [200, 200, 401, 401]


@pytest.mark.parametrize("path", ["/socket", "/"])
def test_a_text_that_is_too_long_closes_the_connection(path: str) -> None:
    async def deed(web: Web) -> None:
        async with web.socket(path) as client:
            if path == "/socket":
                await client.send(HELLO)
                await client.next("welcome")
            values = {"prompt": "x" * MAX_TEXT_BYTES}
            await client.send({"type": "set", "values": values})
            assert await client.closed() == 1009

    assert refused(deed) == {"oversized": 1}


def test_a_body_that_is_too_long_is_refused() -> None:
    async def deed(web: Web) -> None:
        values = {"prompt": "x" * MAX_TEXT_BYTES}
        status, content = await web.post("/api/set", {"values": values})
        assert (status, content["code"]) == (413, "request_entity_too_large")

    assert refused(deed) == {"oversized": 1}


def test_a_body_that_inflates_is_refused() -> None:
    async def deed(web: Web) -> None:
        body = json.dumps({"values": {"prompt": "x" * 20_000_000}}).encode()
        headers = {"Content-Type": "application/json"}
        sending = web.session.post(
            web.url + "/api/set", data=body, headers=headers, compress="deflate"
        )
        async with sending as response:
            assert response.status == 413

    assert refused(deed) == {"oversized": 1}


def test_a_body_that_does_not_come_is_waited_for_no_longer_than_a_hello() -> None:
    async def deed(web: Web) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        host = f"Host: 127.0.0.1:{web.port}\r\n"
        kind = "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        writer.write(f"POST /api/set HTTP/1.1\r\n{host}{kind}".encode())
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()

    assert refused(deed, limits=QUICK) == {"late": 1}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"7", b"[" * 60000, b"\xff\xfe", b"{}", b'{"values": [1]}', b"null"]
)
def test_a_body_that_is_no_message_is_refused(body: bytes) -> None:
    async def deed(web: Web) -> None:
        headers = {"Content-Type": "application/json"}
        async with web.session.post(web.url + "/api/set", data=body, headers=headers) as response:
            content = await response.json()
            assert response.status == 400
            assert content["code"] in ("not_json", "bad_message")

    assert refused(deed) == {"bad_messages": 1}


def test_a_client_that_says_nothing_is_closed() -> None:
    async def deed(web: Web) -> None:
        async with web.socket() as client:
            await client.ws.ping()
            assert await client.closed() == 4408

    assert refused(deed, limits=QUICK) == {"late": 1}


@pytest.mark.parametrize(
    "first",
    [
        *("", "hello", "{}", '{"type": "set", "values": {"steps": 3}}'),
        *('{"type": "hello", "token": 7}', '{"type": "hello", "protocol": 2}'),
    ],
)
def test_a_first_message_that_is_no_hello_closes(first: str) -> None:
    async def deed(web: Web) -> None:
        async with web.socket() as client:
            await client.ws.send_str(first)
            assert await client.closed() == 4400

    assert refused(deed) == {"bad_messages": 1}


def test_a_binary_message_is_no_hello_and_later_an_error() -> None:
    async def deed(web: Web) -> None:
        async with web.socket() as client:
            await client.ws.send_bytes(b"x")
            assert await client.closed() == 4400
        async with web.page() as page:
            await page.ws.send_bytes(b"x")
            assert (await page.next("error"))["code"] == "bad_message"

    assert refused(deed) == {"bad_messages": 2}


@pytest.mark.parametrize("path", ["/socket", "/"])
def test_a_flood_of_messages_is_ended(path: str) -> None:
    async def deed(web: Web) -> None:
        async with web.socket(path) as client:
            await client.send(HELLO)
            for _ in range(600):
                await client.send({"type": "ping"})
            assert await client.closed() == 4429

    raised = refused(deed)

    assert raised.pop("flooding") == 1
    assert raised.keys() <= {"bad_messages"}  # OSCQuery knows no pings


def test_a_flood_of_pings_is_one_too() -> None:
    async def deed(web: Web) -> None:
        async with web.page() as page:
            for _ in range(600):
                await page.ws.ping()
            assert await page.closed() == 4429

    assert refused(deed) == {"flooding": 1}


def test_a_fast_fader_is_no_flood_and_drawing_counts_for_nothing() -> None:
    async def run() -> tuple[int, int]:
        async with live_web() as web, web.page() as page:
            for index in range(300):
                await page.send({"type": "set", "values": {"seed": index}})
            acks = [await page.next("ack") for _ in range(300)]
            return len(acks), web.counts.flooding

    assert asyncio.run(run()) == (300, 0)


def test_a_client_that_does_not_read_is_dropped_and_the_others_go_on() -> None:
    async def run() -> tuple[int, int]:
        async with live_web(limits=QUICK) as web:
            web.console.publish({"presets": ["x" * 200_000]}, "t")
            async with web.page() as page, _deaf(web) as deaf:
                while web.counts.slow == 0:
                    web.console.publish({"presets": [_text(web.console.seq)]}, "t")
                    await page.next("state")
                await web.until(lambda: web.counts.clients == 1)
                deaf.close()
                return web.counts.slow, web.counts.clients

    assert asyncio.run(run()) == (1, 1)


def _text(number: int) -> str:
    return f"{number}" * 50_000


class _deaf:  # noqa: N801
    """A subscriber that reads nothing after its handshake, with small buffers."""

    def __init__(self, web: Web) -> None:
        self.web = web

    async def __aenter__(self) -> asyncio.StreamWriter:
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self.web.port, limit=1024)
        lines = "".join(f"{key}: {value}\r\n" for key, value in upgrade().items())
        host = f"GET /socket HTTP/1.1\r\nHost: 127.0.0.1:{self.web.port}\r\n{lines}\r\n"
        self.writer.write(host.encode())
        await reader.readuntil(b"\r\n\r\n")
        self.writer.write(client_frame(1, json.dumps(HELLO).encode()))
        await self.web.until(lambda: self.web.counts.clients == 2)
        return self.writer

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()


def client_frame(opcode: int, payload: bytes, *, first: int = 0x80) -> bytes:
    """A masked frame, with a mask of zeros."""
    length = (
        bytes((0x80 | len(payload),))
        if len(payload) < 126
        else b"\xfe" + struct.pack(">H", len(payload))
    )
    return bytes((first | opcode,)) + length + bytes(4) + payload


def test_a_client_that_answers_no_ping_is_dropped() -> None:
    async def run() -> int:
        async with (
            live_web(limits=Limits(heartbeat_s=0.2, status_period_s=60)) as web,
            web.session.ws_connect(web.url + "/socket", autoping=False) as ws,
        ):
            await ws.send_str(json.dumps(HELLO))
            await web.until(lambda: web.counts.slow == 1)
            await web.until(lambda: web.counts.clients == 0)
            return web.counts.slow

    assert asyncio.run(run()) == 1


def test_a_client_that_asks_and_does_not_read_the_answers_is_dropped() -> None:
    async def run() -> int:
        limits = Limits(messages_per_s=1e6, burst=1e6, slow_s=60, heartbeat_s=60)
        async with live_web(limits=limits) as web:
            web.console.publish({"presets": ["x" * 200_000]}, "t")
            async with web.page(), _deaf(web) as deaf:
                hello = client_frame(1, json.dumps(HELLO).encode())
                while web.counts.slow == 0:
                    deaf.write(hello)
                    await asyncio.sleep(0)
                await web.until(lambda: web.counts.clients == 1)
                return web.counts.slow

    assert asyncio.run(run()) == 1


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\xff" * 20, 1002),
        (client_frame(3, b"x"), 1002),
        (client_frame(1, b"\xff\xfe"), 1007),
        (client_frame(1, b"x", first=0xF0), 1002),
        (client_frame(9, b"x" * 126), 1002),
        (client_frame(0, b"x"), 1002),
        (b"\x81\xff" + struct.pack(">Q", 2**63) + bytes(4), 1009),
        (b"\x81\xff" + struct.pack(">Q", 2**62) + bytes(4), 1009),
    ],
)
def test_a_broken_frame_ends_its_connection_alone(frame: bytes, code: int) -> None:
    async def deed(web: Web) -> None:
        async with web.page({**HELLO, "subscribe": []}) as other:
            reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
            lines = "".join(f"{key}: {value}\r\n" for key, value in upgrade().items())
            host = f"GET /socket HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n{lines}\r\n"
            writer.write(host.encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(frame)
            async with asyncio.timeout(20):
                rest = await reader.read()
            writer.close()
            assert rest[:1] == b"\x88"
            assert struct.unpack(">H", rest[2:4])[0] == code
            assert (await other.ask({"type": "ping"}))["type"] == "pong"

    raised = refused(deed)

    assert sum(raised.values()) == 1
    assert raised.keys() <= {"bad_messages", "oversized"}


def test_there_is_room_for_so_many_clients_and_again_when_one_goes() -> None:
    async def run() -> dict[str, Any]:
        async with live_web(limits=SMALL) as web:
            async with web.page(), web.socket("/"):
                for path in ("/socket", "/"):
                    status, content = await web.get(path, **upgrade())
                    assert (status, content["code"]) == (503, "service_unavailable")
                assert web.counts.clients == 2
            await web.until(lambda: web.counts.clients == 0)
            async with web.page():
                assert web.counts.clients == 1
            return asdict(web.counts)

    counts = asyncio.run(run())

    assert counts["too_many"] == 2


def test_strangers_take_nobodys_place() -> None:
    async def run() -> dict[str, Any]:
        hello = {**HELLO, "token": TOKEN}
        async with AsyncExitStack() as stack, live_web(access=LAN, limits=SMALL) as web:
            strangers = [await stack.enter_async_context(web.socket()) for _ in range(5)]
            async with web.page(hello), web.page(hello):
                await strangers[0].send(hello)
                assert await strangers[0].closed() == 1013
            return asdict(web.counts)

    assert asyncio.run(run())["too_many"] == 1


def test_a_socket_that_is_no_upgrade_is_refused() -> None:
    async def deed(web: Web) -> None:
        assert (await web.get("/socket"))[0] == 400
        bad_key = {**upgrade(), "Sec-WebSocket-Key": "short"}
        assert (await web.get("/socket", **bad_key))[0] == 400

    assert refused(deed) == {"bad_messages": 2}


def test_a_subprotocol_that_is_not_ours_is_refused_and_fills_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def deed(web: Web) -> None:
        for spoken, expected in (
            ("chat, x", 400),
            ("chat\xff", 400),
            (f"chat, {SUBPROTOCOL}", 101),
        ):
            asked = upgrade(**{"Sec-WebSocket-Protocol": spoken})
            async with web.session.get(web.url + "/socket", headers=asked) as response:
                assert response.status == expected
        async with web.session.ws_connect(web.url + "/", protocols=("osc",)) as ws:
            assert ws.protocol == "osc"

    assert refused(deed) == {"bad_messages": 2}
    assert caplog.records == []


def test_no_compression_is_agreed_on() -> None:
    async def run() -> int:
        async with (
            live_web() as web,
            web.session.ws_connect(web.url + "/socket", compress=15) as ws,
        ):
            return ws.compress

    assert asyncio.run(run()) == 0


def test_close_frames_of_any_kind_are_fine() -> None:
    async def deed(web: Web) -> None:
        for payload in (b"", struct.pack(">H", 1000), struct.pack(">H", 4999) + b"bye"):
            async with web.socket() as client:
                assert isinstance(client, PageSocket)
                await client.ws._writer.send_frame(payload, aiohttp.WSMsgType.CLOSE)
                await client.closed()

    assert refused(deed) == {}
