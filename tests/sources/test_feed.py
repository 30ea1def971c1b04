"""The feed and its process: frames reach the ring at their time, faults reach the parent."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.clock import NS_PER_MS, NS_PER_S
from sdv2_host.errors import SourceError
from sdv2_host.ipc.frame_ring import FrameReader, RingStatus
from sdv2_host.sources.feed import feed
from sdv2_host.sources.process import SourceProcess
from sdv2_host.sources.source import SourceFrame
from sdv2_host.types import Frame
from tests.hosts import descriptors, unique_name
from tests.sources.clips import write_clip


class Counter:
    """A source whose frame n is grey n, due every `period_s`; each takes `cost_s` to make."""

    title = "counter"

    def __init__(self, num_frames: int, fps: float, cost_s: float = 0.0) -> None:
        self.fps = fps
        self._num_frames = num_frames
        self._cost_s = cost_s

    def frames(self) -> Iterator[SourceFrame]:
        for n in range(self._num_frames):
            time.sleep(self._cost_s)
            yield SourceFrame(np.full((4, 4, 4), n, np.uint8), n / self.fps)

    def close(self) -> None:
        pass


def collect(stream: str, source: Counter) -> tuple[list[Frame], tuple[int, int]]:
    """Every frame that the feed wrote, and its counts."""
    with FrameReader(stream) as reader:
        counts: list[tuple[int, int]] = []
        feeding = threading.Thread(
            target=lambda: counts.append(feed(source, stream, threading.Event()))
        )
        feeding.start()
        frames = []
        while feeding.is_alive() or not frames:
            frame = reader.read_next()
            if frame is not None:
                frames.append(frame)
            else:
                time.sleep(0.001)
        feeding.join()
    return frames, counts[0]


def test_frames_reach_the_ring_in_order_with_their_capture_time() -> None:
    frames, (published, skipped) = collect(unique_name(), Counter(12, fps=50.0))

    shown = [int(f.pixels[0, 0, 0]) for f in frames]
    assert shown == sorted(set(shown))
    assert published - 1 <= len(frames) <= published  # the ring closes right after its last frame
    assert skipped + published == 12
    captured_ns = [f.meta.capture_ts_ns for f in frames]
    assert all(b > a for a, b in itertools.pairwise(captured_ns))
    spread_ns = captured_ns[-1] - captured_ns[0]
    assert spread_ns >= (len(frames) - 2) * NS_PER_S / 50
    assert all(f.meta.publish_ts_ns - f.meta.capture_ts_ns < 500 * NS_PER_MS for f in frames)


def test_a_slow_source_loses_frames_not_time() -> None:
    frames, (published, skipped) = collect(unique_name(), Counter(40, fps=200.0, cost_s=0.02))

    assert skipped > 0
    assert published + skipped == 40
    assert sum(f.meta.dropped_before for f in frames) <= skipped


def test_the_feed_ends_before_its_next_frame_when_told_to() -> None:
    stopping = threading.Event()
    threading.Timer(0.2, stopping.set).start()
    begin = time.monotonic()

    published, _ = feed(Counter(100, fps=1.0), unique_name(), stopping)

    assert published == 1
    assert time.monotonic() - begin < 0.9


def test_a_process_opens_first_and_sends_when_told_to(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 5)
    name = unique_name()

    async def act() -> tuple[SourceProcess, RingStatus, Frame | None]:
        with FrameReader(f"{name}-in") as reader:
            source = await SourceProcess.start(f"{name}-in", ["--file", str(clip)])
            before = reader.status
            assert reader.read_newest() is None
            source.begin()
            frame = None
            async with asyncio.timeout(20):
                while frame is None:
                    frame = reader.read_newest()
                    await asyncio.sleep(0.01)
            await source.stop()
            return source, before, frame

    source, before, frame = asyncio.run(act())

    assert (source.title, source.fps) == ("clip.mp4 64x48 at 30 fps", 30.0)
    assert before == RingStatus.ABSENT
    assert frame is not None
    assert frame.pixels.shape == (48, 64, 4)
    assert descriptors(name) == []


def test_a_process_that_cannot_open_gives_its_line_and_code(tmp_path: Path) -> None:
    async def act() -> None:
        await SourceProcess.start(unique_name(), ["--file", str(tmp_path / "no.mp4")])

    with pytest.raises(SourceError, match=r"no\.mp4 does not exist") as raised:
        asyncio.run(act())
    assert raised.value.exit_code == 4


def test_a_file_played_once_ends_its_process(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 3)

    async def act() -> None:
        source = await SourceProcess.start(unique_name(), ["--file", str(clip), "--once"])
        source.begin()
        async with asyncio.timeout(30):
            await source.wait()

    asyncio.run(act())
