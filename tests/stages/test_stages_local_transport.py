"""Places of one process: packets and tensors arrive copied and in order, and close frees."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from sdv2_host.stages.local_transport import LocalTransport, local_transports
from sdv2_host.stages.packet import Leaf, Token
from sdv2_host.stages.transport import TransportError
from sdv2_host.stages.work import Route
from tests.stages.any_packets import BACK, HEADER, SHAPE, bits_of, leaf_of

LATENTS = replace(HEADER, has_tokens=False)


def places(num_places: int, route: Route) -> tuple[list[LocalTransport], list[list[Leaf | Token]]]:
    taken: list[list[Leaf | Token]] = [[] for _ in range(num_places)]
    return local_transports(num_places, route, [one.append for one in taken]), taken


def test_packets_go_to_the_next_place_and_back_to_the_entry_in_order() -> None:
    transports, taken = places(3, Route.RING)
    leaves = [leaf_of(replace(HEADER, call=call), SHAPE, call) for call in range(3)]
    back = leaf_of(LATENTS, BACK)

    transports[0].send(leaves[0])
    transports[0].send(Token(1, b"{}"))
    transports[0].send(leaves[1])
    transports[1].send(leaves[2])
    transports[2].send_back(back)

    assert list(map(bits_of, taken[1])) == [bits_of(leaves[0]), Token(1, b"{}"), bits_of(leaves[1])]
    assert list(map(bits_of, taken[2])) == [bits_of(leaves[2])]
    assert list(map(bits_of, taken[0])) == [bits_of(back)]


def test_a_ring_of_one_sends_back_to_itself() -> None:
    (transport,), (taken,) = places(1, Route.RING)
    leaf = leaf_of(LATENTS, BACK)

    transport.send_back(leaf)

    assert list(map(bits_of, taken)) == [bits_of(leaf)]


def test_a_packet_is_its_own_copy() -> None:
    transports, taken = places(2, Route.CHAIN)
    leaf = leaf_of(HEADER, SHAPE)

    transports[0].send(leaf)
    leaf.x_CHW.zero_()

    assert bits_of(taken[1][0]) == bits_of(leaf_of(HEADER, SHAPE))


def test_places_exchange_tensors_both_ways_in_order() -> None:
    transports, _ = places(2, Route.CHAIN)
    got = [[torch.zeros(4), torch.zeros(4)] for _ in range(2)]

    def trade(place: int) -> None:
        mine = [(1 - place, torch.full((4,), 10.0 * place + i)) for i in range(2)]
        transports[place].exchange(mine, [(1 - place, x) for x in got[place]])

    other = threading.Thread(target=trade, args=(1,))
    other.start()
    trade(0)
    other.join()

    assert [[x[0].item() for x in one] for one in got] == [[10.0, 11.0], [0.0, 1.0]]


def test_closing_frees_who_waits_for_a_tensor() -> None:
    transports, _ = places(2, Route.CHAIN)
    errors: list[TransportError] = []

    def wait() -> None:
        try:
            transports[0].exchange([], [(1, torch.zeros(1))])
        except TransportError as error:
            errors.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    transports[0].close()
    waiter.join(timeout=30)

    assert not waiter.is_alive()
    assert len(errors) == 1


@pytest.mark.parametrize("closed", [0, 1])
def test_nothing_is_sent_from_or_to_a_closed_place(closed: int) -> None:
    transports, taken = places(2, Route.CHAIN)
    transports[closed].close()

    with pytest.raises(TransportError, match=f"place {closed} is closed"):
        transports[0].send(leaf_of(HEADER, SHAPE))

    assert taken == [[], []]
