"""Many devices, simulated: how fast, how late, how idle; and what the paper's figures come from.

Everything but the published numbers is computed, from stage times that are given (`--times`) or
models of known cards (`multi_devices`), with the product's own partition and balancing rules
(`sdv2_host/stages`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sdv2_host.bench import multi_paper
from sdv2_host.bench.multi_devices import BAND_SHARES
from sdv2_host.bench.multi_placements import (
    UNLIMITED,
    chosen,
    even_split,
    num_blocks_of,
    reference_split,
)
from sdv2_host.bench.multi_simulation import Outcome, Throttling, Traffic, follow, simulate
from sdv2_host.stages.balance import Rules
from sdv2_host.stages.partition import Partition, best_cuts, best_partition
from sdv2_host.stages.work import DeviceTimes, Route, Split, Work, as_work
from sdv2_host.types import ProgressFn

PLACEMENTS = ("best", "even", "reference", "autoencoder alone")
MOST_DECODERS = len(BAND_SHARES)


def run(
    devices: list[DeviceTimes], num_steps: int, traffic: Traffic, progress: ProgressFn
) -> dict[str, Any]:
    """All tables for these devices; fits JSON."""
    progress("routes and placements", 0.0)
    routes = [_route(devices, num_steps, route, traffic) for route in Route]
    placements = [_placement(devices, num_steps, name, traffic) for name in PLACEMENTS]
    placements += [
        _decoders(devices, num_steps, count, traffic) for count in range(2, MOST_DECODERS + 1)
    ]
    progress("scaling", 0.3)
    scaling = [_scale(devices[0], count, num_steps, traffic) for count in (1, 2, 4, 8, 16)]
    progress("balancing", 0.6)
    balancing = [_balancing(devices, num_steps, name) for name in ("scheduler", "never", "eager")]
    progress("the paper's figures", 0.8)
    return {
        "devices": [device._asdict() for device in devices],
        "steps": num_steps,
        "traffic": asdict(traffic),
        "routes": routes,
        "placements": placements,
        "scaling": scaling,
        "balancing": balancing,
        "paper": multi_paper.figures(),
    }


def _outcome(work: Work, partition: Partition, traffic: Traffic) -> dict[str, Any]:
    outcome: Outcome = simulate(work, partition, traffic)
    return {
        "order": list(partition.order),
        "items": [len(partition.items_of(place)) for place in range(len(partition.order))],
        "fps": outcome.fps,
        "latency_ms": outcome.latency_ms,
        "busy": list(outcome.busy),
    }


def _route(
    devices: list[DeviceTimes], num_steps: int, route: Route, traffic: Traffic
) -> dict[str, Any]:
    work, choice = chosen(devices, num_steps, route)
    partition = choice.partition
    places = range(len(partition.order))
    blocks = [num_blocks_of(work, partition.items_of(place)) for place in places]
    share = max(blocks) / work.num_blocks
    outcome = _outcome(work, partition, traffic)
    decoders = choice.split.num_decoders
    return {"route": route.value, **outcome, "weights": share, "decoders": decoders}


def _scale(device: DeviceTimes, count: int, num_steps: int, traffic: Traffic) -> dict[str, Any]:
    """So many of one device."""
    row: dict[str, Any] = {"devices": count}
    for route in Route:
        row[route.value] = _route([device] * count, num_steps, route, traffic)
    return row


def _placement(
    devices: list[DeviceTimes], num_steps: int, name: str, traffic: Traffic
) -> dict[str, Any]:
    """A ring on these devices, in the order given, cut by another rule."""
    work = as_work(devices, num_steps, Route.RING)
    partition = {
        "best": best_partition,
        "even": even_split,
        "reference": reference_split,
        "autoencoder alone": autoencoder_alone,
    }[name](work)
    if partition is None:
        return {"placement": name, "fps": None}
    return {"placement": name, **_outcome(work, partition, traffic)}


def _decoders(
    devices: list[DeviceTimes], num_steps: int, count: int, traffic: Traffic
) -> dict[str, Any]:
    """The best ring whose last so many places decode a band each."""
    work = as_work(devices, num_steps, Route.RING, split=Split(count, BAND_SHARES[count - 1]))
    partition = best_partition(work)
    name = f"{count} decoders"
    if partition is None:
        return {"placement": name, "fps": None}
    return {"placement": name, **_outcome(work, partition, traffic)}


def _without_decoder(work: Work) -> Work:
    return Work(
        work.route, work.num_steps, work.num_blocks, tuple(row[:-1] for row in work.cost_ms[:-1])
    )


def autoencoder_alone(work: Work) -> Partition | None:
    """The last device encodes nothing and has no block: it decodes. None = there is only one."""
    if work.num_devices < 2:
        return None
    inner = best_cuts(_without_decoder(work), range(work.num_devices - 1))
    assert inner is not None, UNLIMITED
    return Partition((*inner.order, work.num_devices - 1), (*inner.cuts, work.num_items))


def _balancing(devices: list[DeviceTimes], num_steps: int, name: str) -> dict[str, Any]:
    """600 s with a device that throttles, against a scheduler that knows."""
    rules = {
        "scheduler": Rules(),
        "never": None,
        "eager": Rules(min_gain=0.0, evidence=0.0, cooldown_s=0.0),
    }[name]
    share, moves = follow(as_work(devices, num_steps, Route.RING), Throttling(), rules)
    return {"rules": name, "of_clairvoyant": share, "moves": moves}
