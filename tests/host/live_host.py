"""A daemon with real rings and a real worker process, and the peers of a stage around it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pythonosc.osc_message_builder import OscMessageBuilder

from sdv2_host.clock import NS_PER_US, now_ns
from sdv2_host.config import Config
from sdv2_host.host.daemon import Daemon
from sdv2_host.host.limits import Limits
from sdv2_host.host.text_process import TextSetup
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameFlags, FrameMeta, StageTimes

FRAME_S = 1 / 50
QUICK = Limits(first_delay_s=0.05, max_delay_s=0.05)
linux_only = pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")


def picture(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """[16, 24, 4], different for each number."""
    return np.random.default_rng(number).integers(0, 256, (16, 24, 4), dtype=np.uint8)


@dataclass
class Stage:
    """The daemon under test, a source that publishes numbered pictures and a viewer."""

    daemon: Daemon
    stop: asyncio.Event
    running: asyncio.Task[None]
    run_dir: Path
    sent: int = 0
    seen: list[Frame] = field(default_factory=list)
    segments: set[str] = field(default_factory=set)

    @property
    def fresh(self) -> list[Frame]:
        return [frame for frame in self.seen if FrameFlags.REPEATED not in frame.meta.flags]

    async def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Returns when the condition holds; the daemon's error, if it ends first, is raised."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                if self.running.done():
                    self.running.result()
                await asyncio.sleep(0.005)

    async def publish_frames(self) -> None:
        """A source: one numbered picture every FRAME_S until cancelled."""
        stream = self.daemon.config.input_stream
        with FrameWriter(stream, run_dir=self.run_dir) as writer:
            while True:
                self.sent += 1
                meta = FrameMeta(width=24, height=16, capture_ts_ns=now_ns())
                writer.publish(picture(self.sent), meta)
                await asyncio.sleep(FRAME_S)

    async def view(self) -> None:
        """A recorder: every frame of the output, and the names of the segments in use."""
        reader = FrameReader(self.daemon.config.output_stream, run_dir=self.run_dir)
        while True:
            while (frame := reader.read_next()) is not None:
                self.seen.append(frame)
            for path in self.run_dir.glob("*.json"):
                self.segments.add(segment_of(path))
            await asyncio.sleep(0.005)

    def send_osc(self, address: str, *args: str | float | bool) -> None:
        builder = OscMessageBuilder(address)
        for arg in args:
            builder.add_arg(arg)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(builder.build().dgram, ("127.0.0.1", self.daemon.snapshot().port))


def segment_of(descriptor: Path) -> str:
    try:
        return str(json.loads(descriptor.read_text())["segment"])
    except (OSError, ValueError):  # replaced or removed while it was read
        return ""


def left_segments(names: set[str]) -> list[str]:
    """Those of the names that are still in shared memory (Linux)."""
    return [name for name in names if name and (Path("/dev/shm") / name).exists()]


def is_alive(pid: int) -> bool:
    """True for a running process; a zombie that nobody reaped yet does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


@dataclass(frozen=True)
class BankedText:
    """Prompts come from the bank in `models_dir`, whatever the engine."""

    models_dir: Path
    setup: TextSetup
    idle_s: float = 0.0


@asynccontextmanager
async def live_host(
    run_dir: Path,
    name: str,
    params: Params | None = None,
    limits: Limits = QUICK,
    text: BankedText | None = None,
    *,
    changes: Mapping[str, object] | None = None,
) -> AsyncIterator[Stage]:
    """A daemon that runs, not yet ready; stopped at the end. `changes` are of its config."""
    config = Config(
        name=name, engine="passthrough", port=0, resume="default", data_dir=str(run_dir.parent)
    )
    config = config.model_copy(update=changes or {})
    if text is not None:
        changes = {"models_dir": str(text.models_dir), "text_idle_s": text.idle_s}
        config = config.model_copy(update=changes)
    setup = text.setup if text else None
    daemon = Daemon(config, params or Params(), run_dir=run_dir, limits=limits, text=setup)
    stop = asyncio.Event()
    stage = Stage(daemon, stop, asyncio.create_task(daemon.run(stop)), run_dir)
    try:
        yield stage
    finally:
        stop.set()
        await asyncio.wait({stage.running})
    check_budgets(stage.seen)


def check_budgets(seen: list[Frame]) -> None:
    """The parts of every picture's way add up to its latency; those of a picture that is shown
    again are the fresh one's."""
    times_of: dict[tuple[int, int], StageTimes] = {}  # another source begins at 1 again
    for meta in (frame.meta for frame in seen):
        latency_us = meta.publish_ts_ns // NS_PER_US - meta.source_capture_ts_ns // NS_PER_US
        assert sum(meta.budget) == latency_us
        assert min(meta.budget) >= 0, meta.budget
        source = meta.source_frame, meta.source_capture_ts_ns
        assert times_of.setdefault(source, meta.times) == meta.times


@asynccontextmanager
async def streaming_host(
    run_dir: Path,
    name: str,
    params: Params | None = None,
    limits: Limits = QUICK,
    text: BankedText | None = None,
) -> AsyncIterator[Stage]:
    """A daemon with a source and a viewer, fresh frames on its output."""
    async with live_host(run_dir, name, params, limits, text) as stage, playing(stage):
        yield stage


@asynccontextmanager
async def playing(stage: Stage) -> AsyncIterator[None]:
    """A source and a viewer, fresh frames on the output."""
    await stage.until(stage.daemon.ready.is_set)
    peers = [asyncio.create_task(stage.view()), asyncio.create_task(stage.publish_frames())]
    try:
        await stage.until(lambda: len(stage.fresh) > 4)
        yield
    finally:
        for peer in peers:
            peer.cancel()
        await asyncio.wait(peers)
