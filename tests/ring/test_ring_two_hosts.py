"""One stream over two machines: as on one device, with a way between, without it, and anew."""

from __future__ import annotations

import hashlib
import queue
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sdv2_host.bench.ring_of_two import RingOfTwo
from sdv2_host.bench.two_hosts import WayPlan, format_table, measured
from sdv2_host.bench.two_machines import Machine, TwoMachines
from sdv2_host.errors import ProtocolError
from sdv2_host.stages.channel import CHALLENGE_BYTES, MAGIC, PROOF_BYTES, connect_to_driver
from sdv2_host.stages.gloo_transport import DEPTH, GlooTransport, Seat
from sdv2_host.stages.packet import Leaf, Token
from sdv2_host.stages.work import Route
from tests.stages.any_packets import HEADER, SHAPE, bits_of, leaf_of
from tests.stages.gloo_places import Place, in_thread, joined_stores, link_shapes
from tests.stages.machines import machines_or_skip
from tests.stages.ring_of_two import (
    CHUNKS,
    PARAMS,
    WAIT_S,
    Setting,
    finished,
    given,
    standing,
    until_devices,
)
from tests.stages.toy_ring import lost_at, quiet, whole

NUM_CHUNKS = len(CHUNKS)
STEADY = [PARAMS] * NUM_CHUNKS


@pytest.fixture(scope="module")
def two() -> Iterator[RingOfTwo]:
    """Started once: what takes long is to import torch, four times over."""
    torch.set_num_threads(1)
    with machines_or_skip() as machines, closing(RingOfTwo(machines)) as two:
        yield two


def num_frames(num_chunks: int) -> int:
    return sum(len(chunk) for chunk in CHUNKS[:num_chunks])


@pytest.mark.parametrize("route", ["ring", "chain"])
def test_pictures_are_those_of_one_device_whatever_the_way_takes(
    two: RingOfTwo, route: str
) -> None:
    two.machines.cable.carry_in(one_way_ms=10)
    with two.stream(Setting(route)):
        says = two.on_stream(standing).says
        pictures = two.on_stream(given(0, NUM_CHUNKS))
        rest = two.on_stream(finished)

    assert says.count("cpu") == 4
    assert np.array_equal(np.concatenate([pictures, rest]), whole(CHUNKS, STEADY))


def test_a_cut_cable_costs_no_picture_and_its_devices_come_back_when_it_is_mended(
    two: RingOfTwo,
) -> None:
    cut_at, back_at = 5, 10
    with two.stream(Setting(silence_s=3.0)):
        parts = [two.on_stream(given(0, cut_at))]
        two.machines.cable.cut()
        parts += [two.on_stream(given(cut_at, back_at)), two.on_stream(finished)]
        without = two.on_stream(until_devices(2))
        two.machines.cable.mend()
        again = two.on_stream(until_devices(4))
        parts += [two.on_stream(given(back_at, NUM_CHUNKS)), two.on_stream(finished)]

    got = np.concatenate(parts)
    num_before = num_frames(back_at)
    assert "gave no sign of life for 3 s" in without.trouble
    assert without.num_lost == 2
    assert again.trouble == ""
    assert again.num_lost == 2
    assert is_lost_somewhere(got[:num_before], back_at)
    # It was empty when they came, so all know where it went on anew.
    assert np.array_equal(got[num_before:], lost_at(back_at, CHUNKS, STEADY)[num_before:])


def is_lost_somewhere(got: NDArray[np.uint8], num_chunks: int) -> bool:
    """These are the pictures of so many chunks, if the ring was lost once."""
    chunks, params = CHUNKS[:num_chunks], STEADY[:num_chunks]
    return any(np.array_equal(got, lost_at(n, chunks, params)) for n in range(num_chunks))


Say = Callable[[socket.socket], None]


def garbage(sock: socket.socket) -> None:
    sock.sendall(b"GET / HTTP/1.1\r\nHost: sdv2\r\n\r\n" + bytes(4096))


def nothing(sock: socket.socket) -> None:
    del sock


def wrong_proof(sock: socket.socket) -> None:
    sock.sendall(bytes(CHALLENGE_BYTES) + hashlib.sha256(b"a guess").digest()[:PROOF_BYTES])


def test_strangers_on_the_port_are_sent_away_and_the_stream_does_not_notice(
    two: RingOfTwo,
) -> None:
    with two.stream(Setting()) as address:
        parts = [two.on_stream(given(0, 5)), two.on_stream(finished)]
        before = two.on_stream(standing)
        two.begin(given(5, NUM_CHUNKS))
        answers = [said_to(two, address, what) for what in (garbage, nothing, wrong_proof)]
        refusal = refused_with(two, address, "another token than theirs")
        parts += [two.result(), two.on_stream(finished)]
        after = two.on_stream(standing)

    assert refusal == "no greeting, the token may be another one: connection ended"
    assert all(one[: len(MAGIC)] == MAGIC for one in answers)
    # A challenge, and then the end: no proof of the host, nothing of the stream.
    assert {len(one) for one in answers} == {len(MAGIC) + CHALLENGE_BYTES}
    assert after == before
    assert np.array_equal(np.concatenate(parts), whole(CHUNKS, STEADY))


def test_garbage_on_the_ports_of_devices_is_nothing_to_the_stream(two: RingOfTwo) -> None:
    first, second, _ = two.machines
    with two.stream(Setting()):
        parts = [two.on_stream(given(0, 5)), two.on_stream(finished)]
        before = two.on_stream(standing)
        two.begin(given(5, NUM_CHUNKS))
        num_ports = throw_garbage(second, first) + throw_garbage(first, second)
        parts += [two.result(), two.on_stream(finished)]
        after = two.on_stream(standing)

    # The driver's, and of each device one for links, moves and pulses.
    assert num_ports == 1 + 4 * 3
    assert after == before
    assert np.array_equal(np.concatenate(parts), whole(CHUNKS, STEADY))


def throw_garbage(by: Machine, at: Machine) -> int:
    """Into how many ports of the machine."""
    ports = [port for address, port in at.on(listening) if address == at.address]
    for port in ports:
        by.on(partial(throw, (at.address, port)))
    return len(ports)


def listening() -> list[tuple[str, int]]:
    """Of the machine that this is called on."""
    rows = [line.split() for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()]
    ends = [local.split(":") for _, local, _, state, *_ in rows if state == "0A"]
    return [
        (socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)) for address, port in ends
    ]


def throw(address: tuple[str, int]) -> None:
    for said in (b"GET / HTTP/1.1\r\n\r\n" + bytes(4096), bytes(8), b"\xff" * 8, b"x"):
        with socket.create_connection(address, WAIT_S) as sock:
            sock.sendall(said)


def said_to(two: RingOfTwo, address: tuple[str, int], what: Say) -> bytes:
    """All that a stranger of the other machine hears until it is sent away."""

    def knock() -> bytes:
        heard = b""
        with socket.create_connection(address, WAIT_S) as sock:
            what(sock)
            with suppress(ConnectionResetError):
                while part := sock.recv(4096):
                    heard += part
        return heard

    return two.machines.second.on(knock)


def refused_with(two: RingOfTwo, address: tuple[str, int], token: str) -> str:
    """What a device of the other machine is told that joins with this token."""

    def join() -> str:
        with pytest.raises(ProtocolError) as caught:
            connect_to_driver(address, token, max_payload_bytes=1)
        return str(caught.value)

    return two.machines.second.on(join)


def leaves(count: int) -> list[Leaf]:
    return [leaf_of(replace(HEADER, call=call), SHAPE, seed=call) for call in range(count)]


def send_all(place: Place, packets: list[Leaf]) -> None:
    for packet in packets:
        place.transport.send(packet)


@contextmanager
def chain_of_two(machines: TwoMachines) -> Iterator[list[Place]]:
    """A place on each machine, in this process."""
    places = []
    for index, store in enumerate(joined_stores(2)):
        machine = machines[index]
        seat = Seat(1, index, 2, Route.CHAIN, machine.address)
        packets: queue.SimpleQueue[Leaf | Token] = queue.SimpleQueue()
        failures: queue.SimpleQueue[str] = queue.SimpleQueue()
        links = link_shapes(Route.CHAIN)
        make = partial(GlooTransport, seat, links, store, packets.put, failures.put)
        places.append(Place(seat, machine.on(make), store, packets, failures))
    try:
        yield places
    finally:
        for place in places:
            place.store.cancel()
            place.transport.close()


def test_as_many_packets_as_a_link_is_deep_need_no_answer_from_the_other_machine() -> None:
    warm, more = leaves(3 * DEPTH), leaves(2 * DEPTH)
    with machines_or_skip() as machines, chain_of_two(machines) as (near, far):
        for packet in warm:
            near.transport.send(packet)
        assert [bits_of(far.packets.get(timeout=WAIT_S)) for _ in warm] == list(map(bits_of, warm))
        mark = (0, torch.ones(1))
        # What far has to say of them is with near once this is: a cable keeps the order.
        back = in_thread(lambda: machines.second.on(partial(far.transport.exchange, [mark], [])))
        machines.first.on(partial(near.transport.exchange, [], [(1, torch.zeros(1))]))
        back.join(WAIT_S)

        machines.cable.hold_to(machines.first)
        sender = in_thread(lambda: send_all(near, more))
        first = [bits_of(far.packets.get(timeout=WAIT_S)) for _ in range(DEPTH)]
        with pytest.raises(queue.Empty):
            far.packets.get(timeout=0.2)
        machines.cable.mend()
        rest = [bits_of(far.packets.get(timeout=WAIT_S)) for _ in more[DEPTH:]]
        sender.join(WAIT_S)

    assert first + rest == list(map(bits_of, more))


def test_the_bench_compares_streams_that_make_the_same_pictures(two: RingOfTwo) -> None:
    plan = WayPlan(
        one_way_ms=10, stage_ms=8, num_steps=2, lanes=(3,), num_chunks=20, num_turns=1, num_cuts=0
    )

    report = measured(plan, two, quiet)

    assert [(row["route"], row["lanes"]) for row in report["rows"]] == [("ring", 3), ("chain", 3)]
    assert all(row["is_same"] for row in report["rows"])
    assert len(format_table(report).splitlines()) == 3
