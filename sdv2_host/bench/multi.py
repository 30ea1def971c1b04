"""Many devices, simulated: how fast, how late, how idle; and what the paper's figures come from.

Everything but the published numbers is computed, from stage times that are given (`--times`) or
models of known cards (`multi_devices`), with the product's own partition and balancing rules
(`sdv2_host/stages`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sdv2_host.bench.multi_devices import BAND_SHARES, as_built, as_published
from sdv2_host.bench.multi_simulation import Outcome, Throttling, Traffic, follow, simulate
from sdv2_host.stages.balance import Rules
from sdv2_host.stages.choice import ENOUGH_BYTES, Device, Need, choose_route, work_of
from sdv2_host.stages.partition import Partition, best_cuts, best_partition
from sdv2_host.stages.work import UNCOUNTED, DeviceTimes, Route, Split, Work, as_work
from sdv2_host.types import ProgressFn

PUBLISHED_FPS = [
    # model, 480p, steps, what StreamDiffusionV2 reports on four H100s (abstract, section 5.2)
    ("1.3b", False, 1, 64.52),
    ("1.3b", False, 4, 61.57),
    ("1.3b", True, 1, 42.26),
    ("14b", False, 1, 58.28),
    ("14b", True, 1, 39.24),
    ("14b", False, 4, 31.62),
]
PUBLISHED_SEQUENCE_MS = (40.0, 120.0)
"""What sequence parallelism's messages add to a step on four devices, as the paper reports."""
PLACEMENTS = ("best", "even", "reference", "autoencoder alone")
MOST_DECODERS = len(BAND_SHARES)
UNLIMITED = "memory is not counted here"


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
        "paper": [_published(*row) for row in PUBLISHED_FPS],
        "sequence": [_sequence(model, steps) for model in ("1.3b", "14b") for steps in (1, 4)],
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
    """As the product would choose it, with as many decoders as pay."""
    known = [Device(str(index), times, ENOUGH_BYTES) for index, times in enumerate(devices)]
    need = Need(0, UNCOUNTED, num_steps)
    choice = choose_route(known, num_steps, need, lambda: UNLIMITED, route, BAND_SHARES)
    work = work_of(known, num_steps, route, need, choice.split)
    partition = choice.partition
    blocks = [
        _num_blocks(work, items) for items in map(partition.items_of, range(len(partition.order)))
    ]
    share = max(blocks) / work.num_blocks
    outcome = _outcome(work, partition, traffic)
    decoders = choice.split.num_decoders
    return {"route": route.value, **outcome, "weights": share, "decoders": decoders}


def _num_blocks(work: Work, items: range) -> int:
    return len({work.block_of(item) for item in items} - {None})


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


def even_split(work: Work) -> Partition:
    """Equally many blocks for each device, the first of them more where it does not divide."""
    num_devices = work.num_devices
    counts = [
        work.num_blocks // num_devices + (place < work.num_blocks % num_devices)
        for place in range(num_devices)
    ]
    return _with_blocks(work, counts)


def reference_split(work: Work) -> Partition:
    """One round of the reference's rule from an even split: the time that a device is over the
    mean, in blocks of the mean time, goes to the others; each keeps one at least.

    Source: streamv2v/communication/utils.py, compute_balanced_split.
    """
    even = even_split(work)
    counts = [_num_blocks(work, even.items_of(place)) for place in range(work.num_devices)]
    total_ms = even.stage_ms(work)
    blocks_ms = [
        sum(
            work.cost_ms[device][item]
            for item in even.items_of(place)
            if work.block_of(item) is not None
        )
        for place, device in enumerate(even.order)
    ]
    one_ms, mean_ms = sum(blocks_ms) / work.num_blocks, sum(total_ms) / len(total_ms)
    counts = [
        max(1, round(count + (mean_ms - ms) / one_ms))
        for count, ms in zip(counts, total_ms, strict=True)
    ]
    while sum(counts) != work.num_blocks:
        if sum(counts) < work.num_blocks:
            counts[counts.index(min(counts))] += 1
        else:
            counts[counts.index(max(counts))] -= 1
    return _with_blocks(work, counts)


def autoencoder_alone(work: Work) -> Partition | None:
    """The last device encodes nothing and has no block: it decodes. None = there is only one."""
    if work.num_devices < 2:
        return None
    inner = best_cuts(_without_decoder(work), range(work.num_devices - 1))
    assert inner is not None, UNLIMITED
    return Partition((*inner.order, work.num_devices - 1), (*inner.cuts, work.num_items))


def _with_blocks(work: Work, counts: list[int]) -> Partition:
    """So many blocks for each device in turn; the first encodes, the last decodes."""
    cuts = [0]
    for count in counts:
        cuts.append(cuts[-1] + count)
    cuts = [0, *(cut + 1 for cut in cuts[1:-1]), work.num_items]
    return Partition(tuple(range(work.num_devices)), tuple(cuts))


def _balancing(devices: list[DeviceTimes], num_steps: int, name: str) -> dict[str, Any]:
    """600 s with a device that throttles, against a scheduler that knows."""
    rules = {
        "scheduler": Rules(),
        "never": None,
        "eager": Rules(min_gain=0.0, evidence=0.0, cooldown_s=0.0),
    }[name]
    share, moves = follow(as_work(devices, num_steps, Route.RING), Throttling(), rules)
    return {"rules": name, "of_clairvoyant": share, "moves": moves}


def _published(model: str, is_480p: bool, num_steps: int, fps: float) -> dict[str, Any]:
    """One figure of the paper, the same from the fitted stage times, and what this project's
    routes would make of those and of its own."""
    fitted = [as_published(model, is_480p=is_480p)] * 4
    traffic = Traffic(hop_ms=1.3)
    ring = as_work(fitted, num_steps, Route.RING)
    row: dict[str, Any] = {
        "model": model,
        "size": "832x480" if is_480p else "512x512",
        "steps": num_steps,
        "paper_fps": fps,
        "one_device": _outcome(*_one_device(fitted[0], num_steps), traffic),
        "even": _outcome(ring, even_split(ring), traffic),
        "reference": _outcome(ring, reference_split(ring), traffic),
        "ring": _route(fitted, num_steps, Route.RING, traffic),
        "chain": _route(fitted, num_steps, Route.CHAIN, traffic),
    }
    if not is_480p:
        own = [as_built("h100", model)] * 4
        row["own_chain"] = _route(own, num_steps, Route.CHAIN, traffic)
    return row


def _one_device(device: DeviceTimes, num_steps: int) -> tuple[Work, Partition]:
    work = as_work([device], num_steps, Route.RING)
    return work, Partition((0,), (0, work.num_items))


def _sequence(model: str, num_steps: int) -> dict[str, Any]:
    """Sequence parallelism over four: the DiT in quarters and its messages, the autoencoder on
    one."""
    device = as_published(model)
    coding_ms = device.encode_ms + device.decode_ms
    quarter_ms = num_steps * sum(device.block_ms) / 4
    low, high = (num_steps * ms for ms in PUBLISHED_SEQUENCE_MS)
    ring = _route([device] * 4, num_steps, Route.RING, Traffic(hop_ms=1.3))
    return {
        "model": model,
        "steps": num_steps,
        "compute_ms": coding_ms + quarter_ms,
        "messages_ms": [low, high],
        "fps": [4000 / (coding_ms + quarter_ms + ms) for ms in (high, low)],
        "ring_fps": ring["fps"],
    }
