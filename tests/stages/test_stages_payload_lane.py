"""Tensors that go beside their heads, on a lane of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from queue import SimpleQueue
from typing import NamedTuple

import pytest
import torch

from sdv2_host.errors import ConfigError
from sdv2_host.stages.direct_staging import DirectStaging
from sdv2_host.stages.gloo_group import GlooGroup
from sdv2_host.stages.nccl_group import payload_group_of
from sdv2_host.stages.packet import Token
from sdv2_host.stages.payload_lane import LaneSpec, PayloadLane
from sdv2_host.stages.transport import TransportError
from tests.stages.any_packets import HEADER, SHAPE, bits_of, leaf_of
from tests.stages.gloo_places import DEADLINE_S, in_thread, joined_stores

CPU = torch.device("cpu")


class Ends(NamedTuple):
    sender: PayloadLane
    receiver: PayloadLane


@contextmanager
def ends(*, have_met: bool = True) -> Iterator[Ends]:
    """Both in this process."""
    spec = LaneSpec("lane", "127.0.0.1", CPU)
    stores = joined_stores(2)
    lane = Ends(
        PayloadLane(GlooGroup, stores[0], spec, is_sender=True),
        PayloadLane(GlooGroup, stores[1], spec, is_sender=False),
    )
    if have_met:
        connecting = in_thread(lane.sender.connect)
        lane.receiver.connect()
        connecting.join(DEADLINE_S)
    yield lane
    for one in lane:
        one.close()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("has_tokens", [False, True])
def test_a_leaf_of_a_head_and_a_payload_equals_the_leaf(
    dtype: torch.dtype, has_tokens: bool
) -> None:
    shape = replace(SHAPE, dtype=dtype)
    leaf = leaf_of(replace(HEADER, has_tokens=has_tokens), shape)

    with ends() as lane:
        staging, other = DirectStaging(lane.sender, CPU), DirectStaging(lane.receiver, CPU)
        slot = staging.buffer(shape.num_bytes)
        packed = staging.pack_(leaf, shape, slot)
        packed.wait()
        # Only what a link sends of the slot.
        arrived = other.buffer(shape.num_bytes).zero_()
        arrived[: packed.num_bytes] = slot[: packed.num_bytes]
        got = other.unpack(arrived, shape)
        packed.finish()

    assert bits_of(got) == bits_of(leaf)
    assert packed.num_bytes < shape.num_bytes / 2


def test_a_token_goes_with_its_head() -> None:
    token = Token(1, b'{"cuts": [0, 1]}')

    with ends() as lane:
        staging = DirectStaging(lane.sender, CPU)
        slot = staging.buffer(SHAPE.num_bytes)
        packed = staging.pack_(token, SHAPE, slot)
        packed.wait()
        packed.finish()
        got = DirectStaging(lane.receiver, CPU).unpack(slot, SHAPE)

    assert got == token


def test_what_is_sent_before_the_ends_have_met_arrives_in_order_once_they_have() -> None:
    payloads = [torch.full((8,), number, dtype=torch.uint8) for number in range(3)]
    got: SimpleQueue[list[int]] = SimpleQueue()

    def send() -> None:
        works = [lane.sender.send(payload, None) for payload in payloads]
        for work in works:
            lane.sender.finish(work)

    def receive() -> None:
        for _ in payloads:
            got.put(lane.receiver.receive(8).tolist())

    with ends(have_met=False) as lane:
        for body in (send, receive, lane.sender.connect, lane.receiver.connect):
            in_thread(body)
        arrived = [got.get(timeout=DEADLINE_S) for _ in payloads]

    assert arrived == [payload.tolist() for payload in payloads]


@pytest.mark.parametrize("have_met", [False, True])
def test_closing_frees_who_waits_for_a_payload(have_met: bool) -> None:
    ended: SimpleQueue[str] = SimpleQueue()

    def receive() -> None:
        try:
            lane.receiver.receive(8)
        except RuntimeError as error:
            ended.put(type(error).__name__)

    with ends(have_met=have_met) as lane:
        waiting = in_thread(receive)
        lane.receiver.close()
        assert ended.get(timeout=DEADLINE_S)
        waiting.join(DEADLINE_S)
        with pytest.raises(TransportError):
            lane.receiver.receive(8)


def test_tensors_go_beside_their_heads_only_where_nccl_is_asked_for() -> None:
    assert payload_group_of("auto", CPU) is None
    assert payload_group_of("gloo", CPU) is None


@pytest.mark.skipif(sys.platform != "linux", reason="the reason given is another one")
def test_nccl_is_refused_with_the_reason_and_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"CUDA devices only, this one is cpu; use --transport"):
        payload_group_of("nccl", CPU)


@pytest.mark.skipif(sys.platform == "linux", reason="has NCCL")
def test_nccl_is_refused_where_it_does_not_exist() -> None:
    with pytest.raises(ConfigError, match=f"this is {sys.platform}; use --transport gloo"):
        payload_group_of("nccl", CPU)
