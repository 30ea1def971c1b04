"""Blocks leave a place that gets slow, and only then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.clock import NS_PER_S
from sdv2_host.stages.block_scheduler import BlockScheduler, Decision, PlaceTimes, Room
from sdv2_host.stages.messages import Pulse
from sdv2_host.stages.partition import best_partition
from sdv2_host.stages.ring_balance import RingBalance
from sdv2_host.stages.ring_plan import RingPlan
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import DeviceTimes, Footprint, Route, as_work

TIMES = PlaceTimes(encode_ms=2.0, block_ms=1.0, decode_ms=4.0)


def decisions(
    scheduler: BlockScheduler, factors: list[float], seconds: range
) -> list[tuple[int, Decision]]:
    """With every place `factors` times as slow as at first."""
    made = []
    for second in seconds:
        for place, factor in enumerate(factors):
            scheduler.see(place, PlaceTimes(*(ms * factor for ms in TIMES)))
        if decision := scheduler.decide(float(second)):
            made.append((second, decision))
    return made


@pytest.mark.parametrize("route", list(Route))
def test_blocks_leave_a_place_that_throttles_and_come_back(route: Route) -> None:
    plan = RoutePlan(route, 1, 30, (0, 10, 22, 30))
    scheduler = BlockScheduler(plan, [TIMES] * 3, move_ms=5.0)

    assert decisions(scheduler, [1.0, 1.0, 1.0], range(60)) == []
    hot = decisions(scheduler, [1.0, 2.0, 1.0], range(60, 120))
    hot_share = scheduler.plan.cuts[2] - scheduler.plan.cuts[1]
    cool = decisions(scheduler, [1.0, 1.0, 1.0], range(120, 300))

    assert hot
    assert "moved" in hot[0][1].says
    assert hot_share <= 8
    assert cool
    assert scheduler.plan.cuts[2] - scheduler.plan.cuts[1] in {11, 12, 13}


def test_the_ends_keep_encoder_and_decoder_even_with_no_block_left() -> None:
    plan = RoutePlan(Route.CHAIN, 1, 4, (0, 1, 3, 4))
    slow_ends = [TIMES._replace(encode_ms=10.0), TIMES, TIMES._replace(decode_ms=10.0)]
    scheduler = BlockScheduler(plan, slow_ends, move_ms=0.0)

    for second in range(30):
        scheduler.decide(float(second))

    assert scheduler.plan.cuts == (0, 0, 4, 4)


def test_each_decoder_keeps_its_band_while_blocks_move() -> None:
    plan = RoutePlan(Route.RING, 1, 30, (0, 14, 28, 30, 30), num_decoders=2)
    scheduler = BlockScheduler(plan, [TIMES] * 4, move_ms=5.0)

    assert decisions(scheduler, [1.0, 1.0, 1.0, 1.0], range(60)) != []
    even = scheduler.plan
    decisions(scheduler, [1.0, 2.0, 1.0, 1.0], range(60, 120))

    # 30 blocks, encoding that is worth two and one decoder worth four, on three places.
    assert even == RoutePlan(Route.RING, 1, 30, (0, 10, 22, 30, 30), num_decoders=2)
    assert scheduler.plan.cuts[2] - scheduler.plan.cuts[1] <= 8
    assert scheduler.plan.cuts[3:] == (30, 30)
    assert scheduler.plan.num_decoders == 2


@pytest.mark.parametrize(("num_rows", "are_moved"), [(1, True), (4, False)])
def test_no_block_moves_to_where_a_live_change_of_steps_would_find_no_room(
    num_rows: int, are_moved: bool
) -> None:
    # One block of a chain of one step is a whole model of four blocks in one of four steps.
    room = Room(Footprint(block=10), (1000, 15), num_rows)
    plan = RoutePlan(Route.CHAIN, 1, 4, (0, 4, 4))
    scheduler = BlockScheduler(plan, [TIMES] * 2, 0.0, room)

    made = decisions(scheduler, [3.0, 1.0], range(60))

    assert bool(made) == are_moved
    assert scheduler.plan.cuts == ((0, 3, 4) if are_moved else (0, 4, 4))


def test_a_chain_that_was_short_of_room_for_other_steps_is_balanced_all_the_same() -> None:
    room = Room(Footprint(block=10), (30, 30), num_rows=4)
    scheduler = BlockScheduler(RoutePlan(Route.CHAIN, 1, 4, (0, 2, 4)), [TIMES] * 2, 0.0, room)

    decisions(scheduler, [5.0, 1.0], range(60))

    assert scheduler.plan.cuts == (0, 1, 4)


def test_a_new_number_of_steps_is_balanced_as_it_was_cut() -> None:
    plan = RoutePlan.even(Route.CHAIN, 2, 30, 3)
    scheduler = BlockScheduler(plan, [TIMES] * 3, move_ms=1.0)
    scheduler.changed(4)

    decisions(scheduler, [1.0, 1.0, 3.0], range(60))

    assert scheduler.plan.num_steps == 4
    assert scheduler.plan.num_items == 120


def planned(num_steps: int, row_saving: float) -> RingPlan:
    """The best ring of three devices that are alike, with room for 4 steps."""
    device = DeviceTimes(10.0, (1.0,) * 30, 20.0, row_saving)
    work = as_work([device] * 3, num_steps, Route.RING)
    partition = best_partition(work)
    assert partition is not None
    route = replace(RoutePlan.of(partition, work), num_steps=4)
    return RingPlan((5, 6, 7), route, 3, times=(PlaceTimes(10.0, 1.0, 20.0, row_saving),) * 3)


def pulse(encode_ms: float, block_ms: float, decode_ms: float) -> Pulse:
    return Pulse(
        busy_ms=0.0, longest_ms=0.0, encode_ms=encode_ms, block_ms=block_ms, decode_ms=decode_ms
    )


@pytest.mark.parametrize("row_saving", [0.0, 0.5])
@pytest.mark.parametrize("num_steps", [1, 2, 4])
def test_the_best_ring_for_the_steps_that_run_stays_as_it_is(
    num_steps: int, row_saving: float
) -> None:
    balance = RingBalance(planned(num_steps, row_saving))
    share_of_row = (1 + (num_steps - 1) * (1 - row_saving)) / num_steps
    as_measured = pulse(10.0, share_of_row, 20.0)

    heard = [
        balance.heard(rank, as_measured, num_steps, second * NS_PER_S)
        for second in range(60)
        for rank in (5, 6, 7)
    ]

    assert heard == [None] * 180


def test_a_ring_is_cut_for_the_steps_that_chunks_have_now() -> None:
    plan = planned(4, row_saving=0.0)
    balance = RingBalance(plan)
    best = planned(1, row_saving=0.0).route

    heard = [balance.heard(6, pulse(0.0, 1.0, 0.0), 1, second * NS_PER_S) for second in range(60)]

    assert [decision.plan for decision in heard if decision] == [best]


def test_what_a_place_has_not_measured_yet_makes_it_no_faster() -> None:
    plan = RoutePlan(Route.CHAIN, 1, 30, (0, 8, 26, 30))
    scheduler = BlockScheduler(plan, [PlaceTimes(10.0, 1.0, 15.0)] * 3, move_ms=0.0)

    for second in range(60):
        scheduler.see(2, PlaceTimes(0.0, 1.0, 0.0))
        assert scheduler.decide(float(second)) is None


@given(
    st.lists(st.floats(0.2, 5.0), min_size=4, max_size=4),
    st.sampled_from(list(Route)),
    st.integers(1, 4),
    st.integers(1, 4),
)
@settings(max_examples=25)
def test_whatever_is_decided_is_a_plan_of_the_same_route(
    factors: list[float], route: Route, num_steps: int, num_decoders: int
) -> None:
    inner = RoutePlan.even(route, num_steps, 6, 5 - num_decoders)
    cuts = (*inner.cuts, *[inner.num_items] * (num_decoders - 1))
    plan = RoutePlan(route, num_steps, 6, cuts, num_decoders)
    scheduler = BlockScheduler(plan, [TIMES] * 4, move_ms=1.0)

    for _, decision in decisions(scheduler, factors, range(40)):
        assert (decision.plan.route, decision.plan.num_steps) == (route, num_steps)
        assert (decision.plan.num_places, decision.plan.num_decoders) == (4, num_decoders)
