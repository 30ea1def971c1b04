"""The partition search against trying everything, and what it must not do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.stages.partition import Partition, best_cuts, best_partition
from sdv2_host.stages.work import DeviceTimes, Footprint, Route, Work, as_work

LAW = settings(deadline=None, max_examples=80)
milliseconds = st.floats(0.1, 20)


@st.composite
def works(draw: st.DrawFn, *, with_memory: bool = True) -> Work:
    num_blocks = draw(st.integers(1, 5))
    device = st.builds(
        DeviceTimes,
        milliseconds,
        st.tuples(*[milliseconds] * num_blocks),
        milliseconds,
        st.sampled_from([0.0, 0.3]),
    )
    devices = draw(st.lists(device, min_size=1, max_size=3))
    route = draw(st.sampled_from(Route))
    num_steps = draw(st.integers(1, 2))
    if not with_memory or draw(st.booleans()):
        return as_work(devices, num_steps, route)
    footprint = Footprint(*(draw(st.integers(0, 5)) for _ in range(4)))
    room = tuple(draw(st.integers(0, 40)) for _ in devices)
    return as_work(devices, num_steps, route, footprint, room)


def all_partitions(work: Work) -> Iterator[Partition]:
    places = range(work.num_devices)
    for order in itertools.permutations(places):
        for inner in itertools.combinations_with_replacement(
            range(work.num_items + 1), work.num_devices - 1
        ):
            yield Partition(order, (0, *inner, work.num_items))


def naive_bytes(work: Work, items: range) -> int:
    """The memory of these items, counted one by one."""
    part, total, blocks = work.footprint, 0, set()
    for item in items:
        block = work.block_of(item)
        if block is None:
            total += part.encoder if item == 0 else part.decoder
            continue
        blocks.add(block)
        total += part.row * (work.num_steps if work.route is Route.RING else 1)
    return total + len(blocks) * part.block


def fits(work: Work, partition: Partition) -> bool:
    return not work.room_bytes or all(
        naive_bytes(work, partition.items_of(place)) <= work.room_bytes[device]
        for place, device in enumerate(partition.order)
    )


def squares(work: Work, partition: Partition) -> float:
    return sum(ms**2 for ms in partition.stage_ms(work))


@LAW
@given(works())
def test_no_partition_over_all_orders_and_cuts_has_a_faster_slowest_stage(work: Work) -> None:
    allowed = [one for one in all_partitions(work) if fits(work, one)]
    found = best_partition(work)
    if not allowed:
        assert found is None
        return
    assert found is not None
    assert fits(work, found)
    least = min(one.slowest_ms(work) for one in allowed)
    assert found.slowest_ms(work) == pytest.approx(least, rel=1e-6)


@LAW
@given(works())
def test_in_a_given_order_the_cuts_are_the_best_and_the_slack_is_spread(work: Work) -> None:
    order = tuple(range(work.num_devices))
    allowed = [one for one in all_partitions(work) if one.order == order and fits(work, one)]
    found = best_cuts(work, order)
    if not allowed:
        assert found is None
        return
    assert found is not None
    least = min(one.slowest_ms(work) for one in allowed)
    assert found.slowest_ms(work) == pytest.approx(least, rel=1e-6)
    equals = [one for one in allowed if one.slowest_ms(work) <= least * (1 + 1e-9)]
    assert squares(work, found) <= min(squares(work, one) for one in equals) * (1 + 1e-6)


@LAW
@given(works())
def test_every_item_is_run_by_exactly_one_device(work: Work) -> None:
    found = best_partition(work)
    if found is None:
        return
    run = [item for place in range(work.num_devices) for item in found.items_of(place)]
    assert run == list(range(work.num_items))
    assert sorted(found.order) == list(range(work.num_devices))


@LAW
@given(works(with_memory=False), st.floats(0.2, 5))
def test_one_more_device_never_makes_it_slower(work: Work, factor: float) -> None:
    one = best_partition(work)
    assert one is not None
    more = Work(
        work.route,
        work.num_steps,
        work.num_blocks,
        (*work.cost_ms, tuple(ms * factor for ms in work.cost_ms[0])),
    )
    two = best_partition(more)
    assert two is not None
    assert two.slowest_ms(more) <= one.slowest_ms(work) * (1 + 1e-6)


@LAW
@given(works())
def test_memory_is_counted_as_item_by_item(work: Work) -> None:
    for first, last in itertools.combinations_with_replacement(range(work.num_items + 1), 2):
        assert work.bytes_of(first, last) == naive_bytes(work, range(first, last))


def test_a_slow_card_goes_where_the_light_end_is() -> None:
    fast = DeviceTimes(10.0, (4.0,) * 10, 30.0)
    work = as_work([fast, fast.scaled(2.0)], 1, Route.RING)
    found = best_partition(work)
    assert found is not None
    assert found.order == (1, 0)


def test_a_device_that_would_only_hold_others_up_gets_nothing() -> None:
    fast = DeviceTimes(0.1, (1.0,) * 4, 4.0)
    work = as_work([fast, fast.scaled(100.0)], 1, Route.RING)
    found = best_partition(work)
    assert found is not None
    idle = found.order.index(1)
    assert len(found.items_of(idle)) <= 1, "nothing, or the encoder's tenth of a millisecond"


def test_items_that_take_no_time_are_given_out_too() -> None:
    work = as_work([DeviceTimes(0.0, (0.0, 0.0), 0.0)] * 2, 1, Route.RING)

    found = best_partition(work)

    assert found is not None
    assert found.slowest_ms(work) == 0


def test_a_chain_holds_every_block_where_its_segment_is_longer_than_the_model() -> None:
    one = DeviceTimes(1.0, (1.0,) * 6, 1.0)
    footprint = Footprint(block=10, row=1)
    ring = as_work([one], 4, Route.RING, footprint)
    chain = as_work([one], 4, Route.CHAIN, footprint)
    assert ring.bytes_of(0, ring.num_items) == chain.bytes_of(0, chain.num_items) == 6 * 14


def test_rows_that_share_a_call_cost_less_in_a_ring_only() -> None:
    device = DeviceTimes(1.0, (2.0, 2.0), 1.0, row_saving=0.25)
    ring, chain = (as_work([device], 2, route) for route in Route)
    assert math.isclose(sum(ring.cost_ms[0]), 1 + 2 * 2 * 1.75 + 1)
    assert math.isclose(sum(chain.cost_ms[0]), 1 + 2 * 2 * 2 + 1)


@pytest.mark.parametrize(
    ("devices", "room"),
    [
        ([], ()),
        ([DeviceTimes(1, (1.0,), 1), DeviceTimes(1, (1.0, 1.0), 1)], ()),
        ([DeviceTimes(1, (1.0,), 1)], (5, 6)),
    ],
)
def test_devices_that_do_not_fit_together_are_refused(
    devices: list[DeviceTimes], room: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="devices"):
        as_work(devices, 1, Route.RING, room_bytes=room)
