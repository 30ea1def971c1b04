"""A picture of any size as one of a given size: what has only one size for life."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdv2_host.types import Size


def fit(pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """[H, W, 4] of this size: the same pixels where it has it, else scaled into the middle of
    opaque black, its aspect kept.
    """
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    scale = min(size.width / width, size.height / height)
    inner = Size(
        min(max(1, round(width * scale)), size.width),
        min(max(1, round(height * scale)), size.height),
    )
    left, top = (size.width - inner.width) // 2, (size.height - inner.height) // 2
    fitted = np.zeros((size.height, size.width, 4), np.uint8)
    fitted[..., 3] = 255
    window = fitted[top : top + inner.height, left : left + inner.width]
    # Apart: of four channels Pillow takes the colours for straight ones, and these are on black.
    for channels in (slice(0, 3), 3):
        image = Image.fromarray(np.ascontiguousarray(pixels[..., channels]))
        window[..., channels] = np.asarray(image.resize(inner, Image.Resampling.BILINEAR))
    return fitted


def black(size: Size) -> NDArray[np.uint8]:
    """Opaque."""
    pixels = np.zeros((size.height, size.width, 4), np.uint8)
    pixels[..., 3] = 255
    return pixels
