"""`python -m sdv2_host.sinks`: one output ring into one MP4, until its standard input closes.

The file plays at the speed of the show: each frame stands at the time that it was published. A
fault is one line on stderr and the exit code of the error. At the end one line on stdout: frames
written and frames that came too fast to be written.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

from sdv2_host.clock import NS_PER_S
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.sinks.child import begin_child, run_sink
from sdv2_host.sinks.video_file import VideoFileSink

GRID_FPS = 60.0
"""Frames stand on this grid; a show of more frames a second is recorded in slow motion."""
POLL_S = 0.004


def main(argv: list[str]) -> int:
    """The exit code, after the file is closed."""
    parser = argparse.ArgumentParser(prog="sdv2_host.sinks", description="A recorder.")
    parser.add_argument("--stream", required=True, help="name of the ring to record")
    parser.add_argument("--run-dir", type=Path, help="folder of the rings' descriptors")
    parser.add_argument("--file", type=Path, required=True, help="the MP4 to write")
    args = parser.parse_args(argv)
    stop = begin_child()

    def run() -> None:
        count, lost = record(args.stream, args.run_dir, args.file, stop)
        print(count, lost, flush=True)

    return run_sink(run)


def record(stream: str, run_dir: Path | None, path: Path, stop: threading.Event) -> tuple[int, int]:
    """Frames written and frames lost; the file is complete.

    Raises:
        HostError: the ring cannot be trusted, or the disk is full.
    """
    first_ns: int | None = None
    count = 0
    with FrameReader(stream, run_dir=run_dir) as reader, VideoFileSink(path, GRID_FPS) as sink:
        is_last = False
        while not is_last:
            is_last = stop.is_set()  # one more look at the ring after that
            while (frame := reader.read_next()) is not None:
                if first_ns is None:
                    first_ns = frame.meta.publish_ts_ns
                elapsed_s = (frame.meta.publish_ts_ns - first_ns) / NS_PER_S
                sink.write(to_rgba8(frame), round(elapsed_s * GRID_FPS))
                count += 1
            time.sleep(POLL_S)
        return count, reader.lost


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
