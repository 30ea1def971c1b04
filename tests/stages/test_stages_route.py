"""A route's plan: what its cuts are as its steps change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.stages.route import MAX_STEPS, RoutePlan
from sdv2_host.stages.work import Route

steps = st.integers(1, MAX_STEPS)


@st.composite
def chains(draw: st.DrawFn) -> RoutePlan:
    num_steps, num_blocks = draw(steps), draw(st.integers(1, 40))
    total = num_steps * num_blocks
    inner = draw(st.lists(st.integers(0, total), max_size=5))
    return RoutePlan(Route.CHAIN, num_steps, num_blocks, (0, *sorted(inner), total))


@given(chains(), st.lists(steps), st.booleans())
def test_a_chain_is_cut_by_its_steps_whatever_they_were_in_between(
    plan: RoutePlan, between: list[int], travels: bool
) -> None:
    changed = plan
    for num_steps in between:
        changed = changed.with_steps(num_steps)
        if travels:
            changed = RoutePlan.from_json(changed.to_json())

    assert changed.with_steps(plan.num_steps) == plan
    for num_steps in range(1, MAX_STEPS + 1):
        assert changed.with_steps(num_steps) == plan.with_steps(num_steps)


@given(chains(), steps)
def test_every_cut_of_other_steps_is_the_nearest_to_its_share(
    plan: RoutePlan, num_steps: int
) -> None:
    other = plan.with_steps(num_steps)

    assert other.num_steps == num_steps
    for cut, was in zip(other.cuts, plan.cuts, strict=True):
        assert abs(cut / other.num_items - was / plan.num_items) * other.num_items <= 0.5 + 1e-9


@given(chains(), steps)
def test_a_plan_that_travelled_is_the_same(plan: RoutePlan, num_steps: int) -> None:
    other = plan.with_steps(num_steps)

    assert RoutePlan.from_json(other.to_json()) == other
