"""What the host adds to a chunk: all of its time in which the device does not compute.

On CUDA the device's work is what a profile of a few chunks says that its kernels and copies take,
where they overlap counted once; a chunk's time without the profiler, less that, is the host's. On
a CPU the device is the host: there the work is the models' calls alone, with equal shapes, which
take turns with the engine's chunks so that other load on the machine falls on both alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from sdv2_host.bench.device_peaks import wait_for
from sdv2_host.bench.model_runs import Session
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns

NUM_PROFILED = 4
"""Chunks: enough for a mean, few enough to read their events in a second."""
_WATCHED = {
    "cuda": (ProfilerActivity.CUDA, DeviceType.CUDA),
    "cpu": (ProfilerActivity.CPU, DeviceType.CPU),
}


@dataclass(slots=True)
class Turns:
    """The engine's chunks and the bare calls, one after the other."""

    step_ms: list[float] = field(default_factory=list)
    pipeline_ms: list[float] = field(default_factory=list)
    """The same without upload and download."""
    bare_ms: list[float] = field(default_factory=list)

    @property
    def host_ms(self) -> list[float]:
        bare_ms = statistics.median(self.bare_ms)
        return [step_ms - bare_ms for step_ms in self.step_ms]

    @property
    def over_bare(self) -> float:
        """The pipeline's time over the bare calls', medians."""
        return statistics.median(self.pipeline_ms) / statistics.median(self.bare_ms)


def take_turns(
    session: Session, bare: Callable[[], None], is_over: Callable[[int, float], bool]
) -> Turns:
    """On from where the session is, until `is_over`, which is told the number of turns, and
    seconds. `bare` makes one chunk's calls of the models and nothing else. The engine must be one
    that has nothing left to do when `step` returns."""
    turns = Turns()
    bare()
    begin_ns = now_ns()
    while not is_over(len(turns.bare_ms), (now_ns() - begin_ns) / NS_PER_S):
        start_ns = now_ns()
        styled = session.step()
        middle_ns = now_ns()
        bare()
        done_ns = now_ns()
        step_ms = (middle_ns - start_ns) / NS_PER_MS
        staging_ms = sum(styled.spans_ms.get(name, 0.0) for name in ("upload", "download"))
        turns.step_ms.append(step_ms)
        turns.pipeline_ms.append(step_ms - staging_ms)
        turns.bare_ms.append((done_ns - middle_ns) / NS_PER_MS)
    return turns


def device_busy_ms(
    session: Session, device: torch.device, num_chunks: int = NUM_PROFILED
) -> float | None:
    """Milliseconds of a chunk in which the device computes or copies, of the next few; None where
    the profiler sees nothing of the device, as without CUPTI, or cannot look at it."""
    if device.type not in _WATCHED:
        return None
    activity, kind = _WATCHED[device.type]
    engine = session.engine
    engine.finish()
    wait_for(device)
    with profile(activities=[activity]) as seen:
        for _ in range(num_chunks):
            session.step()
        engine.finish()
        wait_for(device)
    intervals_us = [
        (event.time_range.start, event.time_range.end)
        for event in seen.events()
        if event.device_type == kind and not event.is_user_annotation
    ]
    return covered(intervals_us) / 1e3 / num_chunks if intervals_us else None


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of what at least one of the intervals (begin, end) covers."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
