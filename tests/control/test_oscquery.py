"""The address space as OSCQuery describes it: by the spec, to its clients, on real sockets."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sdv2_host.actions import ACTION_BY_ADDRESS
from sdv2_host.config import Config
from sdv2_host.control.console import Console
from sdv2_host.control.osc_dispatch import Answer
from sdv2_host.control.oscquery import (
    ATTRIBUTES,
    INNER,
    TYPES,
    Host,
    Node,
    address_space,
    answer,
    host_info,
    node_at,
    tree,
    value_at,
)
from sdv2_host.control.plane import ControlPlane
from sdv2_host.control.web_limits import Limits
from sdv2_host.control.web_plane import WebPlane
from sdv2_host.ipc.osc import decode
from sdv2_host.ipc.osc_encode import encode_message
from sdv2_host.param_table import BY_ADDRESS, BY_NORM_ADDRESS
from sdv2_host.params import Params
from tests.control.fake_stage import FakeStage
from tests.control.live_web import LOCAL, PageSocket, Web, live_web
from tests.hosts import unique_name

PEERS = Path(__file__).parents[1] / "peers"
READINGS = {"/sdv2/status/state": "live", "/sdv2/metrics/fps": 25.0, "/sdv2/status/heartbeat": 3}
HOST = Host(Params(), {"presets": ["neon", "ink"]}, READINGS)
SPACE = address_space(HOST)
ROOT = tree(SPACE)
STILL = Limits(status_period_s=60)


def leaves(node: Node) -> list[Node]:
    inside = [leaf for child in node.get("CONTENTS", {}).values() for leaf in leaves(child)]
    return [*inside, node] if "TYPE" in node else inside


def test_every_parameter_action_and_reading_is_in_the_tree_and_nothing_else() -> None:
    addresses = {leaf["FULL_PATH"] for leaf in leaves(ROOT)}

    expected = {*BY_ADDRESS, *BY_NORM_ADDRESS, *ACTION_BY_ADDRESS, *READINGS, *INNER}
    assert addresses == expected


@pytest.mark.parametrize("address", SPACE)
def test_each_node_is_as_the_spec_wants_it(address: str) -> None:
    node = SPACE[address]

    assert node["FULL_PATH"] == address
    assert node.keys() <= ATTRIBUTES
    assert node["ACCESS"] in (1, 2, 3)
    assert ("VALUE" in node) == (node["ACCESS"] != 2)
    num_values = 0 if node["TYPE"] == "I" else len(node["TYPE"])
    for attribute in ("VALUE", "RANGE", "CLIPMODE", "UNIT"):
        assert len(node.get(attribute, [None] * num_values)) == num_values
    assert set(node.get("CLIPMODE", [])) <= {"none", "low", "high", "both"}
    for limits in filter(None, node.get("RANGE", [])):
        assert limits.keys() in ({"MIN", "MAX"}, {"VALS"})


@pytest.mark.parametrize("address", SPACE)
def test_each_value_is_of_its_type_and_in_its_range(address: str) -> None:
    node = SPACE[address]
    kinds = {"i": int, "f": float, "s": str, "T": bool, "F": bool}

    for tag, value, limits in zip(
        node["TYPE"], node.get("VALUE", []), node.get("RANGE", [None] * 2), strict=False
    ):
        assert type(value) is kinds[tag]
        assert tag not in "TF" or value is (tag == "T")
        if limits and "VALS" in limits:
            assert value in limits["VALS"]
        elif limits:
            assert limits["MIN"] <= value <= limits["MAX"]


@pytest.mark.parametrize("leaf", leaves(ROOT), ids=lambda leaf: leaf["FULL_PATH"])
def test_chataigne_can_make_something_of_each_node_that_is_no_folder(leaf: Node) -> None:
    # Source: its GenericOSCQueryModule; what has contents is a folder and no more to it.
    is_folder = "CONTENTS" in leaf
    is_text = leaf["TYPE"] == "s"

    assert not is_folder or leaf["FULL_PATH"] in INNER.values()
    assert leaf["TYPE"] in TYPES
    assert not is_text or "RANGE" not in leaf or leaf["RANGE"][0]["VALS"]


def test_what_a_folder_hides_has_its_value_inside() -> None:
    assert INNER["/sdv2/prompt/value"] == "/sdv2/prompt"
    assert INNER["/sdv2/panic/go"] == "/sdv2/panic"
    assert not INNER.keys() & {*BY_ADDRESS, *ACTION_BY_ADDRESS}
    folders = {leaf["FULL_PATH"] for leaf in leaves(ROOT) if "CONTENTS" in leaf}
    assert folders == set(INNER.values())


def test_a_truth_is_of_type_t_or_f_and_a_choice_has_its_values() -> None:
    frozen = address_space(HOST._replace(params=Params(freeze=True)))

    assert (SPACE["/sdv2/freeze"]["TYPE"], SPACE["/sdv2/freeze"]["VALUE"]) == ("F", [False])
    assert (frozen["/sdv2/freeze"]["TYPE"], frozen["/sdv2/freeze"]["VALUE"]) == ("T", [True])
    assert SPACE["/sdv2/sink/mode"]["RANGE"] == [{"VALS": ["auto", "fixed", "adaptive"]}]
    assert SPACE["/sdv2/preset/load"]["RANGE"] == [{"VALS": ["neon", "ink"]}]


def test_numbers_have_range_clip_mode_and_unit() -> None:
    node = SPACE["/sdv2/slo/latency_ms"]

    assert node["RANGE"] == [{"MIN": 0.0, "MAX": 10000.0}]
    assert (node["CLIPMODE"], node["UNIT"]) == (["both"], ["time.ms"])
    norm = SPACE["/sdv2/norm/noise/s_min"]
    assert (norm["RANGE"], norm["VALUE"]) == ([{"MIN": 0.0, "MAX": 1.0}], [0.35])


def test_pairs_can_be_read_and_panic_is_critical() -> None:
    assert SPACE["/sdv2/noise/bounds"]["TYPE"] == "ff"
    assert SPACE["/sdv2/noise/bounds"]["VALUE"] == [0.35, 0.5]
    assert SPACE["/sdv2/panic"]["CRITICAL"] is True
    assert SPACE["/sdv2/panic"]["TYPE"] == "I"
    assert SPACE["/sdv2/cue/go"]["OVERLOADS"][0]["TYPE"] == "s"


def test_values_are_those_of_the_tree() -> None:
    for address, node in SPACE.items():
        values = value_at(HOST, address)
        assert (list(values) if values is not None else None) == node.get("VALUE")
    assert value_at(HOST, "/sdv2/nothing") is None


@pytest.mark.parametrize(
    ("path", "attributes", "status"),
    [
        ("/", [], 200),
        ("/sdv2/noise", [], 200),
        ("/sdv2/noise/", [], 200),
        ("/sdv2/steps", ["VALUE"], 200),
        ("/sdv2/steps", ["VALUE", "RANGE"], 200),
        ("/sdv2/noise", ["ACCESS"], 200),
        ("/sdv2/panic", ["VALUE"], 204),
        ("/sdv2/noise", ["TYPE"], 204),
        ("/sdv2/steps", ["COLOUR"], 400),
        ("/sdv2/steps", ["VALUE", "COLOUR"], 400),
        ("/sdv2/steps", ["LISTEN"], 400),
        ("/sdv2/nothing", [], 404),
        ("/sdv2/nothing", ["COLOUR"], 404),
        ("/sdv2/steps/deeper", [], 404),
        ("/sdv2//steps", [], 404),
        ("/sdv2/step", [], 404),
    ],
)
def test_a_query_is_answered_as_the_spec_says(
    path: str, attributes: list[str], status: int
) -> None:
    reply = answer(ROOT, path, attributes)

    assert reply.status == status
    assert (reply.content is not None) == (status == 200)
    if attributes and reply.content is not None:
        assert reply.content.keys() == set(attributes)


def test_a_subtree_is_that_part_of_the_tree() -> None:
    found = answer(ROOT, "/sdv2/noise", []).content

    assert found == node_at(ROOT, "/sdv2/noise")
    assert found is not None
    assert {"s_min", "s_max", "motion_gain", "bounds"} <= found["CONTENTS"].keys()
    assert json.loads(json.dumps(ROOT)) == ROOT


def test_host_info_says_where_osc_and_the_socket_are() -> None:
    info = host_info("stage1", 9400)

    assert (info["NAME"], info["OSC_PORT"], info["WS_PORT"]) == ("stage1", 9400, 9400)
    assert info["OSC_TRANSPORT"] == "UDP"
    assert info["EXTENSIONS"]["LISTEN"] is True


def test_over_http_statuses_and_bodies_are_those_of_the_spec() -> None:
    async def run() -> None:
        async with live_web() as web:
            assert (await web.get("/sdv2/steps?VALUE"))[1] == {"VALUE": [2]}
            web.console.set({"steps": 4}, "t")
            assert (await web.get("/sdv2/steps?VALUE"))[1] == {"VALUE": [4]}
            assert (await web.get("/sdv2/steps"))[1]["RANGE"] == [{"MIN": 1.0, "MAX": 4.0}]
            assert (await web.get("/sdv2/metrics/fps?VALUE"))[1] == {"VALUE": [25.0]}
            assert (await web.get("/sdv2/panic?VALUE")) == (204, "")
            assert (await web.get("/sdv2/steps?COLOUR"))[0] == 400
            assert (await web.get("/sdv2/nothing"))[0] == 404
            assert (await web.get("/any/where?HOST_INFO"))[1]["WS_PORT"] == web.port
            assert (await web.post("/sdv2/steps", {}))[0] == 405

    asyncio.run(run())


async def heard(socket: PageSocket) -> tuple[str, tuple[object, ...]]:
    """The next OSC message."""
    async with asyncio.timeout(20):
        message = await socket.ws.receive()
    assert message.type is aiohttp.WSMsgType.BINARY
    (found,) = decode(message.data).messages
    return found.address, found.args


async def listen(socket: PageSocket, *addresses: str, command: str = "LISTEN") -> None:
    for address in addresses:
        await socket.send({"COMMAND": command, "DATA": address})


async def settle(web: Web, num_known: int) -> None:
    query = web.plane._query
    await web.until(lambda: sum(len(c.known) for c in query.clients.values()) == num_known)


def test_a_listener_hears_its_addresses_and_no_others() -> None:
    async def run() -> list[tuple[str, tuple[object, ...]]]:
        async with live_web(limits=STILL) as web, web.socket("/") as socket:
            await listen(
                socket, "/sdv2/steps", "/sdv2/norm/output/mix", "/sdv2/freeze", "/sdv2/seed"
            )
            await listen(socket, "/sdv2/prompt/value", "/sdv2/noise/bounds", "/sdv2/nothing")
            await settle(web, 6)
            await listen(socket, "/sdv2/seed", command="IGNORE")
            await settle(web, 5)
            web.console.set({"lora_strength": 0.3, "seed": 5}, "t")
            web.console.set({"steps": 4, "mix": 0.5, "freeze": True, "prompt": "é"}, "t")
            web.console.set({"noise_s_max": 1.0}, "t")
            return [await heard(socket) for _ in range(5)]

    assert dict(asyncio.run(run())) == {
        "/sdv2/steps": (4,),
        "/sdv2/norm/output/mix": (0.5,),
        "/sdv2/freeze": (True,),
        "/sdv2/prompt/value": ("é",),
        "/sdv2/noise/bounds": (pytest.approx(0.35), 1.0),
    }


def test_of_a_storm_a_listener_hears_little_and_the_last() -> None:
    async def run() -> list[object]:
        values: list[object] = []
        async with live_web(limits=STILL) as web, web.socket("/") as socket:
            await listen(socket, "/sdv2/seed")
            await settle(web, 1)
            for index in range(1000):
                web.console.set({"seed": index + 1}, "t")
                if index % 20 == 0:
                    await asyncio.sleep(0.001)
            while not values or values[-1] != 1000:
                values.append((await heard(socket))[1][0])
        return values

    assert len(asyncio.run(run())) < 50


def test_status_and_metrics_can_be_listened_to() -> None:
    async def run() -> dict[str, tuple[object, ...]]:
        async with live_web() as web, web.socket("/") as socket:
            await listen(socket, "/sdv2/metrics/fps", "/sdv2/status/preset")
            web.console.publish({"preset": "ink"}, "t")
            await settle(web, 2)
            web.stage.status = replace(web.stage.status, fps=12.5)
            web.console.publish({"preset": "neon"}, "t")
            return dict([await heard(socket), await heard(socket)])

    assert asyncio.run(run()) == {
        "/sdv2/metrics/fps": (12.5,),
        "/sdv2/status/preset": ("neon",),
    }


def test_what_is_no_command_is_counted_and_ends_nothing() -> None:
    async def run() -> int:
        async with live_web() as web, web.socket("/") as socket:
            for text in ("", "[]", "{}", '{"COMMAND": "LISTEN"}', '{"COMMAND": "X", "DATA": "/"}'):
                await socket.ws.send_str(text)
            await listen(socket, "/sdv2/steps")
            await settle(web, 1)
            return web.counts.bad_messages

    assert asyncio.run(run()) == 5


def test_osc_over_the_socket_goes_where_other_osc_goes_and_is_answered() -> None:
    async def run() -> tuple[Any, Any]:
        async with live_web() as web, web.socket("/") as socket:
            web.door.answers = [Answer("/sdv2/pong", ("t", "1", 0.5))]
            packet = encode_message("/sdv2/ping", "t")
            await socket.ws.send_bytes(packet)
            reply = await heard(socket)
            (came,) = web.door.packets
            assert came[0] == packet
            return came[1], reply

    peer, reply = asyncio.run(run())

    assert (peer.kind, peer.host) == ("ws", "127.0.0.1")
    assert reply == ("/sdv2/pong", ("t", "1", 0.5))


class _Both:
    """A web plane behind the one port of a control plane."""

    async def __aenter__(self) -> tuple[ControlPlane, Console, aiohttp.ClientSession]:
        self.console = Console(FakeStage())
        config = Config(name=unique_name(), port=0)
        site = WebPlane(self.console, config, LOCAL, dict, osc=lambda: self.plane, limits=STILL)
        self.plane = ControlPlane(self.console, config, site)
        await self.plane.start()
        self.session = aiohttp.ClientSession()
        return self.plane, self.console, self.session

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        await self.plane.close()


def test_a_fader_over_the_socket_plays_and_hears_only_what_it_does_not_know() -> None:
    async def run() -> tuple[float, list[tuple[str, tuple[object, ...]]]]:
        async with (
            _Both() as (plane, console, session),
            session.ws_connect(f"http://127.0.0.1:{plane.port}/") as ws,
        ):
            socket = PageSocket(ws)
            await listen(socket, "/sdv2/mix", "/sdv2/output/mix", "/sdv2/steps")
            for position in (0.1, 0.2, 0.7):
                await ws.send_bytes(encode_message("/sdv2/output/mix", position))
            await ws.send_bytes(encode_message("/sdv2/steps", 9))
            found = [await heard(socket)]
            console.set({"mix": 0.25}, "page 1")
            found.append(await heard(socket))
            return console.params.mix, found

    mix, found = asyncio.run(run())

    assert mix == 0.25
    assert found == [("/sdv2/steps", (4,)), ("/sdv2/output/mix", (0.25,))]


def test_the_inner_address_plays_what_it_means() -> None:
    async def run() -> tuple[str, bool]:
        async with (
            _Both() as (plane, console, session),
            session.ws_connect(f"http://127.0.0.1:{plane.port}/") as ws,
        ):
            await ws.send_bytes(encode_message("/sdv2/prompt/value", "neon"))
            await ws.send_bytes(encode_message("/sdv2/panic/go"))
            async with asyncio.timeout(20):
                while not console.params.panicked:
                    await asyncio.sleep(0.005)
            return console.params.prompt, console.params.panicked

    assert asyncio.run(run()) == ("neon", True)


@pytest.mark.skipif(
    shutil.which("node") is None or not (PEERS / "node_modules" / "oscquery").is_dir(),
    reason="needs node and `npm ci` in tests/peers",
)
def test_npm_oscquery_reads_the_whole_tree() -> None:
    async def run() -> tuple[int, dict[str, Any]]:
        async with _Both() as (plane, console, _):
            console.publish({"presets": ["neon", "ink"]}, "t")
            node = await asyncio.create_subprocess_exec(
                *("node", "oscquery_tree.js", "127.0.0.1", str(plane.port)),
                cwd=PEERS,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await asyncio.wait_for(node.communicate(), 60)
            assert node.returncode == 0, err.decode()
            return plane.port, json.loads(out)

    port, read = asyncio.run(run())

    assert (read["hostInfo"]["oscPort"], read["hostInfo"]["wsPort"]) == (port, port)
    assert read["found"] == {
        "/sdv2/steps": True,
        "/sdv2/prompt/value": True,
        "/sdv2/transition": False,
    }
    methods = {one["full_path"]: one for one in read["methods"]}
    assert {*BY_ADDRESS, *BY_NORM_ADDRESS, *ACTION_BY_ADDRESS, *INNER} <= methods.keys()
    steps = methods["/sdv2/steps"]["arguments"]
    assert steps == [{"type": "i", "range": {"min": 1, "max": 4}, "clipmode": "both", "value": 2}]
    assert methods["/sdv2/preset/load"]["arguments"][0]["range"]["vals"] == ["neon", "ink"]
    assert methods["/sdv2/metrics/fps"]["access"] == 1
