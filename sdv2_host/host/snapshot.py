"""Snapshots: the newest output frame as a PNG."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path

from PIL import Image

from sdv2_host.alpha import straight
from sdv2_host.errors import ConfigError
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.models.whole_file import write_whole
from sdv2_host.types import AlphaMode, Frame


async def take_snapshot(frame: Frame, folder: Path) -> Path:
    """The file, which is there whole. Encoded off the loop.

    Raises:
        ConfigError: the folder cannot be made or written.
    """
    return await asyncio.to_thread(_write, frame, folder)


def take_name(suffix: str) -> str:
    """A name that sorts by time, to the millisecond."""
    now = time.time()
    date = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    return f"sdv2-{date}-{int(now * 1000) % 1000:03d}{suffix}"


def _write(frame: Frame, folder: Path) -> Path:
    picture = io.BytesIO()
    pixels = to_rgba8(frame)
    # A PNG's colours are never multiplied by its alpha.
    pixels = straight(pixels) if frame.meta.alpha is AlphaMode.PREMULTIPLIED else pixels
    Image.fromarray(pixels).save(picture, "PNG", compress_level=4)
    path = folder / take_name(".png")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, picture.getvalue())
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}; check the folder and the free space, or give "
            "--recordings-dir another one"
        ) from error
    return path
