"""Everyone who may press panic: each control path that there is, by the way that it takes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import aiohttp
from typer.testing import CliRunner

from sdv2_host.cli import app
from sdv2_host.client.courier import Courier
from sdv2_host.client.mailbox import Wish
from sdv2_host.commands.client import find_host
from sdv2_host.control.web_messages import SUBPROTOCOL
from sdv2_host.ipc.osc_encode import encode_bundle, encode_message
from sdv2_host.ipc.osc_stream import Framing, frame
from tests.panic_room import DEADLINE_S, PanicRoom

PAD = "/pad/1"
"""An address that the host learns."""


def _datagram(room: PanicRoom, packet: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(packet, ("127.0.0.1", room.port))


def osc(room: PanicRoom) -> None:
    _datagram(room, encode_message("/sdv2/panic"))


def osc_button(room: PanicRoom) -> None:
    _datagram(room, encode_message("/sdv2/panic", 1.0))
    _datagram(room, encode_message("/sdv2/panic", 0.0))


def osc_toggle(room: PanicRoom) -> None:
    _datagram(room, encode_message("/sdv2/panicked", True))


def osc_bundle(room: PanicRoom) -> None:
    packets = [encode_message("/sdv2/noise/hold", 0.0), encode_message("/sdv2/panic")]
    _datagram(room, encode_bundle(packets))


def osc_learnt(room: PanicRoom) -> None:
    client = find_host(room.name)
    if not client.get("/api/learn")["rows"]:
        client.post("/api/learn", {"target": "panic"})
        _datagram(room, encode_message(PAD, 1.0))
        room.until(lambda: client.get("/api/learn")["rows"])
        room.calm()
    _datagram(room, encode_message(PAD, 0.0))
    _datagram(room, encode_message(PAD, 1.0))


def _stream(room: PanicRoom, framing: Framing) -> None:
    with socket.create_connection(("127.0.0.1", room.port)) as sender:
        sender.sendall(frame(encode_message("/sdv2/panic"), framing))
        room.until(lambda: room.told_at is not None)


def osc_sizes(room: PanicRoom) -> None:
    _stream(room, Framing.SIZES)


def osc_slip(room: PanicRoom) -> None:
    _stream(room, Framing.SLIP)


def _socket(
    room: PanicRoom,
    path: str,
    talk: Callable[[aiohttp.ClientWebSocketResponse], Awaitable[None]],
) -> None:
    async def run() -> None:
        protocols = (SUBPROTOCOL,) if path == "/socket" else ()
        url = f"http://127.0.0.1:{room.port}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, protocols=protocols) as opened,
        ):
            await talk(opened)
            while room.told_at is None:
                await asyncio.sleep(0.002)

    asyncio.run(asyncio.wait_for(run(), DEADLINE_S))


def web_socket(room: PanicRoom) -> None:
    async def talk(opened: aiohttp.ClientWebSocketResponse) -> None:
        await opened.send_str('{"type": "hello", "subscribe": []}')
        await opened.send_str('{"type": "call", "action": "panic"}')

    _socket(room, "/socket", talk)


def web_socket_toggle(room: PanicRoom) -> None:
    async def talk(opened: aiohttp.ClientWebSocketResponse) -> None:
        await opened.send_str('{"type": "hello", "subscribe": []}')
        await opened.send_str('{"type": "set", "values": {"panicked": true}}')

    _socket(room, "/socket", talk)


def oscquery(room: PanicRoom) -> None:
    async def talk(opened: aiohttp.ClientWebSocketResponse) -> None:
        await opened.send_bytes(encode_message("/sdv2/panic/go"))

    _socket(room, "/", talk)


def http(room: PanicRoom) -> None:
    find_host(room.name).call("panic")


def http_toggle(room: PanicRoom) -> None:
    find_host(room.name).post("/api/set", {"values": {"/sdv2/panicked": True}})


def command_line(room: PanicRoom) -> None:
    """In this process: an interpreter of its own would take a second each time."""
    done = CliRunner().invoke(app, ["panic", "--name", room.name])
    assert done.output.startswith("panic: the output shows the safe picture"), done


def cue(room: PanicRoom) -> None:
    client = find_host(room.name)
    client.call("cues_load", "alarm")
    client.call("cue_go", "1")


def touchdesigner(room: PanicRoom) -> None:
    """What the component's Panic does: its courier's call."""
    with Courier(Wish(room.name)) as courier:
        room.until(lambda: courier.status.pid)
        courier.call("/sdv2/panic")
        room.until(lambda: room.told_at is not None)


PATHS: tuple[Callable[[PanicRoom], None], ...] = (
    *(osc, osc_button, osc_toggle, osc_bundle, osc_learnt, osc_sizes, osc_slip),
    *(web_socket, web_socket_toggle, oscquery, http, http_toggle, cue, touchdesigner, command_line),
)
