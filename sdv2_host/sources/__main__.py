"""`python -m sdv2_host.sources`: one source into one input ring, until it ends or is stopped.

Stops on Ctrl-C, SIGTERM, or with --watch-stdin when its standard input closes, so that it cannot
outlive the program that started it. With --hold the source is opened, so that a fault shows at
once, but sends nothing until a line comes on standard input. A fault is one line on stderr and the
exit code of the error.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from sdv2_host.errors import HostError
from sdv2_host.sources.camera import Camera, list_cameras, pick_camera
from sdv2_host.sources.feed import feed
from sdv2_host.sources.pattern import TestPattern
from sdv2_host.sources.source import Source
from sdv2_host.sources.video_file import VideoFile
from sdv2_host.types import Size

PATTERN_FPS = 30.0


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line as a namespace; argparse ends the process on a bad one."""
    parser = argparse.ArgumentParser(prog="sdv2_host.sources", description="A source of frames.")
    parser.add_argument("--stream", required=True, help="name of the ring to write")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--pattern", metavar="WxH", help="the moving test pattern at this size")
    kind.add_argument("--file", type=Path, help="a video file")
    kind.add_argument("--camera", type=int, metavar="N", help="camera number, from 0")
    parser.add_argument("--fps", type=float, default=0.0, help="frames per second, 0 = its own")
    parser.add_argument("--once", action="store_true", help="play a file once instead of for ever")
    parser.add_argument("--watch-stdin", action="store_true", help="stop when stdin closes")
    parser.add_argument("--hold", action="store_true", help="wait for a line on stdin to begin")
    return parser.parse_args(argv)


def open_source(args: argparse.Namespace) -> Source:
    """The source that the command line asks for, probed.

    Raises:
        SourceError: it cannot be read.
    """
    if args.file is not None:
        return VideoFile(args.file, loop=not args.once, fps=args.fps)
    if args.camera is not None:
        return Camera(pick_camera(args.camera, list_cameras()), args.fps)
    width, height = args.pattern.lower().split("x")
    return TestPattern(Size(int(width), int(height)), args.fps or PATTERN_FPS)


def main(argv: list[str]) -> int:
    """The exit code, after everything is closed."""
    args = parse(argv)
    stopping, may_begin = threading.Event(), threading.Event()

    def stop() -> None:
        stopping.set()
        may_begin.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())
    if not args.hold:
        may_begin.set()
    if args.watch_stdin or args.hold:
        # A pipe's end can be waited for on every platform only by a read that blocks; the thread
        # touches nothing but the events and dies with the process.
        threading.Thread(target=_watch_stdin, args=(stop, may_begin), daemon=True).start()
    try:
        source = open_source(args)
        print(f"{source.fps!r} {source.title}", flush=True)
        try:
            may_begin.wait()
            if not stopping.is_set():
                feed(source, args.stream, stopping)
        finally:
            source.close()
    except HostError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _watch_stdin(stop: Callable[[], None], may_begin: threading.Event) -> None:
    # Not sys.stdin: a thread inside a buffered read makes the interpreter abort at its end.
    while os.read(0, 1024):
        may_begin.set()
    stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
