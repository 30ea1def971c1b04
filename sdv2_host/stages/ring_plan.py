"""Which rank stands where in an epoch's ring and runs what, and how much may be under way in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch

from sdv2_host.config import Config
from sdv2_host.stages.block_scheduler import UNLIMITED, Room
from sdv2_host.stages.choice import ENOUGH_BYTES, Device, sharing, work_of
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
    """In the order of the places. Others are spare: they would get nothing to do."""
    route: RoutePlan
    lanes: int
    """Calls on their way at once, in a ring."""
    says: str = ""
    """Why so, for a person."""
    room: Room = UNLIMITED
    """Memory of the places."""

    def most_in_flight(self, num_steps: int) -> int:
        """Chunks of so many steps that keep every device at work, and no more than that."""
        calls = self.lanes * num_steps if self.route.route is Route.RING else self.lanes
        return calls + len(self.ranks)


Planner = Callable[[Sequence[RankFacts], int], RingPlan]
"""(who is there, denoising steps).

Raises:
    HostError: they cannot hold the model.
"""


class MeasuredPlanner:
    """A `Planner` by what ranks measured. What the stream needs is found in a thread of its own,
    while they load."""

    def __init__(self, config: Config, dtype: torch.dtype) -> None:
        """`dtype`: of the ranks."""
        self._config = config
        wanted = None if config.route == "auto" else Route(config.route)
        pool = ThreadPoolExecutor(1, thread_name_prefix="need")
        self._planner = pool.submit(RoutePlanner, config, dtype, wanted)
        pool.shutdown(wait=False)

    def __call__(self, facts: Sequence[RankFacts], num_steps: int) -> RingPlan:
        planner = self._planner.result()
        devices = _devices(facts)
        planned = planner.plan(devices, num_steps)
        taking_part = [facts[index] for index in planned.order]
        num_machines = len({fact.machine for fact in taking_part})
        work = work_of(
            [devices[index] for index in planned.order],
            planned.plan.num_steps,
            planned.plan.route,
            planner.need,
        )
        return RingPlan(
            ranks=tuple(fact.rank for fact in taking_part),
            route=planned.plan,
            lanes=num_lanes(self._config, len(taking_part), num_machines),
            says=planned.says,
            room=Room(work.footprint, work.room_bytes),
        )


def _devices(facts: Sequence[RankFacts]) -> list[Device]:
    """With the memory that each can give: ranks on one device share it."""
    devices = []
    for fact in facts:
        loaded = fact.loaded
        times = DeviceTimes(
            loaded.encode_ms,
            (loaded.block_ms,) * loaded.num_blocks,
            loaded.decode_ms,
            loaded.row_saving,
        )
        devices.append(Device(fact.device, times, loaded.room_bytes or ENOUGH_BYTES))
    return sharing(devices, [(fact.machine, fact.device) for fact in facts])


def num_lanes(config: Config, num_places: int, num_machines: int) -> int:
    """As many as there are places; over a network one more, which hides the way."""
    return config.lanes or num_places + (num_machines > 1)
