"""Places of a gloo transport, in threads of this process or as processes of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import NamedTuple

import torch

from sdv2_host.stages.channel_store import ChannelStore
from sdv2_host.stages.gloo_transport import GlooTransport, LinkShapes, Seat
from sdv2_host.stages.packet import Leaf, LeafShape, Token
from sdv2_host.stages.payload_lane import MakePayloadGroup
from sdv2_host.stages.transport import OnPacket
from sdv2_host.stages.work import Route
from tests.stages.any_packets import BACK, SHAPE

DEADLINE_S = 60.0
"""Far more than anything takes, for a machine that is busy with other tests."""


class Place(NamedTuple):
    seat: Seat
    transport: GlooTransport
    store: ChannelStore
    packets: SimpleQueue[Leaf | Token]
    failures: SimpleQueue[str]


def joined_stores(num_places: int) -> list[ChannelStore]:
    """What is set in one is learnt by all, as the driver sees to."""

    def publish(key: str, value: bytes) -> None:
        for store in stores:
            store.learn(key, value)

    stores = [ChannelStore(publish) for _ in range(num_places)]
    return stores


def link_shapes(route: Route, forward: LeafShape = SHAPE, back: LeafShape = BACK) -> LinkShapes:
    return LinkShapes(forward, back if route is Route.RING else None)


@contextmanager
def gloo_places(
    num_places: int,
    route: Route,
    links: LinkShapes | None = None,
    on_packet: Callable[[Place, Leaf | Token], None] | None = None,
    stores: list[ChannelStore] | None = None,
    epoch: int = 1,
    device: torch.device | None = None,
    direct: MakePayloadGroup | None = None,
) -> Iterator[list[Place]]:
    """All places, in this process. Packets go to `packets` of a place, or to `on_packet`."""
    places: list[Place] = []
    are_made = threading.Event()

    def taker(index: int, packets: SimpleQueue[Leaf | Token]) -> OnPacket:
        def take(packet: Leaf | Token) -> None:
            assert on_packet is not None
            are_made.wait(DEADLINE_S)
            on_packet(places[index], packet)

        return packets.put if on_packet is None else take

    for index, store in enumerate(stores or joined_stores(num_places)):
        packets: SimpleQueue[Leaf | Token] = SimpleQueue()
        failures: SimpleQueue[str] = SimpleQueue()
        on = device or torch.device("cpu")
        seat = Seat(epoch, index, num_places, route, device=on, direct=direct)
        transport = GlooTransport(
            seat, links or link_shapes(route), store, taker(index, packets), failures.put
        )
        places.append(Place(seat, transport, store, packets, failures))
    are_made.set()
    try:
        yield places
    finally:
        for place in places:
            place.store.cancel()
            place.transport.close()


def greet(transport: GlooTransport, seat: Seat) -> None:
    """All places are there. They all have to do it, at the same time."""
    others = [peer for peer in range(seat.num_places) if peer != seat.place]
    transport.exchange(
        [(peer, torch.ones(1)) for peer in others], [(peer, torch.zeros(1)) for peer in others]
    )


def meet(places: list[Place]) -> None:
    """All groups of these are there: an exchange goes by the last that is made."""
    greeters = [in_thread(lambda one=one: greet(one.transport, one.seat)) for one in places]
    for greeter in greeters:
        greeter.join(DEADLINE_S)


def in_thread(body: Callable[[], None]) -> threading.Thread:
    """A daemon, so that a test that fails ends."""
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread


def link_threads() -> list[threading.Thread]:
    """Those of all transports of this process."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("stage link ")]


def eventually(ask: Callable[[], bool]) -> bool:
    """Whether it has become true."""
    deadline = time.monotonic() + DEADLINE_S
    while not ask():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
