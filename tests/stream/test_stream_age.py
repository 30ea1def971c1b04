"""However old a stream is, it makes the pictures that a young one would: its counters have no say.

A stream of 100,000 chunks takes hours even in a toy; so a young stream's counters are moved there
by hand, as if what it holds had been written so much later, and what it makes is compared bit for
bit.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sdv2_host.params import Params
from sdv2_host.stream.kv_cache import RollingKVCache
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.positions import RESET_AT_FRAME, RESET_TO_FRAME, PositionMode
from sdv2_host.types import Layout
from tests.stream.conftest import Toy, chunks_of

PARAMS = Params(prompt="neon outline", steps=2, seed=3)
YOUNG_CHUNKS = 8
"""The window is full."""
WINDOW = 3
"""Of the toy's cache."""
PERIOD = RESET_AT_FRAME - RESET_TO_FRAME
"""Frames from one reset to the next, a multiple of the window."""


def pictures_from(
    toy: Toy, pipeline: StreamPipeline, moved_by: int, num_chunks: int = 12
) -> Tensor:
    """What comes after the young chunks, with their age moved by so many frames."""
    chunks = chunks_of(toy.clip(1 + 4 * (YOUNG_CHUNKS + num_chunks - 1)))
    state = pipeline.fresh_state()
    for chunk in chunks[:YOUNG_CHUNKS]:
        pipeline.step(state, chunk, PARAMS)
    assert isinstance(state.kv, RollingKVCache)
    state.kv.num_written[:] = [count and count + moved_by for count in state.kv.num_written]
    state.num_latents += moved_by
    made = [pipeline.step(state, chunk, PARAMS) for chunk in chunks[YOUNG_CHUNKS:]]
    return torch.cat([*made, pipeline.flush(state)], dim=1)


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("moved_by", [WINDOW, 33_333 * WINDOW])
def test_with_relative_positions_no_chunk_differs_for_its_number(
    toy: Toy, layout: Layout, moved_by: int
) -> None:
    pipeline = toy.pipeline(layout=layout)

    assert torch.equal(pictures_from(toy, pipeline, moved_by), pictures_from(toy, pipeline, 0))


def test_with_resets_a_stream_repeats_itself_from_reset_to_reset(toy: Toy) -> None:
    pipeline = toy.pipeline(positions=PositionMode.RESET)

    young = pictures_from(toy, pipeline, 0, PERIOD)

    assert torch.equal(pictures_from(toy, pipeline, 2222 * PERIOD, PERIOD), young)
    assert not torch.equal(pictures_from(toy, pipeline, WINDOW, PERIOD), young)
