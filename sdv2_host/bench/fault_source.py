"""A steady source in a process of its own: a moving ramp, so many frames a second.

`python -m sdv2_host.bench.fault_source STREAM RUN_DIR WIDTHxHEIGHT FPS`. Says "plays" once its
first frame is in the ring. Ends when its standard input does.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np

from sdv2_host.bench.end_of_input import end_of_input
from sdv2_host.clock import NS_PER_S, now_ns, sleep_until_ns
from sdv2_host.config_checks import parse_size
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.types import FrameMeta, Size

SLOT_COUNT = 8
STEP_PX = 3


def play(stream: str, run_dir: Path, size: Size, fps: float, stopping: threading.Event) -> None:
    """Until told to stop. Raises: RingError, AlreadyRunningError."""
    rows, columns = np.mgrid[: size.height, : size.width]
    ramp = np.stack([columns * 4, rows * 4, columns + rows, np.full_like(rows, 255)], axis=-1)
    picture = ramp.astype(np.uint8)
    begin_ns = now_ns()
    with FrameWriter(stream, slot_count=SLOT_COUNT, run_dir=run_dir) as ring:
        number = 0
        while not stopping.is_set():
            sleep_until_ns(begin_ns + round(number * NS_PER_S / fps))
            moved = np.roll(picture, STEP_PX * number, axis=1)
            ring.publish(moved, FrameMeta(size.width, size.height, capture_ts_ns=now_ns()))
            if not number:
                print("plays", flush=True)
            number += 1


def main(stream: str, run_dir: str, size: str, fps: str) -> None:
    play(stream, Path(run_dir), parse_size(size), float(fps), end_of_input())


if __name__ == "__main__":
    main(*sys.argv[1:])
