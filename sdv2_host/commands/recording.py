"""A headless demo's record: the fresh frames of the output ring as MP4, sheet and numbers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.clock import NS_PER_MS, NS_PER_S
from sdv2_host.config import Config
from sdv2_host.errors import WorkerError
from sdv2_host.host.daemon import Daemon
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.params import Params
from sdv2_host.sinks.sheet import Pair, write_sheet
from sdv2_host.sinks.video_file import VideoFileSink
from sdv2_host.status import HostStatus, Percentiles
from sdv2_host.types import Frame, FrameFlags, ProgressFn

POLL_S = 0.004
SILENCE_S = 30.0
"""Without a fresh frame for so long the recording gives up."""
SHEET_PAIRS = 6


class Recording:
    """Reads both public rings as any plug-in would. All fields live for the recording."""

    def __init__(self, config: Config, num_frames: int, out: Path, source_fps: float) -> None:
        """The file is opened, the rings are watched.

        Raises:
            ConfigError: the folder cannot be written.
        """
        self.num_frames = num_frames
        self._out = out
        self._input = FrameReader(config.input_stream)
        self._output = FrameReader(config.output_stream)
        self._latencies_ms: list[float] = []
        self._published_ns: list[int] = []
        self._first_number = 0
        self._waiting: list[Frame] = []
        """Input frames whose output has not come yet."""
        self._pairs: list[Pair] = []
        self._sink = VideoFileSink(out / "out.mp4", source_fps)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._input.close()
        self._output.close()
        self._sink.__exit__(kind, error, trace)

    @property
    def num_recorded(self) -> int:
        return len(self._published_ns)

    def take(self) -> None:
        """Whatever the rings hold is recorded, up to the number of frames wanted."""
        while self.num_recorded < self.num_frames:
            frame = self._output.read_next()
            if frame is None:
                return
            if FrameFlags.REPEATED in frame.meta.flags or not frame.meta.source_frame:
                continue
            self._take_fresh(frame)

    def _take_fresh(self, frame: Frame) -> None:
        meta = frame.meta
        if not self._published_ns:
            self._first_number = meta.source_frame
        self._published_ns.append(meta.publish_ts_ns)
        self._latencies_ms.append((meta.publish_ts_ns - meta.source_capture_ts_ns) / NS_PER_MS)
        pixels = to_rgba8(frame)
        self._sink.write(pixels, meta.source_frame - self._first_number)
        self._pair(frame, pixels)
        if self.num_recorded % max(1, self.num_frames // (2 * SHEET_PAIRS)) == 0:
            newest = self._input.read_newest()
            if newest is not None:
                self._waiting.append(newest)
        if self.num_recorded == self.num_frames and not self._pairs:
            # Too short for an input frame to come out again: the newest of both must do.
            self._add_pair(self._waiting[-1] if self._waiting else frame, pixels)

    def _pair(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """Lays kept input frames beside `frame` if it was made from them, or from the first frame
        after them that was not dropped."""
        number = frame.meta.source_frame
        for before in [kept for kept in self._waiting if kept.meta.frame <= number]:
            self._waiting.remove(before)
            self._add_pair(before, pixels)

    def _add_pair(self, before: Frame, pixels: NDArray[np.uint8]) -> None:
        elapsed_ns = before.meta.capture_ts_ns - self._published_ns[0]
        label = f"{max(0, elapsed_ns) / NS_PER_S:.1f} s"
        self._pairs.append(Pair(to_rgba8(before), pixels, label))

    def write_sheet(self, params: Params) -> None:
        """Writes sheet.png: input beside output at several times.

        Raises:
            ConfigError: it cannot be written.
        """
        wanted = np.linspace(0, len(self._pairs) - 1, min(SHEET_PAIRS, len(self._pairs)))
        chosen = [self._pairs[round(index)] for index in wanted]
        title = f"{params.prompt}, {params.steps} steps"
        write_sheet(self._out / "sheet.png", chosen, title)

    def measures(self, status: HostStatus) -> dict[str, Any]:
        """The numbers of the report, over the frames recorded."""
        elapsed_ns = self._published_ns[-1] - self._published_ns[0]
        fps = (self.num_recorded - 1) * NS_PER_S / elapsed_ns if elapsed_ns > 0 else 0.0
        return {
            "fps": round(fps, 2),
            "frames_in": status.frames_in,
            "frames_out": self.num_recorded,
            "dropped": status.dropped,
            "latency_ms": Percentiles.of(self._latencies_ms)._asdict(),
            "ttff_ms": None if status.ttff_ms is None else round(status.ttff_ms, 2),
            "spans_ms": status.spans_ms,
            "cadence_gaps": status.cadence_gaps,
            "worker_restarts": status.worker_restarts,
            "lost_by_recorder": self._output.lost,
        }


async def record(recording: Recording, daemon: Daemon, progress: ProgressFn) -> None:
    """Every frame wanted has been recorded.

    Raises:
        WorkerError: no frame came for half a minute.
        ConfigError: the disk is full.
    """
    loop = asyncio.get_running_loop()
    seen, seen_s = 0, loop.time()
    while recording.num_recorded < recording.num_frames:
        # In a thread: encoding a large frame takes as long as the loop may be away from OSC.
        await asyncio.to_thread(recording.take)
        if recording.num_recorded != seen:
            seen, seen_s = recording.num_recorded, loop.time()
            progress("recording", seen / recording.num_frames)
        elif loop.time() - seen_s > SILENCE_S:
            status = daemon.snapshot()
            raise WorkerError(
                f"no styled frame came for {SILENCE_S:.0f} s; {status.state.value}: {status.detail}"
            )
        await asyncio.sleep(POLL_S)
