"""Many devices, simulated: how fast, how late, how idle; and what the paper's figures come from.

Everything but the published numbers is computed, from stage times that are given (`--times`) or
models of known cards (`multi_devices`), with the product's own partition and balancing rules
(`sdv2_host/stages`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sdv2_host.bench import multi_paper
from sdv2_host.bench.multi_placements import even_split, num_blocks_of, reference_split
from sdv2_host.bench.multi_simulation import Outcome, Throttling, Traffic, follow, simulate
from sdv2_host.stages.balance import Rules
from sdv2_host.stages.partition import Partition, best_cuts, best_partition
from sdv2_host.stages.work import DeviceTimes, Route, Work, as_work
from sdv2_host.types import ProgressFn

PLACEMENTS = ("best", "even", "reference", "autoencoder alone", "decoder on two")
TILE_OVERHEAD = 1.1
"""Of a decoder split in two halves of the picture, whose borders both compute."""


def run(
    devices: list[DeviceTimes], num_steps: int, traffic: Traffic, progress: ProgressFn
) -> dict[str, Any]:
    """All tables for these devices; fits JSON."""
    progress("routes and placements", 0.0)
    routes = [_route(devices, num_steps, route, traffic) for route in Route]
    placements = [_placement(devices, num_steps, name, traffic) for name in PLACEMENTS]
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
    work = as_work(devices, num_steps, route)
    partition = best_partition(work)
    assert partition is not None, "memory is not counted here"
    blocks = [num_blocks_of(work, partition.items_of(place)) for place in range(len(devices))]
    share = max(blocks) / work.num_blocks
    return {"route": route.value, **_outcome(work, partition, traffic), "weights": share}


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
    if name == "decoder on two":
        return {"placement": name, **_decoder_on_two(devices, num_steps, traffic)}
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


def _decoder_on_two(devices: list[DeviceTimes], num_steps: int, traffic: Traffic) -> dict[str, Any]:
    """The last two devices decode half a picture each: one stage that takes half the time."""
    if len(devices) < 3:
        return {"fps": None}
    half = [
        device._replace(decode_ms=device.decode_ms * TILE_OVERHEAD / 2) for device in devices[:-1]
    ]
    work = as_work(half, num_steps, Route.RING)
    # Its helper does nothing else, so the decoder's own device is alone with it too.
    partition = autoencoder_alone(work)
    assert partition is not None, "two devices at least"
    return _outcome(work, partition, traffic)


def _without_decoder(work: Work) -> Work:
    return Work(
        work.route, work.num_steps, work.num_blocks, tuple(row[:-1] for row in work.cost_ms[:-1])
    )


def autoencoder_alone(work: Work) -> Partition | None:
    """The last device encodes nothing and has no block: it decodes. None = there is only one."""
    if work.num_devices < 2:
        return None
    inner = best_cuts(_without_decoder(work), range(work.num_devices - 1))
    assert inner is not None, "memory is not counted here"
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
