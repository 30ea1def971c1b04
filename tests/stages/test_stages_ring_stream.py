"""Whatever a rank sends as pictures: what is owed comes once, and right."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import pytest
import torch

from sdv2_host.errors import ProtocolError
from sdv2_host.gpu.wan_spec import NUM_PROMPTS
from sdv2_host.params import Params
from sdv2_host.stages.channel import Payload
from sdv2_host.stages.messages import Begin, Chunk, ForgetTexts, Picture, Text, ToRank
from sdv2_host.stages.outbox import Outbox
from sdv2_host.stages.ring_plan import RingPlan
from sdv2_host.stages.ring_setup import GivenChunk, RingText
from sdv2_host.stages.ring_stream import MAX_TEXTS, RingStream
from sdv2_host.stages.roster import Roster
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import Route
from sdv2_host.types import Frame, FrameMeta, Size

SIZE = Size(4, 8)
NUM_REPLAYED = 1
PLAN = RingPlan((5, 6), RoutePlan.even(Route.CHAIN, 1, 4, 2), lanes=2)


class DeafLink:
    """Of a rank that keeps what it is told."""

    def __init__(self) -> None:
        self.texts: set[int] = set()
        self.told: list[ToRank] = []

    def post(self, message: ToRank, payload: Payload = b"") -> None:
        self.told.append(message)


class DeafRanks:
    """A roster without processes."""

    def __init__(self) -> None:
        self.links = {rank: DeafLink() for rank in PLAN.ranks}

    def link(self, rank: int) -> DeafLink:
        return self.links[rank]

    def post(self, rank: int, message: ToRank, payload: Payload = b"") -> None:
        self.links[rank].post(message, payload)


class Show(NamedTuple):
    stream: RingStream
    outbox: Outbox
    ranks: DeafRanks

    def give(self, num_frames: int, text_id: int = 0) -> None:
        pixels = np.zeros((SIZE.height, SIZE.width, 4), np.uint8)
        frames = [Frame(FrameMeta(*SIZE), pixels)] * num_frames
        self.outbox.owe()
        text = RingText(text_id, torch.zeros(1, 2, 3))
        self.stream.give(GivenChunk(frames, Params(prompt="a"), text))

    def come(self, index: int, num_frames: int, epoch: int = 1, rank: int = 6) -> None:
        shape = (num_frames, SIZE.height, SIZE.width, 4)
        payload = bytearray(np.full(shape, index, np.uint8).tobytes())
        picture = Picture(epoch=epoch, index=index, shape=shape, first_row=0, notes={})
        self.stream.came(rank, picture, payload)

    def taken(self) -> list[tuple[int, int]]:
        """(how many pictures, of which chunk of the epoch)."""
        styled = self.outbox.take(most_owed=100)
        return [(len(one.pixels), int(one.pixels[0, 0, 0, 0])) for one in styled]


def running() -> Show:
    ranks, outbox = DeafRanks(), Outbox()
    stream = RingStream(cast("Roster", ranks), outbox, SIZE, NUM_REPLAYED, num_steps=1)
    stream.restart(outbox.begin_session())
    stream.begin(1, 1, PLAN)
    return Show(stream, outbox, ranks)


def test_pictures_that_cannot_be_those_of_a_chunk_leave_it_owed() -> None:
    show = running()
    show.give(1)
    show.give(4)
    show.come(0, 1)

    with pytest.raises(ProtocolError, match="3 pictures of 4 frames"):
        show.come(1, 3)
    show.stream.begin(2, 2, PLAN)
    show.come(0, 1, epoch=2)
    show.come(1, 4, epoch=2)

    assert show.taken() == [(1, 0), (4, 1)]
    assert show.outbox.take(most_owed=0) == []


def test_pictures_of_the_past_are_counted_too() -> None:
    show = running()
    for count in (1, 4, 4):
        show.give(count)
    for index, count in enumerate((1, 4, 4)):
        show.come(index, count)

    show.stream.begin(2, 2, PLAN)

    with pytest.raises(ProtocolError, match="4 pictures of 1 frames"):
        show.come(0, 4, epoch=2)


def test_pictures_of_a_rank_that_decodes_none_are_refused_and_those_of_old_epochs_nothing() -> None:
    show = running()
    show.give(1)

    show.come(0, 1, epoch=0)
    assert show.taken() == []
    with pytest.raises(ProtocolError, match="decodes none in this ring"):
        show.come(0, 1, rank=5)
    show.come(0, 1)
    assert show.taken() == [(1, 0)]


def test_texts_that_no_chunk_needs_are_not_kept_beyond_what_memory_is_planned_for() -> None:
    show = running()
    for index, text_id in enumerate([*range(20), 99, 99, 99, 99]):
        show.give(4 if index else 1, text_id)
        show.come(index, 4 if index else 1)

    show.give(4, text_id=100)

    assert len(show.ranks.links[5].texts) <= min(NUM_PROMPTS.values())


def test_every_rank_is_told_a_text_before_the_chunk_and_forgets_none_that_is_in_flight() -> None:
    show = running()
    show.give(1, text_id=0)
    for text_id in range(1, 30):
        show.give(4, text_id)
        show.come(text_id - 1, 1 if text_id == 1 else 4)

    entry, known = show.ranks.links[5], set[int]()
    for message in entry.told:
        assert not isinstance(message, Begin) or message.place == 0
        if isinstance(message, Text):
            known.add(message.text_id)
        if isinstance(message, ForgetTexts):
            known &= set(message.keep)
        if isinstance(message, Chunk):
            assert {message.text_id, max(0, message.text_id - 1)} <= known
        assert len(known) <= MAX_TEXTS + NUM_REPLAYED + 1
    assert known == entry.texts == show.ranks.links[6].texts
