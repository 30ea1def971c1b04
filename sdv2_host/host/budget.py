"""Where the time between capture and output goes, and what keeps more pictures from coming. Pure.

Two different questions: a stage may take most of the latency and limit nothing, as waiting does; a
stage limits the rate when the next chunk cannot begin before it is done with this one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

from sdv2_host.clock import US_PER_MS
from sdv2_host.status import LatencyBudget, StageMs, StagesMs
from sdv2_host.types import STAGES, FrameBudget

IDLE = 1.15
"""An engine that could make so many times as many pictures waits for the input."""
INPUT = "input"


class Timed(NamedTuple):
    """A fresh picture that was published."""

    captured_us: int
    budget: FrameBudget

    @property
    def begin_us(self) -> int:
        """When the engine was given its frame: the same for all of a chunk."""
        return self.captured_us + self.budget.wait_us


class Rate(NamedTuple):
    """How fast pictures come."""

    fps: float
    """Fresh ones on the output; 0 = none come."""
    possible_fps: float
    """What the engine makes while it always has frames; 0 = not known."""
    spans_ms: Mapping[str, float]
    """Per chunk, of the stages that the engine tells of."""


class _Fill(NamedTuple):
    """A usual chunk, and how much earlier its first frame was captured than its last."""

    num_frames: int
    ms: float


def budget_of(pictures: Sequence[Timed], rate: Rate) -> LatencyBudget:
    """What `pictures` took, and what limits `rate`."""
    if not pictures:
        return LatencyBudget()
    parts_ms = np.array([one.budget for one in pictures]) / US_PER_MS
    columns = np.vstack([parts_ms.mean(axis=0), np.percentile(parts_ms, [50, 95, 99], axis=0)])
    stages = StagesMs(*(StageMs(*(round(float(ms), 3) for ms in one)) for one in columns.T))
    means_ms = dict(zip(STAGES, (stage.mean for stage in stages), strict=True))
    slowest = max(means_ms, key=lambda name: means_ms[name])
    limit = _limit(rate)
    told = [
        f"{slowest} takes {means_ms[slowest]:.0f} of {sum(means_ms.values()):.0f} ms "
        "from capture to output",
        _told_fill(_fill_of(pictures), limit),
        _told_limit(limit, rate),
    ]
    return LatencyBudget(stages, slowest, limit, "; ".join(filter(None, told)))


def _limit(rate: Rate) -> str:
    """'' = not known."""
    if not rate.fps or not rate.possible_fps or not rate.spans_ms:
        return ""
    if rate.possible_fps > IDLE * rate.fps:
        return INPUT
    return max(rate.spans_ms, key=lambda name: rate.spans_ms[name])


def _told_limit(limit: str, rate: Rate) -> str:
    if not limit:
        return ""
    if limit == INPUT:
        return (
            f"the input limits the rate: {rate.fps:.1f} frames a second come through, "
            f"the engine could make {rate.possible_fps:.0f}"
        )
    return f"{limit} limits the rate, {rate.spans_ms[limit]:.0f} ms of each chunk"


def _fill_of(pictures: Sequence[Timed]) -> _Fill:
    chunks: defaultdict[int, list[int]] = defaultdict(list)
    for one in pictures:
        chunks[one.begin_us].append(one.budget.wait_us)
    fills_us = [max(waits_us) - min(waits_us) for waits_us in chunks.values()]
    num_frames = median(len(waits_us) for waits_us in chunks.values())
    return _Fill(round(num_frames), median(fills_us) / US_PER_MS)


def _told_fill(fill: _Fill, limit: str) -> str:
    if fill.num_frames < 2:
        return ""
    if limit not in (INPUT, ""):  # its frames are from the time the engine took for the last one
        return f"the chunk of {fill.num_frames} frames spans {fill.ms:.0f} ms of the input"
    return f"the chunk of {fill.num_frames} frames waits {fill.ms:.0f} ms to fill"
