"""The end of the output ring that is written, which outlives pictures that it has no room for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from sdv2_host.config import Config
from sdv2_host.errors import RingError
from sdv2_host.host.output_mix import Picture, resized
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.types import FrameMeta, Size

OUTPUT_RING_SLOTS = 8
"""Twice the usual: a file recorder may fall a quarter second behind without losing a frame.

Also enough for a lock-step client, which has delay_frames + 1 under way: 4, or 5 where the first
chunk is that long.
"""
BATCH_OUTPUT_RING_SLOTS = 16
"""So many are under way with a batch of four steps, and come at once where it is emptied."""
RING_OUTPUT_RING_SLOTS = 64
"""As many as a frame ring can have: over several devices up to 60 are under way."""


def output_slots(config: Config) -> int:
    """Of the output ring of such a host."""
    if config.is_ring:
        return RING_OUTPUT_RING_SLOTS
    return BATCH_OUTPUT_RING_SLOTS if config.layout == "batch" else OUTPUT_RING_SLOTS


def open_output_ring(config: Config, run_dir: Path | None) -> FrameWriter:
    """The ring that whoever takes the pictures reads.

    Raises:
        AlreadyRunningError: a host of this name writes it.
        RingError: shared memory is full.
    """
    slots = output_slots(config)
    return FrameWriter(config.output_stream, slot_count=slots, run_dir=run_dir)


class RingEnd(Protocol):
    """What of a `FrameWriter` is used for the output."""

    def publish(self, pixels: Picture, meta: FrameMeta) -> int: ...

    def heartbeat(self) -> None: ...

    def close(self) -> None: ...


class OutputRing:
    """A `RingEnd`. Pictures that shared memory has no room for are shown as large as those before.

    Used by the presenter's thread. Fields, per process: the size of what was published last, None =
    nothing was; the size that there was no room for, until another one fits.
    """

    def __init__(self, writer: FrameWriter, on_problem: Callable[[str], None]) -> None:
        """`on_problem` is told why pictures are smaller than they should be; '' = they are not."""
        self._writer = writer
        self._on_problem = on_problem
        self._size: Size | None = None
        self._too_large: Size | None = None

    def publish(self, pixels: Picture, meta: FrameMeta) -> int:
        """The picture is the newest of the ring; returns its number.

        Raises:
            RingError: not even a picture of the size before can be written.
        """
        size = Size(meta.width, meta.height)
        if self._size is not None and size == self._too_large:
            return self._publish_at(self._size, pixels, meta)
        try:
            number = self._writer.publish(pixels, meta)
        except RingError as error:
            if self._size is None:
                raise
            number = self._publish_at(self._size, pixels, meta)
            self._too_large = size
            self._on_problem(f"pictures of {size} are shown at {self._size}: {error}")
            return number
        self._size = size
        if self._too_large is not None:
            self._too_large = None
            self._on_problem("")
        return number

    def heartbeat(self) -> None:
        """Readers see that the ring is written."""
        self._writer.heartbeat()

    def close(self) -> None:
        """The ring is gone."""
        self._writer.close()

    def _publish_at(self, size: Size, pixels: Picture, meta: FrameMeta) -> int:
        smaller = replace(meta, width=size.width, height=size.height)
        return self._writer.publish(resized(pixels, size, meta.alpha), smaller)
