"""The scheduler in simulated hours: deadlines, drops and latency beside three baselines.

The host is the product's own (`slo_simulation`), the devices are models (`slo_devices`), the loads
`slo_world`'s. Baselines: the fixed batch (a chunk of 4, all steps in a batch, newest frames win),
the reference's queue without bounds, and an oracle that knows the future (`slo_oracle`). Beside
them stands the host as started, which never reschedules. The oracle is asked for the most frames
at equal latency: at the 99th percentile of the scheduler's own. Where that is more than WITHIN
allows, it is asked again, for those that it shows without longer gaps than the scheduler leaves.
Where autoencoder and size may change, it has the cheapest of them from the first frame on and pays
for no change.
"""

from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

import numpy as np

from sdv2_host.bench.slo_devices import ALL, StageTimes
from sdv2_host.bench.slo_oracle import most_in_time, most_without_gaps
from sdv2_host.bench.slo_setups import ChangingSetups, SetupLog, cheapest
from sdv2_host.bench.slo_simulation import (
    Host,
    NewestWins,
    Run,
    SimulatedEngine,
    UnboundedQueue,
    simulate,
)
from sdv2_host.bench.slo_world import World, worlds
from sdv2_host.clock import NS_PER_MS, NS_PER_S
from sdv2_host.params import Params, SloMode, allows
from sdv2_host.stream.slo import Load, StepTable, allowed_shapes
from sdv2_host.types import Layout, ProgressFn, Shape

WITHIN = 0.05
"""Of the oracle's frames the scheduler shall miss no more."""
BOUND_CHUNKS = 3.0
"""The latency bound, in latencies of a chunk as started with the slowest source."""
MIN_BOUND_MS = 500.0
SLOWEST_FPS = 16
USUAL_STEP_MS = 80.0
"""A device that takes longer is simulated longer, so that it makes as many chunks."""
MOST_SECONDS = 60.0
"""For that; the oracle takes long."""


AFTER_CHANGE_S, LEAST_SETTLED_S = 5.0, 5.0
"""A new engine's schedule learns first what steps take."""


def run(
    seconds: float, mode: SloMode, progress: ProgressFn, devices: list[StageTimes] | None = None
) -> dict[str, Any]:
    """All devices in all worlds of about `seconds`."""
    cases = []
    devices = devices or ALL
    for index, times in enumerate(devices):
        length_s = max(seconds, min(MOST_SECONDS, seconds * _stretch(times)))
        loads = worlds(length_s)
        for number, world in enumerate(loads):
            cases.append(measure_case(times, world, mode))
            done = (index + (number + 1) / len(loads)) / len(devices)
            progress(f"{times.name}, {world.name}", done)
    return {"mode": mode, "seconds": seconds, "cases": cases, "summary": _summary(cases)}


def _stretch(times: StageTimes) -> float:
    step_ms = times.step_ms()[_started(times)]
    return max(1.0, step_ms / USUAL_STEP_MS)


def _started(times: StageTimes) -> Shape:
    return Shape(4, Layout.SERIAL, times.max_steps)


def bound_ms(times: StageTimes) -> float:
    """The latency bound that the hosts are given."""
    table = StepTable(_started(times), times.step_ms())
    return max(MIN_BOUND_MS, BOUND_CHUNKS * table.latency_ms(_started(times), SLOWEST_FPS))


def seconds_of(mode: SloMode) -> int:
    """Of each load, where nobody says: a change of setup takes seconds, and is made for minutes."""
    return 120 if allows(mode, "vae") else 20


def measure_case(times: StageTimes, world: World, mode: SloMode) -> dict[str, Any]:
    """All hosts in one world."""
    bound, steps = bound_ms(times), times.max_steps
    params = Params(steps=steps, slo_mode=mode, latency_bound_ms=bound)
    fixed = params.model_copy(update={"slo_mode": "off"})
    engine = SimulatedEngine(times)
    scheduler = ChangingSetups(times, params, engine)
    hosts: dict[str, Host] = {
        "scheduler": scheduler,
        "as started": NewestWins(times, fixed),
        "fixed batch": NewestWins(times, fixed, Layout.BATCH),
        "unbounded queue": UnboundedQueue(steps),
    }
    engines = {name: SimulatedEngine(times) for name in hosts} | {"scheduler": engine}
    runs = {name: simulate(host, world, engines[name]) for name, host in hosts.items()}
    equal_ms = _percentile(runs["scheduler"], 99)
    in_time = [n for n, ms in runs["scheduler"].latency_ms.items() if ms <= equal_ms]
    table = StepTable(_started(times), cheapest(times, mode).step_ms())
    shapes = allowed_shapes(table, Load(steps, source_fps=SLOWEST_FPS, mode=mode))
    step_ms = {shape: table.step_ms[shape] for shape in shapes}
    oracle = most_in_time(step_ms, world, equal_ms)
    ratio = len(in_time) / oracle if oracle else 1.0
    even_ratio = ratio
    if ratio < 1 - WITHIN and not allows(mode, "vae"):
        gap = max(after - before for before, after in itertools.pairwise([0, *sorted(in_time)]))
        even_ratio = len(in_time) / most_without_gaps(step_ms, world, equal_ms, gap)
    return {
        "device": times.name,
        "world": world.name,
        "seconds": world.seconds,
        "frames": len(world.arrivals_ns),
        "bound_ms": bound,
        "hosts": {name: _measures(one, world, bound) for name, one in runs.items()},
        "oracle": {"latency_ms": equal_ms, "shown_in_time": oracle},
        "in_time": len(in_time),
        "oracle_ratio": ratio,
        "even_ratio": even_ratio,
        "setups": scheduler.log.to_json(),
        "settled_ratio": _settled_ratio(runs["scheduler"], world, equal_ms, scheduler.log),
        "says": scheduler.says,
    }


def _settled_ratio(run: Run, world: World, in_time_ms: float, log: SetupLog) -> float | None:
    """Of the frames that come after the last change of setup and in time for an answer: those shown
    in time. None = the world ends before there is much to tell, or while another is prepared."""
    begin_ns = (log.settled_s + AFTER_CHANGE_S) * NS_PER_S if log.settled_s else 0.0
    end_ns = world.duration_ns - in_time_ms * NS_PER_MS
    if log.is_preparing or end_ns - begin_ns < LEAST_SETTLED_S * NS_PER_S:
        return None
    numbers = [n for n, at in enumerate(world.arrivals_ns, 1) if begin_ns <= at <= end_ns]
    in_time = sum(run.latency_ms.get(number, math.inf) <= in_time_ms for number in numbers)
    return in_time / len(numbers)


def _measures(run: Run, world: World, bound: float) -> dict[str, Any]:
    latencies = list(run.latency_ms.values())
    return {
        "shown": len(latencies),
        "fps": len(latencies) / world.seconds,
        "missed": sum(ms > bound for ms in latencies),
        "not_shown": len(world.arrivals_ns) - len(latencies),
        "latency_ms": {f"p{p}": _percentile(run, p) for p in (50, 95, 99)},
        "most_waiting_chunks": run.most_waiting_chunks,
        "changes": run.num_changes,
        "shapes": {str(shape): frames for shape, frames in run.shapes.items()},
    }


def _percentile(run: Run, percent: int) -> float:
    latencies = list(run.latency_ms.values())
    return float(np.percentile(latencies, percent)) if latencies else 0.0


def _summary(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """What the issue asks for, over all cases and without the stalls."""

    def ratios(with_stalls: bool) -> list[float]:
        return [
            case["oracle_ratio"] for case in cases if ("stalls" in case["world"]) == with_stalls
        ]

    steady, stalls = ratios(False), ratios(True)
    changed = [case for case in cases if case["setups"]["changes"]]
    settled = [one["settled_ratio"] for one in changed if one["settled_ratio"] is not None]
    return {
        "oracle_ratio_median": statistics.median(steady + stalls),
        "oracle_ratio_worst": min(steady),
        "oracle_ratio_worst_with_stalls": min(stalls, default=1.0),
        "within_5_percent": sum(ratio >= 1 - WITHIN for ratio in steady + stalls),
        "within_5_percent_evenly": sum(case["even_ratio"] >= 1 - WITHIN for case in cases),
        "cases": len(cases),
        "most_waiting_chunks": max(
            case["hosts"]["scheduler"]["most_waiting_chunks"] for case in cases
        ),
        "changed_setup": len(changed),
        "most_changes": max(case["setups"]["changes"] for case in cases),
        "settled_ratio_median": statistics.median(settled) if settled else None,
        "settled_ratio_worst": min(settled, default=None),
    }
