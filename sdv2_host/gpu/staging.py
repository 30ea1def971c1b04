"""Frames of the ring <-> the model's tensors: any size, format and orientation in, RGBA8 out.

# T pixel frames  C channels  H W size

On the CPU frames are resized as interleaved bytes, where torch has a vectorised antialiasing
kernel for 4 channels: measured 15 times faster than planar floats at 1280x720. Formats with more
than 8 bits are rounded to 8 first, which is what the model was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.alpha import premultiplied
from sdv2_host.gpu.transfer import Arrival, transfer_of
from sdv2_host.types import AlphaMode, Frame, Orientation, PixelFormat, Size, centre_crop

_MAX_8 = 255
_MAX_16 = 65535


def to_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels of any ring format as uint8, rounded. NaN becomes 0; all else is clamped to 0..1."""
    if pixels.dtype == np.uint8:
        return np.require(pixels, requirements="W")
    scale = _MAX_8 / _MAX_16 if pixels.dtype == np.uint16 else float(_MAX_8)
    x = torch.from_numpy(pixels.astype(np.float32)).mul_(scale)
    x = x.nan_to_num_(nan=0.0, posinf=_MAX_8, neginf=0.0).clamp_(0, _MAX_8).round_()
    as_bytes: NDArray[np.uint8] = x.to(torch.uint8).numpy()
    return as_bytes


def _rgb(x: Tensor, pixel_format: PixelFormat) -> Tensor:
    """Red, green and blue of [1, C, H, W] in the format's own channel order."""
    if pixel_format is PixelFormat.R8:
        return x[:, :1].expand(-1, 3, -1, -1)
    if pixel_format is PixelFormat.BGRA8:
        return x[:, :3].flip(1)
    return x[:, :3]


class _Kind(NamedTuple):
    """Frames alike in this are made ready together."""

    shape: tuple[int, ...]
    pixel_format: PixelFormat
    orientation: Orientation


class Staging:
    """Between host frames and device tensors of one size."""

    def __init__(self, size: Size, device: torch.device, dtype: torch.dtype) -> None:
        self._size = size
        self._device = device
        self._dtype = dtype
        self._transfer = transfer_of(device)

    def upload(self, frames: Sequence[Frame]) -> Tensor:
        """[1, T, 3, H, W] in [-1, 1] on the device, each frame cropped and scaled to fit.

        Of a transparent frame what it is on black, as screens show it: straight colours are
        multiplied by their alpha, premultiplied ones are that already. Frames of one call may
        differ in size and format. Does not wait.
        """
        parts = [self._fit(kind, list(alike)) for kind, alike in groupby(frames, _kind)]
        return (torch.cat(parts) if len(parts) > 1 else parts[0]).unsqueeze(0)

    def download(self, frames_BTCHW: Tensor) -> NDArray[np.uint8]:
        """[T, H, W, 4] opaque RGBA of [1, T, 3, H, W] in [-1, 1], rounded. Waits for the device."""
        pixels: NDArray[np.uint8] = self.send(frames_BTCHW).wait()[0]
        return pixels

    def send(self, frames_BTCHW: Tensor, *beside: Tensor) -> Arrival:
        """What `download` returns, on its way, and tensors that come with it. Does not wait."""
        half = _MAX_8 / 2
        # In float32, rounded once: bfloat16 has no halves above 128.
        levels_TCHW = (frames_BTCHW[0].float() * half).add_(half).round_().clamp_(0, _MAX_8)
        num_frames, _, height, width = levels_TCHW.shape
        rgba = torch.full(
            (num_frames, height, width, 4), _MAX_8, dtype=torch.uint8, device=levels_TCHW.device
        )
        rgba[..., :3].copy_(levels_TCHW.permute(0, 2, 3, 1))
        return self._transfer.down([rgba, *beside])

    def _fit(self, kind: _Kind, frames: list[Frame]) -> Tensor:
        """[T, 3, H, W] in [-1, 1] of frames alike."""
        height, width = kind.shape[:2]
        rows, columns = centre_crop(Size(width, height), self._size)
        is_flipped = kind.orientation is Orientation.BOTTOM_FIRST
        if is_flipped:
            rows = slice(height - rows.stop, height - rows.start)
        pictures = [_on_black(frame, rows, columns) for frame in frames]
        scaled = [self._scale(x_THWC) for x_THWC in self._transfer.up(pictures)]
        x = _rgb(torch.cat(scaled) if len(scaled) > 1 else scaled[0], kind.pixel_format)
        if is_flipped:
            x = x.flip(-2)
        return (x.float() * (2 / _MAX_8)).sub_(1).to(self._dtype)

    def _scale(self, x_THWC: Tensor) -> Tensor:
        """[T, C, H, W] of the stream's size; of bytes as they come."""
        x = x_THWC.permute(0, 3, 1, 2)
        size = (self._size.height, self._size.width)
        if x.shape[-2:] == size:
            return x
        if self._device.type != "cpu":
            x = x.float()
        return F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)


def _on_black(frame: Frame, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """That part of a frame, in its own order of rows and colours."""
    part = to_bytes(_with_channels(frame)[rows, columns])
    is_straight = frame.meta.alpha is AlphaMode.STRAIGHT and part.shape[-1] == 4
    return premultiplied(part) if is_straight else part


def _kind(frame: Frame) -> _Kind:
    return _Kind(frame.pixels.shape, frame.meta.pixel_format, frame.meta.orientation)


def _with_channels(frame: Frame) -> NDArray[Any]:
    return frame.pixels if frame.pixels.ndim == 3 else frame.pixels[..., None]
