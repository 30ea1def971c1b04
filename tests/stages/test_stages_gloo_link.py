"""A sending link by itself: what of a slot it sends, and that nothing it refuses takes a slot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import pytest
import torch
from torch import Tensor

from sdv2_host.stages.gloo_group import CARRIER, GlooGroup, Membership
from sdv2_host.stages.gloo_link import LinkSpec, ReceivingLink, SendingLink
from sdv2_host.stages.leaf_header import PacketError
from sdv2_host.stages.leaf_staging import HostStaging
from sdv2_host.stages.packet import Leaf, Token, pack_
from sdv2_host.stages.rank_ticket import version
from tests.stages.any_packets import HEADER, SHAPE, bits_of, leaf_of
from tests.stages.gloo_places import DEADLINE_S, in_thread, joined_stores

DEPTH = 2
TOKEN = Token(1, b"{}")


class Filled(HostStaging):
    """Buffers are 0x55 where nothing was packed."""

    def buffer(self, num_bytes: int) -> Tensor:
        return torch.full((num_bytes,), 0x55, dtype=torch.uint8)


@contextmanager
def groups() -> Iterator[list[GlooGroup]]:
    """Two that have met."""
    stores = joined_stores(2)
    both = [GlooGroup(s, "g", Membership(i, 2, "127.0.0.1")) for i, s in enumerate(stores)]
    for connecting in [in_thread(group.connect) for group in both]:
        connecting.join(DEADLINE_S)
    try:
        yield both
    finally:
        for group in both:
            group.close()


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_slot_is_sent_whole_where_a_receive_takes_no_less(is_whole: bool) -> None:
    failures: SimpleQueue[str] = SimpleQueue()
    wanted = torch.full((SHAPE.num_bytes,), 0x55 if is_whole else 0xAA, dtype=torch.uint8)
    used = pack_(TOKEN, SHAPE, packed := torch.zeros(SHAPE.num_bytes, dtype=torch.uint8))
    wanted[:used] = packed[:used]
    got = torch.full((SHAPE.num_bytes,), 0xAA, dtype=torch.uint8)

    with groups() as (here, there):
        link = SendingLink(LinkSpec(here, 1, SHAPE, DEPTH, is_whole), Filled(), failures.put)
        work = there.receive(got, 0, 0)
        link.send(TOKEN)
        work.wait()
        link.stop("done")

    assert torch.equal(got, wanted)


def test_packets_that_are_refused_leave_the_link_as_it_was() -> None:
    packets: SimpleQueue[Leaf | Token] = SimpleQueue()
    failures: SimpleQueue[str] = SimpleQueue()
    leaf = leaf_of(HEADER, SHAPE)

    with groups() as (here, there):
        sending = SendingLink(LinkSpec(here, 1, SHAPE, DEPTH), HostStaging(), failures.put)
        receiving = ReceivingLink(
            LinkSpec(there, 0, SHAPE, DEPTH), HostStaging(), packets.put, failures.put
        )
        for _ in range(DEPTH + 1):
            with pytest.raises(PacketError, match="token of"):
                sending.send(Token(1, b"x" * SHAPE.num_bytes))
        sending.send(leaf)
        arrived = packets.get(timeout=DEADLINE_S)
        sending.stop("done")
        receiving.stop()

    assert bits_of(arrived) == bits_of(leaf)


def test_ranks_whose_links_do_not_understand_each_other_are_told_apart() -> None:
    assert version().endswith(f"links by {CARRIER}")
