"""Pictures for the control page: the newest of input and output ring as small JPEGs."""

from __future__ import annotations

import asyncio
import io
import struct
from pathlib import Path

from PIL import Image

from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.types import Frame

INPUT, OUTPUT = 0, 1
HEADER = struct.Struct("<B3xHHQ")
MAX_SIDE_PX = 640
QUALITY = 82
MAX_FPS = 60


class PictureFeed:
    """Reads both rings; encodes in a thread, because a megapixel takes as long as a frame lasts.

    The thread is asyncio's own pool; one picture is encoded at a time. Fields live until `close`.
    """

    period_s = 1 / MAX_FPS

    def __init__(self, input_stream: str, output_stream: str, run_dir: Path | None = None) -> None:
        self._readers = {
            INPUT: FrameReader(input_stream, run_dir=run_dir),
            OUTPUT: FrameReader(output_stream, run_dir=run_dir),
        }

    async def newest(self) -> list[tuple[int, bytes]]:
        """(kind, message) for each ring that has a frame not yet returned."""
        messages: list[tuple[int, bytes]] = []
        for kind, reader in self._readers.items():
            frame = reader.read_newest()
            if frame is not None:
                messages.append((kind, await asyncio.to_thread(encode_picture, kind, frame)))
        return messages

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()


def encode_picture(kind: int, frame: Frame) -> bytes:
    """The frame as a binary message of the page; sides of at most 640 px, alpha left out."""
    pixels = to_rgba8(frame)[..., :3]
    # Whole-pixel strides first: they cost nothing and leave `thumbnail` little to filter.
    stride = max(1, max(pixels.shape[:2]) // (2 * MAX_SIDE_PX))
    image = Image.fromarray(pixels[::stride, ::stride].copy())
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    out.write(HEADER.pack(kind, frame.meta.width, frame.meta.height, frame.meta.frame))
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
