"""Ring or chain, on which devices in which order, cut where; and in one sentence why.

A chain where it fits and is not slower: it has no return link, and a chunk passes once instead of
once per step. A ring where memory binds, as each device then holds a share of the model. Devices
that would get nothing are left out, so that the first one chosen encodes and the last one decodes.

Pure: no torch, no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from sdv2_host.errors import DeviceMemoryError
from sdv2_host.stages.partition import Partition, best_partition
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import DeviceTimes, Footprint, Route, Work, as_work

ENOUGH_BYTES = 2**62
"""Of a device whose memory is not counted."""
GIB, MIB = 2**30, 2**20
CHAIN_MAY_COST = 0.03
"""Relative, of the time between two chunks: what the chain's latency is worth. Times are not
measured more exactly."""


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
    says: str
    """Why, for a person."""


def work_of(devices: Sequence[Device], num_steps: int, route: Route, need: Need) -> Work:
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
    )


def choose_route(
    devices: Sequence[Device],
    num_steps: int,
    need: Need,
    remedy: Callable[[], str],
    wanted: Route | None = None,
) -> Choice:
    """The best route and partition for a stream of `num_steps`; `wanted` None = either route.

    `remedy` says what to do where memory is short; it is asked only then.

    Raises:
        DeviceMemoryError: with what is needed, what is there, and the remedy.
    """
    ring = _planned(devices, num_steps, Route.RING, need)
    chain = _planned(devices, num_steps, Route.CHAIN, need)
    if _planned(devices, need.num_rows, Route.CHAIN, need) is None:
        chain = None  # steps are a live parameter: with more of them it would have to end
    offered = {route: plan for route, plan in ((Route.RING, ring), (Route.CHAIN, chain)) if plan}
    if wanted is not None:
        if wanted not in offered:
            raise DeviceMemoryError(_refusal(devices, wanted, need, offered, remedy))
        return Choice(wanted, offered[wanted].partition, f"{wanted}: as asked for")
    if ring and chain and not _keeps_its_shares(devices, chain.partition, num_steps, need):
        chain = None
    if chain is None:
        if ring is None:
            raise DeviceMemoryError(_refusal(devices, None, need, offered, remedy))
        return Choice(
            Route.RING,
            ring.partition,
            "ring: for a chain, which needs more of the model on each device, memory is short",
        )
    if ring is None:
        return Choice(Route.CHAIN, chain.partition, "chain: for a ring memory is short")
    if num_steps == 1:
        says = "chain: with one step nothing has to come back"
        return Choice(Route.CHAIN, chain.partition, says)
    times = f"{chain.slowest_ms:.1f} ms a chunk in a chain, {ring.slowest_ms:.1f} ms in a ring"
    if chain.slowest_ms <= ring.slowest_ms * (1 + CHAIN_MAY_COST):
        says = f"chain: {times}, where every chunk would go round {num_steps} times"
        return Choice(Route.CHAIN, chain.partition, says)
    return Choice(Route.RING, ring.partition, f"ring: {times}, at more latency")


def _keeps_its_shares(
    devices: Sequence[Device], chain: Partition, num_steps: int, need: Need
) -> bool:
    """Whether places have room for as much of the chain as now when its steps are others: its entry
    cuts it so, and a place with a small part of the model may then hold the most of it."""
    taking_part = [devices[index] for index in chain.order]
    now = RoutePlan.of(chain, work_of(taking_part, num_steps, Route.CHAIN, need))
    for steps in range(1, need.num_rows + 1):
        work = work_of(taking_part, steps, Route.CHAIN, need)
        inner = [cut + 1 for cut in now.with_steps(steps).cuts[1:-1]]
        ends = [0, *inner, work.num_items]
        for (first, last), room in zip(pairwise(ends), work.room_bytes, strict=True):
            if work.bytes_of(first, last) > room:
                return False
    return True


def fits(devices: Sequence[Device], need: Need) -> bool:
    """Whether the devices can hold it, with as many steps as can be asked for."""
    return any(_planned(devices, need.num_rows, route, need) for route in Route)


class _Planned(NamedTuple):
    partition: Partition
    slowest_ms: float


def _planned(
    devices: Sequence[Device], num_steps: int, route: Route, need: Need
) -> _Planned | None:
    """On those of the devices that get an item; None = memory is short."""
    able = [index for index, one in enumerate(devices) if one.room_bytes >= need.shared]
    if not able:
        return None
    work = work_of([devices[index] for index in able], num_steps, route, need)
    found = best_partition(work)
    if found is None:
        return None
    places = [place for place in range(len(able)) if found.items_of(place)]
    order = tuple(able[found.order[place]] for place in places)
    cuts = (0, *(found.cuts[place + 1] for place in places))
    return _Planned(Partition(order, cuts), found.slowest_ms(work))


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
