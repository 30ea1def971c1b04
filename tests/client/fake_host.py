"""What a client sees of a host, made by the test: rings, the host file and an OSC port.

Its pictures are those of NAME-in, or of `delay` frames ago in a lock-step, so that every moment of
a host's life can be had when the test wants it.
"""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

from sdv2_host import __version__
from sdv2_host.clock import now_ns
from sdv2_host.control.access import remove_host_file, write_host_file
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.ipc.osc import OscMessage, decode
from sdv2_host.ipc.osc_encode import OutValue, encode_message
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.types import Frame, FrameFlags, FrameMeta

MAX_FRAMES = 4
"""Between two looks at the OSC port."""
MAX_KEPT = 200


class FakeHost:
    """Runs from construction to `close`; `answers` and `version` say how it talks."""

    def __init__(
        self,
        name: str,
        run_dir: Path,
        *,
        version: str = __version__,
        answers: bool = True,
        listen: str = "127.0.0.1",
        delay: int = 3,
    ) -> None:
        self.name, self.run_dir = name, run_dir
        self.version = version
        self.answers = answers
        self.heard: list[OscMessage] = []
        """All but pings, in order."""
        self.taken: list[Frame] = []
        """Frames of the input ring, in order: the last MAX_KEPT since a cut."""
        self.delay = delay
        self.facts: dict[str, OutValue] = {"state": "live", "detail": "", "delay_frames": delay}
        self.params: dict[str, OutValue] = {"/sdv2/prompt": "the host's", "/sdv2/steps": 2}
        self.is_mute = False
        """In lock-step: takes frames and gives no pictures."""
        self.skips: set[int] = set()
        """Frames whose picture never comes."""
        self._writer = FrameWriter(f"{name}-out", run_dir=run_dir, slot_count=8)
        self._reader = FrameReader(f"{name}-in", run_dir=run_dir)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.002)
        self.port = int(self._socket.getsockname()[1])
        self._subscribers: set[tuple[str, int]] = set()
        self._beat = 0
        write_host_file(
            HostFile(os.getpid(), name, listen, self.port, "", version, now_ns()), run_dir
        )
        self._is_running = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> FakeHost:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._is_running = False
        self._thread.join()
        remove_host_file(self.name, self.run_dir)
        self._writer.close()
        self._reader.close()
        self._socket.close()

    def tell(self, address: str, *values: OutValue) -> None:
        """To all who subscribed."""
        for peer in self._subscribers:
            self._socket.sendto(encode_message(address, *values), peer)

    def addresses(self) -> list[str]:
        return [message.address for message in self.heard]

    def values(self, address: str) -> list[object]:
        return [message.args[0] for message in self.heard if message.address == address]

    def show(self, frame: Frame, source: Frame) -> None:
        """The picture goes out as made from this source frame."""
        pixels = to_rgba8(frame)
        meta = FrameMeta(
            pixels.shape[1],
            pixels.shape[0],
            flags=source.meta.flags & FrameFlags.LOCKSTEP,
            source_frame=source.meta.frame,
            source_capture_ts_ns=source.meta.capture_ts_ns,
        )
        self._writer.publish(pixels, meta)

    def repeat(self) -> None:
        """What is held goes out again."""
        meta = FrameMeta(32, 16, flags=FrameFlags.REPEATED)
        self._writer.publish(to_rgba8(replace(self.taken[-1], meta=self.taken[-1].meta)), meta)

    def _run(self) -> None:
        while self._is_running:
            self._listen()
            self._writer.heartbeat()
            # Not for as long as frames come: they may come faster than they can be taken.
            for _ in range(MAX_FRAMES):
                frame = self._reader.read_next()
                if frame is None:
                    break
                self._take(frame)

    def _take(self, frame: Frame) -> None:
        if FrameFlags.DISCONTINUITY in frame.meta.flags:
            self.taken = []
        self.taken = [*self.taken[-MAX_KEPT + 1 :], frame]
        is_lockstep = FrameFlags.LOCKSTEP in frame.meta.flags
        shown = self.taken[-1 - self.delay :][:1] if is_lockstep else [frame]
        is_due = not is_lockstep or len(self.taken) > self.delay
        if is_due and not self.is_mute and len(self.taken) - self.delay not in self.skips:
            self.show(shown[0], shown[0])

    def _listen(self) -> None:
        try:
            data, peer = self._socket.recvfrom(65536)
        except OSError:
            return
        for message in decode(data).messages:
            if message.address != "/sdv2/ping":
                self.heard.append(message)
            if self.answers:
                self._answer(message, peer)

    def _answer(self, message: OscMessage, peer: tuple[str, int]) -> None:
        if message.address == "/sdv2/subscribe":
            self._subscribers.add(peer)
            for key, value in self.facts.items():
                self.tell(f"/sdv2/status/{key}", value)
            for address, value in self.params.items():
                self.tell(address, value)
        elif message.address == "/sdv2/ping":
            self._beat += 1
            self._socket.sendto(encode_message("/sdv2/pong", "", self.version, 1.0), peer)
            self.tell("/sdv2/status/heartbeat", self._beat)
        elif message.address in self.params and message.args:
            value = message.args[0]
            assert isinstance(value, str | int | float)
            self.params[message.address] = value
