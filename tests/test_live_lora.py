"""A LoRA by OSC into a live host: it shows, it goes, a wrong name is told, and nothing is cut."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pythonosc.udp_client import SimpleUDPClient

from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.models.store import lora_dir
from sdv2_host.types import Frame, FrameFlags
from sdv2_host.wan.dims import TINY_DIT
from tests.hosts import RunningHost, unique_name
from tests.lora_files import factors, tensors_of, write

SETTLED = 16
"""Frames after which the embedded model has taken up a change: it is smaller than one budget."""


class Viewer:
    """Fresh frames of an output ring, in order, until `close`."""

    def __init__(self, stream: str) -> None:
        self.reader = FrameReader(stream)
        self.seen: list[Frame] = []

    def watch(self, count: int) -> list[Frame]:
        """The next `count` fresh frames."""
        begin = len(self.seen)
        deadline_s = time.monotonic() + 90
        while len(self.seen) - begin < count:
            frame = self.reader.read_next()
            if frame is None:
                assert time.monotonic() < deadline_s, f"{len(self.seen) - begin} of {count} came"
                time.sleep(0.002)
            elif FrameFlags.REPEATED not in frame.meta.flags:
                self.seen.append(frame)
        return self.seen[begin:]


def mean_colour(frames: list[Frame]) -> np.ndarray:
    return np.mean([frame.pixels[..., :3].mean(axis=(0, 1)) for frame in frames], axis=0)


def differs(first: list[Frame], second: list[Frame]) -> float:
    return float(np.abs(mean_colour(first) - mean_colour(second)).max())


def test_a_lora_by_osc_shows_and_goes_without_a_cut(tmp_path: Path) -> None:
    tensors = tensors_of("comfy", factors(TINY_DIT, outside=False, size=0.6), None)
    write(lora_dir(tmp_path) / "ink.safetensors", tensors)
    name = unique_name()
    args = ("--port", "0", "--no-browser", "--name", name, "--style", "gold")
    with RunningHost(
        "demo", *args, "--size", "64x64", "--threads", "1", "--models-dir", str(tmp_path)
    ) as host:
        port = re.search(r"127\.0\.0\.1:(\d+)", host.wait_for("OSC on"))
        assert port is not None
        send: Callable[[str, str], None] = SimpleUDPClient("127.0.0.1", int(port[1])).send_message
        viewer = Viewer(f"{name}-out")
        before = viewer.watch(SETTLED)

        send("/sdv2/lora", "ink")
        during = viewer.watch(2 * SETTLED)[-SETTLED:]
        send("/sdv2/lora", "nosuch")
        told = host.wait_for("no LoRA nosuch")
        kept = viewer.watch(SETTLED)
        send("/sdv2/lora", "")
        after = viewer.watch(2 * SETTLED)[-SETTLED:]
        lost = viewer.reader.lost
        viewer.reader.close()

    numbers = [frame.meta.source_frame for frame in viewer.seen]
    assert "known are ink" in told
    assert lost == 0
    assert all(later > earlier for earlier, later in itertools.pairwise(numbers))
    changed, held, gone = (differs(before, part) for part in (during, kept, after))
    print(f"colour moved by {changed:.0f}, {held:.0f} with a wrong name, {gone:.0f} at the end")
    assert min(changed, held) > 2 * gone
