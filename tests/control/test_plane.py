from __future__ import annotations

import asyncio
import contextlib
import socket

import aiohttp
import pytest

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.config import Config
from sdv2_host.control.osc_dispatch import Peer
from sdv2_host.control.osc_feedback import LEASE_NS
from sdv2_host.control.osc_guests import may_send, parse_networks
from sdv2_host.control.wires import MAX_CONNECTIONS
from sdv2_host.errors import ConfigError
from sdv2_host.ipc.osc import OscMessage, decode
from sdv2_host.ipc.osc_encode import OutValue, encode_message
from sdv2_host.ipc.osc_stream import Framing, PacketStream, frame
from tests.control.live_plane import LOCAL, Listener, live_plane


def test_udp_sets_values_and_a_subscriber_follows() -> None:
    async def run() -> None:
        async with live_plane() as play, play.surface() as fader, play.surface() as view:
            view.send("/sdv2/subscribe")
            await play.until(lambda: view.values("/sdv2/steps"))

            fader.send("/sdv2/steps", 4)

            await play.until(lambda: play.stage.params.steps == 4)
            await play.until(lambda: (4,) in view.values("/sdv2/steps"))
            await play.until(lambda: view.values("/sdv2/status/heartbeat"))
            assert fader.heard == []

    asyncio.run(run())


def test_a_wrong_value_is_answered_where_it_came_from() -> None:
    async def run() -> None:
        async with live_plane() as play, play.surface() as fader:
            fader.send("/sdv2/steps", "many")

            await play.until(lambda: fader.values("/sdv2/error"))
            assert fader.values("/sdv2/error")[0][0] == "/sdv2/steps"

    asyncio.run(run())


class TcpSurface:
    def __init__(self, framing: Framing) -> None:
        self.framing = framing

    async def open(self, port: int) -> None:
        self.reader, self.writer = await asyncio.open_connection(LOCAL, port)
        self.stream = PacketStream()
        self.heard: list[OscMessage] = []

    def send(self, address: str, *values: OutValue) -> None:
        self.writer.write(frame(encode_message(address, *values), self.framing))

    async def hear(self, address: str) -> tuple[object, ...]:
        async with asyncio.timeout(10):
            while True:
                for message in self.heard:
                    if message.address == address:
                        self.heard.remove(message)
                        return message.args
                for packet in self.stream.feed(await self.reader.read(4096)):
                    self.heard += decode(packet).messages


@pytest.mark.parametrize("framing", Framing)
def test_tcp_speaks_both_framings_and_answers_in_the_same(framing: Framing) -> None:
    async def run() -> None:
        async with live_plane() as play:
            surface = TcpSurface(framing)
            await surface.open(play.plane.port)
            surface.send("/sdv2/ping", "x")
            assert (await surface.hear("/sdv2/pong"))[0] == "x"
            surface.send("/sdv2/subscribe")
            surface.send("/sdv2/prompt", "雨" * 2000)
            assert await surface.hear("/sdv2/steps") == (2,)
            play.console.set({"seed": 77}, "t")
            while await surface.hear("/sdv2/seed") != (77,):
                pass
            assert play.stage.params.prompt == "雨" * 2000
            surface.writer.close()
            await play.until(lambda: play.plane._feedback.targets == {})

    asyncio.run(run())


def test_http_and_websocket_share_the_port() -> None:
    async def run() -> None:
        async with live_plane() as play, aiohttp.ClientSession() as session:
            url = f"http://{LOCAL}:{play.plane.port}"
            for _ in range(3):  # keep-alive: the same connection again
                async with session.get(url + "/") as response:
                    assert await response.text() == "a page"
            async with session.ws_connect(url + "/echo") as ws:
                await ws.send_str("x" * 100_000)
                assert len(await ws.receive_str()) == 100_000

    asyncio.run(run())


def test_a_stream_of_noise_loses_its_connection_and_nobody_else_theirs() -> None:
    async def run() -> None:
        async with live_plane() as play:
            good = TcpSurface(Framing.SIZES)
            await good.open(play.plane.port)
            reader, writer = await asyncio.open_connection(LOCAL, play.plane.port)
            writer.write(b"\xff" * 100)
            assert b"a stream is OSC 1.0 (sizes) or 1.1 (SLIP)" in await reader.read()
            writer.close()
            good.send("/sdv2/ping", "still here")
            assert (await good.hear("/sdv2/pong"))[0] == "still here"
            assert play.plane.counts.bad_datagrams == 1
            good.writer.close()

    asyncio.run(run())


@pytest.mark.parametrize("framing", Framing)
def test_a_prompt_that_is_too_long_is_told_to_its_sender_and_in_the_log(framing: Framing) -> None:
    async def run() -> None:
        async with live_plane() as play:
            surface = TcpSurface(framing)
            await surface.open(play.plane.port)
            surface.send("/sdv2/prompt", "x" * 140_000)

            _, reason = await surface.hear("/sdv2/error")

            assert "allowed are" in str(reason)
            assert "65536" in play.witness.notices[0].text
            assert play.plane.counts.bad_datagrams == 1
            surface.writer.close()

    asyncio.run(run())


def test_the_longest_prompt_of_a_datagram_and_of_a_stream_arrive_and_are_cut() -> None:
    async def run() -> None:
        async with live_plane() as play, play.surface() as surface:
            stream = TcpSurface(Framing.SIZES)
            await stream.open(play.plane.port)
            for number, send in enumerate((surface.send, stream.send)):
                send("/sdv2/prompt", f"{number}" * 65_480)
                expected = f"{number}" * 2000
                await play.until(lambda expected=expected: play.stage.params.prompt == expected)
            stream.writer.close()

    asyncio.run(run())


def test_a_silent_connection_stays_until_there_are_too_many() -> None:
    async def run() -> None:
        async with live_plane() as play:
            silent = TcpSurface(Framing.SIZES)
            await silent.open(play.plane.port)
            talkers = [TcpSurface(Framing.SIZES) for _ in range(MAX_CONNECTIONS)]
            for talker in talkers:
                await talker.open(play.plane.port)
                talker.send("/sdv2/ping", "x")
                await talker.hear("/sdv2/pong")
            late = TcpSurface(Framing.SIZES)
            await late.open(play.plane.port)

            for closed in (silent, late):
                with contextlib.suppress(ConnectionError):
                    assert await closed.reader.read(10) == b""

            assert play.plane.counts.too_many == 2
            assert [n.text for n in play.witness.notices] == [
                "64 connections are open: one more was closed; end some programs (said once)"
            ]
            talkers[0].send("/sdv2/ping", "y")
            assert (await talkers[0].hear("/sdv2/pong"))[0] == "y"
            for surface in (silent, late, *talkers):
                surface.writer.close()

    asyncio.run(run())


def test_a_subscriber_that_does_not_read_is_dropped_counted_and_told() -> None:
    async def run() -> None:
        async with live_plane() as play:
            surface = TcpSurface(Framing.SIZES)
            await surface.open(play.plane.port)
            surface.send("/sdv2/subscribe", 1, "/sdv2/prompt", 60.0)
            await surface.hear("/sdv2/prompt")
            surface.writer.transport.pause_reading()  # type: ignore[attr-defined]
            number = 0

            while play.plane._connections:
                number += 1
                play.console.set({"prompt": f"{number:06}" * 333}, "t")
                for parcel in play.plane._feedback.parcels(number * NS_PER_S + now_ns()):
                    play.plane.send(parcel)
                await asyncio.sleep(0)

            assert play.plane.counts.slow == 1
            assert "does not read" in play.witness.notices[-1].text
            surface.writer.close()

    asyncio.run(run())


def test_a_client_of_another_loopback_subscribes() -> None:
    async def run() -> None:
        async with live_plane(Config(port=0, listen="::1")) as play:
            loop = asyncio.get_running_loop()
            transport, listener = await loop.create_datagram_endpoint(
                Listener, local_addr=("::1", 0), family=socket.AF_INET6
            )
            listener.to = ("::1", play.plane.port)
            listener.send("/sdv2/subscribe")

            await play.until(lambda: listener.values("/sdv2/steps"))
            transport.close()

    asyncio.run(run())


def test_closing_leaves_the_port_free_even_with_clients() -> None:
    async def run() -> int:
        async with live_plane() as play, aiohttp.ClientSession() as session:
            surface = TcpSurface(Framing.SLIP)
            await surface.open(play.plane.port)
            surface.send("/sdv2/subscribe")
            await surface.hear("/sdv2/steps")
            await session.ws_connect(f"http://{LOCAL}:{play.plane.port}/echo")
            port = play.plane.port
            async with asyncio.timeout(5):
                await play.plane.close()
            surface.writer.close()
            return port

    port = asyncio.run(run())
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind((LOCAL, port))


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_in_use_is_refused_with_another_one(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((LOCAL, 0))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]

        async def run() -> None:
            async with live_plane(Config(port=port)):
                raise AssertionError("it is taken")

        with pytest.raises(ConfigError, match=f"--port {port}: .* choose another one"):
            asyncio.run(run())


def test_an_address_of_another_machine_is_refused() -> None:
    async def run() -> None:
        async with live_plane(Config(port=0, listen="192.0.2.1")):
            raise AssertionError("not ours")

    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("host", "allowed", "expected"),
    [
        ("127.0.0.1", "", True),
        ("::1", "", True),
        ("::ffff:127.0.0.1", "", True),
        ("10.0.0.5", "", False),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.6", "10.0.0.5, 192.168.1.0/24", False),
        ("192.168.1.77", "10.0.0.5, 192.168.1.0/24", True),
        ("fe80::1%eth0", "fe80::/10", True),
        ("not an address", "0.0.0.0/0", False),
    ],
)
def test_who_may_send(host: str, allowed: str, expected: bool) -> None:
    assert may_send(host, parse_networks(allowed)) is expected


def test_what_is_no_network_is_named() -> None:
    with pytest.raises(ConfigError, match="--osc-from 'everybody'"):
        parse_networks("10.0.0.1, everybody")


def test_subscribers_that_end_make_the_host_deaf_to_nobody() -> None:
    async def run() -> None:
        async with live_plane() as play, play.surface() as fader:
            for _ in range(3):
                async with play.surface() as gone:
                    gone.send("/sdv2/subscribe")
                    await play.until(lambda gone=gone: gone.values("/sdv2/steps"))
            for seed in range(1, 20):
                play.console.set({"seed": 100 + seed}, "t")
                fader.send("/sdv2/seed", seed)
                await play.until(lambda seed=seed: play.stage.params.seed == seed)
                await asyncio.sleep(0.02)

    asyncio.run(run())


def test_a_target_of_the_config_is_told_without_asking_and_for_ever() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        transport, listener = await loop.create_datagram_endpoint(
            Listener, local_addr=(LOCAL, 0), family=socket.AF_INET
        )
        async with live_plane(Config(port=0, osc_to=f"{LOCAL}:{listener.port}")) as play:
            await play.until(lambda: listener.values("/sdv2/status/heartbeat"))
            await play.until(lambda: listener.values("/sdv2/steps"))
            feedback = play.plane._feedback
            await play.until(lambda: feedback.next_ns() is None)  # all is told
            feedback.parcels(now_ns() + 10 * LEASE_NS)
            play.console.set({"seed": 77}, "t")
            await play.until(lambda: (77,) in listener.values("/sdv2/seed"))
        transport.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("7001", "expected an address and a port"),
        ("localhost:7001", "expected an address and a port"),
        ("127.0.0.1:0", "expected an address and a port"),
        ("127.0.0.1:70000", "expected an address and a port"),
        ("127.0.0.1:７００１", "expected an address and a port"),
        ("127.0.0.1:7001, 10.0.0.5:9001", "10.0.0.5:9001: out of reach of 127.0.0.1"),
        ("[::1]:7001", "out of reach of 127.0.0.1"),
        ("127.0.0.1:{port}", "own port"),
    ],
)
def test_a_target_that_would_never_hear_is_refused_at_the_start(target: str, reason: str) -> None:
    async def run(port: int) -> None:
        async with live_plane(Config(port=port, osc_to=target.format(port=port))):
            raise AssertionError("it is wrong")

    port = 0
    if "{port}" in target:  # only there: another program may take it meanwhile
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind((LOCAL, 0))
            port = int(free.getsockname()[1])
    with pytest.raises(ConfigError, match=reason):
        asyncio.run(run(port))


def test_a_stranger_is_refused_counted_and_told_once() -> None:
    async def run() -> None:
        async with live_plane() as play:
            for _ in range(3):
                stranger = play.plane

                assert not stranger.is_welcome(Peer("udp", "10.0.0.9", 1))
            assert play.plane.counts.refused == 3
            assert len(play.witness.notices) == 1
            assert "--osc-from 10.0.0.9" in play.witness.notices[0].text

    asyncio.run(run())
