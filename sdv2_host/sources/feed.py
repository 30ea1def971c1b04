"""Paces a source into an input ring, as any plug-in would fill it."""

from __future__ import annotations

import threading
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.sources.source import Source
from sdv2_host.types import FrameMeta

SLOT_COUNT = 8
"""A worker that computes for a quarter of a second still finds every frame at 30 fps."""


class FeedCounts(NamedTuple):
    published: int
    skipped: int
    """Frames left out because they were due before the one after them."""


def feed(source: Source, stream: str, stopping: threading.Event, limit: int = 0) -> FeedCounts:
    """Writes the source's frames to ring `stream` when each is due; returns at the source's end.

    A frame that is late by more than a frame is left out and counted in the next one's
    `dropped_before`: a source that cannot keep up loses frames, never time.

    Args:
        stopping: set by somebody else to end the feed before its next frame.
        limit: frames to publish at most, 0 = no limit.

    Raises:
        SourceError: the source broke.
        RingError, AlreadyRunningError: the ring cannot be made.
    """
    patience_ns = round(NS_PER_S / source.fps)
    published = skipped = pending = 0
    with FrameWriter(stream, slot_count=SLOT_COUNT) as ring:
        start_ns = now_ns()
        for frame in source.frames():
            due_ns = start_ns + round(frame.due_s * NS_PER_S)
            if frame.due_s:
                if stopping.wait(max(0, due_ns - now_ns()) / NS_PER_S):
                    break
                if now_ns() - due_ns > patience_ns:
                    pending += 1
                    skipped += 1
                    continue
            elif stopping.is_set():
                break
            height, width = frame.pixels.shape[:2]
            meta = FrameMeta(width, height, capture_ts_ns=now_ns(), dropped_before=pending)
            ring.publish(frame.pixels, meta)
            pending = 0
            published += 1
            if published == limit:
                break
    return FeedCounts(published, skipped)
