"""What a plugin sees of a host, made by the test: the output ring, the .host file, an OSC port."""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdv2_host.clock import now_ns
from sdv2_host.control.access import remove_host_file, write_host_file
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.ipc.run_dir import write_private_file
from sdv2_host.ipc.shm import SegmentStore
from sdv2_host.types import Frame, FrameMeta
from tests.obs.numbered import numbered


class ToyHost:
    """Runs from the start to `close`. Pictures go out when `show` or `play` says so."""

    def __init__(self, name: str, files_in: Path | None = None) -> None:
        """With `files_in` it runs there and its rings are files there, as for Flatpak."""
        self.name = name
        self._run_dir = files_in
        segments = None
        if files_in is None:
            self._writer = FrameWriter(f"{name}-out")
        else:
            files_in.mkdir(mode=0o700, parents=True)
            segments = SegmentStore(files_in)
            self._writer = FrameWriter(
                f"{name}-out", capacity_bytes=4 << 20, run_dir=files_in, segments=segments
            )
            _say_file(files_in / f"{name}-out.json")
        self._osc = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._osc.bind(("127.0.0.1", 0))
        self._osc.settimeout(3)
        port = int(self._osc.getsockname()[1])
        write_host_file(HostFile(
            pid=os.getpid(), name=name, listen="127.0.0.1", port=port, token="", version="test",
            started_ns=now_ns(),
        ), files_in)  # fmt: skip
        self.input = FrameReader(f"{name}-in", run_dir=files_in, segments=segments)
        self.left_ns: dict[int, int] = {}
        """When the picture of each number was published."""
        self._is_playing = threading.Event()
        self._player: threading.Thread | None = None

    def __enter__(self) -> ToyHost:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, pixels: NDArray[np.generic], **meta: object) -> int:
        """Publishes one picture; returns its number in the ring."""
        height, width = pixels.shape[:2]
        return self._writer.publish(pixels, FrameMeta(width, height, **meta))  # type: ignore[arg-type]

    def play(self, width: int, height: int, fps: float) -> None:
        """Numbered pictures, from 1 on, until `pause`."""
        self._is_playing.set()
        self._player = threading.Thread(target=self._play, args=(width, height, fps), daemon=True)
        self._player.start()

    def _play(self, width: int, height: int, fps: float) -> None:
        begin = time.monotonic()
        for number in itertools.count(1):
            if not self._is_playing.is_set():
                return
            picture = numbered(number, width, height)
            time.sleep(max(0.0, begin + number / fps - time.monotonic()))
            self.left_ns[number] = now_ns()
            self.show(picture)

    def pause(self) -> None:
        self._is_playing.clear()
        if self._player is not None:
            self._player.join()
            self._player = None

    def received(self) -> bytes:
        """The next OSC datagram."""
        return self._osc.recv(65536)

    def is_told_nothing(self, seconds: float) -> bool:
        self._osc.settimeout(seconds)
        try:
            self._osc.recv(65536)
        except TimeoutError:
            return True
        finally:
            self._osc.settimeout(3)
        return False

    def next_input(self, timeout_s: float = 3.0) -> Frame | None:
        """The newest frame of the input ring not taken yet; None = none came in time."""
        return _within(timeout_s, self.input.read_newest)

    def oldest_input(self, timeout_s: float = 3.0) -> Frame | None:
        """The oldest frame of the input ring not taken yet; None = none came in time."""
        return _within(timeout_s, self.input.read_next)

    def frame_like(self, wanted: NDArray[np.generic], near: int) -> Frame | None:
        """The first input frame with no level further off than `near`; None = none in 3 s."""
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            frame = self.next_input(1)
            if frame is None or frame.pixels.shape != wanted.shape:
                continue
            if np.abs(frame.pixels.astype(int) - wanted.astype(int)).max() <= near:
                return frame
        return None

    def close(self) -> None:
        self.pause()
        remove_host_file(self.name, self._run_dir)
        self._writer.close()
        self.input.close()
        self._osc.close()


def _say_file(descriptor: Path) -> None:
    fields = json.loads(descriptor.read_text())
    write_private_file(descriptor, json.dumps({**fields, "backing": "file"}).encode())


def _within(timeout_s: float, read: Callable[[], Frame | None]) -> Frame | None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        frame = read()
        if frame is not None:
            return frame
        time.sleep(0.001)
    return None
