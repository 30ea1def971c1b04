"""The web plane on a real socket: what clients are told and what they can do."""

from __future__ import annotations

import asyncio
import http.client
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
import pytest
from pydantic import JsonValue

from sdv2_host.config import Config
from sdv2_host.control.pictures import HEADER, OUTPUT
from sdv2_host.control.web_limits import Limits
from sdv2_host.control.web_messages import SUBPROTOCOL
from sdv2_host.control.web_outbox import PICTURES_IN_FLIGHT
from sdv2_host.control.web_schema import schema_hash, schema_text
from sdv2_host.errors import ParamError
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.param_table import PARAMS
from sdv2_host.status import HostState, HostStatus
from sdv2_host.types import FrameMeta
from tests.control.json_schema import faults
from tests.control.live_web import HELLO, Web, live_web
from tests.hosts import unique_name

DOCUMENT: dict[str, Any] = json.loads(schema_text())
STILL = Limits(status_period_s=60)
"""No status in between."""


def fits(message: Any, route: str = "") -> list[str]:
    schema = DOCUMENT["http"][route]["response"] if route else DOCUMENT["server"]
    return faults(message, schema, DOCUMENT)


def test_hello_is_answered_with_everything_there_is_to_show() -> None:
    async def welcome() -> dict[str, Any]:
        async with live_web() as web:
            web.console.publish({"presets": ["neon"], "cue": "1.5"}, "t")
            web.console.note("warning", "t", "a notice")
            async with web.page() as page:
                assert page.ws.protocol == SUBPROTOCOL
                assert page.welcome["port"] == web.port
                return page.welcome

    message = asyncio.run(welcome())

    assert fits(message) == []
    assert [row["name"] for row in message["params"]] == list(PARAMS)
    assert list(message["values"]) == list(PARAMS)
    assert message["board"] == {"presets": ["neon"], "cue": "1.5"}
    assert message["notices"][0]["text"] == "a notice"
    assert message["styles"] == {"neon": "neon lights"}
    assert message["schema_hash"] == schema_hash()
    assert message["seq"] == 1


def test_a_set_is_one_change_and_answered_with_what_is_in_force() -> None:
    async def played() -> tuple[dict[str, Any], int]:
        async with live_web(limits=STILL) as web, web.page() as page:
            values = {"steps": 9, "/sdv2/noise/s_min": 0.95, "seed": "abc", "nonsense": [1]}
            ack = await page.ask({"type": "set", "id": 7, "values": values})
            return ack, len(web.stage.applied)

    ack, num_applied = asyncio.run(played())

    assert fits(ack) == []
    assert (ack["type"], ack["id"], ack["seq"], num_applied) == ("ack", 7, 1, 1)
    assert ack["values"] == {"steps": 4, "noise_s_min": 0.95, "noise_s_max": 0.95}
    assert ack["clamped"].keys() == {"steps"}
    assert ack["errors"].keys() == {"seed", "nonsense"}


def test_a_change_is_told_to_all_that_want_it_and_to_who_made_it() -> None:
    async def told() -> list[dict[str, Any]]:
        async with live_web(limits=STILL) as web, web.page() as one, web.page() as two:
            await one.send({"type": "set", "values": {"steps": 3}})
            return [await one.next("state"), await two.next("state")]

    first, second = asyncio.run(told())

    assert first == second
    assert fits(first) == []
    assert (first["origin"], first["values"], first["seq"]) == ("page 1", {"steps": 3}, 1)


def test_changes_by_anybody_else_and_facts_are_told_too() -> None:
    async def told() -> dict[str, Any]:
        async with live_web(limits=STILL) as web, web.page() as page:
            web.console.set({"steps": 3}, "osc 10.0.0.5:9000")
            web.console.publish({"preset": "neon"}, "preset")
            return await page.next("state")

    state = asyncio.run(told())

    assert state["values"] == {"steps": 3}
    assert state["board"] == {"preset": "neon"}
    assert (state["seq"], state["origin"]) == (2, "preset")


def test_a_thousand_changes_are_told_as_few_and_the_last_value_is_among_them() -> None:
    async def told() -> list[dict[str, Any]]:
        states = []
        async with live_web(limits=STILL) as web, web.page() as page:
            for index in range(1000):
                web.console.set({"seed": index + 1}, "t")
                if index % 20 == 0:
                    await asyncio.sleep(0.001)
            while not states or states[-1]["seq"] < 1000:
                states.append(await page.next("state"))
        return states

    states = asyncio.run(told())

    assert states[-1]["values"] == {"seed": 1000}
    assert len(states) < 50
    assert [s["seq"] for s in states] == sorted({s["seq"] for s in states})


def test_a_fade_reaches_the_stage_in_seconds() -> None:
    async def faded() -> Any:
        async with live_web(limits=STILL) as web, web.page() as page:
            await page.ask({"type": "set", "values": {"mix": 0.2}, "fade": 2.5})
            return web.stage.applied[0]

    patch, origin, fade = asyncio.run(faded())

    assert (patch, origin) == ({"mix": 0.2}, "page 1")
    assert (fade.amount, fade.in_chunks) == (2.5, False)


def test_a_call_is_answered_by_what_it_did_or_why_not() -> None:
    async def answers() -> list[dict[str, Any]]:
        async with live_web(limits=STILL) as web, web.page() as page:
            return [
                await page.ask({"type": "call", "id": 1, "action": "panic"}),
                await page.ask({"type": "call", "id": 2, "action": "noise_bounds", "args": [1]}),
                await page.ask({"type": "call", "id": 3, "action": "rm"}),
                await page.ask({"type": "call", "id": 4, "action": "preset_load", "args": ["a"]}),
            ]

    answers_ = asyncio.run(answers())

    assert [fits(one) for one in answers_] == [[]] * 4
    assert [one["type"] for one in answers_] == ["result", "error", "error", "error"]
    assert [one["id"] for one in answers_] == [1, 2, 3, 4]
    assert "safe picture" in answers_[0]["text"]
    assert all(one["code"] == "refused" and one["message"] for one in answers_[1:])


def test_status_notices_and_pongs_are_of_the_schema() -> None:
    async def told() -> list[dict[str, Any]]:
        async with live_web() as web, web.page() as page:
            status = await page.next("status")
            web.console.note("error", "osc 127.0.0.1:5", "refused")
            notice = await page.next("notice")
            return [status, notice, await page.ask({"type": "ping", "id": "x"})]

    status, notice, pong = asyncio.run(told())

    assert [fits(one) for one in (status, notice, pong)] == [[]] * 3
    assert (status["fps"], status["state"]) == (25, "live")
    assert (notice["level"], notice["text"]) == ("error", "refused")
    assert pong["id"] == "x"


def test_what_was_not_subscribed_to_is_not_told() -> None:
    async def kinds() -> set[str]:
        seen = set()
        async with live_web() as web, web.page({**HELLO, "subscribe": ["notices"]}) as page:
            web.console.set({"steps": 3}, "t")
            await asyncio.sleep(0.5)
            web.console.note("info", "t", "end")
            while "notice" not in seen:
                seen.add((await page.next("state", "status", "notice"))["type"])
            await page.ask({"type": "ping"})
        return seen

    assert asyncio.run(kinds()) == {"notice"}


def test_hello_again_changes_the_subscription() -> None:
    async def told() -> dict[str, Any]:
        async with live_web(limits=STILL) as web, web.page({**HELLO, "subscribe": []}) as page:
            web.console.set({"steps": 3}, "t")
            await page.ask({**HELLO, "subscribe": ["params"]})
            web.console.set({"steps": 1}, "t")
            return await page.next("state")

    assert asyncio.run(told())["values"] == {"steps": 1}


def test_what_was_gathered_before_a_hello_is_not_told_after_it() -> None:
    slow = Limits(status_period_s=60, state_period_s=0.3)

    async def told() -> tuple[int, dict[str, Any]]:
        async with live_web(limits=slow) as web, web.page() as page:
            web.console.set({"seed": 1}, "t")
            await page.next("state")  # the next one waits for its period
            web.console.set({"steps": 3}, "t")
            await page.ask({**HELLO, "subscribe": []})
            web.console.set({"steps": 1}, "t")
            welcome = await page.ask({**HELLO, "subscribe": ["params"]})
            web.console.set({"seed": 2}, "t")
            return welcome["values"]["steps"], (await page.next("state"))["values"]

    assert asyncio.run(told()) == (1, {"seed": 2})


@pytest.mark.parametrize("text", ["", "{", "7", '{"type": "quit"}', '{"type": "set"}', "[" * 60000])
def test_what_is_no_message_is_an_error_and_changes_nothing(text: str) -> None:
    async def answer() -> tuple[dict[str, Any], int, int]:
        async with live_web(limits=STILL) as web, web.page() as page:
            await page.ws.send_str(text)
            error = await page.next("error")
            assert (await page.ask({"type": "ping"}))["type"] == "pong"
            return error, len(web.stage.applied), web.counts.bad_messages

    error, num_applied, bad = asyncio.run(answer())

    assert fits(error) == []
    assert (num_applied, bad) == (0, 1)


def test_pictures_come_only_to_subscribers_and_stop_when_none_is_drawn() -> None:
    async def count_pictures() -> tuple[list[bytes], int]:
        config = Config(name=unique_name())
        pixels = np.zeros((16, 16, 4), np.uint8)
        with FrameWriter(config.output_stream) as ring:
            async with (
                live_web(config, limits=STILL) as web,
                web.page({**HELLO, "subscribe": ["preview"]}) as page,
                web.page({**HELLO, "subscribe": ["params"]}) as blind,
            ):
                seen: list[bytes] = []
                while len(seen) < PICTURES_IN_FLIGHT:
                    ring.publish(pixels, FrameMeta(16, 16))
                    seen += await _pictures(page.ws)
                for _ in range(10):
                    ring.publish(pixels, FrameMeta(16, 16))
                    assert await _pictures(page.ws) == []
                await page.send({"type": "drawn"})
                while len(seen) == PICTURES_IN_FLIGHT:
                    ring.publish(pixels, FrameMeta(16, 16))
                    seen += await _pictures(page.ws)
                return seen, len(await _pictures(blind.ws))

    seen, num_blind = asyncio.run(count_pictures())

    assert num_blind == 0
    assert len(seen) == PICTURES_IN_FLIGHT + 1
    headers = [HEADER.unpack_from(one) for one in seen]
    assert {header[:3] for header in headers} == {(1, 16, 16)}
    assert [header[3] for header in headers] == sorted(header[3] for header in headers)


def test_nothing_is_read_or_encoded_for_a_client_that_draws_nothing() -> None:
    async def run() -> bool:
        config = Config(name=unique_name())
        pixels = np.zeros((16, 16, 4), np.uint8)
        watching = {**HELLO, "subscribe": ["preview"]}
        with FrameWriter(config.output_stream) as ring:
            async with live_web(config, limits=STILL) as web, web.page(watching) as page:
                for _ in range(PICTURES_IN_FLIGHT):
                    ring.publish(pixels, FrameMeta(16, 16))
                    while not await _pictures(page.ws):
                        pass
                ring.publish(pixels, FrameMeta(16, 16))
                await asyncio.sleep(0.2)
                return web.plane._feed._readers[OUTPUT].read_newest() is not None

    assert asyncio.run(run())


async def _pictures(ws: aiohttp.ClientWebSocketResponse) -> list[bytes]:
    try:
        message = await ws.receive(0.05)
    except TimeoutError:
        return []
    return [message.data] if message.type is aiohttp.WSMsgType.BINARY else []


def test_a_client_that_goes_leaves_no_task_and_no_entry() -> None:
    async def left() -> tuple[int, list[Any]]:
        async with live_web() as web:
            before = asyncio.all_tasks()
            async with web.page() as page, web.socket("/"):
                await web.until(lambda: web.counts.clients == 2)
                await _vanish(page.ws)
                await web.until(lambda: web.counts.clients == 1)
            await web.until(lambda: web.counts.clients == 0)
            await web.until(lambda: asyncio.all_tasks() == before)
            state = (await web.get("/api/state"))[1]
            return web.counts.clients, state["clients"]

    assert asyncio.run(left()) == (0, [])


async def _vanish(ws: aiohttp.ClientWebSocketResponse) -> None:
    """As when the program is killed: no goodbye."""
    ws._response.connection.transport.abort()  # type: ignore[union-attr]


def test_at_the_end_clients_are_told_goodbye() -> None:
    async def code() -> int | None:
        async with live_web() as web, web.page() as page:
            closing = asyncio.create_task(web.plane.close())
            code = await page.closed()
            await closing
            return code

    assert asyncio.run(code()) == 1001


def test_the_api_is_of_the_schema() -> None:
    async def asked(web: Web) -> None:
        for route in ("/api/status", "/api/state", "/api/notices", "/healthz"):
            status, content = await web.get(route)
            assert (status, fits(content, f"GET {route}")) == (200, [])

        status, content = await web.post("/api/set", {"values": {"steps": 3, "seed": "x"}})
        assert (status, fits(content, "POST /api/set")) == (200, [])
        assert (content["values"], content["errors"].keys()) == ({"steps": 3}, {"seed"})

        status, content = await web.post("/api/call", {"action": "resume"})
        assert (status, content) == (200, {"text": "resumed"})
        status, content = await web.post("/api/call", {"action": "rm"})
        assert (status, content["code"]) == (400, "refused")

        status, text = await web.get("/api/schema")
        assert (status, text) == (200, schema_text())
        assert web.stage.applied[0][1] == "api"

    async def run() -> None:
        async with live_web() as web:
            await asked(web)

    asyncio.run(run())


def test_every_refusal_is_of_the_schema() -> None:
    too_long = {"action": "x" * 70_000}
    asked: tuple[tuple[str, str, object, dict[str, str], int], ...] = (
        ("POST", "/api/call", {"action": "fly"}, {}, 400),
        ("POST", "/api/set", [], {}, 400),
        ("GET", "/api/notices?after=x", None, {}, 400),
        ("GET", "/sdv2/steps?COLOUR", None, {}, 400),
        ("GET", "/socket", None, {}, 400),
        ("GET", "/api/state", None, {"Origin": "http://evil.example"}, 403),
        ("GET", "/nothing", None, {}, 404),
        ("POST", "/healthz", {}, {}, 405),
        ("POST", "/api/call", too_long, {}, 413),
        ("POST", "/api/call", {}, {"Content-Type": "text/plain"}, 415),
    )

    async def run() -> list[tuple[int, list[str]]]:
        found = []
        async with live_web() as web:
            for method, path, content, headers, _ in asked:
                status, answer = await web.request(method, path, content, headers)
                found.append((status, faults(answer, DOCUMENT["http_error"], DOCUMENT)))
        return found

    assert asyncio.run(run()) == [(status, []) for *_, status in asked]


def test_the_standard_library_is_enough_to_play() -> None:
    def played(port: int) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        body = json.dumps({"values": {"prompt": "neon é"}}).encode()
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/api/set", body, headers)
        response = connection.getresponse()
        content = json.loads(response.read())
        connection.close()
        return response.status, content

    async def run() -> tuple[int, dict[str, Any]]:
        async with live_web() as web:
            return await asyncio.to_thread(played, web.port)

    status, content = asyncio.run(run())

    assert (status, content["values"]) == (200, {"prompt": "neon é"})


def test_notices_can_be_followed() -> None:
    async def followed() -> tuple[list[str], list[str], list[str]]:
        async with live_web() as web:
            for text in ("one", "two"):
                web.console.note("info", "t", text)
            _, first = await web.get("/api/notices?after=0")
            web.console.note("info", "t", "three")
            newest = first["notices"][-1]["at_ms"]
            _, second = await web.get(f"/api/notices?after={newest}")
            _, none = await web.get("/api/notices?after=inf")
            assert (await web.get("/api/notices?after=now"))[0] == 400
            texts = [[n["text"] for n in got["notices"]] for got in (first, second, none)]
            return texts[0], texts[1], texts[2]

    assert asyncio.run(followed()) == (["one", "two"], ["three"], [])


def test_what_happens_can_be_followed_line_by_line() -> None:
    async def run() -> None:
        async with live_web() as web:
            web.console.listen(web.door.monitor)
            status, first = await web.get("/api/monitor")
            assert (status, fits(first, "GET /api/monitor"), first["lines"]) == (200, [], [])
            web.door.monitor.arrived("osc 1.2.3.4:5", "/sdv2/seed", (7,))
            web.console.set({"seed": 7}, "t")

            _, then = await web.get(f"/api/monitor?after={first['newest']}")

            assert fits(then, "GET /api/monitor") == []
            shown = [(row["origin"], row["address"], row["text"]) for row in then["lines"]]
            assert shown == [("osc 1.2.3.4:5", "/sdv2/seed", "7"), ("t", "/sdv2/seed", "= 7")]
            _, last = await web.get(f"/api/monitor?after={then['newest']}")
            assert (last["newest"], last["lines"]) == (2, [])
            for wrong in ("-1", "x", "1e3", "9" * 30, "²"):
                assert (await web.get(f"/api/monitor?after={wrong}"))[0] == 400

    asyncio.run(run())


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (HostState.LIVE, 200),
        (HostState.WAITING, 200),
        (HostState.STARTING, 503),
        (HostState.RECOVERING, 503),
        (HostState.SAFE, 503),
        (HostState.FAILED, 503),
    ],
)
def test_health_is_the_state(state: HostState, expected: int) -> None:
    async def health() -> tuple[int, Any]:
        async with live_web() as web:
            web.stage.status = HostStatus(state, "why", "tiny", None)
            return await web.get("/healthz")

    assert asyncio.run(health()) == (expected, {"state": state.value, "detail": "why"})


def test_numbers_that_are_none_are_null_and_not_a_broken_message() -> None:
    async def told() -> Any:
        async with live_web() as web, web.page() as page:
            nan = float("nan")
            web.stage.status = HostStatus(HostState.LIVE, "", "tiny", None, notes={"motion": nan})
            while True:
                status = await page.next("status")
                if status["notes"]:
                    return status["notes"]

    assert asyncio.run(told()) == {"motion": None}


@dataclass
class Book:
    """A learn book of one page."""

    started: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def start(self, target: str) -> None:
        if target not in PARAMS:
            raise ParamError(f"unknown target {target!r}")
        self.started.append(target)

    def cancel(self) -> None:
        self.started.clear()

    def remove(self, address: str) -> None:
        self.removed.append(address)

    def rows(self) -> list[dict[str, JsonValue]]:
        return [{"address": "/1/fader1", "target": "mix"}]


def test_addresses_are_learnt_and_forgotten() -> None:
    async def run(book: Book) -> None:
        async with live_web(learnt=book) as web:
            status, content = await web.post("/api/learn", {"target": "mix"})
            assert (status, fits(content, "POST /api/learn")) == (200, [])
            assert content["rows"][0]["target"] == "mix"
            assert (await web.get("/api/learn"))[1] == content
            assert (await web.post("/api/learn", {"target": "no"}))[0] == 400
            assert book.started == ["mix"]
            await web.request("DELETE", "/api/learn", {"address": "/1/fader1"}, {})
            assert book.removed == ["/1/fader1"]
            await web.request("DELETE", "/api/learn", {}, {})
            assert book.started == []

    asyncio.run(run(Book()))


def test_a_host_that_learns_nothing_says_so() -> None:
    async def asked() -> tuple[int, Any]:
        async with live_web() as web:
            return await web.post("/api/learn", {"target": "mix"})

    status, content = asyncio.run(asked())

    assert (status, content["code"]) == (400, "refused")


def test_the_root_is_the_page_to_people_and_the_address_space_to_programs() -> None:
    async def asked() -> list[int]:
        async with live_web() as web:
            page = await web.get("/", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
            space = await web.get("/", Accept="*/*")
            info = await web.get("/?HOST_INFO", Accept="text/html")
            assert page[1].startswith("<!doctype html>")
            assert space[1]["FULL_PATH"] == "/"
            assert info[1]["OSC_PORT"] == web.port
            return [page[0], space[0], info[0]]

    assert asyncio.run(asked()) == [200, 200, 200]


def test_every_answer_carries_the_guard_headers() -> None:
    async def headers(web: Web, path: str) -> tuple[int, str, str]:
        async with web.session.get(web.url + path) as response:
            found = response.headers
            return response.status, found["Content-Security-Policy"], found["Content-Type"]

    async def run() -> None:
        async with live_web() as web:
            for path, status in (("/page.js", 200), ("/page.css", 200), ("/other.js", 404)):
                got, policy, kind = await headers(web, path)
                assert got == status
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "charset=utf-8" in kind
            for path in ("/../web_plane.py", "/%2e%2e/web_plane.py", "/page/index.html"):
                assert (await headers(web, path))[0] == 404

    asyncio.run(run())
