"""A ring writer in a process of its own: `python -m tests.ipc.ring_process burst|hold ...`.

burst RUN SEGMENTS STREAM WIDTH HEIGHT SLOTS   frame f is all bytes f % 251, until stdin closes
hold  RUN SEGMENTS STREAM FRAMES               the same at 8x8, then waits to be killed
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.ipc.shm import SegmentStore
from sdv2_host.types import FrameMeta

PATTERN_PERIOD = 251
"""Prime, so that it is out of step with every slot count."""


def start(*arguments: object) -> subprocess.Popen[str]:
    """The process, its first line ("ready") already read."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ipc.ring_process", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def burst(writer: FrameWriter, meta: FrameMeta) -> None:
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    pixels = np.empty((meta.height, meta.width, 4), np.uint8)
    while not stop.is_set():
        pixels.fill((writer.frame + 1) % PATTERN_PERIOD)
        writer.publish(pixels, meta)


def main() -> None:
    mode, run_dir, segment_dir, stream, *rest = sys.argv[1:]
    place = {"run_dir": Path(run_dir), "segments": SegmentStore(Path(segment_dir))}
    if mode == "burst":
        meta = FrameMeta(int(rest[0]), int(rest[1]))
        size = meta.width * meta.height * 4
        writer = FrameWriter(stream, slot_count=int(rest[2]), capacity_bytes=size, **place)
        with writer:
            print("ready", flush=True)
            burst(writer, meta)
            print(writer.frame, flush=True)
    else:
        writer = FrameWriter(stream, **place)
        for _ in range(int(rest[0])):
            writer.publish(np.full((8, 8, 4), (writer.frame + 1) % PATTERN_PERIOD, np.uint8),
                           FrameMeta(8, 8))  # fmt: skip
        print("ready", flush=True)
        while True:
            writer.heartbeat()
            time.sleep(0.05)


if __name__ == "__main__":
    main()
