"""Transparency: a picture has that of the input frame it was made from.

The model sees the frame on black, premultiplied: that is what a screen shows of it, and colours
under alpha 0 may be anything. What it makes of it is cut out by the frame's own alpha. So pictures
of frames that have alpha are premultiplied, whatever those were: mixtures with the input and fades
are then right channel by channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdv2_host.alpha import OPAQUE, Picture, on_black
from sdv2_host.ipc.pixels import alpha8
from sdv2_host.types import AlphaMode, Frame, PixelFormat, Size, centre_crop

Plane = NDArray[np.uint8]
"""[H, W], top row first."""


def carried(alpha: AlphaMode) -> AlphaMode:
    """How pictures of such frames are to be understood."""
    return AlphaMode.OPAQUE if alpha is AlphaMode.OPAQUE else AlphaMode.PREMULTIPLIED


def matte_of(frame: Frame) -> Plane | None:
    """A copy of the frame's alpha; None = it is opaque, by what it says or all over."""
    if frame.meta.alpha is AlphaMode.OPAQUE or frame.meta.pixel_format is PixelFormat.R8:
        return None
    plane = np.ascontiguousarray(alpha8(frame))
    if plane.min() == OPAQUE:
        return None
    return plane if plane.base is None else plane.copy()


def scaled(pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """[H, W] or [H, W, 3] of this size, cropped as the engine crops; itself where it has it."""
    own = Size(pixels.shape[1], pixels.shape[0])
    if own == size:
        return pixels
    rows, columns = centre_crop(own, size)
    image = Image.fromarray(np.ascontiguousarray(pixels[rows, columns]))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def cut_out(pictures: NDArray[np.uint8], mattes: Sequence[Plane | None]) -> Sequence[Picture]:
    """Each of the opaque pictures, by the matte of its frame; themselves where none has one."""
    if all(matte is None for matte in mattes):
        return list(pictures)
    return [
        picture
        if matte is None
        else on_black(picture, scaled(matte, Size(picture.shape[1], picture.shape[0])))
        for picture, matte in zip(pictures, mattes, strict=True)
    ]
