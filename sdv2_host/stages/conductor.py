"""Conductor: which chunks go into the next call, at the entry.

In a ring a chunk comes back after every step but its last, and rows that wait go into one call
with the newest chunk. As many calls as there are lanes may be on their way at once. In a chain
every chunk is a call of its own and does not come back.

The model sees the chunks of every step in their order: a link keeps the order of calls, and of
rows that wait at the same step the oldest goes first.

Pure: no torch operation, no clock.
"""

from __future__ import annotations

from collections import deque

from sdv2_host.stages.calls import Call, RoutedChunk
from sdv2_host.stages.leaf_header import PacketError
from sdv2_host.stages.route import MAX_STEPS
from sdv2_host.stages.work import Route


class Conductor:
    def __init__(self, route: Route, num_lanes: int) -> None:
        """`num_lanes`: calls on their way at once, in a ring."""
        self._is_ring = route is Route.RING
        self._num_lanes = num_lanes
        self._waiting: list[deque[RoutedChunk]] = [deque() for _ in range(MAX_STEPS)]
        self._on_their_way: dict[int, list[RoutedChunk]] = {}
        self._num_calls = 0

    @property
    def num_waiting(self) -> int:
        """Chunks that have not begun."""
        return len(self._waiting[0])

    @property
    def texts_away(self) -> set[int]:
        """Of calls that will come back."""
        return {chunk.text_id for chunks in self._on_their_way.values() for chunk in chunks}

    def feed(self, chunk: RoutedChunk) -> None:
        """The newest chunk, before its first step."""
        self._waiting[0].append(chunk)

    def take_back(self, call: Call) -> None:
        """A call of a ring is through; its chunks that have steps left wait for their next."""
        if self._on_their_way.pop(call.number, None) is None:
            raise PacketError(f"call {call.number} comes back, and is not on its way")
        for chunk in call.chunks:
            if not chunk.is_done:
                self._waiting[chunk.step].append(chunk)

    def next_call(self) -> Call | None:
        """What can go now; None = nothing waits, or every lane is taken."""
        if self._is_ring and len(self._on_their_way) >= self._num_lanes:
            return None
        chunks = self._row_group() if self._is_ring else self._waiting[0] and [self._waiting[0][0]]
        if not chunks:
            return None
        for chunk in chunks:
            self._waiting[chunk.step].popleft()
        call = Call(self._num_calls, chunks)
        self._num_calls += 1
        if self._is_ring:
            self._on_their_way[call.number] = chunks
        return call

    def _row_group(self) -> list[RoutedChunk]:
        """The oldest at neighbouring steps that have equally many frames; of several such groups
        the one furthest on, so that no chunk waits for newer ones."""
        group: list[RoutedChunk] = []
        for step in reversed(range(MAX_STEPS)):
            chunk = self._waiting[step][0] if self._waiting[step] else None
            if chunk is None or not self._may_begin(chunk):
                if group:
                    break
                continue
            if group and chunk.num_latents != group[0].num_latents:
                break
            group.insert(0, chunk)
        return group

    def _may_begin(self, chunk: RoutedChunk) -> bool:
        """Rows that are to continue from another must not be written by older chunks after it."""
        if chunk.step > 0 or not chunk.fills_to:
            return True
        unfinished = [*self._waiting[1:], *self._on_their_way.values()]
        return all(
            older.num_steps <= chunk.fills_from + 1 for chunks in unfinished for older in chunks
        )
