"""Rotary tables by position, places by slot: made once, as a full cache uses a few for ever.

# B rows  F new frames  N tokens per frame  S tokens of the new frames  D head dim
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from sdv2_host.wan.rope import Rotary, rotary_table

Numbers = tuple[int, ...]
T = TypeVar("T")


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
        self.device = device
        self._head_dim = head_dim
        self._grid = grid
        self._dtype = torch.promote_types(dtype, torch.float32)
        self._tables: dict[tuple[Numbers, ...], Rotary] = {}
        self._places: dict[tuple[Numbers, ...], Tensor] = {}

    def table(self, positions: Numbers) -> Rotary:
        """Angles of frames at these positions, [len * N, D/2]."""
        return _remembered(self._tables, (positions,), lambda: self._made(positions))

    def rows(self, positions_BF: Sequence[Numbers]) -> Rotary:
        """The same of several rows: one table for all, or [B, len * N, D/2] where they differ."""
        positions = tuple(positions_BF)
        if len(set(positions)) == 1:
            return self.table(positions[0])
        return _remembered(self._tables, positions, lambda: self._stacked(positions))

    def places(self, slots_BF: tuple[Numbers, ...]) -> Tensor:
        """int64 [2, B, S]: row and token that each token of frames in these slots goes to."""
        return _remembered(self._places, slots_BF, lambda: self._numbered(slots_BF))

    def _made(self, positions: Numbers) -> Rotary:
        # On the CPU: Apple GPUs know no float64, and it is a matter of a few milliseconds.
        exact = rotary_table(self._head_dim, torch.tensor(positions), *self._grid)
        return Rotary(*(part.to(self._dtype).to(self.device) for part in exact))

    def _numbered(self, slots_BF: tuple[Numbers, ...]) -> Tensor:
        num_tokens = math.prod(self._grid)
        firsts_BF1 = torch.tensor(slots_BF).unsqueeze(-1) * num_tokens
        tokens_BS = (firsts_BF1 + torch.arange(num_tokens)).flatten(1)
        rows_BS = torch.arange(len(slots_BF)).unsqueeze(-1).expand_as(tokens_BS)
        return torch.stack((rows_BS, tokens_BS)).to(self.device)

    def _stacked(self, positions_BF: tuple[Numbers, ...]) -> Rotary:
        tables = [self.table(positions) for positions in positions_BF]
        return Rotary(
            torch.stack([table.cos_SP for table in tables]),
            torch.stack([table.sin_SP for table in tables]),
        )


def _remembered(
    memo: dict[tuple[Numbers, ...], T], key: tuple[Numbers, ...], make: Callable[[], T]
) -> T:
    """What `make` made for `key`, the oldest forgotten past the capacity."""
    found = memo.pop(key, None)
    if found is None:
        found = make()
    memo[key] = found
    if len(memo) > RotaryBook.CAPACITY:
        del memo[next(iter(memo))]
    return found
