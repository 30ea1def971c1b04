"""What becomes of a transport whose neighbour is gone, hangs or lies, and of one that is closed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

import psutil
import pytest
import torch

from sdv2_host.stages.channel_store import ChannelStore
from sdv2_host.stages.gloo_group import GlooGroup, Membership
from sdv2_host.stages.gloo_transport import DEPTH, GlooTransport, Seat
from sdv2_host.stages.packet import Leaf, Token
from sdv2_host.stages.payload_lane import MakePayloadGroup
from sdv2_host.stages.transport import Transport, TransportError
from sdv2_host.stages.work import Route
from tests.stages.any_packets import HEADER, SHAPE, leaf_of
from tests.stages.gloo_places import (
    DEADLINE_S,
    Place,
    eventually,
    gloo_places,
    in_thread,
    joined_stores,
    link_shapes,
    link_threads,
    meet,
)
from tests.stages.gloo_process import neighbours

ANY_WAY = pytest.mark.parametrize("direct", [None, GlooGroup], ids=["whole", "direct"])
"""Tensors of leaves with their heads, or on a group of their own, as NCCL moves them."""


def ended_by(body: Callable[[], None]) -> SimpleQueue[str]:
    """What the TransportError says that `body`, on a thread, ends with."""
    said: SimpleQueue[str] = SimpleQueue()

    def run() -> None:
        try:
            body()
        except TransportError as error:
            said.put(str(error))

    in_thread(run)
    return said


def send_for_ever(transport: Transport) -> None:
    leaf = leaf_of(HEADER, SHAPE)
    while True:
        transport.send(leaf)


@pytest.mark.parametrize(
    ("route", "num_places", "place", "victim", "direct"),
    [
        (Route.CHAIN, 2, 0, 1, None),
        (Route.CHAIN, 2, 1, 0, None),
        (Route.CHAIN, 2, 1, 0, GlooGroup),
        (Route.RING, 2, 0, 1, None),
        (Route.RING, 2, 0, 1, GlooGroup),
        (Route.RING, 3, 0, 2, None),
    ],
)
def test_a_neighbour_that_is_killed_is_told_of_even_by_an_idle_link(
    route: Route, num_places: int, place: int, victim: int, direct: MakePayloadGroup | None
) -> None:
    with neighbours(place, num_places, route, direct) as ring:
        ring.processes[victim].kill()
        reason = ring.failures.get(timeout=DEADLINE_S)

        assert reason.startswith(f"lost place {victim}: ")
        assert "\n" not in reason
        with pytest.raises(TransportError, match=f"lost place {victim}"):
            send_for_ever(ring.transport) if place == 0 else ring.transport.exchange(
                [(victim, torch.ones(1))], []
            )


def test_an_exchange_with_a_neighbour_that_is_killed_ends() -> None:
    with neighbours(0, 2, Route.CHAIN) as ring:
        said = ended_by(lambda: ring.transport.exchange([], [(1, torch.zeros(1))]))
        ring.processes[1].kill()

        assert said.get(timeout=DEADLINE_S).startswith("lost place 1: ")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGSTOP")
@ANY_WAY
def test_a_neighbour_that_hangs_is_told_of_and_frees_who_sends_to_it(
    direct: MakePayloadGroup | None,
) -> None:
    with neighbours(0, 2, Route.RING, direct) as ring:
        pid = ring.processes[1].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        said = ended_by(lambda: send_for_ever(ring.transport))

        assert "lost place 1: " in ring.failures.get(timeout=DEADLINE_S)
        assert "lost place 1: " in said.get(timeout=DEADLINE_S)


@ANY_WAY
def test_a_neighbour_that_closes_is_told_of_once(
    direct: MakePayloadGroup | None,
) -> None:
    before = set(link_threads())

    with gloo_places(3, Route.RING, direct=direct) as places:
        meet(places)
        places[0].transport.close()
        told = [place.failures.get(timeout=DEADLINE_S) for place in places[1:]]
        for place in places:
            place.transport.close()
        assert eventually(lambda: set(link_threads()) <= before)
        more = [place.failures.empty() for place in places]

    assert all(reason.startswith("lost place") for reason in told)
    assert more == [True] * 3


@ANY_WAY
def test_closing_frees_who_sends_to_a_receiver_that_is_stuck(
    direct: MakePayloadGroup | None,
) -> None:
    is_free = threading.Event()

    def hold(_: Place, __: Leaf | Token) -> None:
        is_free.wait(DEADLINE_S)

    with gloo_places(2, Route.CHAIN, on_packet=hold, direct=direct) as places:
        said = ended_by(lambda: send_for_ever(places[0].transport))
        places[0].transport.close()
        reason = said.get(timeout=DEADLINE_S)
        is_free.set()

    assert reason == "the transport is closed"


def test_closing_frees_who_exchanges() -> None:
    with gloo_places(2, Route.CHAIN) as places:
        said = ended_by(lambda: places[0].transport.exchange([], [(1, torch.zeros(1))]))
        places[0].transport.close()

        assert said.get(timeout=DEADLINE_S) in {"the transport is closed", "the epoch is over"}


@ANY_WAY
def test_a_closed_transport_leaves_no_thread_and_no_socket(
    direct: MakePayloadGroup | None,
) -> None:
    process = psutil.Process()
    threads, num_sockets = set(link_threads()), len(process.net_connections())

    with gloo_places(3, Route.RING, direct=direct) as places:
        meet(places)
        num_meanwhile = len(process.net_connections())

    assert num_meanwhile > num_sockets
    assert eventually(lambda: set(link_threads()) <= threads)
    assert eventually(lambda: len(process.net_connections()) <= num_sockets)


def num_slots() -> int:
    """Of all links of this process that have memory."""
    return sum(
        type(one) is torch.Tensor and one.dtype == torch.uint8 and one.numel() == SHAPE.num_bytes
        for one in gc.get_objects()
    )


def test_a_closed_transport_leaves_no_memory_to_the_garbage_collector() -> None:
    gc.collect()
    num_before = num_slots()
    gc.disable()
    try:
        with gloo_places(2, Route.CHAIN) as places:
            meet(places)
            for _ in range(2 * DEPTH):
                places[0].transport.send(leaf_of(HEADER, SHAPE))
                places[1].packets.get(timeout=DEADLINE_S)
            num_meanwhile = num_slots()

        assert num_meanwhile >= num_before + 2 * DEPTH
        assert eventually(lambda: num_slots() <= num_before)
    finally:
        gc.enable()


def alone() -> tuple[ChannelStore, GlooTransport, SimpleQueue[str]]:
    """The first of two places, of which the other never comes."""
    store = joined_stores(1)[0]
    failures: SimpleQueue[str] = SimpleQueue()
    seat = Seat(1, 0, 2, Route.CHAIN)
    transport = GlooTransport(seat, link_shapes(seat.route), store, print, failures.put)
    return store, transport, failures


def test_places_that_do_not_meet_are_told_of_when_their_store_is_cancelled() -> None:
    threads = set(link_threads())
    store, transport, failures = alone()

    store.cancel()

    assert failures.get(timeout=DEADLINE_S) == "the places did not meet: the epoch is over"
    transport.close()
    assert eventually(lambda: set(link_threads()) <= threads)


def test_of_a_transport_that_is_closed_before_the_places_met_nothing_is_told() -> None:
    threads = set(link_threads())
    store, transport, failures = alone()

    transport.close()
    store.cancel()

    assert eventually(lambda: set(link_threads()) <= threads)
    assert failures.empty()


def test_what_is_no_packet_is_told_of_and_not_handed_on() -> None:
    stores = joined_stores(2)
    liar = [GlooGroup(stores[0], f"ring/1/{name}", Membership(0, 2, "127.0.0.1")) for name in NAMES]
    packets: SimpleQueue[Leaf | Token] = SimpleQueue()
    failures: SimpleQueue[str] = SimpleQueue()
    seat = Seat(1, 1, 2, Route.CHAIN)
    transport = GlooTransport(seat, link_shapes(seat.route), stores[1], packets.put, failures.put)
    for group in liar:
        group.connect()

    liar[0].send(torch.full((SHAPE.num_bytes,), 7, dtype=torch.uint8), 1, 0).wait()

    reason = failures.get(timeout=DEADLINE_S)
    assert reason.startswith("place 0 sent what is no packet: begins with")
    assert packets.empty()
    for one in (*liar, transport):
        one.close()


NAMES = ("links", "pulses", "moves")

ENDS = """
from sdv2_host.stages.gloo_transport import GlooTransport, Seat
from sdv2_host.stages.work import Route
from tests.stages.any_packets import HEADER, SHAPE, leaf_of
from tests.stages.gloo_places import gloo_places, in_thread, joined_stores, link_shapes

with gloo_places(2, Route.RING) as closed:
    closed[0].transport.send(leaf_of(HEADER, SHAPE))
    closed[1].packets.get(timeout=60)
open_context = gloo_places(2, Route.RING)
still_open = open_context.__enter__()
still_open[0].transport.send(leaf_of(HEADER, SHAPE))
still_open[1].packets.get(timeout=60)
seat = Seat(1, 0, 2, Route.CHAIN)
alone = GlooTransport(seat, link_shapes(seat.route), joined_stores(1)[0], print, print)
in_thread(lambda: alone.exchange([], []))
alone.close()
print("end")
"""


def test_no_transport_closed_or_not_keeps_its_process_from_ending_well() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=100, check=False
    )

    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr
