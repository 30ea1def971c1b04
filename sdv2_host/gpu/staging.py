"""Frames of the ring <-> the model's tensors: any size, format and orientation in, RGBA8 out.

# T pixel frames  C channels  H W size
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.types import Frame, Orientation, PixelFormat, Size

_MAX_8 = 255
_MAX_16 = 65535


def centre_crop(source: Size, target: Size) -> tuple[slice, slice]:
    """(rows, columns) of the largest centred part of `source` with `target`'s aspect."""
    if source.width * target.height > source.height * target.width:
        width = max(1, round(source.height * target.width / target.height))
        left = (source.width - width) // 2
        return slice(0, source.height), slice(left, left + width)
    height = max(1, round(source.width * target.height / target.width))
    top = (source.height - height) // 2
    return slice(top, top + height), slice(0, source.width)


def colours_of(frame: Frame) -> NDArray[Any]:
    """The frame's colours, top row first: [H, W, 3], uint8 for 8-bit formats, else float32 0..1.

    Floats may hold anything: NaN becomes 0, all else is clamped. Alpha is not looked at.
    """
    pixels = frame.pixels
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if frame.meta.orientation is Orientation.BOTTOM_FIRST:
        pixels = pixels[::-1]
    match frame.meta.pixel_format:
        case PixelFormat.R8:
            return np.broadcast_to(pixels[..., :1], (*pixels.shape[:2], 3))
        case PixelFormat.RGBA8 | PixelFormat.RGBA8_SRGB:
            return pixels[..., :3]
        case PixelFormat.BGRA8:
            return pixels[..., 2::-1]
        case PixelFormat.RGBA16:
            return pixels[..., :3].astype(np.float32) / _MAX_16
        case PixelFormat.RGBA16F | PixelFormat.RGBA32F:
            colours = pixels[..., :3].astype(np.float32)
            return np.nan_to_num(colours, copy=False, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)


class Staging:
    """Between host frames and device tensors of one size."""

    def __init__(self, size: Size, device: torch.device, dtype: torch.dtype) -> None:
        self._size = size
        self._device = device
        self._dtype = dtype

    def upload(self, frames: Sequence[Frame]) -> Tensor:
        """[1, T, 3, H, W] in [-1, 1] on the device, each frame cropped and scaled to fit."""
        return torch.cat([self._fit(frame) for frame in frames]).unsqueeze(0)

    def download(self, frames_BTCHW: Tensor) -> NDArray[np.uint8]:
        """[T, H, W, 4] opaque RGBA of [1, T, 3, H, W] in [-1, 1], rounded. Waits for the device."""
        half = _MAX_8 / 2
        bytes_TCHW = (frames_BTCHW[0] * half + half).round_().clamp_(0, _MAX_8).to(torch.uint8)
        num_frames, _, height, width = bytes_TCHW.shape
        rgba = np.full((num_frames, height, width, 4), _MAX_8, dtype=np.uint8)
        rgba[..., :3] = bytes_TCHW.permute(0, 2, 3, 1).cpu().numpy()
        return rgba

    def _fit(self, frame: Frame) -> Tensor:
        """[1, 3, H, W] in [-1, 1]."""
        colours = colours_of(frame)
        rows, columns = centre_crop(Size(colours.shape[1], colours.shape[0]), self._size)
        cropped = np.ascontiguousarray(colours[rows, columns])
        on_device = torch.from_numpy(cropped).to(self._device, non_blocking=True)
        x = on_device.permute(2, 0, 1).unsqueeze(0)
        full = _MAX_8 if x.dtype == torch.uint8 else 1
        x = x.to(self._dtype)
        size = (self._size.height, self._size.width)
        if x.shape[-2:] != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        return x * (2 / full) - 1
