"""`python -m sdv2_host.sinks.touch_shm`: both rings of a host as TouchDesigner's own Shared Mem.

A Shared Mem In TOP named NAME-out shows the output; what a Shared Mem Out TOP named NAME-in writes
is the input. One process and one thread for both: each way is a copy now and then.

The memory of an Out TOP has no frame number, so its picture is looked at 60 times a second and
published when a byte of it has changed. One that stands still is published ten times a second,
marked as repeated, so that the show goes on. Whether TouchDesigner is still there is found out by
letting go of a picture that stands still: the name then ends with its last owner.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.errors import AlreadyRunningError, RingError
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.ipc.ring_descriptor import lock_path
from sdv2_host.ipc.run_dir import default_run_dir, is_lock_held
from sdv2_host.ipc.touch_layout import FORMATS
from sdv2_host.ipc.touch_objects import NamedObjects, windows_objects
from sdv2_host.ipc.touch_receiver import Look, TouchPicture, TouchReceiver
from sdv2_host.ipc.touch_sender import TouchSender
from sdv2_host.sinks.child import StateTeller, begin_child, run_sink
from sdv2_host.types import AlphaMode, Frame, FrameFlags, FrameMeta, Orientation, PixelFormat, Size

POLL_S = 0.002
LOOK_NS = NS_PER_S // 60
STILL_NS = 100 * NS_PER_MS
"""A picture of 10 frames a second is the slowest that is told from one that stands still."""
LET_GO_NS = NS_PER_S
RETRY_NS = 2 * NS_PER_S
SLOT_COUNT = 8
"""As of our own sources: a worker that computes for a quarter of a second finds every frame."""


def shown_name(name: str) -> str:
    """What the Shared Mem In TOP is to read."""
    return f"{name}-out"


def taken_name(name: str) -> str:
    """What the Shared Mem Out TOP is to write."""
    return f"{name}-in"


class OutputToTouch:
    """The newest frame of the output ring in a sender. Field: the frame that was not shown yet."""

    def __init__(self, reader: FrameReader, sender: TouchSender, name: str) -> None:
        self._reader = reader
        self._sender = sender
        self._name = name
        self._waiting: Frame | None = None
        self._shown: Size | None = None

    def step(self) -> None:
        """Raises: RingError when there is no memory."""
        self._waiting = self._reader.read_newest() or self._waiting
        if self._waiting is not None and self._sender.show(to_rgba8(self._waiting)):
            self._shown = Size(self._waiting.meta.width, self._waiting.meta.height)
            self._waiting = None

    @property
    def text(self) -> str:
        if self._shown is None:
            return f"Shared Mem In TOP '{self._name}': no picture yet"
        opened = "opened" if self._sender.was_opened else "not opened yet"
        return f"Shared Mem In TOP '{self._name}': {self._shown}, {opened}"


class InputFromTouch:
    """What a receiver finds, in the input ring.

    The ring is there while a TOP writes, so that other programs may write it when none does.

    Fields, per TOP: the ring, what was found last. Times of our own clock.
    """

    def __init__(
        self, receiver: TouchReceiver, open_ring: Callable[[], FrameWriter], name: str
    ) -> None:
        self._receiver = receiver
        self._open_ring = open_ring
        self._name = name
        self._ring: FrameWriter | None = None
        self._look_ns = self._published_ns = self._held_ns = self._retry_ns = 0
        self._text = "none in TouchDesigner"
        self.is_problem = False

    @property
    def text(self) -> str:
        return f"Shared Mem Out TOP '{self._name}': {self._text}"

    def step(self, now: int) -> None:
        """Looks when it is time to."""
        if now < self._look_ns:
            return
        self._look_ns = max(self._look_ns, now - LOOK_NS) + LOOK_NS
        look = self._receiver.look()
        is_still = look is Look.SAME and now - self._published_ns >= STILL_NS
        picture = self._receiver.picture if look is Look.NEW or is_still else None
        if look is Look.NEW:
            self._held_ns = now
        elif now - self._held_ns >= LET_GO_NS:
            self._held_ns = now
            self._receiver.let_go()
        if look is Look.ABSENT:
            self._end("none in TouchDesigner", is_problem=False)
        elif look is Look.REFUSED:
            self._end(self._receiver.refusal, is_problem=True)
        elif picture is not None and now >= self._retry_ns:
            self._publish(picture, is_still, now)

    def close(self) -> None:
        """The ring is gone."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _end(self, text: str, is_problem: bool) -> None:
        self.close()
        self._text, self.is_problem = text, is_problem

    def _publish(self, picture: TouchPicture, is_still: bool, now: int) -> None:
        try:
            meta = meta_of(picture, is_still, now)  # first: what cannot be styled makes no ring
            if self._ring is None:
                self._ring = self._open_ring()
            self._ring.publish(picture.pixels, meta)
        except (RingError, AlreadyRunningError) as error:
            self._end(str(error), is_problem=True)
            self._retry_ns = now + RETRY_NS
            return
        self._published_ns = now
        header = picture.header
        size = Size(header.width, header.height)
        self._text, self.is_problem = f"{size} {FORMATS[header.pixel_format].title}", False


def meta_of(picture: TouchPicture, is_still: bool, now: int) -> FrameMeta:
    """What a ring says of it.

    Raises:
        RingError: no ring carries its format.
    """
    pixel_format = picture.header.ring_format
    return FrameMeta(
        picture.header.width,
        picture.header.height,
        pixel_format,
        # TouchDesigner's own operators premultiply.
        AlphaMode.OPAQUE if pixel_format is PixelFormat.R8 else AlphaMode.PREMULTIPLIED,
        Orientation.BOTTOM_FIRST,
        FrameFlags.REPEATED if is_still else FrameFlags.NONE,
        capture_ts_ns=now,
    )


def open_input(stream: str, run_dir: Path | None) -> FrameWriter:
    """The ring is ours; never waits for it.

    Raises:
        AlreadyRunningError: another program writes there.
        RingError: no memory, or the run directory is not ours.
    """
    directory = run_dir if run_dir is not None else default_run_dir()
    # The writer's own try for a lock that is held takes a tenth of a second, for which the output
    # would stand still.
    if is_lock_held(lock_path(directory, stream)):
        raise AlreadyRunningError(
            f"stream {stream} is already written by another program; stop that one or choose "
            "another name"
        )
    return FrameWriter(stream, slot_count=SLOT_COUNT, run_dir=directory)


def exchange(
    objects: NamedObjects, args: argparse.Namespace, teller: StateTeller, stop: threading.Event
) -> None:
    """Both ways, until `stop` is set.

    Raises:
        AlreadyRunningError: another host has this name.
        RingError: no memory, or the run directory is not ours.
    """
    shown, taken = shown_name(args.name), taken_name(args.name)

    def open_ring() -> FrameWriter:
        return open_input(args.input_stream, args.run_dir)

    with (
        FrameReader(args.stream, run_dir=args.run_dir) as reader,
        TouchSender(objects, shown) as sender,
        TouchReceiver(objects, taken) as receiver,
    ):
        output = OutputToTouch(reader, sender, shown)
        given = InputFromTouch(receiver, open_ring, taken)
        try:
            while not stop.is_set():
                output.step()
                given.step(now_ns())
                teller.tell(f"{output.text}; {given.text}", given.is_problem)
                time.sleep(POLL_S)  # not stop.wait, which Windows rounds up to 16 ms
        finally:
            given.close()


def main(argv: list[str]) -> int:
    """The exit code, after it was told to end."""
    parser = argparse.ArgumentParser(prog="sdv2_host.sinks.touch_shm", description="Shared Mem.")
    parser.add_argument("--stream", required=True, help="name of the ring to show")
    parser.add_argument("--input-stream", required=True, help="name of the ring to write")
    parser.add_argument("--run-dir", type=Path, help="folder of the rings' descriptors")
    parser.add_argument("--name", required=True, help="NAME of NAME-out and NAME-in")
    args = parser.parse_args(argv)
    stop = begin_child()

    def run() -> None:
        exchange(windows_objects(), args, StateTeller(sys.stdout.buffer), stop)

    return run_sink(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
