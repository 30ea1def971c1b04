"""What a ring's decoders send is taken only where it can be of the pictures that are owed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from sdv2_host.errors import ProtocolError
from sdv2_host.params import Params
from sdv2_host.stages.messages import Picture
from sdv2_host.stages.outbox import Outbox
from sdv2_host.stages.ring_plan import RingPlan
from sdv2_host.stages.ring_setup import GivenChunk, RingText
from sdv2_host.stages.ring_stream import RingStream
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import Route
from sdv2_host.types import Frame, FrameMeta, Size

SIZE = Size(16, 16)
ENTRY, TOP, BOTTOM = 7, 3, 5
"""Ranks, in the order of their places."""


@dataclass
class Nobody:
    """In the place of the ranks' links."""

    texts: set[int] = field(default_factory=set)

    def post(self, *_: Any) -> None:
        """Nobody listens."""

    def link(self, rank: int) -> Nobody:
        del rank
        return self


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def stream(outbox: Outbox) -> RingStream:
    """One chunk of one frame is in a ring of three, of whom two decode."""
    nobody: Any = Nobody()
    stream = RingStream(nobody, outbox, SIZE, num_replayed=2, num_steps=1)
    route = RoutePlan(Route.CHAIN, 1, 4, (0, 2, 4, 4), num_decoders=2)
    stream.begin(1, 1, RingPlan((ENTRY, TOP, BOTTOM), route, lanes=3))
    pixels = np.zeros((16, 16, 4), np.uint8)
    text = RingText(0, torch.zeros(1, 1, 1))
    outbox.owe()
    stream.give(GivenChunk([Frame(FrameMeta(16, 16), pixels)], Params(steps=1), text))
    return stream


def half(first_row: int, **changes: Any) -> tuple[Picture, bytearray]:
    fields = {"epoch": 1, "index": 0, "shape": (1, 8, 16, 4), "first_row": first_row, "notes": {}}
    picture = Picture.model_validate(fields | changes)
    return picture, bytearray([first_row] * (8 * 16 * 4))


@pytest.mark.parametrize("order", [(TOP, BOTTOM), (BOTTOM, TOP)])
def test_two_halves_are_a_picture_whichever_comes_first(
    stream: RingStream, outbox: Outbox, order: tuple[int, int]
) -> None:
    rows = {TOP: 0, BOTTOM: 8}
    for rank in order:
        stream.came(rank, *half(rows[rank]))

    (styled,) = outbox.take(most_owed=0)
    assert styled.pixels.shape == (1, 16, 16, 4)
    assert np.unique(styled.pixels[:, :8]).tolist() == [0]
    assert np.unique(styled.pixels[:, 8:]).tolist() == [8]


def test_a_half_of_an_epoch_that_is_over_is_nothing(stream: RingStream, outbox: Outbox) -> None:
    stream.came(TOP, *half(0, epoch=0))
    stream.came(TOP, *half(0))
    stream.came(BOTTOM, *half(8))

    assert len(outbox.take(most_owed=0)) == 1


@pytest.mark.parametrize(
    ("rank", "first_row", "changes", "said"),
    [
        (ENTRY, 0, {}, "a device that decodes none"),
        (99, 0, {}, "a device that decodes none"),
        (TOP, 8, {}, "from row 8 on, expected rows 0 to 8"),
        (BOTTOM, 0, {}, "from row 0 on, expected rows 8 to 16"),
        (TOP, 0, {"index": 1}, "chunk 1 came, expected one from 0 on, of 1"),
        (TOP, 0, {"shape": (1, 16, 16, 4)}, "expected rows 0 to 8 of 16 pixels"),
        (TOP, 0, {"shape": (1, 8, 8, 4)}, "expected rows 0 to 8 of 16 pixels"),
        (TOP, 0, {"shape": (0, 8, 16, 4)}, "0 pictures of 1 frames"),
        (TOP, 0, {"shape": (2, 8, 16, 4)}, "2 pictures of 1 frames"),
    ],
)
def test_what_cannot_be_a_band_of_that_device_is_refused(
    stream: RingStream, rank: int, first_row: int, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ProtocolError, match=said):
        stream.came(rank, *half(first_row, **changes))


def test_pictures_in_too_few_bytes_are_refused(stream: RingStream) -> None:
    picture, payload = half(0)

    with pytest.raises(ProtocolError, match="in 511 bytes"):
        stream.came(TOP, picture, payload[1:])


def test_a_band_of_too_many_pictures_is_the_fault_of_its_own_decoder(
    stream: RingStream, outbox: Outbox
) -> None:
    picture, _ = half(0, shape=(2, 8, 16, 4))

    with pytest.raises(ProtocolError, match="2 pictures of 1 frames"):
        stream.came(TOP, picture, bytearray(2 * 8 * 16 * 4))
    stream.came(BOTTOM, *half(8))
    stream.came(TOP, *half(0))

    assert len(outbox.take(most_owed=0)) == 1
