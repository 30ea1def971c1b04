"""Bands: rows of pixels that are decoded without the rest of the picture, as they are with it.

Layers look at neighbouring rows, so a band has a halo: at every layer the rows that the layers
behind it still look at, and no more. A layer runs over the rows it is given as if the picture
ended there; what comes out near such an end is wrong and cut off. So the halo is some ten rows of
latents and only a few of the pixels, where a row costs most.

Pure: no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from sdv2_host.wan.dims import LATENT_STRIDE_PX

WHOLE = slice(None)


class Rows(NamedTuple):
    """Rows first..last-1 of a picture, at some layer's size."""

    first: int
    last: int

    @property
    def num(self) -> int:
        return self.last - self.first

    @property
    def where(self) -> slice:
        return slice(self.first, self.last)


class Reach(NamedTuple):
    """What a layer's rows are made of."""

    neighbours: int = 0
    """Rows above and below that each row of the output sees."""
    scale: int = 1
    """Rows that it makes of one, before it looks at neighbours."""


class BandPlan(NamedTuple):
    """A band's way through the layers."""

    inputs: tuple[Rows, ...]
    """That each layer is given."""
    kept: tuple[slice, ...]
    """Of what each layer makes of them, the rows that are right and needed."""


def plan_band(rows: Rows, height: int, reaches: Iterable[Reach]) -> BandPlan:
    """The least that each layer must be given so that these rows of the last one are right."""
    inputs: list[Rows] = []
    kept: list[slice] = []
    for neighbours, scale in reversed(list(reaches)):
        # Past the picture's own ends a layer sees what it sees without bands.
        first, last = max(0, rows.first - neighbours), min(height, rows.last + neighbours)
        given = Rows(first // scale, -(-last // scale))
        begin = given.first * scale
        inputs.insert(0, given)
        kept.insert(0, slice(rows.first - begin, rows.last - begin))
        rows, height = given, height // scale
    return BandPlan(tuple(inputs), tuple(kept))


def even_bands(height_px: int, count: int) -> list[Rows]:
    """The picture's rows in so many bands from top to bottom, alike but for a latent's rows.

    Raises:
        ValueError: more bands than the picture has rows of latents.
    """
    num_rows = height_px // LATENT_STRIDE_PX
    if not 1 <= count <= num_rows:
        raise ValueError(
            f"{count} decoders for pictures {height_px} pixels high: expected 1 to {num_rows}"
        )
    cuts = [num_rows * band // count * LATENT_STRIDE_PX for band in range(count + 1)]
    return [Rows(*ends) for ends in pairwise(cuts)]


def check_rows(rows: Rows, height_px: int) -> None:
    """
    Raises:
        ValueError: not rows of whole latents of such a picture.
    """
    is_within = 0 <= rows.first < rows.last <= height_px
    if not is_within or any(row % LATENT_STRIDE_PX for row in rows):
        raise ValueError(
            f"rows {rows.first} to {rows.last} of {height_px}: expected some of them, from one "
            f"multiple of {LATENT_STRIDE_PX} to another"
        )
