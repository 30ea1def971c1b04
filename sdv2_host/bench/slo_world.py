"""Loads to simulate: when frames come, and how slow the device is at any time."""

from __future__ import annotations

import bisect
import itertools
import random
from dataclasses import dataclass

from sdv2_host.clock import NS_PER_MS, NS_PER_S

NOISE = 0.05
"""Of the device's speed, anew every 10 ms..."""
DRIFT = 0.05
"""...and every 500 ms."""
SPIKE_EVERY_S, SPIKE_S, SPIKE_FACTOR = 4.0, 0.3, 3.0
STALL_EVERY_S, STALL_S = 5.0, 1.0
THERMAL_FACTOR = 1.5
"""A laptop's GPU that throttles from the second third on."""
JITTER_MS = 4.0


@dataclass(frozen=True, slots=True)
class World:
    name: str
    arrivals_ns: tuple[int, ...]
    slowness: tuple[float, ...]
    """Factor of step times, per millisecond."""
    progress: tuple[float, ...]
    """Work done by each millisecond, and by the end: one more than `slowness`."""

    @property
    def duration_ns(self) -> int:
        return len(self.slowness) * NS_PER_MS

    @property
    def seconds(self) -> float:
        return self.duration_ns / NS_PER_S

    def end_ms(self, start_ms: float, work_ms: float) -> float:
        """When work is done that an undisturbed device does in `work_ms`."""
        done = self._done_by(start_ms) + work_ms
        last = len(self.slowness)
        if done >= self.progress[last]:
            return last + (done - self.progress[last]) * self.slowness[-1]
        index = bisect.bisect_right(self.progress, done) - 1
        return index + (done - self.progress[index]) * self.slowness[index]

    def _done_by(self, time_ms: float) -> float:
        index = min(int(time_ms), len(self.slowness) - 1)
        return self.progress[index] + (time_ms - index) / self.slowness[index]


def worlds(seconds: float) -> list[World]:
    """Sources of 16, 24, 30 and 60 fps, each undisturbed, with spikes, stalls and throttling, and
    one that changes from 24 to 60."""
    made = [
        _world(f"{fps} fps, {trouble}", [(fps, seconds)], trouble, seconds)
        for fps in (16, 24, 30, 60)
        for trouble in ("steady", "spikes", "stalls", "thermal")
    ]
    change = [(24, seconds / 2), (60, seconds / 2)]
    return [*made, _world("24 to 60 fps, steady", change, "steady", seconds)]


def _world(name: str, rates: list[tuple[int, float]], trouble: str, seconds: float) -> World:
    chance = random.Random(name)
    arrivals = _arrivals(rates, trouble == "stalls", chance)
    slowness = _slowness(seconds, trouble, chance)
    progress = itertools.accumulate((1 / factor for factor in slowness), initial=0.0)
    return World(name, tuple(arrivals), tuple(slowness), tuple(progress))


def _arrivals(rates: list[tuple[int, float]], has_stalls: bool, chance: random.Random) -> list[int]:
    times_s: list[float] = []
    begin_s = 0.0
    for fps, duration_s in rates:
        times_s += [begin_s + index / fps for index in range(round(fps * duration_s))]
        begin_s += duration_s
    if has_stalls:
        times_s = [at for at in times_s if at < STALL_S or at % STALL_EVERY_S >= STALL_S]
    return sorted(round(at * NS_PER_S + chance.uniform(0, JITTER_MS) * NS_PER_MS) for at in times_s)


def _slowness(seconds: float, trouble: str, chance: random.Random) -> list[float]:
    noise = [chance.uniform(1 - NOISE, 1 + NOISE) for _ in range(int(seconds * 100) + 1)]
    drift = [chance.uniform(1 - DRIFT, 1 + DRIFT) for _ in range(int(seconds * 2) + 1)]
    factors = []
    for ms in range(int(seconds * 1000)):
        factor, at_s = noise[ms // 10] * drift[ms // 500], ms / 1000
        if trouble == "spikes" and at_s > 1 and at_s % SPIKE_EVERY_S < SPIKE_S:
            factor *= SPIKE_FACTOR
        if trouble == "thermal":
            share = min(max(3 * at_s / seconds - 1, 0.0), 1.0)
            factor *= 1 + (THERMAL_FACTOR - 1) * share
        factors.append(factor)
    return factors
