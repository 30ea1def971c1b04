"""Ring or chain, and where, against trying everything; and what is said where memory is short."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.errors import DeviceMemoryError
from sdv2_host.stages.choice import (
    CHAIN_MAY_COST,
    Choice,
    Device,
    Need,
    choose_route,
    sharing,
    work_of,
)
from sdv2_host.stages.partition import Partition
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import DeviceTimes, Footprint, Route, Work

LAW = settings(deadline=None, max_examples=120)
ROOMY = 2**40
REMEDY = "do something"
milliseconds = st.floats(0.1, 20)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Device], int, Need]:
    num_blocks = draw(st.integers(1, 3))
    times = st.builds(
        DeviceTimes,
        milliseconds,
        st.tuples(*[milliseconds] * num_blocks),
        milliseconds,
        st.sampled_from([0.0, 0.4]),
    )
    rooms = st.integers(0, 60) | st.just(ROOMY)
    count = draw(st.integers(1, 3))
    devices = [Device(f"gpu{index}", draw(times), draw(rooms)) for index in range(count)]
    footprint = Footprint(*(draw(st.integers(0, 6)) for _ in range(4)))
    num_rows = draw(st.integers(1, 2))
    num_steps = draw(st.integers(1, num_rows))
    return devices, num_steps, Need(draw(st.integers(0, 8)), footprint, num_rows)


def naive_bytes(work: Work, items: range, need: Need) -> int:
    """What a device holds that takes part with these items, counted one by one."""
    part, blocks, num_kv = need.footprint, set(), 0
    for item in items:
        block = work.block_of(item)
        if block is not None:
            blocks.add(block)
            num_kv += need.num_rows if work.route is Route.RING else 1
    ends = part.encoder * (0 in items) + part.decoder * (work.num_items - 1 in items)
    return need.shared + ends + len(blocks) * part.block + num_kv * part.row


def is_held(devices: list[Device], work: Work, partition: Partition, need: Need) -> bool:
    return all(
        naive_bytes(work, partition.items_of(place), need) <= devices[device].room_bytes
        for place, device in enumerate(partition.order)
    )


def everything(work: Work) -> Iterator[Partition]:
    """Every order of some of the devices, each with at least one item."""
    inner = range(1, work.num_items)
    for count in range(1, min(work.num_devices, work.num_items) + 1):
        for order in itertools.permutations(range(work.num_devices), count):
            for cuts in itertools.combinations(inner, count - 1):
                yield Partition(order, (0, *cuts, work.num_items))


def least_ms(devices: list[Device], num_steps: int, route: Route, need: Need) -> float | None:
    work = work_of(devices, num_steps, route, need)
    held = [one for one in everything(work) if is_held(devices, work, one, need)]
    return min((one.slowest_ms(work) for one in held), default=None)


def naive_routes(devices: list[Device], num_steps: int, need: Need) -> dict[Route, float]:
    """The routes that memory allows, with the best time between two chunks."""
    found = {route: least_ms(devices, num_steps, route, need) for route in Route}
    if least_ms(devices, need.num_rows, Route.CHAIN, need) is None:
        found[Route.CHAIN] = None
    return {route: ms for route, ms in found.items() if ms is not None}


def chosen(world: tuple[list[Device], int, Need], wanted: Route | None = None) -> Choice | str:
    """The choice, or what the refusal says."""
    try:
        return choose_route(*world, lambda: REMEDY, wanted)
    except DeviceMemoryError as error:
        return str(error)


@LAW
@given(worlds())
def test_every_choice_holds_in_memory_and_no_other_partition_of_its_route_is_faster(
    world: tuple[list[Device], int, Need],
) -> None:
    devices, num_steps, need = world
    allowed = naive_routes(*world)

    choice = chosen(world)

    if isinstance(choice, str):
        assert allowed == {}
        return
    work = work_of(devices, num_steps, choice.route, need)
    assert is_held(devices, work, choice.partition, need)
    slowest_ms = choice.partition.slowest_ms(work)
    assert slowest_ms == pytest.approx(allowed[choice.route], rel=1e-6)
    if num_steps == need.num_rows:
        assert slowest_ms <= min(allowed.values()) * (1 + CHAIN_MAY_COST) * (1 + 1e-6)


def test_a_chain_whose_shares_of_more_steps_have_no_room_gives_way_to_a_ring() -> None:
    devices = [Device("large", ALIKE, ROOMY), Device("small", ALIKE, 30)]
    need = Need(0, Footprint(block=10), num_rows=4)

    choice = choose_route(devices, 1, need, lambda: REMEDY)

    assert choice.route is Route.RING


@LAW
@given(worlds())
def test_a_chain_is_chosen_wherever_it_fits_and_costs_little(
    world: tuple[list[Device], int, Need],
) -> None:
    _, num_steps, need = world
    allowed = naive_routes(*world)

    choice = chosen(world)

    if isinstance(choice, str) or Route.CHAIN not in allowed or num_steps < need.num_rows:
        return
    bound_ms = allowed.get(Route.RING, float("inf")) * (1 + CHAIN_MAY_COST)
    if allowed[Route.CHAIN] < bound_ms * (1 - 1e-6):
        assert choice.route is Route.CHAIN


@LAW
@given(worlds())
def test_the_first_place_encodes_the_last_one_decodes_and_none_is_idle(
    world: tuple[list[Device], int, Need],
) -> None:
    devices, num_steps, need = world

    choice = chosen(world)

    if isinstance(choice, str):
        return
    work = work_of(devices, num_steps, choice.route, need)
    places = [choice.partition.items_of(place) for place in range(len(choice.partition.order))]
    assert [item for items in places for item in items] == list(range(work.num_items))
    assert all(places)
    assert len(set(choice.partition.order)) == len(places)
    assert RoutePlan.of(choice.partition, work).num_places == len(places)


@LAW
@given(worlds(), st.sampled_from([None, *Route]))
def test_a_refusal_says_what_is_needed_what_is_there_and_what_to_do(
    world: tuple[list[Device], int, Need], wanted: Route | None
) -> None:
    devices, _, need = world
    allowed = naive_routes(*world)

    said = chosen(world, wanted)

    is_refused = not allowed if wanted is None else wanted not in allowed
    assert isinstance(said, str) == is_refused
    if not isinstance(said, str):
        assert wanted in {None, said.route}
        return
    assert f"over {len(devices)} devices with up to {need.num_rows} steps needs at least" in said
    assert all(device.name in said for device in devices)
    assert said.endswith(f"--route {next(iter(allowed))} fits" if allowed else REMEDY)


ALIKE = DeviceTimes(10.0, (10.0,) * 4, 10.0)


def choose(
    devices: list[Device], num_steps: int, footprint: Footprint, wanted: Route | None = None
) -> Choice:
    need = Need(0, footprint, num_steps)
    return choose_route(devices, num_steps, need, lambda: REMEDY, wanted)


def test_with_one_step_it_is_a_chain_without_a_return_link() -> None:
    choice = choose([Device("a", ALIKE, ROOMY)] * 2, 1, Footprint())

    assert choice.route is Route.CHAIN
    assert choice.says == "chain: with one step nothing has to come back"


def test_a_refusal_counts_what_the_most_steps_take() -> None:
    devices = [Device("a", ALIKE, 41 * 2**30)]
    need = Need(0, Footprint(block=2**30, row=10 * 2**30), num_rows=4)

    with pytest.raises(DeviceMemoryError, match=r"at least 164\.0 GiB, .* there is 41\.0 GiB on a"):
        choose_route(devices, 1, need, lambda: REMEDY, Route.CHAIN)


def test_where_memory_binds_it_is_a_ring_and_says_so() -> None:
    devices = [Device(name, ALIKE, 25) for name in "ab"]

    choice = choose(devices, 3, Footprint(block=10, row=0))

    assert choice.route is Route.RING
    assert "memory is short" in choice.says


def test_where_rows_of_one_call_save_much_it_is_a_ring_and_gives_both_times() -> None:
    saving = ALIKE._replace(row_saving=0.5)

    choice = choose([Device(name, saving, ROOMY) for name in "ab"], 2, Footprint())

    assert choice.route is Route.RING
    assert choice.says == "ring: 50.0 ms a chunk in a chain, 40.0 ms in a ring, at more latency"


def test_a_chain_that_fits_with_the_steps_of_now_alone_is_not_chosen() -> None:
    devices = [Device(name, ALIKE, 24) for name in "ab"]
    need = Need(0, Footprint(block=10, row=1), num_rows=2)

    choice = choose_route(devices, 1, need, lambda: REMEDY)

    assert choice.route is Route.RING


def test_a_device_that_would_only_hold_others_up_does_not_take_part() -> None:
    slow = ALIKE.scaled(100.0)

    choice = choose([Device("slow", slow, ROOMY), Device("fast", ALIKE, ROOMY)], 1, Footprint())

    assert choice.partition.order == (1,)


def test_what_is_asked_for_is_taken() -> None:
    choice = choose([Device(name, ALIKE, ROOMY) for name in "ab"], 2, Footprint(), Route.RING)

    assert choice.route is Route.RING
    assert choice.says == "ring: as asked for"


def test_ranks_on_one_memory_share_it() -> None:
    devices = [Device(name, ALIKE, 90) for name in "abc"]

    shared = sharing(devices, [("here", "cpu"), ("here", "cuda:0"), ("here", "cpu")])

    assert [one.room_bytes for one in shared] == [45, 90, 45]
