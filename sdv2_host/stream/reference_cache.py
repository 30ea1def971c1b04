"""ReferenceKVCache: the cache of StreamDiffusionV2, number for number, its faults included.

# R rows  B rows of one call  F new latent frames  N tokens per frame  S tokens  H heads
# D head dim  K num_sinks

For parity with the reference and for comparing looks; `RollingKVCache` is what shows should run.
How it differs, and why, is in docs/models.md. Keys are rotated when written, by the stream's frame
number, which falls back to 5 at 50. Which slot a frame overwrites comes from a queue per block and
row, and the queue depends on the data: a new frame unlike every sink is put over the least similar
one. So this cache asks the device once per block, which `RollingKVCache` never does.

Source: models/wan/causal_model.py: CausalWanSelfAttention.forward, kv_cache branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.stream.cache_plan import CacheGeometry, RowCall
from sdv2_host.stream.positions import reset_index
from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.wan.attention import attention
from sdv2_host.wan.rope import Rotary, rotate


@dataclass(slots=True)
class ReferenceKVCache:
    """Lifetime of every field: one session, reset in place."""

    geometry: CacheGeometry
    tokens_per_frame: int
    k_RSHD: list[Tensor]
    """Per block, rotated; zeros where nothing was written yet."""
    v_RSHD: list[Tensor]
    queues: list[list[list[int]]]
    """Per block and row: ends of the slots to overwrite next, in frames (slot + 1)."""
    num_filled: list[int]
    """Frames held, per row."""
    end_frame: list[int]
    """Position behind the newest frame, per row."""
    passes_left: int = 1
    """With one row for all steps: calls until a full cache moves to the next slot."""
    num_steps: int = 1

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
    ) -> ReferenceKVCache:
        """`frame_shape` is (tokens per frame, heads, head dim)."""
        num_tokens, *head_shape = frame_shape
        shape = (num_rows, geometry.num_slots * num_tokens, *head_shape)

        def blocks() -> list[Tensor]:
            return [torch.zeros(shape, device=device, dtype=dtype) for _ in range(num_blocks)]

        queues: list[list[list[int]]] = [[[] for _ in range(num_rows)] for _ in range(num_blocks)]
        counts = [0] * num_rows
        return cls(
            geometry,
            num_tokens,
            blocks(),
            blocks(),
            queues,
            counts,
            list(counts),
        )

    def reset_(self) -> None:
        """Unlike the reference, whose queues outlive a session: a second one equals a first."""
        for tensor in (*self.k_RSHD, *self.v_RSHD):
            tensor.zero_()
        for rows in self.queues:
            for queue in rows:
                queue.clear()
        self.num_filled[:] = self.end_frame[:] = [0] * len(self.num_filled)
        self.passes_left = self.num_steps = 1

    @property
    def is_shared(self) -> bool:
        """One row serves all steps (the reference's `wo_batch`)."""
        return len(self.num_filled) == 1

    def row_of(self, step: int, is_first: bool) -> int:
        """All steps of the first chunk write row 0, later chunks one row per step."""
        return 0 if is_first or self.is_shared else step

    def open_(self, calls: Sequence[RowCall], rotary: RotaryBook) -> ReferenceAttend:
        return ReferenceAttend(self, calls, rotary)

    def advance_(self, calls: Sequence[RowCall]) -> None:
        capacity = self.geometry.num_slots
        for call in calls:
            end = position_of(call) + call.num_new
            if self.is_full(call):
                self.num_filled[call.row] = capacity
                self.passes_left = self.passes_left - 1 if self.passes_left > 1 else self.num_steps
            else:
                self.num_filled[call.row] += end - self.end_frame[call.row]
            self.end_frame[call.row] = end

    def is_full(self, call: RowCall) -> bool:
        """Whether this call overwrites a slot instead of filling a new one."""
        capacity = self.geometry.num_slots
        end = position_of(call) + call.num_new
        return end > capacity or self.num_filled[call.row] >= capacity

    def end_first_chunk_(self, num_steps: int) -> None:
        """What the last step wrote is the past of every row."""
        self.change_steps_(1, num_steps if self.is_shared else len(self.num_filled))

    def change_steps_(self, before: int, after: int) -> None:
        if self.is_shared:
            self.num_steps = self.passes_left = after
            return
        source = before - 1
        for row in range(before, after):
            for tensor in (*self.k_RSHD, *self.v_RSHD):
                tensor[row].copy_(tensor[source])
            for queues in self.queues:
                queues[row][:] = queues[source]
            self.num_filled[row] = self.num_filled[source]
            self.end_frame[row] = self.end_frame[source]


def position_of(call: RowCall) -> int:
    """Rotary position of the call's first frame."""
    return reset_index(call.first_frame)


class ReferenceAttend:
    """A call and `SelfAttend` over a ReferenceKVCache: writes the new frames, then attends to all
    held."""

    def __init__(
        self, cache: ReferenceKVCache, calls: Sequence[RowCall], rotary: RotaryBook
    ) -> None:
        self._cache = cache
        self._calls = calls
        self._tables = [
            rotary.table(tuple(range(position_of(call), position_of(call) + call.num_new)))
            for call in calls
        ]
        first_row = calls[0].row
        self._rows = slice(first_row, first_row + len(calls))

    def begin_(self, tokens_BSE: Tensor) -> ReferenceAttend:
        """Its sinks are compared block by block, not by the tokens."""
        del tokens_BSE
        return self

    def __call__(self, block_index: int, q_BSND: Tensor, k_BSND: Tensor, v_BSND: Tensor) -> Tensor:
        cache = self._cache
        held_k = cache.k_RSHD[block_index][self._rows]
        held_v = cache.v_RSHD[block_index][self._rows]
        table = Rotary(
            torch.stack([table.cos_SP for table in self._tables]),
            torch.stack([table.sin_SP for table in self._tables]),
        )
        k_BSND = rotate(k_BSND, table)
        q_BSND = rotate(q_BSND, table)
        unlike = self._least_similar_sinks(held_k, held_v, k_BSND, v_BSND)
        out = []
        for index, call in enumerate(self._calls):
            queue = cache.queues[block_index][call.row]
            sink = unlike[index]
            if sink is not None:
                queue.insert(0, sink + 1)
            first, num_held = self._place_(call, queue)
            tokens = slice(
                first * cache.tokens_per_frame, (first + call.num_new) * cache.tokens_per_frame
            )
            held_k[index, tokens] = k_BSND[index]
            held_v[index, tokens] = v_BSND[index]
            one, held = slice(index, index + 1), slice(num_held * cache.tokens_per_frame)
            out.append(attention(q_BSND[one], held_k[one, held], held_v[one, held]))
        return torch.cat(out)

    def _place_(self, call: RowCall, queue: list[int]) -> tuple[int, int]:
        """(slot of the first new frame, frames held after the write); the queue moves on."""
        cache = self._cache
        num_sinks, capacity = cache.geometry.num_sinks, cache.geometry.num_slots
        if cache.is_full(call):
            target = queue[0]
            if cache.passes_left == 1:
                queue.pop(0)
                if target > num_sinks:
                    queue.append(target)
            return target - call.num_new, capacity
        end = position_of(call) + call.num_new
        filled = cache.num_filled[call.row] + end - cache.end_frame[call.row]
        following = end + call.num_new
        is_listed = bool(queue) and queue[-1] == following
        if num_sinks < following <= capacity and not is_listed:
            queue.append(following)
        return filled - call.num_new, filled

    def _least_similar_sinks(
        self, held_k: Tensor, held_v: Tensor, k_BSND: Tensor, v_BSND: Tensor
    ) -> list[int | None]:
        """Per row the sink to give up, None where the new frame is like all of them.

        Mean of the cosines of key and value means; an empty sink counts as unlike (0).
        """
        geometry, num_tokens = self._cache.geometry, self._cache.tokens_per_frame
        none: list[int | None] = [None] * len(self._calls)
        threshold = self._calls[0].sink_threshold
        if geometry.num_sinks == 0 or threshold <= -1 or self._calls[0].num_new > 1:
            return none

        def alike(held: Tensor, new_BSND: Tensor) -> Tensor:
            sinks = held[:, : geometry.num_sinks * num_tokens]
            by_frame = sinks.reshape(len(held), geometry.num_sinks, num_tokens, -1)
            sinks_BKE = by_frame.mean(dim=2)
            new_B1E = new_BSND.flatten(2).mean(dim=1, keepdim=True)
            return F.cosine_similarity(sinks_BKE, new_B1E, dim=-1)

        similarity_BK = (alike(held_k, k_BSND) + alike(held_v, v_BSND)) / 2
        least = similarity_BK.min(dim=1)
        values, indices = least.values.tolist(), least.indices.tolist()
        return [i if v < threshold else None for v, i in zip(values, indices, strict=True)]
