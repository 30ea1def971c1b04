"""Frames, and the numbers of a text, as headers and bytes, and back. What comes is checked."""

# L text tokens  E text width

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sdv2_host.errors import ProtocolError
from sdv2_host.stages.messages import MAX_SIDE_PX, FrameHeader, Text
from sdv2_host.types import AlphaMode, Frame, FrameMeta, Orientation, PixelFormat

_TEXT_TYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def pack_frames(frames: Sequence[Frame]) -> tuple[tuple[FrameHeader, ...], bytes]:
    """What the entry needs of them: their pixels, and how to read these."""
    headers = tuple(
        FrameHeader(
            shape=frame.pixels.shape,
            dtype=frame.pixels.dtype.name,
            pixel_format=frame.meta.pixel_format,
            orientation=frame.meta.orientation,
            alpha=frame.meta.alpha,
        )
        for frame in frames
    )
    return headers, b"".join(frame.pixels.tobytes() for frame in frames)


def unpack_frames(headers: Sequence[FrameHeader], payload: bytearray) -> list[Frame]:
    """Frames whose pixels lie in the payload.

    Raises:
        ProtocolError: the payload is not as long as the headers say, or no picture is like that.
    """
    frames, at = [], 0
    for header in headers:
        is_picture = len(header.shape) in {2, 3} and all(
            0 < side <= MAX_SIDE_PX for side in header.shape
        )
        if not is_picture:
            raise ProtocolError(f"frame of shape {header.shape}")
        count = math.prod(header.shape)
        dtype = np.dtype(header.dtype)
        if at + count * dtype.itemsize > len(payload):
            raise ProtocolError(f"frames of {len(payload)} bytes end early")
        pixels = np.frombuffer(payload, dtype, count, offset=at).reshape(header.shape)
        at += count * dtype.itemsize
        try:
            meta = FrameMeta(
                width=header.shape[1],
                height=header.shape[0],
                pixel_format=PixelFormat(header.pixel_format),
                alpha=AlphaMode(header.alpha),
                orientation=Orientation(header.orientation),
            )
        except ValueError as error:
            raise ProtocolError(f"frame: {error}") from error
        frames.append(Frame(meta, pixels))
    if at != len(payload):
        raise ProtocolError(f"frames of {at} bytes in a payload of {len(payload)}")
    return frames


def pack_text(text_id: int, embedding_1LE: Tensor) -> tuple[Text, bytes]:
    whole_1LE = embedding_1LE.detach().cpu().contiguous()
    _, length, width = whole_1LE.shape
    name = next(name for name, dtype in _TEXT_TYPES.items() if dtype is whole_1LE.dtype)
    header = Text(text_id=text_id, shape=(1, length, width), dtype=name)
    return header, whole_1LE.view(torch.uint8).numpy().tobytes()


def unpack_text(header: Text, payload: bytearray) -> Tensor:
    """[1, L, E].

    Raises:
        ProtocolError: the payload is not of that shape.
    """
    dtype = _TEXT_TYPES[header.dtype]
    if min(header.shape) < 1 or math.prod(header.shape) * dtype.itemsize != len(payload):
        raise ProtocolError(f"text of shape {header.shape} in {len(payload)} bytes")
    return torch.frombuffer(payload, dtype=dtype).view(header.shape)
