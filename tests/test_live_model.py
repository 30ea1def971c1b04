"""The embedded model live: a prompt sent by OSC shows soon, without a cut; memory may run out."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pythonosc.udp_client import SimpleUDPClient

from sdv2_host.bench.classifier import Classifier
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.types import Frame, FrameFlags
from tests.hosts import RunningHost, unique_name
from tests.sources.clips import write_clip

CHUNK = 4


class Watch:
    """Fresh frames of an output ring, in order."""

    def __init__(self, stream: str) -> None:
        self.reader = FrameReader(stream)

    def fresh(self, count: int, timeout_s: float = 40.0) -> list[Frame]:
        """The next `count` frames that are not repeats."""
        frames: list[Frame] = []
        deadline_s = time.monotonic() + timeout_s
        while len(frames) < count:
            frame = self.reader.read_next()
            if frame is None:
                assert time.monotonic() < deadline_s, f"{len(frames)} of {count} frames came"
                time.sleep(0.002)
            elif FrameFlags.REPEATED not in frame.meta.flags:
                frames.append(frame)
        return frames


def named(pixels: NDArray[np.uint8]) -> str:
    """The style that the frozen classifier sees in a frame."""
    rgb_1CHW = torch.from_numpy(pixels[None, ..., :3].copy()).permute(0, 3, 1, 2).float() / 255
    return Classifier().name(rgb_1CHW).names[0]


def test_a_prompt_by_osc_shows_within_two_chunks_without_a_cut() -> None:
    name = unique_name()
    args = ("--port", "0", "--no-browser", "--name", name, "--style", "gold")
    with RunningHost("demo", *args, "--size", "128x128") as host:
        port = re.search(r"127\.0\.0\.1:(\d+)", host.wait_for("OSC on"))
        assert port is not None
        client = SimpleUDPClient("127.0.0.1", int(port[1]))
        # The schedule of a slow machine takes longer chunks, else.
        client.send_message("/sdv2/slo/mode", "off")
        watch = Watch(f"{name}-out")
        before = watch.fresh(24)[-1]

        client.send_message("/sdv2/prompt", "blueprint drawing")
        after = watch.fresh(40)
        lost = watch.reader.lost
        watch.reader.close()

    tags = [frame.meta.user_tag for frame in after]
    num_old = tags.index(before.meta.user_tag + 1)
    numbers = [before.meta.source_frame, *(frame.meta.source_frame for frame in after)]
    due_ns = [frame.meta.publish_ts_ns for frame in after]
    longest_ms = max(later - earlier for earlier, later in itertools.pairwise(due_ns)) / 1e6
    print(f"{num_old} frames of the old prompt, longest gap {longest_ms:.0f} ms")
    assert num_old <= 2 * CHUNK  # the chunk on show and the chunk in the engine
    assert tags == sorted(tags)
    assert all(later > earlier for earlier, later in itertools.pairwise(numbers))
    assert lost == 0
    assert named(before.pixels) == "gold"
    assert named(after[num_old + 2 * CHUNK - 1].pixels) == "blueprint"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a private /dev/shm (Linux)")
@pytest.mark.parametrize("room_kib", [512, 3500, 9000])
def test_full_shared_memory_is_one_line_and_leaves_nothing(tmp_path: Path, room_kib: int) -> None:
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-m", "true"], check=False).returncode
    ):
        pytest.skip("may not make a mount namespace")
    clip = write_clip(tmp_path / "clip.mp4", 24, (640, 360))
    demo = f"demo --headless --frames 20 --input {clip} --out {tmp_path} --name {unique_name()}"
    script = (
        f"mount -t tmpfs -o size={room_kib}k tmpfs /dev/shm\n"
        f"{sys.executable} -m sdv2_host {demo} --engine passthrough --port 0\n"
        "code=$?; ls /dev/shm; exit $code"
    )

    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().split("\n")[-1]
    assert re.search(r"sdv2-host: .*\d+ bytes are needed in /dev/shm, \d+ bytes are free", last)
