"""From devices to the route of an epoch, with what the embedded model needs."""

from __future__ import annotations

from bisect import bisect_left

import pytest
import torch

from sdv2_host.config import Config
from sdv2_host.errors import DeviceMemoryError
from sdv2_host.stages.choice import ENOUGH_BYTES, Device
from sdv2_host.stages.messages import Loaded
from sdv2_host.stages.ring_plan import RankFacts, measured_plan
from sdv2_host.stages.route import Segment
from sdv2_host.stages.route_planner import RoutePlanner
from sdv2_host.stages.work import DeviceTimes, Route
from sdv2_host.wan.dims import TINY_DIT

CONFIG = Config(width=64, height=64)
TIMES = DeviceTimes(10.0, (10.0,) * TINY_DIT.num_layers, 20.0)


@pytest.fixture(scope="module")
def planner() -> RoutePlanner:
    return RoutePlanner(CONFIG, torch.float32)


def devices(*rooms: int) -> list[Device]:
    return [Device(f"cuda:{index}", TIMES, room) for index, room in enumerate(rooms)]


def segments(planner: RoutePlanner, rooms: list[int], num_steps: int) -> list[Segment]:
    plan = planner.plan(devices(*rooms), num_steps).plan
    return [plan.segment(place) for place in range(plan.num_places)]


@pytest.mark.parametrize("num_steps", [1, 2, 4])
def test_with_enough_memory_it_is_a_chain_of_the_steps_of_now(
    planner: RoutePlanner, num_steps: int
) -> None:
    planned = planner.plan(devices(*[ENOUGH_BYTES] * 3), num_steps)

    assert (planned.plan.route, planned.plan.num_steps) == (Route.CHAIN, num_steps)
    assert sorted(planned.order) == [0, 1, 2]
    assert planned.says.startswith("chain: ")


def test_a_ring_that_memory_asks_for_holds_every_step_and_each_block_once(
    planner: RoutePlanner,
) -> None:
    rooms = range(0, 1 << 28, 1 << 14)
    room = rooms[bisect_left(rooms, True, key=lambda room: is_planned(planner, [room] * 3))]

    planned = planner.plan(devices(room, room, room), 2)
    owned = [block for one in segments(planner, [room] * 3, 2) for block in one.blocks]

    assert (planned.plan.route, planned.plan.num_steps) == (Route.RING, 4)
    assert owned == list(range(TINY_DIT.num_layers))


def is_planned(planner: RoutePlanner, rooms: list[int]) -> bool:
    try:
        planner.plan(devices(*rooms), 2)
    except DeviceMemoryError:
        return False
    return True


def test_a_device_without_room_is_left_out(planner: RoutePlanner) -> None:
    planned = planner.plan(devices(0, ENOUGH_BYTES, ENOUGH_BYTES), 2)

    assert sorted(planned.order) == [1, 2]
    assert planned.plan.num_places == 2


def loaded(rank: int, room_bytes: int | None) -> RankFacts:
    times = Loaded(
        num_blocks=TINY_DIT.num_layers,
        encode_ms=10.0,
        block_ms=10.0,
        decode_ms=20.0,
        room_bytes=room_bytes,
    )
    return RankFacts(rank, f"cuda:{rank}", "here", times)


def test_a_rank_whose_device_is_full_gets_nothing_and_one_that_does_not_count_may(
    planner: RoutePlanner,
) -> None:
    plan = measured_plan(CONFIG, planner, [loaded(0, 0), loaded(1, 1 << 40)], 2)
    uncounted = measured_plan(CONFIG, planner, [loaded(0, None), loaded(1, 1 << 40)], 2)

    assert plan.ranks == (1,)
    assert sorted(uncounted.ranks) == [0, 1]
