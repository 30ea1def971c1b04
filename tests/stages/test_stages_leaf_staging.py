"""Leaves of a device go through host memory with the same bits, while their tensors are written
again."""

from __future__ import annotations

import pytest
import torch

from sdv2_host.stages.leaf_staging import staging_of
from sdv2_host.stages.packet import Leaf, pack_
from sdv2_host.stages.work import Route
from tests.stages.any_packets import HEADER, SHAPE, bits_of, leaf_of
from tests.stages.gloo_places import DEADLINE_S, gloo_places, in_thread

ON_CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=ON_CUDA)]


def moved(leaf: Leaf, device: torch.device) -> Leaf:
    tokens = leaf.tokens_SE
    return Leaf(
        leaf.header,
        leaf.scalars.to(device),
        leaf.x_CHW.to(device),
        tokens.to(device) if tokens is not None else None,
    )


@pytest.mark.parametrize("device", DEVICES)
def test_staged_bytes_are_those_of_the_codec_whatever_is_written_next(device: torch.device) -> None:
    leaf = moved(leaf_of(HEADER, SHAPE), device)
    staging = staging_of(device)
    buffer = staging.buffer(SHAPE.num_bytes)
    wanted = torch.empty(SHAPE.num_bytes, dtype=torch.uint8)
    pack_(leaf_of(HEADER, SHAPE), SHAPE, wanted)

    packed = staging.pack_(leaf, SHAPE, buffer)
    leaf.x_CHW.zero_()
    packed.wait()

    assert packed.num_bytes == SHAPE.num_bytes
    assert torch.equal(buffer, wanted)


@pytest.mark.parametrize("device", DEVICES)
def test_a_leaf_arrives_on_the_device_and_leaves_its_buffer_free(device: torch.device) -> None:
    staging = staging_of(device)
    buffer = staging.buffer(SHAPE.num_bytes)
    pack_(leaf_of(HEADER, SHAPE), SHAPE, buffer)

    leaf = staging.unpack(buffer, SHAPE)
    buffer.zero_()

    assert isinstance(leaf, Leaf)
    assert leaf.x_CHW.device.type == device.type
    assert bits_of(moved(leaf, torch.device("cpu"))) == bits_of(leaf_of(HEADER, SHAPE))


@pytest.mark.parametrize("device", DEVICES)
def test_places_on_a_device_send_leaves_and_exchange_tensors(device: torch.device) -> None:
    leaves = [moved(leaf_of(HEADER, SHAPE, seed), device) for seed in range(20)]
    got = torch.zeros(5, device=device)

    with gloo_places(2, Route.CHAIN, device=device) as places:
        for leaf in leaves:
            places[0].transport.send(leaf)
        arrived = [places[1].packets.get(timeout=DEADLINE_S) for _ in leaves]
        sender = in_thread(
            lambda: places[0].transport.exchange([(1, torch.ones(5, device=device))], [])
        )
        places[1].transport.exchange([], [(0, got)])
        sender.join(DEADLINE_S)

    on_host = [moved(leaf, torch.device("cpu")) for leaf in arrived if isinstance(leaf, Leaf)]
    assert [*map(bits_of, on_host)] == [bits_of(leaf_of(HEADER, SHAPE, i)) for i in range(20)]
    assert got.tolist() == [1.0] * 5
