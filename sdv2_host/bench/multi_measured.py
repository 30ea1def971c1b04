"""The ring of the product on real devices: how fast, how late, how busy; beside a stream on one
device, and beside what the partition search promises from measured times.

Setups take turns, several rounds of them, so that other load on the machine falls on all alike;
ratios are taken within a round, and their median is reported.
"""

from __future__ import annotations

import gc
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from sdv2_host.bench.measured_deaths import measure_deaths
from sdv2_host.bench.measured_hop import leaf_shape, measure_hop_ms
from sdv2_host.bench.measured_setups import (
    Kind,
    Setup,
    Subject,
    device_models,
    opened,
)
from sdv2_host.bench.multi_placements import chosen
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.config import Config
from sdv2_host.gpu.band_shares import planned_shares
from sdv2_host.params import Params
from sdv2_host.stages.block_scheduler import PlaceTimes
from sdv2_host.stages.choice import WHOLE_PICTURE
from sdv2_host.stages.device_times import measure_device
from sdv2_host.stages.ring_engine import RingEngine
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import DeviceTimes, Route
from sdv2_host.types import ProgressFn
from sdv2_host.wan.dims import FRAMES_PER_LATENT

NUM_FIRST = 12
"""Chunks that warm a setup up and fill its cache; not counted."""
NUM_FILLING = 8
"""After it has stood still: as many as it may hold back."""
NUM_LONE = 5
MIN_CHUNKS = 8


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """`config`: engine, size, devices, lanes and threads of each rank."""

    config: Config
    params: Params
    setups: tuple[Setup, ...]
    """The first is the bare pipeline."""
    routes: tuple[Route, ...]
    """Whose ranks are killed."""
    seconds: float
    """Of each turn."""
    rounds: int
    kills: int
    """Of each rank, and as many hangs; 0 = none."""


class Turn(NamedTuple):
    """What came of one turn of a setup."""

    fps: float
    latency_ms: list[float]
    """Of each chunk, from when it is given to its pictures, with as many on their way as may be."""
    lone_ms: list[float]
    """The same with one chunk at a time."""
    places: list[dict[str, Any]]
    """Of a ring: what each place runs, takes for it, and how busy that keeps it."""


@dataclass(slots=True)
class _Row:
    """Turns of a setup, a round each."""

    setup: Setup
    turns: list[Turn] = field(default_factory=list)


def run(plan: MeasurePlan, progress: ProgressFn) -> dict[str, Any]:
    """All of it; fits JSON.

    Raises:
        HostError: a model or a device is missing, or memory is short.
    """
    progress("what each device takes alone", 0.0)
    alone = {name: device_times(plan, name, progress) for name in set(plan.config.ring_devices)}
    times = [alone[name] for name in plan.config.ring_devices]
    hop_ms = _hop_ms(plan, progress)
    rows = [_Row(setup) for setup in plan.setups]
    for number in range(plan.rounds):
        for index, row in enumerate(rows):
            done = (number * len(rows) + index) / (plan.rounds * len(rows))
            progress(f"{row.setup.label}, round {number + 1}", done)
            row.turns.append(_turn(row.setup, plan, progress))
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # the processes of a ring have no other memory
    bare_fps = [turn.fps for turn in rows[0].turns]
    shares = planned_shares(plan.config)
    return {
        "engine": plan.config.engine,
        "size": str(plan.config.size),
        "steps": plan.params.steps,
        "devices": list(plan.config.ring_devices),
        "lanes": plan.config.lanes,
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        "times": [one._asdict() for one in times],
        "hop_ms": hop_ms,
        "rows": [_summary(row, bare_fps, times, plan.params.steps, shares) for row in rows],
        "deaths": measure_deaths(plan.config, plan.params, plan.routes, plan.kills, progress)
        if plan.kills
        else [],
    }


def device_times(plan: MeasurePlan, name: str, progress: ProgressFn) -> DeviceTimes:
    """Of this device, with nothing beside it."""
    models, spec = device_models(_on(plan.config, name), progress)
    return measure_device(models.dit, models.vae, spec, block=0)


def _on(config: Config, name: str) -> Config:
    return config.model_copy(update={"devices": "", "join_listen": "", "device": name})


def _hop_ms(plan: MeasurePlan, progress: ProgressFn) -> float | None:
    """None = there is one device only."""
    names = plan.config.ring_devices
    if len(names) < 2:
        return None
    models, spec = device_models(_on(plan.config, names[0]), progress)
    shape = leaf_shape(models.dit.dims, spec)
    return measure_hop_ms([torch.device(name) for name in names[:2]], shape)


class _Clocked:
    """A subject whose chunks are clocked. Lifetime: one turn.

    Fields: `_given_ns` of chunks whose pictures have not come; `_num_frames` of the oldest of them
    that have; `latency_ms` of all that have come.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._given_ns: deque[int] = deque()
        self._num_frames = 0
        self.latency_ms: list[float] = []

    def step(self) -> None:
        self._given_ns.append(now_ns())
        self._came(self._subject.step())

    def feed(self, num_chunks: int) -> None:
        for _ in range(num_chunks):
            self.step()

    def finish(self) -> None:
        self._came(self._subject.finish())
        # An engine may have owed the picture of its first frame as well, which is no chunk's.
        self._given_ns.clear()
        self._num_frames = 0

    def _came(self, num_frames: int) -> None:
        now = now_ns()
        self._num_frames += num_frames
        while self._num_frames >= FRAMES_PER_LATENT and self._given_ns:
            self._num_frames -= FRAMES_PER_LATENT
            self.latency_ms.append((now - self._given_ns.popleft()) / NS_PER_MS)

    def lone_ms(self) -> float:
        """Of one chunk with no other on its way."""
        begin_ns = now_ns()
        self.step()
        self.finish()
        return (now_ns() - begin_ns) / NS_PER_MS


def _turn(setup: Setup, plan: MeasurePlan, progress: ProgressFn) -> Turn:
    with opened(setup, plan.config, plan.params, progress) as subject:
        clocked = _Clocked(subject)
        clocked.feed(NUM_FIRST)
        clocked.finish()
        lone_ms = [clocked.lone_ms() for _ in range(NUM_LONE)]
        clocked.feed(max(NUM_FILLING, _num_held(subject.ring, plan.params.steps)))
        fps, latency_ms = _saturate(clocked, plan.seconds)
        steps = plan.params.steps
        places = _places(subject.ring, steps, fps) if subject.ring is not None else []
        clocked.finish()
    return Turn(fps, latency_ms, lone_ms, places)


def _num_held(ring: RingEngine | None, steps: int) -> int:
    """Chunks that a ring has on their way at once."""
    return ring.driver.most_in_flight(steps) if ring is not None else 0


def _saturate(clocked: _Clocked, seconds: float) -> tuple[float, list[float]]:
    """Chunks one after the other, as fast as they are taken: frames per second, and latencies of
    those that came meanwhile."""
    num_before = len(clocked.latency_ms)
    began_ns = now_ns()
    while True:
        clocked.step()
        latency_ms = clocked.latency_ms[num_before:]
        elapsed_s = (now_ns() - began_ns) / NS_PER_S
        if elapsed_s >= seconds and len(latency_ms) >= MIN_CHUNKS:
            return FRAMES_PER_LATENT * len(latency_ms) / elapsed_s, latency_ms


def _places(ring: RingEngine, steps: int, fps: float) -> list[dict[str, Any]]:
    """What each place owns, takes per chunk by what it has told, and how busy that keeps it."""
    plan = ring.driver.plan
    assert plan is not None, "pictures have come"
    route = plan.route.with_steps(steps) if plan.route.route is Route.CHAIN else plan.route
    stages = stage_ms(route, steps, ring.driver.place_times)
    return [
        {
            "items": [route.cuts[place], route.cuts[place + 1]],
            "stage_ms": ms,
            "busy": ms * fps / FRAMES_PER_LATENT / 1000,
        }
        for place, ms in enumerate(stages)
    ]


def stage_ms(route: RoutePlan, steps: int, places: Sequence[PlaceTimes]) -> list[float]:
    """What each place takes for a chunk: encoding at the first, its blocks for every row that
    passes them, decoding at the last ones."""
    rows_each = steps if route.route is Route.RING else 1
    stages = []
    for place, times in enumerate(places):
        num_items = route.cuts[place + 1] - route.cuts[place]
        ms = num_items * rows_each * times.block_ms
        ms += times.encode_ms if place == 0 else 0.0
        ms += 0.0 if route.band(place) is None else times.decode_ms
        stages.append(ms)
    return stages


def promised_fps(
    times: Sequence[DeviceTimes],
    steps: int,
    route: Route,
    shares: Sequence[float] = WHOLE_PICTURE,
) -> float:
    """Of the best partition over these devices, where nothing but its slowest stage takes time."""
    work, choice = chosen(list(times), steps, route, shares)
    return FRAMES_PER_LATENT * 1000 / choice.partition.slowest_ms(work)


def _summary(
    row: _Row,
    bare_fps: list[float],
    times: list[DeviceTimes],
    steps: int,
    shares: Sequence[float],
) -> dict[str, Any]:
    setup, turns = row.setup, row.turns
    latency_ms = [ms for turn in turns for ms in turn.latency_ms]
    fps = statistics.median(turn.fps for turn in turns)
    summary: dict[str, Any] = {
        "setup": setup.label,
        "kind": setup.kind.value,
        "num_devices": setup.num_devices,
        "threads": setup.threads,
        "fps": fps,
        "fps_of_rounds": [turn.fps for turn in turns],
        "of_bare": statistics.median(
            turn.fps / bare for turn, bare in zip(turns, bare_fps, strict=True)
        ),
        "latency_ms": {f"p{p}": float(np.percentile(latency_ms, p)) for p in (50, 95)},
        "lone_ms": statistics.median(ms for turn in turns for ms in turn.lone_ms),
    }
    if setup.kind in {Kind.RING, Kind.CHAIN}:
        devices, route = times[: setup.num_devices], Route(setup.kind.value)
        promised = promised_fps(devices, steps, route, shares)
        places = turns[-1].places
        as_run_fps = FRAMES_PER_LATENT * 1000 / max(place["stage_ms"] for place in places)
        summary |= {
            "places": places,
            "promised_fps": promised,
            "of_promised": fps / promised,
            "slowest_stage_fps": as_run_fps,
            "of_slowest_stage": turns[-1].fps / as_run_fps,
        }
    return summary
