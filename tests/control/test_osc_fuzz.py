"""Datagrams and streams that no sender should send: nothing hangs, escapes or piles up."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
import time

import psutil
import pytest

from sdv2_host.actions import ACTION_BY_ADDRESS
from sdv2_host.ipc.osc_encode import encode_message
from sdv2_host.ipc.osc_stream import Framing, frame
from sdv2_host.param_table import BY_ADDRESS, BY_NORM_ADDRESS
from tests.control.live_plane import LOCAL, Listener, Play, live_plane
from tests.control.mutations import mutated

BATCH = 100
PING_EVERY = 10_000
WARM_UP = 50_000
MAX_GROWTH_BYTES = 8 * 1024 * 1024


def bundle(*elements: bytes, sizes: list[int] | None = None) -> bytes:
    parts = [
        struct.pack(">i", size) + element
        for size, element in zip(sizes or map(len, elements), elements, strict=True)
    ]
    return b"#bundle\0" + bytes(8) + b"".join(parts)


def nested(depth: int) -> bytes:
    packet = encode_message("/sdv2/seed", 1)
    for _ in range(depth):
        packet = bundle(packet)
    return packet


CRAFTED = {
    "element of negative size: python-osc loops for ever": bundle(b"", sizes=[-4]),
    "element of size 0": bundle(b"", sizes=[0]),
    "element past the end": bundle(b"/a\0\0,\0\0\0", sizes=[400]),
    "pattern that hangs regular expressions": encode_message("/" + "*a" * 12 + "b", 1.0),
    "stars against a real address": encode_message("/sdv2/prompt/" + "*" * 40 + "Z", 1.0),
    "many alternatives": encode_message("/sdv2/{" + ",".join("a" * n for n in range(40)) + "}", 1),
    "time tag of the far future": b"#bundle\0" + b"\xff" * 8 + b"\0\0\0\x10/sdv2/seed\0\0,\0\0\0",
    "bundles in bundles": nested(700),
    "arrays in arrays": b"/a\0\0," + b"[" * 3000 + b"\0",
    "60,000 unknown tags": b"/a\0\0," + b"Q" * 60_000 + b"\0\0\0",
    "address that is no UTF-8": b"/\xff\xfe\0,\0\0\0",
    "float cut off": b"/sdv2/noise/s_min\0\0\0,f\0\0\x3f",
    "NaN": encode_message("/sdv2/noise/s_min", float("nan")),
    "infinity": encode_message("/sdv2/norm/noise/s_min", float("-inf")),
    "blob of negative size": b"/a\0\0,b\0\0" + struct.pack(">i", -1),
    "blob of 2 GB": b"/a\0\0,b\0\0" + struct.pack(">i", 2**31 - 1),
    "text without an end": b"/sdv2/prompt\0\0\0\0,s\0\0" + b"x" * 100,
    "long prompt": encode_message("/sdv2/prompt", "x" * 60_000),
    "blend of everything": encode_message("/sdv2/prompt", " | ".join("ab" * 500)),
    "huge int": encode_message("/sdv2/seed", 2**62),
    "many messages": bundle(*[encode_message("/sdv2/seed", n) for n in range(500)]),
    "many subscriptions": bundle(*[encode_message("/sdv2/subscribe", 2000 + n) for n in range(99)]),
    "a path for a preset": encode_message("/sdv2/preset/load", "../../etc/passwd"),
    "one byte": b"/",
    "only NULs": bytes(4096),
}


def corpus() -> list[bytes]:
    good = list(CRAFTED.values())
    for address in (*BY_ADDRESS, *BY_NORM_ADDRESS, *ACTION_BY_ADDRESS):
        good += [encode_message(address, value) for value in (1, 0.5, "word", True)]
    good += [encode_message(a) for a in ("/sdv2/dump", "/sdv2/subscribe", "/sdv2/ping")]
    good.append(bundle(*good[40:44]))
    return [packet for packet in good if len(packet) <= 65_000]


async def pinged(play: Play, surface: Listener, token: int) -> None:
    """The host still answers."""
    surface.heard.clear()
    surface.send("/sdv2/ping", token)
    await play.until(lambda: any(m.args[0] == token for m in pongs(surface)))


def pongs(surface: Listener):  # type: ignore[no-untyped-def]
    return [message for message in surface.heard if message.address == "/sdv2/pong"]


async def storm(count: int) -> None:
    chance = random.Random(4)
    good = corpus()
    process = psutil.Process()
    warm = longest_s = 0.0
    async with live_plane() as play, play.surface() as surface, play.surface() as asker:
        for number in range(0, count, BATCH):
            begin = time.monotonic()
            for _ in range(BATCH):
                packet = mutated(chance, chance.choice(good), good)[:65_000]
                surface.send_raw(packet or b"\0")
            await asyncio.sleep(0)
            while play.plane.counts.datagrams < number:
                await asyncio.sleep(0.0005)
                if time.monotonic() - begin > 20:
                    raise AssertionError(f"hangs after {number} datagrams")
            longest_s = max(longest_s, time.monotonic() - begin)
            for memory in (surface.heard, play.stage.applied, *play.witness.all):
                memory.clear()  # the fakes': of the host's nothing may grow
            if number % PING_EVERY == 0:
                await pinged(play, asker, number)
            if number == min(WARM_UP, count // 2) // BATCH * BATCH:
                warm = process.memory_info().rss
        await pinged(play, asker, count)
        grown = process.memory_info().rss - warm
        counts = play.plane.counts
        print(
            f"{counts.datagrams} datagrams, {counts.bad_datagrams} no OSC, {counts.applied} "
            f"applied, {counts.called} actions, {counts.rejected} rejected, {counts.unknown} "
            f"unknown; {BATCH} took {longest_s * 1000:.0f} ms at most; memory grew by "
            f"{grown / 1e6:.1f} MB"
        )
        assert counts.datagrams >= 0.99 * count
        assert grown < MAX_GROWTH_BYTES
        assert len(play.console.notices) <= 200


@pytest.mark.parametrize("packet", CRAFTED.values(), ids=CRAFTED.keys())
def test_a_crafted_datagram_is_counted_and_the_host_answers(packet: bytes) -> None:
    async def run() -> None:
        async with live_plane() as play, play.surface() as surface, play.surface() as asker:
            begin = time.process_time()
            surface.send_raw(packet)
            await pinged(play, asker, 7)

            assert play.plane.counts.datagrams == 2
            assert time.process_time() - begin < 2

    asyncio.run(run())


@pytest.mark.parametrize(
    "count",
    [
        20_000,
        pytest.param(150_000, marks=pytest.mark.slow),
        pytest.param(1_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)]),
    ],
)
def test_mutated_datagrams_leave_no_trace(count: int) -> None:
    asyncio.run(storm(count))


def test_mutated_streams_lose_their_own_connection_alone() -> None:
    async def run() -> None:
        chance = random.Random(5)
        good = corpus()
        async with live_plane() as play, play.surface() as asker:
            for number in range(400):
                framing = chance.choice(list(Framing))
                packets = [frame(chance.choice(good), framing) for _ in range(4)]
                wire = mutated(chance, b"".join(packets), packets)
                _, writer = await asyncio.open_connection(LOCAL, play.plane.port)
                with contextlib.suppress(ConnectionError):
                    writer.write(wire)
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
                if number % 50 == 0:
                    await pinged(play, asker, number)
            await pinged(play, asker, -1)
            await play.until(lambda: play.plane._connections == {})
            await play.until(lambda: play.plane._open == set())

    asyncio.run(run())
