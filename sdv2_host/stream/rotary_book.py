"""Rotary tables by position, made once: a full RELATIVE cache uses the same few for ever.

# N tokens per frame  D head dim
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch

from sdv2_host.wan.rope import Rotary, rotary_table


class PlannedRow(Protocol):
    """The part of a plan that angles depend on."""

    @property
    def key_positions(self) -> tuple[int, ...]: ...

    @property
    def query_positions(self) -> tuple[int, ...]: ...


class RotaryTables(NamedTuple):
    """Angles of one call: shared by its rows, or one set per row."""

    query: list[Rotary]
    key: list[Rotary]


class RotaryBook:
    """Rotary tables by positions: a memo of a pure function, for one picture size and dtype.

    Tables are float32 at least, whatever the stream's `dtype`: an angle rounded to bfloat16 would
    turn a whole token by too much or too little.
    A full RELATIVE cache uses `window` different tables for ever, so steady state builds none.
    """

    CAPACITY = 64

    def __init__(
        self, head_dim: int, grid: tuple[int, int], device: torch.device, dtype: torch.dtype
    ) -> None:
        self._head_dim = head_dim
        self._grid = grid
        self._device = device
        self._dtype = torch.promote_types(dtype, torch.float32)
        self._tables: dict[tuple[int, ...], Rotary] = {}

    def table(self, positions: tuple[int, ...]) -> Rotary:
        """Angles of frames at these positions, [len * N, D/2]."""
        found = self._tables.pop(positions, None)
        if found is None:
            # On the CPU: Apple GPUs know no float64, and it is a matter of a few milliseconds.
            exact = rotary_table(self._head_dim, torch.tensor(positions), *self._grid)
            found = Rotary(*(part.to(self._dtype).to(self._device) for part in exact))
        self._tables[positions] = found
        if len(self._tables) > self.CAPACITY:
            del self._tables[next(iter(self._tables))]
        return found

    def tables(self, plans: Sequence[PlannedRow]) -> RotaryTables:
        """Per row of the plans, for queries and keys."""
        return RotaryTables(
            [self.table(plan.query_positions) for plan in plans],
            [self.table(plan.key_positions) for plan in plans],
        )


def joined(tables: list[Rotary]) -> Rotary:
    """One table for all rows: the shared one, or the rows' own stacked."""
    if all(table is tables[0] for table in tables):
        return tables[0]
    return Rotary(
        torch.stack([table.cos_SP for table in tables]),
        torch.stack([table.sin_SP for table in tables]),
    )
