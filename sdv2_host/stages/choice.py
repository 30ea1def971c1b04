"""Ring or chain, on which devices in which order, cut where, decoded by how many; and in one
sentence why.

A chain where it fits and is not slower: it has no return link, and a chunk passes once instead of
once per step. A ring where memory binds, as each device then holds a share of the model. Devices
that would get nothing are left out, so that the first one chosen encodes and the last ones decode.
The picture is decoded in bands where one decoder would hold all others up.

Pure: no torch, no clock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sdv2_host.errors import DeviceMemoryError
from sdv2_host.stages.partition import Partition, best_partition, is_possible, least_ms
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import UNSPLIT, DeviceTimes, Footprint, Route, Split, Work, as_work

ENOUGH_BYTES = 2**62
"""Of a device whose memory is not counted."""
GIB, MIB = 2**30, 2**20
CHAIN_MAY_COST = 0.03
"""Relative, of the time between two chunks: what the chain's latency is worth. Times are not
measured more exactly."""
DECODER_MUST_GAIN = 0.03
"""Relative, of the same: what a further decoder and its memory are worth."""
WHOLE_PICTURE = (1.0,)
"""Shares of one decoder, which does all."""


class Device(NamedTuple):
    """One that may take part."""

    name: str
    """What messages call it."""
    times: DeviceTimes
    room_bytes: int
    """What it can give."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a stream takes in memory."""

    shared: int
    """Bytes on every device that takes part."""
    footprint: Footprint
    num_rows: int
    """Most denoising steps: a ring's devices keep keys and values of all of them, whichever run."""


def sharing(devices: Sequence[Device], memories: Sequence[Hashable]) -> list[Device]:
    """The devices with an equal share each of a memory that several name as theirs."""
    users = Counter(memories)
    return [
        one._replace(room_bytes=one.room_bytes // users[memory])
        for one, memory in zip(devices, memories, strict=True)
    ]


class Choice(NamedTuple):
    route: Route
    partition: Partition
    """Its order holds only the devices that take part, by their index."""
    split: Split
    says: str
    """Why, for a person."""


def work_of(
    devices: Sequence[Device],
    num_steps: int,
    route: Route,
    need: Need,
    split: Split = UNSPLIT,
) -> Work:
    """The items of a stream of `num_steps` on these devices, and what they need there."""
    footprint = need.footprint
    if route is Route.RING:
        footprint = footprint.with_rows(need.num_rows, num_steps)
    return as_work(
        [device.times for device in devices],
        num_steps,
        route,
        footprint,
        tuple(device.room_bytes - need.shared for device in devices),
        split,
    )


def choose_route(
    devices: Sequence[Device],
    num_steps: int,
    need: Need,
    remedy: Callable[[], str],
    wanted: Route | None = None,
    shares: Sequence[float] = WHOLE_PICTURE,
) -> Choice:
    """The best route and partition for a stream of `num_steps`; `wanted` None = either route.

    `remedy` says what to do where memory is short; it is asked only then. `shares`: of the whole
    decoding, what each of 1, 2, ... decoders does.

    Raises:
        DeviceMemoryError: with what is needed, what is there, and the remedy.
    """
    splits = [Split(1 + index, share) for index, share in enumerate(shares)]
    found = {route: _best(devices, num_steps, route, need, splits) for route in Route}
    offered = {route: plan for route, plan in found.items() if plan is not None}
    if not offered or (wanted is not None and wanted not in offered):
        raise DeviceMemoryError(_refusal(devices, wanted, need, offered, remedy))
    chain = offered.get(Route.CHAIN)
    is_open = wanted is None and len(offered) > 1
    if is_open and chain and not _keeps_its_shares(devices, chain, num_steps, need):
        del offered[Route.CHAIN]
    route, says = (wanted, f"{wanted}: as asked for") if wanted else _route(offered, num_steps)
    plan = offered[route]
    if plan.split.num_decoders > 1:
        says += f"; each of {plan.split.num_decoders} devices decodes a band of the picture"
    return Choice(route, plan.partition, plan.split, says)


def _route(offered: dict[Route, _Planned], num_steps: int) -> tuple[Route, str]:
    """Which of those that memory allows, and why."""
    ring, chain = offered.get(Route.RING), offered.get(Route.CHAIN)
    if chain is None:
        says = "ring: for a chain, which needs more of the model on each device, memory is short"
        return Route.RING, says
    if ring is None:
        return Route.CHAIN, "chain: for a ring memory is short"
    if num_steps == 1:
        return Route.CHAIN, "chain: with one step nothing has to come back"
    times = f"{chain.slowest_ms:.1f} ms a chunk in a chain, {ring.slowest_ms:.1f} ms in a ring"
    if chain.slowest_ms <= ring.slowest_ms * (1 + CHAIN_MAY_COST):
        return Route.CHAIN, f"chain: {times}, where every chunk would go round {num_steps} times"
    return Route.RING, f"ring: {times}, at more latency"


def _keeps_its_shares(
    devices: Sequence[Device], chain: _Planned, num_steps: int, need: Need
) -> bool:
    """Whether places have room for as much of the chain as now when its steps are others: its entry
    cuts it so, and a place with a small part of the model may then hold the most of it."""
    taking_part = [devices[index] for index in chain.partition.order]
    work = work_of(taking_part, num_steps, Route.CHAIN, need, chain.split)
    held = RoutePlan.of(chain.partition, work).most_bytes(need.footprint, need.num_rows)
    return all(most <= room for most, room in zip(held, work.room_bytes, strict=True))


def fits(devices: Sequence[Device], need: Need) -> bool:
    """Whether the devices can hold it, with as many steps as can be asked for."""
    return any(_holds(devices, route, need, UNSPLIT) for route in Route)


class _Planned(NamedTuple):
    partition: Partition
    slowest_ms: float
    split: Split


def _best(
    devices: Sequence[Device], num_steps: int, route: Route, need: Need, splits: Sequence[Split]
) -> _Planned | None:
    """A further decoder only where it gains; None = memory is short."""
    best: _Planned | None = None
    enough_ms = math.inf
    for split in splits:
        # Whatever the cuts: known at once, and most often so.
        if least_ms(work_of(devices, num_steps, route, need, split)) >= enough_ms:
            continue
        one = _planned(devices, num_steps, route, need, split)
        # Steps are a live parameter: a chain that has no room for more of them would have to end.
        if one is None or (route is Route.CHAIN and not _holds(devices, route, need, split)):
            continue
        if one.slowest_ms < enough_ms:
            best, enough_ms = one, one.slowest_ms / (1 + DECODER_MUST_GAIN)
    return best


def _able(devices: Sequence[Device], need: Need) -> list[int]:
    """Those with room for what all of them hold."""
    return [index for index, one in enumerate(devices) if one.room_bytes >= need.shared]


def _holds(devices: Sequence[Device], route: Route, need: Need, split: Split) -> bool:
    """With as many steps as can be asked for."""
    able = [devices[index] for index in _able(devices, need)]
    return bool(able) and is_possible(work_of(able, need.num_rows, route, need, split))


def _planned(
    devices: Sequence[Device], num_steps: int, route: Route, need: Need, split: Split
) -> _Planned | None:
    """On those of the devices that get an item; None = memory is short."""
    able = _able(devices, need)
    if not able:
        return None
    work = work_of([devices[index] for index in able], num_steps, route, need, split)
    found = best_partition(work)
    if found is None:
        return None
    places = [place for place in range(len(able)) if found.items_of(place)]
    order = tuple(able[found.order[place]] for place in places)
    cuts = (0, *(found.cuts[place + 1] for place in places))
    return _Planned(Partition(order, cuts), found.slowest_ms(work), split)


def _refusal(
    devices: Sequence[Device],
    wanted: Route | None,
    need: Need,
    offered: dict[Route, _Planned],
    remedy: Callable[[], str],
) -> str:
    work = work_of(devices, need.num_rows, wanted or Route.RING, need)
    total = work.bytes_of(0, work.num_items) + need.shared * len(devices)
    largest = max(work.bytes_of(item, item + 1) for item in range(work.num_items)) + need.shared
    there = ", ".join(f"{_size(max(0, one.room_bytes))} on {one.name}" for one in devices)
    what = f"a {wanted}" if wanted else "the model"
    to_do = f"--route {next(iter(offered))} fits" if offered else remedy()
    return (
        f"{what} over {len(devices)} devices with up to {need.num_rows} steps needs "
        f"at least {_size(total)}, {_size(largest)} of it in one piece; there is {there}: {to_do}"
    )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.1f} GiB" if num_bytes >= GIB else f"{num_bytes / MIB:.0f} MiB"
