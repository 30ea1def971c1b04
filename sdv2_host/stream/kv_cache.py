"""RollingKVCache: keys and values of the frames a stream still attends to.

# R rows, one per denoising step  B rows of one call  F new latent frames  N tokens per frame
# S tokens  H heads  D head dim  E model dim

Each row holds `num_sinks` sink frames, then `window` rolling ones (the newest included), in
preallocated tensors. Which slot a frame goes to is counted on the CPU (`plan_row`), so no layer
ever asks the device anything; the only data-dependent choice, adaptive sinks, is a `torch.where`.

Source: StreamDiffusionV2, section 4.3 "adaptive sink and RoPE refresh";
models/wan/causal_model.py: CausalWanSelfAttention. Unlike there, keys are cached un-rotated, the
slots are a pure function of the number of frames written, and a frame that refreshes a sink
enters the window too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.stream.positions import PositionMode, key_positions
from sdv2_host.stream.rotary_book import RotaryBook, RotaryTables, joined
from sdv2_host.wan.attention import SelfAttend, attention
from sdv2_host.wan.rope import rotate


class CacheGeometry(NamedTuple):
    """Latent frames a row holds: sinks first, then the rolling window."""

    num_sinks: int
    window: int

    @property
    def num_slots(self) -> int:
        return self.num_sinks + self.window

    def slot_of(self, frame: int) -> int:
        """Slot that stream frame number `frame` is written to."""
        if frame < self.num_sinks:
            return frame
        return self.num_sinks + (frame - self.num_sinks) % self.window

    def frames_held(self, num_written: int) -> tuple[int, ...]:
        """Stream frame number in each filled slot, after `num_written` frames.

        A rolling slot s holds the newest frame f < num_written with f = s (mod window), because
        slot_of(f) = s means f - num_sinks = s - num_sinks (mod window).
        """
        num_filled = min(num_written, self.num_slots)
        newest = num_written - 1
        return tuple(
            slot if slot < self.num_sinks else newest - (newest - slot) % self.window
            for slot in range(num_filled)
        )


class RowCall(NamedTuple):
    """What one call of the model brings to one row."""

    row: int
    num_new: int
    """Latent frames."""
    first_frame: int
    """Number in the stream of the first of them."""
    refresh_sinks: bool = False
    """The newest frame also overwrites all sinks."""
    reanchors: Tensor | None = None
    """The same, as a 0-dim boolean that only the device knows; None = no."""
    begins_anew: bool = False
    """The row forgets all it has seen before. The reference's cache cannot."""
    sink_threshold: float = -1.0
    """Adaptive sinks: replace where the similarity -1..1 is below this; -1 = never."""


class KVCache(Protocol):
    """The past of a stream as the denoiser sees it: `RollingKVCache` or `ReferenceKVCache`."""

    def row_of(self, step: int, is_first: bool) -> int:
        """Row that step number `step` of the first or a later chunk runs in."""

    def open_(self, calls: Sequence[RowCall], tokens_BSE: Tensor, rotary: RotaryBook) -> SelfAttend:
        """Attention of one call; its blocks write the new frames. Rows must be neighbours."""

    def advance_(self, calls: Sequence[RowCall]) -> None:
        """The frames count as written: to be called after the last block."""

    def end_first_chunk_(self, num_steps: int) -> None:
        """The first chunk is clean; the next one may use the rows of `num_steps` steps."""

    def change_steps_(self, before: int, after: int) -> None:
        """Rows that a higher number of steps brings into use continue from the last in use."""

    def reset_(self) -> None:
        """Empty, in the same memory."""


class RowPlan(NamedTuple):
    """What one call does to one row: all plain numbers, made before the call."""

    row: int
    write_slots: tuple[int, ...]
    """Slot of each new frame."""
    num_filled: int
    """Slots attended to, the new frames' included."""
    key_positions: tuple[int, ...]
    """Temporal position of each filled slot."""
    query_positions: tuple[int, ...]
    """Temporal position of each new frame."""
    refreshed_sinks: tuple[int, ...]
    """Sink slots that the newest frame overwrites."""


def plan_row(
    geometry: CacheGeometry,
    mode: PositionMode,
    row: int,
    num_written: int,
    num_new: int,
    refresh_sinks: bool = False,
) -> RowPlan:
    """The plan for `num_new` frames that follow `num_written` earlier ones in this row."""
    assert 0 < num_new <= geometry.window, f"{num_new} new frames, window {geometry.window}"
    frames_held = geometry.frames_held(num_written + num_new)
    positions = key_positions(frames_held, mode)
    write_slots = tuple(geometry.slot_of(num_written + index) for index in range(num_new))
    sinks = range(min(geometry.num_sinks, len(frames_held)))
    return RowPlan(
        row=row,
        write_slots=write_slots,
        num_filled=len(frames_held),
        key_positions=positions,
        query_positions=tuple(positions[slot] for slot in write_slots),
        refreshed_sinks=tuple(sinks) if refresh_sinks else (),
    )


@dataclass(slots=True)
class RollingKVCache:
    """Lifetime of every field: one session, reset in place."""

    geometry: CacheGeometry
    tokens_per_frame: int
    k_RSHD: list[Tensor]
    """Per block; S = num_slots x tokens_per_frame. Not rotated."""
    v_RSHD: list[Tensor]
    sink_RSE: Tensor
    """Mean token of the frame in each sink slot, what adaptive sinks compare with."""
    num_written: list[int]
    """Latent frames each row has seen."""
    positions: PositionMode = PositionMode.RELATIVE

    @classmethod
    def fresh(
        cls,
        geometry: CacheGeometry,
        *,
        num_blocks: int,
        num_rows: int,
        frame_shape: tuple[int, int, int],
        device: torch.device,
        dtype: torch.dtype,
        positions: PositionMode = PositionMode.RELATIVE,
    ) -> RollingKVCache:
        """`frame_shape` is (tokens per frame, heads, head dim)."""
        tokens_per_frame, num_heads, head_dim = frame_shape
        num_tokens = geometry.num_slots * tokens_per_frame
        shape = (num_rows, num_tokens, num_heads, head_dim)

        def blocks() -> list[Tensor]:
            return [torch.zeros(shape, device=device, dtype=dtype) for _ in range(num_blocks)]

        sink_shape = (num_rows, geometry.num_sinks, num_heads * head_dim)
        return cls(
            geometry,
            tokens_per_frame,
            blocks(),
            blocks(),
            torch.zeros(sink_shape, device=device, dtype=dtype),
            [0] * num_rows,
            positions,
        )

    def reset_(self) -> None:
        """Empty. Slots are not cleared: nothing past `num_filled` is ever read."""
        self.num_written[:] = [0] * len(self.num_written)

    def copy_row_(self, source: int, target: int) -> None:
        """Row `target` continues from the past of row `source`."""
        for tensor in (*self.k_RSHD, *self.v_RSHD, self.sink_RSE):
            tensor[target].copy_(tensor[source])
        self.num_written[target] = self.num_written[source]

    def row_of(self, step: int, is_first: bool) -> int:
        """Every step has a row of its own, from the first chunk on."""
        del is_first
        return step

    def open_(
        self, calls: Sequence[RowCall], tokens_BSE: Tensor, rotary: RotaryBook
    ) -> CachedAttend:
        """The rows of `calls` must be neighbours, in order."""
        for call in calls:
            if call.begins_anew:
                self.num_written[call.row] = 0
        plans = [
            plan_row(
                self.geometry,
                self.positions,
                call.row,
                self.num_written[call.row],
                call.num_new,
                call.refresh_sinks,
            )
            for call in calls
        ]
        thresholds = [call.sink_threshold for call in calls]
        replaced = self.refresh_sinks_(plans, tokens_BSE, thresholds, _anchors(calls))
        return CachedAttend(self, plans, rotary.tables(plans), replaced)

    def advance_(self, calls: Sequence[RowCall]) -> None:
        for call in calls:
            self.num_written[call.row] += call.num_new

    def end_first_chunk_(self, num_steps: int) -> None:
        """Nothing to do: each step wrote its own row."""

    def change_steps_(self, before: int, after: int) -> None:
        for row in range(before, after):
            self.copy_row_(before - 1, row)

    def refresh_sinks_(
        self,
        plans: Sequence[RowPlan],
        tokens_BSE: Tensor,
        thresholds: Sequence[float],
        anchors_B: Tensor | None = None,
    ) -> Tensor | None:
        """[B, num_sinks] booleans: sinks that these tokens' newest frame replaces.

        The paper's rule: alpha_i = cos(h_t, s_i) of the frames' mean tokens, sink i is replaced
        where alpha_i < its row's threshold; all of a row's where `anchors_B` is true. Only once all
        are filled. None when no row can replace. The means are kept up with in any case: the
        threshold may change with every call.
        """
        num_sinks = self.geometry.num_sinks
        if num_sinks == 0:
            return None
        first_row, num_new = plans[0].row, len(plans[0].write_slots)
        sinks_BSE = self.sink_RSE[first_row : first_row + len(plans)]
        means_BFE = tokens_BSE.reshape(len(plans), num_new, -1, tokens_BSE.shape[-1]).mean(dim=2)
        newest_B1E = means_BFE[:, -1:]
        replaced = None
        if max(thresholds) > -1:
            alike_BS = F.cosine_similarity(newest_B1E, sinks_BSE, dim=-1)
            limits = [limit if limit > -1 else -math.inf for limit in thresholds]
            replaced = torch.stack(
                [alike < limit for alike, limit in zip(alike_BS, limits, strict=True)]
            )
        if anchors_B is not None:
            anchors_BS = anchors_B[:, None].expand(-1, num_sinks)
            replaced = anchors_BS.clone() if replaced is None else replaced | anchors_BS
        for index, plan in enumerate(plans):
            if replaced is not None and self.num_written[plan.row] < num_sinks:
                replaced[index] = False
            for frame, slot in enumerate(plan.write_slots):
                if slot < num_sinks:
                    sinks_BSE[index, slot] = means_BFE[index, frame]
            for slot in plan.refreshed_sinks:
                sinks_BSE[index, slot] = newest_B1E[index, 0]
        if replaced is not None:
            sinks_BSE.copy_(torch.where(replaced.unsqueeze(-1), newest_B1E, sinks_BSE))
        return replaced


def _anchors(calls: Sequence[RowCall]) -> Tensor | None:
    """Per row whether it re-anchors; None when no call may."""
    known = next((call.reanchors for call in calls if call.reanchors is not None), None)
    if known is None:
        return None
    never = torch.zeros_like(known)
    return torch.stack([never if call.reanchors is None else call.reanchors for call in calls])


class CachedAttend:
    """`SelfAttend` over a RollingKVCache: writes the new frames, then attends to all held.

    The rows of a call must be neighbours in the cache, in order. Attention within the new
    frames is bidirectional, as in the reference. The caller counts the frames as written
    (`advance_`) after the last block, so that blocks may run in several calls.
    """

    def __init__(
        self,
        cache: RollingKVCache,
        plans: Sequence[RowPlan],
        tables: RotaryTables,
        replaced_sinks: Tensor | None = None,
    ) -> None:
        first_row = plans[0].row
        assert [plan.row for plan in plans] == list(range(first_row, first_row + len(plans))), (
            "rows of one call must be neighbours"
        )
        self._cache = cache
        self._plans = plans
        self._tables = tables
        self._replaced_sinks = replaced_sinks
        self._rows = slice(first_row, first_row + len(plans))

    def __call__(self, block_index: int, q_BSND: Tensor, k_BSND: Tensor, v_BSND: Tensor) -> Tensor:
        held_k = self._cache.k_RSHD[block_index][self._rows]
        held_v = self._cache.v_RSHD[block_index][self._rows]
        self._write_(held_k, k_BSND)
        self._write_(held_v, v_BSND)
        if len({plan.num_filled for plan in self._plans}) == 1:
            query = joined(self._tables.query)
            key = joined(self._tables.key)
            num_keys = self._plans[0].num_filled * self._cache.tokens_per_frame
            keys = rotate(held_k[:, :num_keys], key)
            return attention(rotate(q_BSND, query), keys, held_v[:, :num_keys])
        return torch.cat([self._attend_row(i, q_BSND, held_k, held_v) for i in range(len(q_BSND))])

    def _attend_row(self, index: int, q_BSND: Tensor, held_k: Tensor, held_v: Tensor) -> Tensor:
        """Rows are unequally full only while a stream batch fills: no padding, no mask."""
        one = slice(index, index + 1)
        num_keys = self._plans[index].num_filled * self._cache.tokens_per_frame
        keys = rotate(held_k[one, :num_keys], self._tables.key[index])
        queries = rotate(q_BSND[one], self._tables.query[index])
        return attention(queries, keys, held_v[one, :num_keys])

    def _write_(self, held: Tensor, new_BSND: Tensor) -> None:
        num_tokens = self._cache.tokens_per_frame
        newest = new_BSND[:, -num_tokens:]
        for index, plan in enumerate(self._plans):
            for frame, slot in enumerate(plan.write_slots):
                new = new_BSND[index, frame * num_tokens : (frame + 1) * num_tokens]
                held[index, slot * num_tokens : (slot + 1) * num_tokens] = new
            for slot in plan.refreshed_sinks:
                held[index, slot * num_tokens : (slot + 1) * num_tokens] = newest[index]
        if self._replaced_sinks is None:
            return
        for slot in range(self._cache.geometry.num_sinks):
            sink = held[:, slot * num_tokens : (slot + 1) * num_tokens]
            replaced_B111 = self._replaced_sinks[:, slot, None, None, None]
            sink.copy_(torch.where(replaced_B111, newest, sink))
