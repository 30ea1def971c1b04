"""Packets over gloo: whole, in order and with the same bits."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import torch

from sdv2_host.stages.gloo_group import GlooGroup
from sdv2_host.stages.gloo_pulse import SILENCE
from sdv2_host.stages.gloo_transport import DEPTH, LinkShapes
from sdv2_host.stages.packet import Leaf, LeafShape, Token
from sdv2_host.stages.payload_lane import MakePayloadGroup
from sdv2_host.stages.transport import TransportError
from sdv2_host.stages.work import Route
from tests.stages.any_packets import BACK, HEADER, SHAPE, any_bits, bits_of, leaf_of
from tests.stages.gloo_places import (
    DEADLINE_S,
    Place,
    eventually,
    gloo_places,
    in_thread,
    joined_stores,
)

LATENTS = replace(HEADER, has_tokens=False)

ANY_WAY = pytest.mark.parametrize("direct", [None, GlooGroup], ids=["whole", "direct"])
"""Tensors of leaves with their heads, or on a group of their own, as NCCL moves them."""


def packets_of(shape: LeafShape) -> list[Leaf | Token]:
    """More than may be under way, with a token among them and every third without tokens."""
    leaves: list[Leaf | Token] = [
        leaf_of(replace(HEADER, call=call, has_tokens=call % 3 > 0), shape, seed=10 * call)
        for call in range(3 * DEPTH)
    ]
    return [*leaves[:5], Token(1, b'{"cuts": [0, 1]}'), *leaves[5:]]


def latents_of(leaf: Leaf) -> Leaf:
    header = replace(leaf.header, has_tokens=False)
    return Leaf(header, leaf.scalars, leaf.x_CHW, None)


def pass_on(place: Place, packet: Leaf | Token) -> None:
    """Keeps the packet and sends it on; of a ring's exit its latents go back to the entry."""
    place.packets.put(packet)
    seat = place.seat
    if seat.place == 0 or (seat.place + 1 == seat.num_places and seat.route is Route.CHAIN):
        return
    if seat.place + 1 < seat.num_places:
        place.transport.send(packet)
    elif isinstance(packet, Leaf):
        place.transport.send_back(latents_of(packet))


def taken_by(place: Place, num_packets: int) -> list[object]:
    return [bits_of(place.packets.get(timeout=DEADLINE_S)) for _ in range(num_packets)]


@ANY_WAY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("num_places", [2, 3, 4])
def test_packets_reach_every_place_of_a_chain_in_order_with_the_same_bits(
    num_places: int, dtype: torch.dtype, direct: MakePayloadGroup | None
) -> None:
    shape = replace(SHAPE, dtype=dtype)
    packets = packets_of(shape)

    with gloo_places(
        num_places, Route.CHAIN, LinkShapes(shape, None), pass_on, direct=direct
    ) as places:
        for packet in packets:
            places[0].transport.send(packet)
        arrived = [taken_by(place, len(packets)) for place in places[1:]]

    assert arrived == [list(map(bits_of, packets))] * (num_places - 1)


@ANY_WAY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("num_places", [2, 3, 4])
def test_leaves_go_round_a_ring_in_order_with_the_same_bits(
    num_places: int, dtype: torch.dtype, direct: MakePayloadGroup | None
) -> None:
    links = LinkShapes(replace(SHAPE, dtype=dtype), replace(BACK, dtype=dtype))
    packets = packets_of(links.forward)
    back = [latents_of(packet) for packet in packets if isinstance(packet, Leaf)]

    with gloo_places(num_places, Route.RING, links, pass_on, direct=direct) as places:
        for packet in packets:
            places[0].transport.send(packet)
        arrived = [taken_by(place, len(packets)) for place in places[1:]]
        returned = taken_by(places[0], len(back))

    assert arrived == [list(map(bits_of, packets))] * (num_places - 1)
    assert returned == list(map(bits_of, back))


@ANY_WAY
def test_what_is_sent_may_be_written_again_at_once(
    direct: MakePayloadGroup | None,
) -> None:
    leaf = leaf_of(HEADER, SHAPE)

    with gloo_places(2, Route.CHAIN, direct=direct) as places:
        places[0].transport.send(leaf)
        leaf.x_CHW.zero_()
        arrived = taken_by(places[1], 1)

    assert arrived == [bits_of(leaf_of(HEADER, SHAPE))]


@ANY_WAY
def test_idle_for_longer_than_any_wait_trips_nothing(
    direct: MakePayloadGroup | None,
) -> None:
    with gloo_places(3, Route.RING, direct=direct) as places:
        time.sleep(1.3 * SILENCE.total_seconds())
        places[0].transport.send(leaf_of(HEADER, SHAPE))
        places[2].transport.send_back(leaf_of(LATENTS, BACK))
        arrived = [taken_by(places[1], 1), taken_by(places[0], 1)]
        told = [place.failures.empty() for place in places]

    assert arrived == [[bits_of(leaf_of(HEADER, SHAPE))], [bits_of(leaf_of(LATENTS, BACK))]]
    assert told == [True] * 3


@ANY_WAY
def test_a_receiver_that_is_stuck_holds_the_sender_up(
    direct: MakePayloadGroup | None,
) -> None:
    is_free = threading.Event()
    num_sent = [0]
    packets = packets_of(SHAPE)

    def hold(place: Place, packet: Leaf | Token) -> None:
        is_free.wait(DEADLINE_S)
        place.packets.put(packet)

    def send_all() -> None:
        for packet in packets:
            places[0].transport.send(packet)
            num_sent[0] += 1

    # The receiver has one in its hands and room for DEPTH, as many are under way: but a tensor that
    # goes by itself has no room there before its head is read.
    most = 1 + DEPTH + (DEPTH if direct is None else 0)
    assert len(packets) > most
    with gloo_places(2, Route.CHAIN, on_packet=hold, direct=direct) as places:
        sender = in_thread(send_all)
        assert eventually(lambda: num_sent[0] >= most)
        time.sleep(0.3)
        num_sent_while_stuck = num_sent[0]
        is_free.set()
        arrived = taken_by(places[1], len(packets))
        sender.join(DEADLINE_S)

    assert num_sent_while_stuck == most
    assert arrived == list(map(bits_of, packets))


def test_places_exchange_tensors_of_any_kind_with_all_others_in_order() -> None:
    def tensors(sender: int, receiver: int) -> list[torch.Tensor]:
        seed = 100 * sender + 10 * receiver
        return [
            any_bits((3, 4), torch.bfloat16, seed),
            any_bits((4, 5), torch.float32, seed + 1).t(),
            torch.empty(0),
            torch.tensor([sender, receiver]),
        ]

    def trade(place: Place) -> None:
        me = place.seat.place
        others = [peer for peer in range(4) if peer != me]
        sends = [(peer, x) for peer in others for x in tensors(me, peer)]
        receives = [(peer, x) for peer in others for x in got[me][peer]]
        place.transport.exchange(sends, receives)

    # With the strides of what is sent: not all of it lies in one piece.
    got = [
        [[torch.zeros_like(x) for x in tensors(sender, me)] for sender in range(4)]
        for me in range(4)
    ]
    with gloo_places(4, Route.CHAIN) as places:
        for _ in range(2):
            traders = [in_thread(lambda place=place: trade(place)) for place in places]
            for trader in traders:
                trader.join(DEADLINE_S)

    for me in range(4):
        for sender in set(range(4)) - {me}:
            wanted = tensors(sender, me)
            bits = [x.contiguous().flatten().view(torch.uint8) for x in got[me][sender]]
            assert [x.tolist() for x in bits] == [
                x.contiguous().flatten().view(torch.uint8).tolist() for x in wanted
            ]


@ANY_WAY
def test_an_exchange_passes_packets_that_are_held_up(
    direct: MakePayloadGroup | None,
) -> None:
    is_free = threading.Event()
    got = torch.zeros(3)
    packets = packets_of(SHAPE)[:DEPTH]

    def hold(place: Place, packet: Leaf | Token) -> None:
        is_free.wait(DEADLINE_S)
        place.packets.put(packet)

    with gloo_places(2, Route.CHAIN, on_packet=hold, direct=direct) as places:
        for packet in packets:
            places[0].transport.send(packet)
        sender = in_thread(lambda: places[0].transport.exchange([(1, torch.ones(3))], []))
        places[1].transport.exchange([], [(0, got)])
        sender.join(DEADLINE_S)
        is_free.set()
        arrived = taken_by(places[1], len(packets))

    assert got.tolist() == [1.0, 1.0, 1.0]
    assert arrived == list(map(bits_of, packets))


@ANY_WAY
def test_epochs_over_the_same_stores_do_not_meet(
    direct: MakePayloadGroup | None,
) -> None:
    stores = joined_stores(2)
    leaves = [leaf_of(replace(HEADER, epoch=epoch), SHAPE, epoch) for epoch in (1, 2)]

    with (
        gloo_places(2, Route.CHAIN, stores=stores, epoch=1, direct=direct) as first,
        gloo_places(2, Route.CHAIN, stores=stores, epoch=2, direct=direct) as second,
    ):
        first[0].transport.send(leaves[0])
        second[0].transport.send(leaves[1])
        arrived = [taken_by(first[1], 1), taken_by(second[1], 1)]

    assert arrived == [[bits_of(leaves[0])], [bits_of(leaves[1])]]


def test_only_what_the_route_has_is_sent() -> None:
    with gloo_places(2, Route.CHAIN) as places:
        with pytest.raises(AssertionError, match="no next place"):
            places[1].transport.send(leaf_of(HEADER, SHAPE))
        with pytest.raises(AssertionError, match="no way back"):
            places[1].transport.send_back(leaf_of(LATENTS, BACK))
        with pytest.raises(AssertionError, match="only the exit"):
            places[0].transport.send_back(leaf_of(LATENTS, BACK))


@ANY_WAY
def test_nothing_is_sent_once_closed(
    direct: MakePayloadGroup | None,
) -> None:
    with gloo_places(2, Route.CHAIN, direct=direct) as places:
        places[0].transport.close()
        with pytest.raises(TransportError, match="closed"):
            places[0].transport.send(leaf_of(HEADER, SHAPE))
        with pytest.raises(TransportError):
            places[0].transport.exchange([(1, torch.ones(1))], [])
