"""RollingKVCache against lists of frames, and against one whole attention."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.stream.cache_plan import CacheGeometry, RowCall
from sdv2_host.stream.cached_call import CachedAttend
from sdv2_host.stream.kv_cache import RollingKVCache
from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.wan.attention import WholeAttend, attention, block_causal_mask
from sdv2_host.wan.rope import Rotary, rotary_table, rotate

GRID = (1, 2)
TOKENS, HEADS, HEAD_DIM = 2, 2, 12
SHAPE = (1, TOKENS, HEADS, HEAD_DIM)
CPU = torch.device("cpu")
ONE = RowCall(0, 1, 0)


def small_cache(geometry: CacheGeometry, num_rows: int = 1) -> RollingKVCache:
    return RollingKVCache.fresh(
        geometry,
        num_blocks=1,
        num_rows=num_rows,
        frame_shape=(TOKENS, HEADS, HEAD_DIM),
        device=CPU,
        dtype=torch.float64,
    )


def begun(cache: RollingKVCache, book: RotaryBook, *calls: RowCall) -> CachedAttend:
    """A call whose tokens are not looked at by its sinks."""
    num_tokens = calls[0].num_new * TOKENS
    tokens = torch.zeros(len(calls), num_tokens, HEADS * HEAD_DIM, dtype=torch.float64)
    return cache.open_(calls, book).begin_(tokens)


@dataclass
class ListOfFrames:
    """The obvious cache: two lists; the window forgets from its front."""

    geometry: CacheGeometry
    sinks: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    window: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, book: RotaryBook, refresh: bool) -> Tensor:
        if len(self.sinks) < self.geometry.num_sinks:
            self.sinks.append((k, v))
        else:
            self.window = [*self.window, (k, v)][-self.geometry.window :]
        if refresh:
            self.sinks = [(k, v) for _ in self.sinks]
        frames = [*self.sinks, *self.window]
        keys = [rotate(k, book.table((i,))) for i, (k, _) in enumerate(frames)]
        query = rotate(q, book.table((len(frames) - 1,)))
        return attention(query, torch.cat(keys, 1), torch.cat([v for _, v in frames], 1))


@pytest.mark.parametrize(("num_sinks", "num_chunks"), [(0, 300), (1, 2000), (3, 300)])
def test_cache_agrees_with_lists_of_frames(num_sinks: int, num_chunks: int) -> None:
    geometry = CacheGeometry(num_sinks, window=3)
    cache, lists = small_cache(geometry), ListOfFrames(geometry)
    book = RotaryBook(HEAD_DIM, GRID, CPU, torch.float64)
    chance = random.Random(num_sinks)
    noise = torch.Generator().manual_seed(num_sinks)

    for _ in range(num_chunks):
        if chance.random() < 0.01:
            cache.reset_()
            lists = ListOfFrames(geometry)
        refresh = chance.random() < 0.05
        q, k, v = torch.randn((3, *SHAPE), generator=noise, dtype=torch.float64)
        got = begun(cache, book, RowCall(0, 1, 0, refresh))(0, q, k, v)
        cache.advance_([RowCall(0, 1, 0)])

        torch.testing.assert_close(got, lists.attend(q, k, v, book, refresh))


def test_cached_equals_one_block_causal_attention_while_the_window_holds_all() -> None:
    geometry = CacheGeometry(num_sinks=2, window=4)
    cache = small_cache(geometry)
    book = RotaryBook(HEAD_DIM, GRID, CPU, torch.float64)
    q, k, v = torch.randn(3, 1, 6 * TOKENS, HEADS, HEAD_DIM, dtype=torch.float64)
    rotary = rotary_table(HEAD_DIM, torch.arange(6), *GRID)
    whole = WholeAttend(rotary, block_causal_mask(6, TOKENS))(0, q, k, v)

    pieces = []
    for frame in range(6):
        part = slice(frame * TOKENS, (frame + 1) * TOKENS)
        attend = begun(cache, book, ONE)
        pieces.append(attend(0, q[:, part], k[:, part], v[:, part]))
        cache.advance_([ONE])

    torch.testing.assert_close(torch.cat(pieces, 1), whole)


def test_two_frames_in_one_call_see_each_other() -> None:
    geometry = CacheGeometry(num_sinks=1, window=3)
    cache = small_cache(geometry)
    book = RotaryBook(HEAD_DIM, GRID, CPU, torch.float64)
    q, k, v = torch.randn(3, 1, 2 * TOKENS, HEADS, HEAD_DIM, dtype=torch.float64)
    rotary = rotary_table(HEAD_DIM, torch.arange(2), *GRID)

    got = begun(cache, book, RowCall(0, 2, 0))(0, q, k, v)

    torch.testing.assert_close(got, WholeAttend(rotary, None)(0, q, k, v))


def test_rows_of_unequal_age_equal_rows_alone() -> None:
    geometry = CacheGeometry(num_sinks=1, window=2)
    together, alone = small_cache(geometry, num_rows=3), small_cache(geometry, num_rows=3)
    book = RotaryBook(HEAD_DIM, GRID, CPU, torch.float64)

    for tick in range(8):
        num_rows = min(tick + 1, 3)
        q, k, v = torch.randn(3, num_rows, *SHAPE[1:], dtype=torch.float64)
        calls = [RowCall(row, 1, 0) for row in range(num_rows)]
        got = begun(together, book, *calls)(0, q, k, v)
        for row, call in enumerate(calls):
            one = slice(row, row + 1)
            expected = begun(alone, book, call)(0, q[one], k[one], v[one])
            torch.testing.assert_close(got[one], expected)
        together.advance_(calls)
        alone.advance_(calls)

    assert together.num_written == [8, 7, 6]


def test_a_copied_row_continues_like_its_source() -> None:
    geometry = CacheGeometry(num_sinks=1, window=2)
    cache = small_cache(geometry, num_rows=2)
    book = RotaryBook(HEAD_DIM, GRID, CPU, torch.float64)
    for _ in range(5):
        q, k, v = torch.randn((3, *SHAPE), dtype=torch.float64)
        begun(cache, book, ONE)(0, q, k, v)
        cache.advance_([ONE])

    cache.copy_row_(0, 1)
    q, k, v = torch.randn((3, *SHAPE), dtype=torch.float64).repeat(1, 2, 1, 1, 1)
    got = begun(cache, book, *(RowCall(row, 1, 0) for row in range(2)))(0, q, k, v)

    assert torch.equal(got[0], got[1])


@pytest.mark.parametrize("threshold", [-0.2, 0.1])
def test_adaptive_sinks_follow_the_rule_of_the_paper(threshold: float) -> None:
    geometry = CacheGeometry(num_sinks=3, window=2)
    cache = small_cache(geometry)
    book = RotaryBook(HEAD_DIM, GRID, CPU, torch.float64)
    noise = torch.Generator().manual_seed(1)
    sinks: list[tuple[Tensor, Tensor]] = []
    num_replaced = 0

    for _ in range(200):
        tokens = torch.randn(1, TOKENS, HEADS * HEAD_DIM, generator=noise, dtype=torch.float64)
        q, k, v = torch.randn((3, *SHAPE), generator=noise, dtype=torch.float64)
        call = RowCall(0, 1, 0, sink_threshold=threshold)
        cache.open_([call], book).begin_(tokens)(0, q, k, v)
        cache.advance_([call])
        mean = tokens.mean(1)
        if len(sinks) < 3:
            sinks.append((mean, k))
        else:
            alike = [float(F.cosine_similarity(mean, sink)) for sink, _ in sinks]
            num_replaced += sum(alpha < threshold for alpha in alike)
            pairs = zip(alike, sinks, strict=True)
            sinks = [(mean, k) if alpha < threshold else sink for alpha, sink in pairs]
        held = cache.k_RSHD[0][0, : len(sinks) * TOKENS]

        assert torch.equal(held, torch.cat([key[0] for _, key in sinks]))

    assert num_replaced > 10


def test_threshold_minus_one_never_replaces() -> None:
    cache = small_cache(CacheGeometry(num_sinks=2, window=2))
    book = RotaryBook(HEAD_DIM, GRID, CPU, torch.float64)
    call = cache.open_([RowCall(0, 1, 0, sink_threshold=-1.0)], book)

    assert call.see_sinks_(torch.randn(1, TOKENS, HEADS * HEAD_DIM, dtype=torch.float64)) is None


def test_the_rotary_book_stays_small_and_exact() -> None:
    book = RotaryBook(HEAD_DIM, GRID, CPU, torch.float64)

    for position in range(1000):
        book.table((position,))
    again = book.table((0,))

    exact = rotary_table(HEAD_DIM, torch.tensor([0]), *GRID)
    assert len(book._tables) == RotaryBook.CAPACITY
    assert isinstance(again, Rotary)
    assert torch.equal(again.cos_SP, exact.cos_SP)


def test_rows_that_are_not_neighbours_are_refused() -> None:
    cache = small_cache(CacheGeometry(1, 2), num_rows=3)
    book = RotaryBook(HEAD_DIM, GRID, CPU, torch.float64)

    with pytest.raises(AssertionError, match="neighbours"):
        cache.open_([RowCall(row, 1, 0) for row in (0, 2)], book)
