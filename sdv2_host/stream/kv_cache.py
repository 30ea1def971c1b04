"""RollingKVCache: keys and values of the frames a stream still attends to.

# R rows, one per denoising step  S tokens  K sinks  H heads  D head dim  E model dim

Each row holds `num_sinks` sink frames, then `window` rolling ones (the newest included), in
preallocated tensors. Which slot a frame goes to is counted on the CPU (`plan_row`), so no layer
ever asks the device anything; the only data-dependent choice, adaptive sinks, is a `torch.where`.

Source: StreamDiffusionV2, section 4.3 "adaptive sink and RoPE refresh";
models/wan/causal_model.py: CausalWanSelfAttention. Unlike there, keys are cached un-rotated, the
slots are a pure function of the number of frames written, and a frame that refreshes a sink
enters the window too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sdv2_host.stream.cache_plan import CacheGeometry, RowCall, plan_row
from sdv2_host.stream.cached_call import (
    CachedCall,
    CacheMemory,
    PastCall,
    call_shape,
    call_tensors,
)
from sdv2_host.stream.positions import PositionMode
from sdv2_host.stream.rotary_book import RotaryBook


class KVCache(Protocol):
    """The past of a stream as the denoiser sees it: `RollingKVCache` or `ReferenceKVCache`."""

    def row_of(self, step: int, is_first: bool) -> int:
        """Row that step number `step` of the first or a later chunk runs in."""

    def open_(self, calls: Sequence[RowCall], rotary: RotaryBook) -> PastCall:
        """One call of the model, about to begin. Rows must be neighbours, in order."""

    def advance_(self, calls: Sequence[RowCall]) -> None:
        """The frames count as written: to be called after the last block."""

    def end_first_chunk_(self, num_steps: int) -> None:
        """The first chunk is clean; the next one may use the rows of `num_steps` steps."""

    def change_steps_(self, before: int, after: int) -> None:
        """Rows that a higher number of steps brings into use continue from the last in use."""

    def reset_(self) -> None:
        """Empty, in the same memory."""


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

    def open_(self, calls: Sequence[RowCall], rotary: RotaryBook) -> CachedCall:
        """Raises: AssertionError: the rows are not neighbours, in order."""
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
            )
            for call in calls
        ]
        shape = call_shape(self.geometry, plans, calls)
        are_full = [self.num_written[call.row] >= self.geometry.num_sinks for call in calls]
        tensors = call_tensors(shape, plans, calls, are_full, rotary)
        return CachedCall(self.memory, shape, tensors)

    @property
    def memory(self) -> CacheMemory:
        return CacheMemory(
            self.geometry, self.tokens_per_frame, self.k_RSHD, self.v_RSHD, self.sink_RSE
        )

    def advance_(self, calls: Sequence[RowCall]) -> None:
        for call in calls:
            self.num_written[call.row] += call.num_new

    def end_first_chunk_(self, num_steps: int) -> None:
        """Nothing to do: each step wrote its own row."""

    def change_steps_(self, before: int, after: int) -> None:
        for row in range(before, after):
            self.copy_row_(before - 1, row)
