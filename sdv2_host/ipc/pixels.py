"""Frames of any ring format as RGBA8, top row first. numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.types import Frame, Orientation, PixelFormat

_BGRA_TO_RGBA = [2, 1, 0, 3]


def to_rgba8(frame: Frame) -> NDArray[np.uint8]:
    """The picture as uint8 [H, W, 4] RGBA, top row first; shares memory where nothing changes.

    Floats are 0..1, clipped, NaN = 0, rounded to the nearest of 256 levels.
    """
    rgba = _as_uint8(frame.pixels, frame.meta.pixel_format)
    if frame.meta.pixel_format == PixelFormat.BGRA8:
        rgba = rgba[..., _BGRA_TO_RGBA]
    if rgba.shape[2] == 1:
        rgba = np.concatenate([np.repeat(rgba, 3, axis=2), np.full_like(rgba, 255)], axis=2)
    if frame.meta.orientation == Orientation.BOTTOM_FIRST:
        rgba = rgba[::-1]
    return rgba


def alpha8(frame: Frame) -> NDArray[np.uint8]:
    """The last of four channels as uint8 [H, W], top row first: as `to_rgba8` has it."""
    plane = _as_uint8(frame.pixels[..., 3], frame.meta.pixel_format)
    return plane[::-1] if frame.meta.orientation == Orientation.BOTTOM_FIRST else plane


def to_bgra8(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy of [H, W, 4] with red and blue exchanged."""
    bgra = np.empty_like(rgba)
    for channel, source in enumerate(_BGRA_TO_RGBA):  # eight times as fast as one fancy index
        bgra[..., channel] = rgba[..., source]
    return bgra


def _as_uint8(pixels: NDArray[Any], pixel_format: PixelFormat) -> NDArray[np.uint8]:
    if pixel_format in (PixelFormat.RGBA16F, PixelFormat.RGBA32F):
        levels = np.nan_to_num(pixels.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
        steps: NDArray[np.uint8] = np.rint(np.clip(levels, 0.0, 1.0) * 255.0).astype(np.uint8)
        return steps
    if pixel_format == PixelFormat.RGBA16:
        # 257 = 65535 / 255; + 128 rounds to the nearest level.
        high_bytes: NDArray[np.uint8] = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return high_bytes
    return pixels
