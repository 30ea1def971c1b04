"""Watches a host's output ring as a plug-in does, in a process of its own, and tells all it sees.

`python -m sdv2_host.bench.fault_viewer STREAM RUN_DIR` prints a `Sight` a line, as JSON, until its
standard input ends.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from sdv2_host.bench.end_of_input import end_of_input
from sdv2_host.clock import now_ns
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.types import Frame, FrameFlags

LOOK_S = 0.002
STRIDE_PX = 4
"""Enough to tell a picture from a blank."""
LEAST_CONTRAST = 8


class Sight(NamedTuple):
    """A publication on the output ring."""

    frame: int
    """Its number there; begins at 1 with every host."""
    publish_ns: int
    seen_ns: int
    is_fresh: bool
    is_blank: bool
    """One colour all over: no picture of a source that has more."""
    source_frame: int
    source_ns: int
    """When its source frame was captured."""
    width: int
    height: int


def sight_of(frame: Frame) -> Sight:
    """What is remembered of it."""
    meta = frame.meta
    sample = frame.pixels[::STRIDE_PX, ::STRIDE_PX, :3]
    return Sight(
        frame=meta.frame,
        publish_ns=meta.publish_ts_ns,
        seen_ns=now_ns(),
        is_fresh=FrameFlags.REPEATED not in meta.flags,
        is_blank=int(sample.max()) - int(sample.min()) < LEAST_CONTRAST,
        source_frame=meta.source_frame,
        source_ns=meta.source_capture_ts_ns,
        width=meta.width,
        height=meta.height,
    )


def watch(stream: str, run_dir: Path, stopping: threading.Event) -> None:
    """Until told to stop."""
    with FrameReader(stream, run_dir=run_dir) as reader:
        while not stopping.is_set():
            while (frame := reader.read_next()) is not None:
                print(json.dumps(sight_of(frame)), flush=True)
            time.sleep(LOOK_S)


def main(stream: str, run_dir: str) -> None:
    watch(stream, Path(run_dir), end_of_input())


if __name__ == "__main__":
    main(*sys.argv[1:])
