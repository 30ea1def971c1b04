"""ReferenceKVCache against the reference's rules written out frame by frame, on random data."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.stream.kv_cache import CacheGeometry, RowCall
from sdv2_host.stream.positions import reset_index
from sdv2_host.stream.reference_cache import ReferenceKVCache
from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.wan.attention import attention
from sdv2_host.wan.rope import rotate

GRID = (1, 2)
TOKENS, HEADS, HEAD_DIM = 2, 2, 12
SINKS, WINDOW = 3, 3
CAPACITY = SINKS + WINDOW
CPU = torch.device("cpu")


def empty_cache(num_rows: int, threshold: float = 0.2, num_blocks: int = 1) -> ReferenceKVCache:
    return ReferenceKVCache.fresh(
        CacheGeometry(SINKS, WINDOW),
        num_blocks=num_blocks,
        num_rows=num_rows,
        frame_shape=(TOKENS, HEADS, HEAD_DIM),
        sink_threshold=threshold,
        device=CPU,
        dtype=torch.float64,
    )


def rotary_book() -> RotaryBook:
    return RotaryBook(HEAD_DIM, GRID, CPU, torch.float64)


@dataclass
class FrameByFrame:
    """One block and row of the reference, a list of frames; None is a slot of zeros.

    A transcription of its rules (streamdiffusionv2.md 2.3), in units of frames.
    """

    threshold: float
    slots: list[tuple[Tensor, Tensor] | None] = field(default_factory=lambda: [None] * CAPACITY)
    queue: list[int] = field(default_factory=list)
    fill: int = 0
    global_end: int = 0
    total_steps: int = 1
    current_step: int = 1

    def step(self, q: Tensor, k: Tensor, v: Tensor, start: int, book: RotaryBook) -> Tensor:
        new = k.shape[1] // TOKENS
        table = book.table(tuple(range(start, start + new)))
        q, k = rotate(q, table), rotate(k, table)
        end = start + new
        if new == 1 and self.threshold > -1:
            alike = [0.0 if slot is None else _alike(slot, k, v) for slot in self.slots[:SINKS]]
            if min(alike) < self.threshold:
                self.queue.insert(0, alike.index(min(alike)) + 1)
        if end > CAPACITY or self.fill >= CAPACITY:
            self.fill = CAPACITY
            target = self.queue[0]
            if self.current_step > 1:
                self.current_step -= 1
            else:
                self.queue.pop(0)
                if target > SINKS:
                    self.queue.append(target)
                self.current_step = self.total_steps
        else:
            target = self.fill + end - self.global_end
            if SINKS < end + new <= CAPACITY and (not self.queue or self.queue[-1] != end + new):
                self.queue.append(end + new)
            self.fill = target
        for frame in range(new):
            part = slice(frame * TOKENS, (frame + 1) * TOKENS)
            self.slots[target - new + frame] = (k[:, part], v[:, part])
        self.global_end = end
        held = [slot for slot in self.slots[: self.fill] if slot is not None]
        return attention(q, torch.cat([k for k, _ in held], 1), torch.cat([v for _, v in held], 1))


def _alike(slot: tuple[Tensor, Tensor], k: Tensor, v: Tensor) -> float:
    def cosine(a: Tensor, b: Tensor) -> float:
        return float(F.cosine_similarity(a.flatten(2).mean(1), b.flatten(2).mean(1)))

    return (cosine(slot[0], k) + cosine(slot[1], v)) / 2


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.2])
def test_rows_agree_with_the_rules_frame_by_frame(threshold: float) -> None:
    cache, book = empty_cache(2, threshold), rotary_book()
    oracles = [FrameByFrame(threshold), FrameByFrame(threshold)]
    noise = torch.Generator().manual_seed(4)

    def qkv(num_rows: int, frames: int = 1) -> Tensor:
        shape = (3, num_rows, frames * TOKENS, HEADS, HEAD_DIM)
        # A common part, so that frames are alike enough for the threshold to matter.
        return torch.randn(shape, generator=noise, dtype=torch.float64) + 0.3

    q, k, v = qkv(1, frames=2)
    first = [RowCall(0, 2, 0)]
    got = cache.open_(first, q, book)(0, q, k, v)
    cache.advance_(first)
    cache.end_first_chunk_(2)
    for oracle in oracles:
        torch.testing.assert_close(got, oracle.step(q, k, v, 0, book))
    for tick in range(150):
        frames = (2 + tick, max(2, 1 + tick))
        calls = [RowCall(row, 1, frame) for row, frame in enumerate(frames)]
        q, k, v = qkv(2)
        got = cache.open_(calls, q, book)(0, q, k, v)
        cache.advance_(calls)
        for row, oracle in enumerate(oracles):
            one = slice(row, row + 1)
            start = reset_index(frames[row])
            torch.testing.assert_close(got[one], oracle.step(q[one], k[one], v[one], start, book))
            assert cache.queues[0][row] == oracle.queue


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_a_shared_row_agrees_with_the_rules_frame_by_frame(num_steps: int) -> None:
    cache, book = empty_cache(1), rotary_book()
    oracle = FrameByFrame(0.2, total_steps=num_steps, current_step=num_steps)
    noise = torch.Generator().manual_seed(num_steps)
    calls = [RowCall(0, 2, 0)]
    for step in range(num_steps):
        q, k, v = torch.randn(3, 1, 2 * TOKENS, HEADS, HEAD_DIM, generator=noise).double()
        got = cache.open_(calls, q, book)(0, q, k, v)
        cache.advance_(calls)
        torch.testing.assert_close(got, oracle.step(q, k, v, 0, book), msg=f"step {step}")
    cache.end_first_chunk_(num_steps)

    for tick in range(80):
        calls = [RowCall(0, 1, 2 + tick)]
        for _ in range(num_steps):
            q, k, v = torch.randn(3, 1, TOKENS, HEADS, HEAD_DIM, generator=noise).double()
            got = cache.open_(calls, q, book)(0, q, k, v)
            cache.advance_(calls)
            torch.testing.assert_close(got, oracle.step(q, k, v, reset_index(2 + tick), book))
        assert cache.queues[0][0] == oracle.queue


def test_every_block_decides_for_itself() -> None:
    cache, book = empty_cache(1, num_blocks=2), rotary_book()
    chance = random.Random(0)
    noise = torch.Generator().manual_seed(0)
    for frame in range(30):
        calls = [RowCall(0, 1, frame)]
        attend = cache.open_(calls, torch.empty(0), book)
        for block in range(2):
            q, k, v = torch.randn(3, 1, TOKENS, HEADS, HEAD_DIM, generator=noise).double()
            attend(block, q, k + chance.random(), v)
        cache.advance_(calls)

    assert cache.queues[0] != cache.queues[1]


def test_a_reset_leaves_no_queue_behind() -> None:
    cache, book = empty_cache(2), rotary_book()
    calls = [RowCall(0, 2, 0)]
    q, k, v = torch.randn(3, 1, 2 * TOKENS, HEADS, HEAD_DIM).double()
    first = cache.open_(calls, q, book)(0, q, k, v)
    cache.advance_(calls)
    cache.end_first_chunk_(2)

    cache.reset_()

    assert cache.queues == empty_cache(2).queues
    assert torch.equal(cache.open_(calls, q, book)(0, q, k, v), first)
