"""One call of the model over a rolling cache: what is fixed about it, and what the device knows.

# R rows, one per denoising step  B rows of one call  F new latent frames  N tokens per frame
# S tokens  K sinks  H heads  D head dim  E model dim

Calls of equal shape run the same kernels on the same memory. What differs between them (slots,
angles, limits) is in tensors, so a call can be recorded once and played again with others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.stream.cache_plan import CacheGeometry, RowCall, RowPlan
from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.wan.attention import SelfAttend, attention
from sdv2_host.wan.rope import Rotary, rotate


class PastCall(Protocol):
    """One call over any cache, about to begin."""

    def begin_(self, tokens_BSE: Tensor) -> SelfAttend:
        """Attention of the call with these tokens; its blocks write the new frames."""


class CallShape(NamedTuple):
    """All that the work of a call depends on beside the numbers of `CallTensors`."""

    first_row: int
    num_new: int
    """Latent frames."""
    num_filled: tuple[int, ...]
    """Slots attended to per row, the new frames' included."""
    new_sinks: tuple[tuple[int, ...], ...]
    """Sinks that each row's first new frames fill."""
    may_replace: bool
    """Full sinks may be replaced, which the device decides."""

    @property
    def rows(self) -> slice:
        return slice(self.first_row, self.first_row + len(self.num_filled))

    @property
    def is_even(self) -> bool:
        """All rows are equally full: not so only while a stream batch fills."""
        return len(set(self.num_filled)) == 1


class CallTensors(NamedTuple):
    """On the device; never written to."""

    places_2BS: Tensor
    """int64: row of the call and token of the row that each new token is written to."""
    queries: list[Rotary]
    """Angles of the new frames: of all rows, or one by one where they are unequally full."""
    keys: list[Rotary]
    """The same of the filled slots."""
    limits_B: Tensor | None
    """Float32: sinks less alike than this are replaced."""
    forced_B: Tensor | None
    """Booleans: all of the row's are."""


class CacheMemory(NamedTuple):
    """What a rolling cache keeps between calls, written in place."""

    geometry: CacheGeometry
    tokens_per_frame: int
    k_RSHD: list[Tensor]
    """Per block; S = num_slots x tokens_per_frame. Not rotated."""
    v_RSHD: list[Tensor]
    sink_RKE: Tensor
    """Mean token of the frame in each sink slot, what adaptive sinks compare with."""


def call_shape(
    geometry: CacheGeometry, plans: Sequence[RowPlan], calls: Sequence[RowCall]
) -> CallShape:
    """Raises: AssertionError: the rows are not neighbours, in order."""
    first_row = plans[0].row
    assert [plan.row for plan in plans] == list(range(first_row, first_row + len(plans))), (
        "rows of one call must be neighbours"
    )
    num_sinks = geometry.num_sinks
    return CallShape(
        first_row=first_row,
        num_new=len(plans[0].write_slots),
        num_filled=tuple(plan.num_filled for plan in plans),
        new_sinks=tuple(
            tuple(slot for slot in plan.write_slots if slot < num_sinks) for plan in plans
        ),
        may_replace=num_sinks > 0 and any(_may_replace(call) for call in calls),
    )


def _may_replace(call: RowCall) -> bool:
    return call.refresh_sinks or call.reanchors is not None or call.sink_threshold > -1


def call_tensors(
    shape: CallShape,
    plans: Sequence[RowPlan],
    calls: Sequence[RowCall],
    are_sinks_full: Sequence[bool],
    book: RotaryBook,
) -> CallTensors:
    """`are_sinks_full`: per row, before the call; until then none is compared."""
    queries = [plan.query_positions for plan in plans]
    keys = [plan.key_positions for plan in plans]
    limits_B = forced_B = None
    if shape.may_replace:
        rows = list(zip(calls, are_sinks_full, strict=True))
        limits_B = torch.stack([_limit(call, is_full, book.device) for call, is_full in rows])
        forced_B = torch.stack([_forced(call, is_full, book.device) for call, is_full in rows])
    return CallTensors(
        places_2BS=book.places(tuple(plan.write_slots for plan in plans)),
        queries=[book.rows(queries)] if shape.is_even else [book.table(one) for one in queries],
        keys=[book.rows(keys)] if shape.is_even else [book.table(one) for one in keys],
        limits_B=limits_B,
        forced_B=forced_B,
    )


def _limit(call: RowCall, is_full: bool, device: torch.device) -> Tensor:
    limit = call.sink_threshold if is_full and call.sink_threshold > -1 else -math.inf
    # Filled in there: a number that is sent makes the host wait for the device.
    return torch.full((), limit, device=device)


def _forced(call: RowCall, is_full: bool, device: torch.device) -> Tensor:
    if call.reanchors is not None and is_full and not call.refresh_sinks:
        return call.reanchors
    return torch.full((), call.refresh_sinks, dtype=torch.bool, device=device)


class CachedCall(NamedTuple):
    """A call over a rolling cache's memory."""

    memory: CacheMemory
    shape: CallShape
    tensors: CallTensors

    def begin_(self, tokens_BSE: Tensor) -> CachedAttend:
        return CachedAttend(self, self.see_sinks_(tokens_BSE))

    def of_block(self, index: int) -> CachedCall:
        """The same call of one block and of no other rows: it is block 0 of it, from row 0 on."""
        memory, rows = self.memory, self.shape.rows
        k_BSHD, v_BSHD = memory.k_RSHD[index][rows], memory.v_RSHD[index][rows]
        return CachedCall(
            memory._replace(k_RSHD=[k_BSHD], v_RSHD=[v_BSHD], sink_RKE=memory.sink_RKE[rows]),
            self.shape._replace(first_row=0),
            self.tensors,
        )

    def see_sinks_(self, tokens_BSE: Tensor) -> Tensor | None:
        """[B, K, N] int64: per sink, tokens of the row that the newest frame is written to besides:
        the sink's where it is replaced, else those of the frame's own slot.

        The paper's rule: alpha_i = cos(h_t, s_i) of the frames' mean tokens, sink i is replaced
        where alpha_i < its row's limit; all of a row's where that is forced. Only once all are
        filled. None when no row can replace. The means of what fills a sink are kept in any case:
        the threshold may change with every call.
        """
        shape, tensors = self.shape, self.tensors
        if not shape.may_replace and not any(shape.new_sinks):
            return None
        sinks_BKE = self.memory.sink_RKE[shape.rows]
        num_rows = len(shape.num_filled)
        means_BFE = tokens_BSE.reshape(num_rows, shape.num_new, -1, tokens_BSE.shape[-1]).mean(2)
        newest_B1E = means_BFE[:, -1:]
        replaced_BK = None
        if tensors.limits_B is not None and tensors.forced_B is not None:
            alike_BK = F.cosine_similarity(newest_B1E, sinks_BKE, dim=-1)
            replaced_BK = (alike_BK < tensors.limits_B[:, None]) | tensors.forced_B[:, None]
        for row, slots in enumerate(shape.new_sinks):
            for frame, slot in enumerate(slots):
                sinks_BKE[row, slot] = means_BFE[row, frame]
        if replaced_BK is None:
            return None
        replaced_BK1 = replaced_BK.unsqueeze(-1)
        sinks_BKE.copy_(torch.where(replaced_BK1, newest_B1E, sinks_BKE))
        num_tokens, num_sinks = self.memory.tokens_per_frame, self.memory.geometry.num_sinks
        sinks_KN = torch.arange(num_sinks * num_tokens, device=sinks_BKE.device).view(num_sinks, -1)
        return torch.where(replaced_BK1, sinks_KN, tensors.places_2BS[1, :, None, -num_tokens:])


class CachedAttend:
    """`SelfAttend` of a call: writes the new frames, then attends to all held.

    Attention within the new frames is bidirectional, as in the reference. The caller counts the
    frames as written (`RollingKVCache.advance_`) after the last block, so that blocks may run in
    several calls.
    """

    def __init__(self, call: CachedCall, sinks_BKN: Tensor | None = None) -> None:
        """`sinks_BKN`: as `CachedCall.see_sinks_` gives it."""
        self._call = call
        self._sinks_BKN = sinks_BKN

    def __call__(self, block_index: int, q_BSND: Tensor, k_BSND: Tensor, v_BSND: Tensor) -> Tensor:
        memory, shape, tensors = self._call
        held_k = memory.k_RSHD[block_index][shape.rows]
        held_v = memory.v_RSHD[block_index][shape.rows]
        self._write_(held_k, k_BSND)
        self._write_(held_v, v_BSND)
        if shape.is_even:
            num_keys = shape.num_filled[0] * memory.tokens_per_frame
            keys = rotate(held_k[:, :num_keys], tensors.keys[0])
            return attention(rotate(q_BSND, tensors.queries[0]), keys, held_v[:, :num_keys])
        return torch.cat([self._attend_row(i, q_BSND, held_k, held_v) for i in range(len(q_BSND))])

    def _attend_row(self, row: int, q_BSND: Tensor, held_k: Tensor, held_v: Tensor) -> Tensor:
        """Rows are unequally full only while a stream batch fills: no padding, no mask."""
        one = slice(row, row + 1)
        memory, shape, tensors = self._call
        num_keys = shape.num_filled[row] * memory.tokens_per_frame
        keys = rotate(held_k[one, :num_keys], tensors.keys[row])
        return attention(rotate(q_BSND[one], tensors.queries[row]), keys, held_v[one, :num_keys])

    def _write_(self, held_BSHD: Tensor, new_BSHD: Tensor) -> None:
        """Nothing else of the cache is read or written.

        Compiled, too, so long as no view stands between what the compiler is given and the write:
        torch makes every write a new tensor first, and inductor puts that back in place only where
        it is of the input itself. Through a view it copies the whole cache, twice.
        """
        memory, _, tensors = self._call
        rows_BS, tokens_BS = tensors.places_2BS.unbind()
        held_BSHD.index_put_((rows_BS, tokens_BS), new_BSHD)
        if self._sinks_BKN is not None:
            num_tokens = memory.tokens_per_frame
            rows_B1N, newest_B1NHD = rows_BS[:, None, :num_tokens], new_BSHD[:, None, -num_tokens:]
            held_BSHD.index_put_((rows_B1N, self._sinks_BKN), newest_B1NHD)
