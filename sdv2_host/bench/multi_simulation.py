"""A stream over many devices in simulated time: when each part of each chunk runs.

A device does one thing at a time, in a fixed order: encode the newest chunk, run its blocks, pass
it on, decode. What leaves a device is at the next one a hop later. In a ring the last device sends
the rows back before it decodes, the first encodes before it waits for them, and `lanes` messages
are under way. Where several devices decode, what comes by waits for what each has at hand. No more
messages than that and one are between the first item and the last, so nothing piles up before a
slow stage: the newest frames win.

# m micro-steps, one per chunk that enters
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from statistics import quantiles

from sdv2_host.stages.balance import Balance, Rules, Slowness, plan_moves
from sdv2_host.stages.partition import Partition, best_cuts, best_partition
from sdv2_host.stages.work import Route, Work

FRAMES_PER_CHUNK = 4
WARM_UP = 0.3
"""Part of a run that is not counted: the pipeline fills."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a run is given beside the work."""

    num_chunks: int = 300
    source_fps: float = 0.0
    """0 = a chunk is always there."""
    hop_ms: float = 1.0
    """From the end of a stage to the data at the next device."""
    lanes: int = 0
    """Messages under way; 0 = one per device with work."""
    jitter: float = 0.0
    """Standard deviation of every time, relative."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    fps: float
    latency_ms: dict[str, float]
    """p50, p95, p99, from when a chunk is taken to its pictures."""
    busy: tuple[float, ...]
    """Part of the time that each place works; the rest are bubbles."""


@dataclass(slots=True)
class _Clock:
    """When each place is free, and what it has done. Lifetime: one run."""

    free_ms: list[float]
    worked_ms: list[float]
    rng: random.Random
    jitter: float
    counted_from_ms: float = 0.0
    returned_ms: list[float] = field(default_factory=list)

    def run(self, place: int, ready_ms: float, cost_ms: float) -> float:
        """A piece of work that may begin at `ready_ms`; when it ends."""
        cost_ms *= max(0.2, self.rng.gauss(1.0, self.jitter)) if self.jitter else 1.0
        begin_ms = max(ready_ms, self.free_ms[place])
        self.free_ms[place] = begin_ms + cost_ms
        self.worked_ms[place] += cost_ms
        return self.free_ms[place]


def simulate(work: Work, partition: Partition, traffic: Traffic) -> Outcome:
    """A run of this work, partitioned so."""
    places = [place for place in range(len(partition.order)) if partition.items_of(place)]
    lanes = traffic.lanes or len(places)
    laps = work.num_steps - 1 if work.route is Route.RING else 0
    rng = random.Random(traffic.seed)
    clock = _Clock([0.0] * len(partition.order), [0.0] * len(partition.order), rng, traffic.jitter)
    entered: list[float] = []
    left: list[float] = []
    for step in range(traffic.num_chunks + laps * lanes):
        room_ms = left[step - lanes - 1] if step > lanes else 0.0
        begin_ms = max(clock.free_ms[places[0]], room_ms)
        if traffic.source_fps:
            came_ms = step * 1000 * FRAMES_PER_CHUNK / traffic.source_fps
            begin_ms = max(begin_ms, came_ms)
        entered.append(begin_ms)
        left.append(_micro_step(work, partition, places, traffic, (clock, step, lanes, begin_ms)))
    done = left[laps * lanes :]
    skip = int(len(done) * WARM_UP)
    latencies = [out - begin for out, begin in zip(done, entered, strict=False)][skip:]
    cuts = quantiles(latencies, n=100)
    elapsed_ms = done[-1] - done[skip]
    fps = FRAMES_PER_CHUNK * 1000 * (len(done) - 1 - skip) / elapsed_ms
    busy = tuple(worked / done[-1] for worked in clock.worked_ms)
    return Outcome(fps, {f"p{p}": cuts[p - 1] for p in (50, 95, 99)}, busy)


def _micro_step(
    work: Work,
    partition: Partition,
    places: list[int],
    traffic: Traffic,
    run: tuple[_Clock, int, int, float],
) -> float:
    """One message passes all places; when the pictures that fall out are decoded."""
    clock, step, lanes, now_ms = run
    done_ms = 0.0
    for index, place in enumerate(places):
        cost_ms = work.cost_ms[partition.order[place]]
        items = partition.items_of(place)
        now_ms += traffic.hop_ms if index else 0.0
        if 0 in items:
            now_ms = clock.run(place, now_ms, cost_ms[0])
        blocks = range(max(items.start, 1), min(items.stop, work.first_decoder))
        if 1 in blocks and work.route is Route.RING and step >= lanes:
            now_ms = max(now_ms, clock.returned_ms[step - lanes])
        if index or blocks:
            now_ms = clock.run(place, now_ms, sum(cost_ms[item] for item in blocks))
        done_ms = max(done_ms, now_ms)
        if place == places[-1]:
            clock.returned_ms.append(now_ms + (traffic.hop_ms if index else 0.0))
        if work.decoders_of(items.start, items.stop):
            done_ms = max(done_ms, clock.run(place, now_ms, cost_ms[items.stop - 1]))
    return done_ms


@dataclass(frozen=True, slots=True)
class Throttling:
    """A run in which one device is slower from time to time."""

    seconds: int = 600
    factor: float = 1.5
    period_s: int = 300
    """Hot for the second half of each."""
    noise: float = 0.1
    """Standard deviation of a measured stage time, relative."""
    move_ms: float = 50.0
    """That the stream stands still for each item that moves."""


def follow(
    work: Work, throttling: Throttling, rules: Rules | None, seed: int = 0
) -> tuple[float, int]:
    """(chunks done over those of a scheduler that always knows the best cuts and moves for
    nothing, moves made). `rules` None = nothing ever moves."""
    start = best_partition(work)
    assert start is not None, "work that fits"
    hot_device = start.order[len(start.order) // 2]
    factors = [1.0] * work.num_devices
    factors[hot_device] = throttling.factor
    states = {
        False: Slowness.of_devices([1.0] * work.num_devices),
        True: Slowness.of_devices(factors),
    }
    true_work = {is_hot: state.of(work) for is_hot, state in states.items()}
    best_ms = {is_hot: _best_ms(one, start) for is_hot, one in true_work.items()}
    rng, slowness, balance = random.Random(seed), states[False], Balance(start)
    done, clairvoyant, num_moves = 0.0, 0.0, 0
    for second in range(throttling.seconds):
        is_hot = second % throttling.period_s >= throttling.period_s // 2
        clairvoyant += 1000 / best_ms[is_hot]
        chunks = 1000 / balance.partition.slowest_ms(true_work[is_hot])
        if rules is not None:
            for device, factor in enumerate(states[is_hot].factors):
                for _ in range(max(1, round(chunks))):
                    ratio = factor * max(0.2, rng.gauss(1.0, throttling.noise))
                    slowness = slowness.observed(device, ratio, rules)
            verdict = plan_moves(
                balance, slowness.of(work), float(second), throttling.move_ms, rules
            )
            balance = verdict.balance
            moved = sum(len(move.items) for move in verdict.moves)
            num_moves += bool(moved)
            chunks *= max(0.0, 1 - moved * throttling.move_ms / 1000)
        done += chunks
    return done / clairvoyant, num_moves


def _best_ms(work: Work, start: Partition) -> float:
    best = best_cuts(work, start.order)
    assert best is not None, "work that fits"
    return best.slowest_ms(work)
