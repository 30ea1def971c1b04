"""What the host adds to a chunk: all of its time in which the device does not compute.

On CUDA the device's work is what a profile of a few chunks says that its kernels and copies take,
where they overlap counted once; a chunk's time without the profiler, less that, is the host's. On
a CPU the device is the host: there the work is the models' calls, timed within the very steps that
they are part of.

# B rows  T pixel frames  F latent frames  C channels  H W size
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from sdv2_host.bench.device_peaks import wait_for
from sdv2_host.bench.model_runs import Session
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.stream.cached_call import PastCall
from sdv2_host.stream.model_calls import ModelCalls
from sdv2_host.wan.model import TextByBlock
from sdv2_host.wan.streaming_vae import VAECache

NUM_PROFILED = 4
"""Chunks: enough for a mean, few enough to read their events in a second."""
_WATCHED = {
    "cuda": (ProfilerActivity.CUDA, DeviceType.CUDA),
    "cpu": (ProfilerActivity.CPU, DeviceType.CPU),
}


class TimedCalls:
    """`ModelCalls` that know what they took. For devices that are done when a call returns."""

    def __init__(self, inner: ModelCalls) -> None:
        self._inner = inner
        self._taken_ns = 0

    def take_ms(self) -> float:
        """Of all calls since this was asked last."""
        taken_ns, self._taken_ns = self._taken_ns, 0
        return taken_ns / NS_PER_MS

    @property
    def num_rehearsals(self) -> int:
        return self._inner.num_rehearsals

    def preparing(self) -> AbstractContextManager[None]:
        return self._inner.preparing()

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        with self._timed():
            return self._inner.encode(frames_BTCHW, cache, is_first)

    def predict(self, x_BFCHW: Tensor, t_BF: Tensor, text: TextByBlock, past: PastCall) -> Tensor:
        with self._timed():
            return self._inner.predict(x_BFCHW, t_BF, text, past)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        with self._timed():
            return self._inner.decode(z_BFCHW, cache, is_first)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        begin_ns = now_ns()
        yield
        self._taken_ns += now_ns() - begin_ns


@dataclass(slots=True)
class Parted:
    """Steps and the models' calls in them, one by one."""

    step_ms: list[float] = field(default_factory=list)
    pipeline_ms: list[float] = field(default_factory=list)
    """The same without upload and download."""
    calls_ms: list[float] = field(default_factory=list)

    @property
    def host_ms(self) -> list[float]:
        pairs = zip(self.step_ms, self.calls_ms, strict=True)
        return [step_ms - calls_ms for step_ms, calls_ms in pairs]

    @property
    def over_bare(self) -> float:
        """The pipeline's time over its calls', median."""
        pairs = zip(self.pipeline_ms, self.calls_ms, strict=True)
        return statistics.median(all_ms / calls_ms for all_ms, calls_ms in pairs)


def part_steps(
    session: Session, calls: TimedCalls, is_over: Callable[[int, float], bool]
) -> Parted:
    """On from where the session is, until `is_over`, which is told the number of steps, and
    seconds. `calls` are its engine's, which has nothing left to do when `step` returns."""
    parted = Parted()
    calls.take_ms()
    begin_ns = now_ns()
    while not is_over(len(parted.step_ms), (now_ns() - begin_ns) / NS_PER_S):
        start_ns = now_ns()
        styled = session.step()
        step_ms = (now_ns() - start_ns) / NS_PER_MS
        staging_ms = sum(styled.spans_ms.get(name, 0.0) for name in ("upload", "download"))
        parted.step_ms.append(step_ms)
        parted.pipeline_ms.append(step_ms - staging_ms)
        parted.calls_ms.append(calls.take_ms())
    return parted


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
