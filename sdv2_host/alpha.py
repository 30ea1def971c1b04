"""Transparent pictures of 8 bits: colours that are multiplied by alpha, and back.

Premultiplied is a picture on black, with what of it is there beside it. Mixtures of such pictures
are right channel by channel, and so is another size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
OPAQUE = 255


def premultiplied(straight: Picture) -> Picture:
    """A copy of [H, W, 4], alpha last, whose colours are on black; rounded to the nearest level."""
    return on_black(straight, straight[..., 3])


def on_black(picture: Picture, alpha_HW: NDArray[np.uint8]) -> Picture:
    """The colours of [H, W, 4] times this alpha, which is the copy's own."""
    made = np.empty_like(picture)
    wide_HW = alpha_HW.astype(np.uint16)
    for channel in range(3):
        # (x + 128 + (x + 128) / 256) / 256 is x / 255, rounded, for all products of two bytes.
        product_HW = picture[..., channel] * wide_HW
        product_HW += 128
        product_HW += product_HW >> 8
        made[..., channel] = product_HW >> 8
    made[..., 3] = alpha_HW
    return made


def straight(premultiplied: Picture) -> Picture:
    """A copy whose colours are as if alpha was 255; black where nothing is there."""
    made = premultiplied.copy()
    alpha_HW1 = np.maximum(premultiplied[..., 3:], 1).astype(np.uint16)
    colours = premultiplied[..., :3].astype(np.uint16) * OPAQUE + alpha_HW1 // 2
    made[..., :3] = np.minimum(colours // alpha_HW1, OPAQUE)
    return made
