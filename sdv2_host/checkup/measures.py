"""What a soundcheck measured: samples of the host, its output frame by frame, and what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.status import Percentiles
from sdv2_host.types import Size

PAUSE_FRAMES = 2.5
"""An output that shows nothing for longer than this many frames has paused: one that is late by
less is not seen."""
END_SHARE = 0.05
"""Of a run, its beginning and its end, where nothing is played and all is set alike."""
NOTED_PAUSES = 20


class Sample(NamedTuple):
    """The host at one moment."""

    at_s: float
    """Since the measurement began."""
    fps: float
    p50_ms: float
    p99_ms: float
    dropped: int
    """Since the host's start."""
    restarts: int
    host_mib: float
    """Of daemon and worker."""
    cpu_share: float
    """0..1 of all cores, by everything."""
    gpu_mib: float | None
    celsius: float | None
    """Of the card; None = it does not say, or there is none."""


class Event(NamedTuple):
    """Something that the soundcheck did, as a show would."""

    at_s: float
    what: str
    answer: str = ""
    """What the host said to it."""
    is_refused: bool = False
    halted_s: float = 0.0
    """For so long from then on no pictures were styled, by our own doing."""


class Pause(NamedTuple):
    """The output showed nothing new, not even a picture again."""

    at_s: float
    ms: float


@dataclass(slots=True)
class OutputLog:
    """The output ring, frame by frame. Grows with the run: 30 numbers a second."""

    published_s: list[float] = field(default_factory=list)
    """Since the measurement began."""
    latency_ms: list[float] = field(default_factory=list)
    """Capture to publication, of fresh frames; NaN of others."""
    lost: int = 0
    """Frames that were gone before this watcher took them."""

    def add(self, published_s: float, latency_ms: float | None) -> None:
        """`latency_ms` None = the frame is an older picture, again."""
        self.published_s.append(published_s)
        self.latency_ms.append(float("nan") if latency_ms is None else latency_ms)


@dataclass(frozen=True, slots=True)
class Measures:
    """A run that is over."""

    engine: str
    size: Size | None
    """Of the output's pictures; None = there were none."""
    source: str
    source_fps: float
    output_fps: float
    """That was asked for; 0 = as the source."""
    ready_s: float
    """From the start to the first live picture."""
    seconds: float
    """That were measured."""
    planned_s: float
    samples: Sequence[Sample]
    events: Sequence[Event]
    output: OutputLog
    limits_rate: str = ""
    says: str = ""
    """Both as `LatencyBudget`, at the end, where all is as at the beginning."""
    ended: str = ""
    """Why it ended before its time; '' = it did not."""

    @property
    def cadence_fps(self) -> float:
        """Of the output."""
        return self.output_fps or self.source_fps

    @property
    def wanted_fps(self) -> float:
        """Styled pictures a second, of an engine that keeps up."""
        return min(self.source_fps, self.cadence_fps)

    @property
    def fair_latency_ms(self) -> NDArray[np.float64]:
        """Of fresh frames, but for the times when the soundcheck itself halted the engine."""
        times = np.asarray(self.output.published_s)
        values = np.asarray(self.output.latency_ms, np.float64)
        is_fair = ~np.isnan(values)
        for event in self.events:
            is_fair &= (times < event.at_s) | (times >= event.at_s + event.halted_s)
        return values[is_fair]

    @property
    def fresh_fps(self) -> float:
        """Styled pictures a second, but for those times."""
        halted_s = sum(event.halted_s for event in self.events)
        fair_s = self.seconds - halted_s
        return len(self.fair_latency_ms) / fair_s if fair_s > 0 else 0.0

    @property
    def styled_share(self) -> float:
        """Of those that are wanted, 0..1."""
        return min(1.0, self.fresh_fps / self.wanted_fps) if self.wanted_fps else 0.0

    @property
    def latency(self) -> Percentiles:
        return Percentiles.of(self.fair_latency_ms)

    @property
    def latency_ends(self) -> tuple[Percentiles, Percentiles]:
        """Of the first and the last fresh frames."""
        fresh = self.fair_latency_ms
        count = max(1, round(len(fresh) * END_SHARE))
        return Percentiles.of(fresh[:count]), Percentiles.of(fresh[-count:])

    @property
    def pauses(self) -> list[Pause]:
        """Longest first."""
        times = np.asarray(self.output.published_s)
        if len(times) < 2 or not self.cadence_fps:
            return []
        gaps_s = np.diff(times)
        late = np.flatnonzero(gaps_s > PAUSE_FRAMES / self.cadence_fps)
        found = [Pause(float(times[i]), float(gaps_s[i]) * 1000) for i in late]
        return sorted(found, key=lambda pause: -pause.ms)

    @property
    def dropped(self) -> int:
        """Frames of the source, meanwhile, that were never shown."""
        return self.samples[-1].dropped - self.samples[0].dropped if self.samples else 0

    @property
    def restarts(self) -> int:
        """Of the worker, meanwhile."""
        return self.samples[-1].restarts - self.samples[0].restarts if self.samples else 0

    @property
    def memory_growth_mib(self) -> float:
        """From the second fifth to the last: what a start settles is over by then."""
        fifth = len(self.samples) // 5
        if not fifth:
            return 0.0
        held = [sample.host_mib for sample in self.samples]
        return median(held[-fifth:]) - median(held[fifth : 2 * fifth])

    @property
    def hottest(self) -> float | None:
        known = [one.celsius for one in self.samples if one.celsius is not None]
        return max(known, default=None)

    def to_json(self) -> dict[str, Any]:
        """Without the output frame by frame."""
        return {
            "engine": self.engine,
            "size": str(self.size) if self.size is not None else None,
            "source": self.source,
            "source_fps": self.source_fps,
            "output_fps": self.output_fps,
            "ready_s": round(self.ready_s, 2),
            "seconds": round(self.seconds, 2),
            "planned_s": self.planned_s,
            "ended": self.ended,
            "fresh_fps": round(self.fresh_fps, 2),
            "styled_share": round(self.styled_share, 4),
            "latency_ms": self.latency._asdict(),
            "limits_rate": self.limits_rate,
            "says": self.says,
            "dropped": self.dropped,
            "worker_restarts": self.restarts,
            "pauses": [pause._asdict() for pause in self.pauses[:NOTED_PAUSES]],
            "memory_growth_mib": round(self.memory_growth_mib, 1),
            "hottest_celsius": self.hottest,
            "events": [event._asdict() for event in self.events],
            "samples": [sample._asdict() for sample in self.samples],
        }
