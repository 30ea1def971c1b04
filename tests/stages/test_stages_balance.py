"""When blocks move: not for noise, not too often, not for less than it costs."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.stages.balance import Balance, Rules, Slowness, moves_between, plan_moves
from sdv2_host.stages.partition import Partition, best_partition
from sdv2_host.stages.work import DeviceTimes, Route, Work, as_work

RULES = Rules()
DEVICE = DeviceTimes(8.0, (3.0,) * 30, 20.0)


def even(num_devices: int = 4) -> Work:
    return as_work([DEVICE] * num_devices, 2, Route.RING)


def settled(work: Work) -> Balance:
    partition = best_partition(work)
    assert partition is not None
    return Balance(partition)


def test_a_throttling_device_loses_blocks_after_some_plans_and_gets_them_back() -> None:
    work, balance = even(), settled(even())
    hot = Slowness.of_devices((1.0, 1.5, 1.0, 1.0))
    moved_at = []
    for second in range(60):
        verdict = plan_moves(balance, hot.of(work), float(second), 1.0)
        balance = verdict.balance
        if verdict.moves:
            moved_at.append(second)
            assert "blocks moved" in verdict.says
    assert len(moved_at) == 1
    assert balance.partition.slowest_ms(hot.of(work)) < settled(work).partition.slowest_ms(
        hot.of(work)
    )
    for second in range(60, 120):
        balance = plan_moves(balance, work, float(second), 1.0).balance
    assert balance.partition.slowest_ms(work) == pytest.approx(
        settled(work).partition.slowest_ms(work)
    )


def test_noise_of_ten_percent_moves_nothing() -> None:
    work, balance, rng = even(), settled(even()), random.Random(0)
    slowness = Slowness.of_devices([1.0] * 4)
    for second in range(600):
        for device in range(4):
            for _ in range(10):
                slowness = slowness.observed(device, rng.uniform(0.9, 1.1), RULES)
        verdict = plan_moves(balance, slowness.of(work), float(second), 1.0)
        balance = verdict.balance
        assert not verdict.moves


def test_what_costs_more_than_it_earns_is_not_done() -> None:
    work, balance = even(), settled(even())
    hot = Slowness.of_devices((1.0, 1.5, 1.0, 1.0)).of(work)
    for second in range(60):
        verdict = plan_moves(balance, hot, float(second), 60_000.0)
        balance = verdict.balance
        assert not verdict.moves


def test_moves_are_never_nearer_than_the_cooldown() -> None:
    work, balance = even(), settled(even())
    moved_at = []
    for tenth in range(1200):
        hot = (tenth // 40) % 4
        factors = tuple(1.6 if device == hot else 1.0 for device in range(4))
        verdict = plan_moves(balance, Slowness.of_devices(factors).of(work), tenth / 10, 1.0)
        balance = verdict.balance
        if verdict.moves:
            moved_at.append(tenth / 10)
    assert len(moved_at) > 2
    gaps = [after - before for before, after in itertools.pairwise(moved_at)]
    assert min(gaps) >= RULES.cooldown_s


@st.composite
def two_partitions(draw: st.DrawFn) -> tuple[Partition, Partition]:
    num_devices, num_items = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    order = tuple(draw(st.permutations(range(num_devices))))

    def one() -> Partition:
        inner = sorted(draw(st.integers(0, num_items)) for _ in range(num_devices - 1))
        return Partition(order, (0, *inner, num_items))

    return one(), one()


@settings(deadline=None, max_examples=80)
@given(two_partitions())
def test_after_the_moves_every_item_is_where_the_new_partition_has_it(
    both: tuple[Partition, Partition],
) -> None:
    before, after = both
    owner = {
        item: device for place, device in enumerate(before.order) for item in before.items_of(place)
    }
    for move in moves_between(before, after):
        assert move.source != move.target
        for item in move.items:
            assert owner[item] == move.source
            owner[item] = move.target
    for place, device in enumerate(after.order):
        assert all(owner[item] == device for item in after.items_of(place))


def test_moves_between_other_orders_of_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="different orders"):
        moves_between(Partition((0, 1), (0, 1, 2)), Partition((1, 0), (0, 1, 2)))
