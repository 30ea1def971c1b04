"""Bands of pictures, from several decoders, become whole pictures again.

# T pixel frames  H W size

Pure: no torch, no thread, no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdv2_host.wan.bands import Rows


@dataclass(frozen=True, slots=True)
class BandOfPictures:
    """Some rows of a chunk's pictures."""

    index: int
    """Of the chunk in its epoch."""
    rows: Rows
    pixels: NDArray[np.uint8]
    """[T, H, W, 4], H = the rows."""
    notes: dict[str, float]


class PictureBands:
    """What of an epoch's pictures has come and waits for other bands. Lifetime: one epoch.

    Each decoder's bands come in the order of the chunks, as many pictures from each.
    """

    def __init__(self, bands: Sequence[Rows]) -> None:
        """The rows of each decoder, from the top down."""
        self._waiting: dict[Rows, deque[BandOfPictures]] = {rows: deque() for rows in bands}
        self._num_whole = 0

    def add(self, band: BandOfPictures) -> BandOfPictures | None:
        """The whole pictures of the oldest chunk, if this band was the last that they lacked.

        Raises:
            ValueError: it is not the next band of its rows.
        """
        waiting = self._waiting.get(band.rows)
        if waiting is None:
            raise ValueError(f"rows {band.rows.first} to {band.rows.last} are no decoder's")
        due = self._num_whole + len(waiting)
        if band.index != due:
            raise ValueError(f"rows of chunk {band.index} came, expected those of {due}")
        waiting.append(band)
        if not all(self._waiting.values()):
            return None
        self._num_whole += 1
        return _joined([queue.popleft() for queue in self._waiting.values()])


def _joined(bands: list[BandOfPictures]) -> BandOfPictures:
    first, last = bands[0], bands[-1]
    pixels = first.pixels
    if len(bands) > 1:
        pixels = np.concatenate([band.pixels for band in bands], axis=1)
    notes = {name: value for band in bands for name, value in band.notes.items()}
    return BandOfPictures(first.index, Rows(first.rows.first, last.rows.last), pixels, notes)
