"""ReferenceKVCache against the reference's rules written out frame by frame, on random data."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from sdv2_host.stream.cache_plan import CacheGeometry, RowCall
from sdv2_host.stream.positions import reset_index
from sdv2_host.stream.reference_cache import ReferenceKVCache
from sdv2_host.stream.rotary_book import RotaryBook
from tests.stream.frame_by_frame import FrameByFrame

GRID = (1, 2)
TOKENS, HEADS, HEAD_DIM = 2, 2, 12
SINKS, WINDOW = 3, 3
CPU = torch.device("cpu")


def a_call(row: int, num_new: int, first_frame: int, threshold: float = 0.2) -> RowCall:
    return RowCall(row, num_new, first_frame, sink_threshold=threshold)


def empty_cache(num_rows: int, num_blocks: int = 1) -> ReferenceKVCache:
    return ReferenceKVCache.fresh(
        CacheGeometry(SINKS, WINDOW),
        num_blocks=num_blocks,
        num_rows=num_rows,
        frame_shape=(TOKENS, HEADS, HEAD_DIM),
        device=CPU,
        dtype=torch.float64,
    )


def rotary_book() -> RotaryBook:
    return RotaryBook(HEAD_DIM, GRID, CPU, torch.float64)


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.2])
def test_rows_agree_with_the_rules_frame_by_frame(threshold: float) -> None:
    cache, book = empty_cache(2), rotary_book()
    oracles = [FrameByFrame(TOKENS, threshold), FrameByFrame(TOKENS, threshold)]
    noise = torch.Generator().manual_seed(4)

    def qkv(num_rows: int, frames: int = 1) -> Tensor:
        shape = (3, num_rows, frames * TOKENS, HEADS, HEAD_DIM)
        # A common part, so that frames are alike enough for the threshold to matter.
        return torch.randn(shape, generator=noise, dtype=torch.float64) + 0.3

    q, k, v = qkv(1, frames=2)
    first = [a_call(0, 2, 0, threshold)]
    got = cache.open_(first, book)(0, q, k, v)
    cache.advance_(first)
    cache.end_first_chunk_(2)
    for oracle in oracles:
        torch.testing.assert_close(got, oracle.step(q, k, v, 0, book))
    for tick in range(150):
        frames = (2 + tick, max(2, 1 + tick))
        calls = [a_call(row, 1, frame, threshold) for row, frame in enumerate(frames)]
        q, k, v = qkv(2)
        got = cache.open_(calls, book)(0, q, k, v)
        cache.advance_(calls)
        for row, oracle in enumerate(oracles):
            one = slice(row, row + 1)
            start = reset_index(frames[row])
            torch.testing.assert_close(got[one], oracle.step(q[one], k[one], v[one], start, book))
            assert cache.queues[0][row] == oracle.queue


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_a_shared_row_agrees_with_the_rules_frame_by_frame(num_steps: int) -> None:
    cache, book = empty_cache(1), rotary_book()
    oracle = FrameByFrame(TOKENS, 0.2, total_steps=num_steps, current_step=num_steps)
    noise = torch.Generator().manual_seed(num_steps)
    calls = [a_call(0, 2, 0)]
    for step in range(num_steps):
        q, k, v = torch.randn(3, 1, 2 * TOKENS, HEADS, HEAD_DIM, generator=noise).double()
        got = cache.open_(calls, book)(0, q, k, v)
        cache.advance_(calls)
        torch.testing.assert_close(got, oracle.step(q, k, v, 0, book), msg=f"step {step}")
    cache.end_first_chunk_(num_steps)

    for tick in range(80):
        calls = [a_call(0, 1, 2 + tick)]
        for _ in range(num_steps):
            q, k, v = torch.randn(3, 1, TOKENS, HEADS, HEAD_DIM, generator=noise).double()
            got = cache.open_(calls, book)(0, q, k, v)
            cache.advance_(calls)
            torch.testing.assert_close(got, oracle.step(q, k, v, reset_index(2 + tick), book))
        assert cache.queues[0][0] == oracle.queue


def test_every_block_decides_for_itself() -> None:
    cache, book = empty_cache(1, num_blocks=2), rotary_book()
    chance = random.Random(0)
    noise = torch.Generator().manual_seed(0)
    for frame in range(30):
        calls = [a_call(0, 1, frame)]
        attend = cache.open_(calls, book)
        for block in range(2):
            q, k, v = torch.randn(3, 1, TOKENS, HEADS, HEAD_DIM, generator=noise).double()
            attend(block, q, k + chance.random(), v)
        cache.advance_(calls)

    assert cache.queues[0] != cache.queues[1]


def test_a_reset_leaves_no_queue_behind() -> None:
    cache, book = empty_cache(2), rotary_book()
    calls = [a_call(0, 2, 0)]
    q, k, v = torch.randn(3, 1, 2 * TOKENS, HEADS, HEAD_DIM).double()
    first = cache.open_(calls, book)(0, q, k, v)
    cache.advance_(calls)
    cache.end_first_chunk_(2)

    cache.reset_()

    assert cache.queues == empty_cache(2).queues
    assert torch.equal(cache.open_(calls, book)(0, q, k, v), first)
