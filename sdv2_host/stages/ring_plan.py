"""Which rank stands where in an epoch's ring and runs what, and how much may be under way in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sdv2_host.config import Config
from sdv2_host.stages.block_scheduler import UNLIMITED, PlaceTimes, Room
from sdv2_host.stages.choice import ENOUGH_BYTES, Device, sharing
from sdv2_host.stages.messages import Loaded
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.route_planner import RoutePlanner
from sdv2_host.stages.work import DeviceTimes, Route


class RankFacts(NamedTuple):
    """What is known of a rank that is ready."""

    rank: int
    device: str
    machine: str
    loaded: Loaded


class RingPlan(NamedTuple):
    ranks: tuple[int, ...]
    """In the order of the places."""
    route: RoutePlan
    lanes: int
    """Calls on their way at once, in a ring."""
    says: str = ""
    """Why it is so, for a person."""
    times: tuple[PlaceTimes, ...] = ()
    """Of the places, as their ranks measured before the stream began; () = they did not, and
    nothing is re-balanced."""
    room: Room = UNLIMITED
    move_ms: float = 0.0
    """What the stream stands still for each block that moves, about."""

    def most_in_flight(self, num_steps: int) -> int:
        """Chunks of so many steps that keep every device at work, and no more than that."""
        calls = self.lanes * num_steps if self.route.route is Route.RING else self.lanes
        return calls + len(self.ranks)


Planner = Callable[[Sequence[RankFacts], int], RingPlan]
"""(who is there, denoising steps).

Raises:
    HostError: they cannot hold the model.
"""


MOVED_BYTES_PER_MS = 1e6
"""By a network of 10 GbE, or between processes of one machine."""


def measured_plan(
    config: Config, planner: RoutePlanner, facts: Sequence[RankFacts], num_steps: int
) -> RingPlan:
    """The best that is known of for devices as these have measured themselves.

    Raises:
        DeviceMemoryError: they cannot hold the model.
    """
    devices = sharing(
        [_device(fact) for fact in facts], [(fact.machine, fact.device) for fact in facts]
    )
    planned = planner.plan(devices, num_steps)
    taking_part = [facts[index] for index in planned.order]
    need = planner.need
    rooms = tuple(devices[index].room_bytes - need.shared for index in planned.order)
    num_rows = need.num_rows if planned.plan.route is Route.RING else 1
    return RingPlan(
        ranks=tuple(fact.rank for fact in taking_part),
        route=planned.plan,
        lanes=num_lanes(config, len(taking_part), len({fact.machine for fact in taking_part})),
        says=planned.says,
        times=tuple(_place_times(fact, planned.split.share) for fact in taking_part),
        room=Room(need.footprint, rooms, need.num_rows),
        move_ms=need.footprint.row * num_rows / MOVED_BYTES_PER_MS,
    )


def _device(fact: RankFacts) -> Device:
    loaded = fact.loaded
    block_ms = (loaded.block_ms,) * loaded.num_blocks
    times = DeviceTimes(loaded.encode_ms, block_ms, loaded.decode_ms, loaded.row_saving)
    room_bytes = ENOUGH_BYTES if loaded.room_bytes is None else loaded.room_bytes
    return Device(f"{fact.device} of {fact.machine}", times, room_bytes)


def _place_times(fact: RankFacts, decode_share: float) -> PlaceTimes:
    loaded = fact.loaded
    decode_ms = loaded.decode_ms * decode_share
    return PlaceTimes(loaded.encode_ms, loaded.block_ms, decode_ms, loaded.row_saving)


def num_lanes(config: Config, num_places: int, num_machines: int) -> int:
    """As many as there are places; over a network one more, which hides the way."""
    return config.lanes or num_places + (num_machines > 1)
