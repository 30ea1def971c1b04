"""Blocks leave a place that gets slow, and only then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.stages.block_scheduler import BlockScheduler, Decision, PlaceTimes
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import Route

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


def test_a_new_number_of_steps_is_balanced_as_it_was_cut() -> None:
    plan = RoutePlan.even(Route.CHAIN, 2, 30, 3)
    scheduler = BlockScheduler(plan, [TIMES] * 3, move_ms=1.0)
    scheduler.changed(plan.with_steps(4))

    decisions(scheduler, [1.0, 1.0, 3.0], range(60))

    assert scheduler.plan.num_steps == 4
    assert scheduler.plan.num_items == 120


@given(
    st.lists(st.floats(0.2, 5.0), min_size=4, max_size=4),
    st.sampled_from(list(Route)),
    st.integers(1, 4),
)
def test_whatever_is_decided_is_a_plan_of_the_same_route(
    factors: list[float], route: Route, num_steps: int
) -> None:
    plan = RoutePlan.even(route, num_steps, 6, 4)
    scheduler = BlockScheduler(plan, [TIMES] * 4, move_ms=1.0)

    for _, decision in decisions(scheduler, factors, range(40)):
        assert (decision.plan.route, decision.plan.num_steps) == (route, num_steps)
        assert decision.plan.num_places == 4
