"""What a change of size costs a running stream: rate and gaps of its frames, time and memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from sdv2_host.bench.control import running_host, status_of
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.commands.client import Client
from sdv2_host.config import EngineName
from sdv2_host.errors import WorkerError
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.types import FrameFlags, FrameMeta, ProgressFn, Size

SETTLE_S = 4.0
PATIENCE_S = 300.0
MIB = 2**20


@dataclass(frozen=True, slots=True)
class SwapPlan:
    """A host at the first size goes to the other and back, in both modes."""

    engine: EngineName
    size: Size
    other: Size
    fps: float
    """Of the source."""
    fade_s: float = 0.5


@dataclass(frozen=True, slots=True)
class SwapRow:
    """One change. Gaps are between fresh frames on the output."""

    mode: str
    to: str
    fps_before: float
    gap_before_ms: float
    """The longest in `SETTLE_S` before."""
    prepared_s: float
    """From the wish until pictures of the other engine come onto the output."""
    fps_meanwhile: float
    gap_ms: float
    """The longest from the wish until the old worker is gone."""
    left_out: int
    """Input frames that the source sent meanwhile and no fresh frame was made of."""
    went_back: int
    """Fresh frames of an older input frame than the one before."""
    worker_mib: int
    """Of the worker in use before."""
    peak_mib: int
    """Of all workers together, at most."""


def format_table(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [f"{report['engine']}, source {report['fps']:g} fps, fade {report['fade_s']:g} s"]
    for row in report["rows"]:
        lines.append(
            f"{row['mode']:8} to {row['to']}: ready after {row['prepared_s']:.1f} s; "
            f"fps {row['fps_before']:.1f} before, {row['fps_meanwhile']:.1f} meanwhile; longest "
            f"gap {row['gap_before_ms']:.0f} ms before, {row['gap_ms']:.0f} ms meanwhile; "
            f"{row['left_out']} frames left out, {row['went_back']} back; workers "
            f"{row['worker_mib']} MiB, {row['peak_mib']} MiB at most"
        )
    return "\n".join(lines)


async def measure_swap(plan: SwapPlan, progress: ProgressFn) -> dict[str, Any]:
    """Changes of size under a running source.

    Raises:
        HostError: the host or the source cannot start, or a change does not come.
    """
    rows: list[SwapRow] = []
    source = ("--fps", f"{plan.fps:g}")
    async with running_host(plan.engine, plan.size, *source) as client:
        client.post("/api/set", {"values": {"swap_s": plan.fade_s}})
        turns = [(mode, to) for mode in ("beside", "replace") for to in (plan.other, plan.size)]
        for number, (mode, to) in enumerate(turns):
            progress(f"{mode} to {to}", number / len(turns))
            rows.append(await _change(client, mode, to))
    told = {**asdict(plan), "size": str(plan.size), "other": str(plan.other)}
    return {**told, "rows": [asdict(row) for row in rows]}


async def _change(client: Client, mode: str, to: Size) -> SwapRow:
    watch, begin_ns = Watch(client), now_ns()
    watching = asyncio.create_task(watch.run())
    try:
        await asyncio.sleep(SETTLE_S)
        before_pid = status_of(client)["worker_pid"]
        worker_mib = watch.peak_mib
        wish_ns = now_ns()
        wish = {"swap_mode": mode, "width": to.width, "height": to.height}
        client.post("/api/set", {"values": wish})
        ready_ns = await _until(lambda: watch.first_of(to, wish_ns))
        await _until(lambda: not psutil.pid_exists(before_pid))
        end_ns = now_ns()
    finally:
        watching.cancel()
        await asyncio.wait({watching})
    # What was in the ring before the watch began is no part of its time.
    before = [meta for meta in watch.fresh if begin_ns <= meta.publish_ts_ns < wish_ns]
    # From the last frame before: a gap that begins there counts.
    during = [*before[-1:], *(m for m in watch.fresh if wish_ns <= m.publish_ts_ns <= end_ns)]
    steps = [b.source_frame - a.source_frame for a, b in itertools.pairwise(during)]
    return SwapRow(
        mode=mode,
        to=str(to),
        fps_before=round(len(before) * NS_PER_S / (wish_ns - begin_ns), 2),
        gap_before_ms=_longest_ms(before),
        prepared_s=round((ready_ns - wish_ns) / NS_PER_S, 2),
        fps_meanwhile=round((len(during) - 1) * NS_PER_S / (end_ns - wish_ns), 2),
        gap_ms=_longest_ms(during),
        left_out=sum(step - 1 for step in steps if step > 1),
        went_back=sum(step <= 0 for step in steps),
        worker_mib=worker_mib,
        peak_mib=watch.peak_mib,
    )


async def _until(condition: Callable[[], int]) -> int:
    """What the condition gives, as soon as that is not 0. Raises: WorkerError."""
    deadline_ns = now_ns() + round(PATIENCE_S * NS_PER_S)
    while not (found := condition()):
        if now_ns() > deadline_ns:
            raise WorkerError(f"the change did not come within {PATIENCE_S:.0f} s")
        await asyncio.sleep(0.02)
    return found


def _longest_ms(metas: list[FrameMeta]) -> float:
    gaps = [b.publish_ts_ns - a.publish_ts_ns for a, b in itertools.pairwise(metas)]
    return round(max(gaps, default=0) / NS_PER_MS, 1)


class Watch:
    """A viewer of a host's output, and of its workers' memory. Lifetime: a change."""

    def __init__(self, client: Client) -> None:
        self._stream = f"{client.host.name}-out"
        self._daemon = psutil.Process(client.host.pid)
        self.fresh: list[FrameMeta] = []
        self._seen: list[FrameMeta] = []
        self.peak_mib = 0

    def first_of(self, size: Size, since_ns: int) -> int:
        """When the first frame of this size was published; 0 = none was yet."""
        for meta in self._seen:
            if (meta.width, meta.height) == size and meta.publish_ts_ns > since_ns:
                return meta.publish_ts_ns
        return 0

    async def run(self) -> None:
        """Until cancelled."""
        with FrameReader(self._stream) as reader:
            for turn in itertools.count():
                while (frame := reader.read_next()) is not None:
                    self._seen.append(frame.meta)
                    if FrameFlags.REPEATED not in frame.meta.flags:
                        self.fresh.append(frame.meta)
                if turn % 50 == 0:
                    self.peak_mib = max(self.peak_mib, self._workers_mib())
                await asyncio.sleep(0.004)

    def _workers_mib(self) -> int:
        total = 0
        for child in self._daemon.children():
            try:
                total += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue  # ended between the list and the look
        return total // MIB
