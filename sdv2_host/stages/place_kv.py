"""PlaceKV: the keys and values of the blocks that one place runs, and how they move.

# R rows, one per denoising step  S tokens  H heads  D head dim  E model dim
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sdv2_host.stages.moves import Held, Move
from sdv2_host.stages.route import RoutePlan, Segment
from sdv2_host.stages.work import Route
from sdv2_host.stream.kv_cache import RollingKVCache
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.wan.dims import WanDims


class RingIndices(NamedTuple):
    """Which frames a cache's slots hold, and what its sinks are like."""

    num_written_R: Tensor
    """int64, on the CPU."""
    sink_RSE: Tensor


class BlockState(NamedTuple):
    """All that a block remembers: what its next call depends on."""

    k_RSHD: Tensor
    v_RSHD: Tensor
    indices: RingIndices

    def tensors(self) -> list[Tensor]:
        """All that must travel."""
        every = (self.k_RSHD, self.v_RSHD, *self.indices)
        return [tensor for tensor in every if tensor.numel()]


class PlaceKV:
    """Lifetime: one epoch. A ring has one cache, whose rows are the steps and go through a block
    as one call; a chain has one of a single row per step."""

    def __init__(self, spec: StreamSpec, dims: WanDims, plan: RoutePlan, place: int) -> None:
        self._spec = spec
        self._dims = dims
        self.plan = plan
        self.place = place
        is_ring = plan.route is Route.RING
        self._num_rows = spec.num_rows if is_ring else 1
        self._caches = [self._empty() for _ in range(1 if is_ring else spec.num_rows)]
        for held in self._held_by(plan):
            self._put(held, self._zeros(), self._zeros())

    @property
    def segment(self) -> Segment:
        return self.plan.segment(self.place)

    def at(self, step: int) -> tuple[RollingKVCache, int]:
        """The cache of a step, and its row there."""
        return (self._caches[0], step) if self._is_ring else (self._caches[step], 0)

    def continue_rows_(self, source: int, end: int) -> None:
        """Rows source+1..end-1 of a ring go on from the past of row `source`."""
        for row in range(source + 1, end):
            self._caches[0].copy_row_(source, row)

    def state(self, held: Held) -> BlockState:
        """Its memory, not a copy; the indices are."""
        cache = self._caches[held.step]
        indices = RingIndices(torch.tensor(cache.num_written), cache.sink_RSE.clone())
        return BlockState(cache.k_RSHD[held.block], cache.v_RSHD[held.block], indices)

    def blank_state(self) -> BlockState:
        """What one that moves is received into."""
        indices = RingIndices(
            torch.zeros(self._num_rows, dtype=torch.int64),
            torch.zeros_like(self._caches[0].sink_RSE),
        )
        return BlockState(self._zeros(), self._zeros(), indices)

    def move_(
        self,
        new: RoutePlan,
        all_moves: list[Move],
        exchange: Callable[[list[tuple[int, BlockState]], list[tuple[int, BlockState]]], None],
    ) -> None:
        """This place holds what the new plan says; `exchange` sends and receives states."""
        here = self.place
        leaving = [move for move in all_moves if move.from_place == here and not move.is_local]
        coming = [move for move in all_moves if move.to_place == here and not move.is_local]
        staying = [move for move in all_moves if move.to_place == here and move.is_local]
        stay = [(move, _own(self.state(move.source), move)) for move in staying]
        received = [(move, self.blank_state()) for move in coming]
        exchange(
            [(move.to_place, self.state(move.source)) for move in leaving],
            [(move.from_place, state) for move, state in received],
        )
        self.plan = new
        for cache in self._caches:
            nothing = self._nothing()
            cache.k_RSHD[:] = [nothing] * self._dims.num_layers
            cache.v_RSHD[:] = [nothing] * self._dims.num_layers
        for move, state in (*stay, *received):
            self._put(move.target, state.k_RSHD, state.v_RSHD)
            self._take_indices(move.target, state.indices)

    def _take_indices(self, held: Held, indices: RingIndices) -> None:
        cache = self._caches[held.step]
        cache.num_written[:] = indices.num_written_R.tolist()
        cache.sink_RSE.copy_(indices.sink_RSE)

    @property
    def _is_ring(self) -> bool:
        return self.plan.route is Route.RING

    def _held_by(self, plan: RoutePlan) -> list[Held]:
        steps = range(1 if self._is_ring else plan.num_steps)
        segment = plan.segment(self.place)
        return [
            Held(step, block)
            for step in steps
            for block in range(plan.num_blocks)
            if segment.owns(step, block)
        ]

    def _put(self, held: Held, k_RSHD: Tensor, v_RSHD: Tensor) -> None:
        cache = self._caches[held.step]
        cache.k_RSHD[held.block], cache.v_RSHD[held.block] = k_RSHD, v_RSHD

    def _empty(self) -> RollingKVCache:
        """A cache in which every block is still without memory."""
        spec, dims = self._spec, self._dims
        tokens = dims.tokens_per_frame(spec.height_px, spec.width_px)
        cache = RollingKVCache.fresh(
            spec.geometry,
            num_blocks=0,
            num_rows=self._num_rows,
            frame_shape=(tokens, dims.num_heads, dims.head_dim),
            device=spec.device,
            dtype=spec.dtype,
            positions=spec.positions,
        )
        nothing = self._nothing()
        cache.k_RSHD = [nothing] * dims.num_layers
        cache.v_RSHD = [nothing] * dims.num_layers
        return cache

    def _nothing(self) -> Tensor:
        return self._new(num_tokens=0)

    def _zeros(self) -> Tensor:
        tokens = self._dims.tokens_per_frame(self._spec.height_px, self._spec.width_px)
        return self._new(self._spec.geometry.num_slots * tokens)

    def _new(self, num_tokens: int) -> Tensor:
        dims = self._dims
        shape = (self._num_rows, num_tokens, dims.num_heads, dims.head_dim)
        return torch.zeros(shape, device=self._spec.device, dtype=self._spec.dtype)


def _own(state: BlockState, move: Move) -> BlockState:
    """In memory of its own, where two steps go on from one."""
    if move.source == move.target:
        return state
    return BlockState(state.k_RSHD.clone(), state.v_RSHD.clone(), state.indices)
