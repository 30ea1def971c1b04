"""A host without a model: for so many seconds the input ring e-in is shown on the ring e-out."""

from __future__ import annotations

import sys
import time

from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.types import FrameMeta


def main(seconds: float) -> None:
    end = time.monotonic() + seconds
    count, kinds = 0, set()
    with FrameReader("e-in") as reader, FrameWriter("e-out") as writer:
        while time.monotonic() < end:
            frame = reader.read_newest()
            if frame is None:
                time.sleep(0.002)
                continue
            meta = frame.meta
            writer.publish(to_rgba8(frame), FrameMeta(meta.width, meta.height))
            kinds.add(f"{meta.width}x{meta.height} {meta.pixel_format.name}")
            count += 1
    print(f"{count} frames: {', '.join(sorted(kinds))}", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
