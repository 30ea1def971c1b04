"""Pictures that carry a number: whoever sees one knows which frame it is and when it left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 24
CELL_PX = 16
COLUMNS = 8


def numbered(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """[H, W, 4] RGBA: a ramp of many colours, opaque, with `number` in cells at the top left."""
    rows, columns = np.mgrid[0:height, 0:width]
    picture = np.empty((height, width, 4), np.uint8)
    picture[..., 0] = columns * 255 // max(1, width - 1)
    picture[..., 1] = rows * 255 // max(1, height - 1)
    picture[..., 2] = (rows * 7 + columns * 3) % 256
    picture[..., 3] = 255
    for bit in range(BITS):
        top, left = bit // COLUMNS * CELL_PX, bit % COLUMNS * CELL_PX
        picture[top : top + CELL_PX, left : left + CELL_PX, :3] = 255 * (number >> bit & 1)
    return picture


def number_of(picture: NDArray[np.uint8]) -> int:
    """The number in a picture, whose cells may have suffered a little."""
    number = 0
    for bit in range(BITS):
        top, left = bit // COLUMNS * CELL_PX, bit % COLUMNS * CELL_PX
        middle = picture[top + CELL_PX // 2, left + CELL_PX // 2, :3]
        number |= int(middle.mean() > 127) << bit
    return number
