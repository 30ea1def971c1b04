"""A prompt may be forgotten as soon as its pictures are out, whatever of it is still on its way."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sdv2_host.params import Params
from sdv2_host.stages.exit import Pictures
from sdv2_host.stages.packet import Leaf, Token
from sdv2_host.stages.rank import Rank
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.transport import Move
from sdv2_host.stages.work import Route
from tests.stages.places import NUM_BLOCKS, in_chunks, toy_clip, toy_models, toy_spec

PARAMS = Params(prompt="neon outline", steps=1)


class SlowLinks:
    """A transport whose packets arrive when they are taken out."""

    def __init__(self) -> None:
        self.sent: list[Leaf | Token] = []

    def send(self, packet: Leaf | Token) -> None:
        self.sent.append(packet)

    def send_back(self, packet: Leaf) -> None:
        self.sent.append(packet)

    def exchange(self, sends: Sequence[Move], receives: Sequence[Move]) -> None:
        """No block moves."""

    def close(self) -> None:
        """Nothing to end."""

    def deliver(self, rank: Rank) -> None:
        sent, self.sent = self.sent, []
        for packet in sent:
            rank.take(packet)


def test_a_return_link_that_is_slow_does_not_stop_a_ring_that_forgot_its_prompt() -> None:
    torch.set_num_threads(1)
    pictures: list[Pictures] = []
    models, links = toy_models(), (SlowLinks(), SlowLinks())
    entry, last = (Rank(models, toy_spec(), pictures.append) for _ in links)
    plan = RoutePlan.even(Route.RING, 4, NUM_BLOCKS, 2)
    for place, (rank, link) in enumerate(zip((entry, last), links, strict=True)):
        rank.begin(1, place, plan, 1)
        rank.attach(link)

    for index, frames in enumerate(in_chunks(toy_clip(9))):
        for rank in (entry, last):
            rank.add_text(index, models.text.encode("neon outline"))
        entry.take_frames(frames, PARAMS, index)
        if index > 0:
            for rank in (entry, last):
                rank.keep_texts({index})
        links[1].deliver(entry)
        links[0].deliver(last)

    assert [one.index for one in pictures] == [0, 1, 2]
