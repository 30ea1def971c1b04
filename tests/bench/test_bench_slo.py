"""The scheduler in simulated time: its laws, the oracle above it, and what the bench tells."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.bench import slo, slo_report
from sdv2_host.bench.slo_devices import ALL, StageTimes
from sdv2_host.bench.slo_oracle import (
    Option,
    most_in_time,
    most_without_gaps,
    searched,
    shown_one_by_one,
)
from sdv2_host.bench.slo_setups import ChangingSetups
from sdv2_host.bench.slo_simulation import NewestWins, SimulatedEngine, UnboundedQueue, simulate
from sdv2_host.bench.slo_world import World, worlds
from sdv2_host.clock import NS_PER_MS, NS_PER_S
from sdv2_host.params import Params, SloMode
from sdv2_host.stream.setups import Setup
from sdv2_host.types import Layout, Shape, Size

RTX_4090, H100, H200, _, _, H200_14B = ALL


def world_of(gaps_ms: list[int], slowness: list[float]) -> World:
    """Frames with these gaps; every 250 ms the device is so slow. Lasts until all is done."""
    arrivals_ns = tuple(at * NS_PER_MS for at in itertools.accumulate(gaps_ms))
    num_ms = max(arrivals_ns[-1] // NS_PER_MS, 250 * len(slowness)) + 20_000
    factors = [slowness[min(ms // 250, len(slowness) - 1)] for ms in range(num_ms)]
    progress = itertools.accumulate((1 / factor for factor in factors), initial=0.0)
    return World("made up", arrivals_ns, tuple(factors), tuple(progress))


made_up = st.builds(
    world_of,
    st.lists(st.sampled_from([1, 8, 16, 17, 33, 41, 250, 1500]), min_size=1, max_size=150),
    st.lists(st.sampled_from([0.5, 1.0, 1.5, 4.0]), min_size=1, max_size=12),
)


@pytest.mark.parametrize("bound_ms", [1.0, 50.0, 400.0, 760.0])
@pytest.mark.parametrize("mode", ["off", "chunks", "steps"])
@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("device", [RTX_4090, H100], ids=lambda device: device.name)
def test_a_bound_that_nothing_can_keep_does_not_end_the_stream(
    device: StageTimes, layout: Layout, mode: SloMode, bound_ms: float
) -> None:
    world = next(one for one in worlds(10) if one.name == "16 fps, steady")

    def num_shown(bound_ms: float) -> int:
        params = Params(steps=device.max_steps, slo_mode=mode, latency_bound_ms=bound_ms)
        host = NewestWins(device, params, layout)
        return len(simulate(host, world, SimulatedEngine(device)).latency_ms)

    assert num_shown(bound_ms) > 0.8 * num_shown(0.0)


@given(
    made_up,
    st.sampled_from(get_args(SloMode)),
    st.sampled_from([0.0, 60.0, 300.0, 900.0]),
    st.sampled_from([H200, H200_14B, RTX_4090]),
)
@settings(deadline=None, max_examples=40)
def test_any_load_leaves_the_frames_promised_in_order_and_two_chunks_waiting_at_most(
    world: World, mode: SloMode, bound_ms: float, device: StageTimes
) -> None:
    params = Params(steps=device.max_steps, slo_mode=mode, latency_bound_ms=bound_ms)
    engine = SimulatedEngine(device)
    host = ChangingSetups(device, params, engine)

    run = simulate(host, world, engine)

    shown = list(run.latency_ms)
    assert shown == sorted(set(shown))
    # All that was given to the engine came back: also what a stalled source left in a batch.
    assert len(shown) == sum(run.shapes.values()) - host.log.num_lost
    assert len(shown) + host.log.num_lost + host.num_dropped + host.num_waiting == len(
        world.arrivals_ns
    )
    assert host.num_waiting < 8
    assert run.most_waiting_chunks <= 2


@given(
    st.lists(st.sampled_from([1, 8, 16, 17, 33, 41, 250]), min_size=1, max_size=20),
    st.lists(st.sampled_from([1.0, 1.5, 3.0]), min_size=1, max_size=200),
    st.sampled_from([0.0, 900.0]),
    st.sampled_from([H200_14B, RTX_4090]),
)
@settings(deadline=None, max_examples=5)
def test_through_changes_of_setup_no_frame_is_shown_twice_and_no_more_wait(
    gaps_ms: list[int], slowness: list[float], bound_ms: float, device: StageTimes
) -> None:
    busy = world_of((gaps_ms * 2000)[:2000], slowness)
    engine = SimulatedEngine(device)
    params = Params(steps=device.max_steps, slo_mode="size", latency_bound_ms=bound_ms)
    host = ChangingSetups(device, params, engine)

    run = simulate(host, busy, engine)

    shown = list(run.latency_ms)
    assert shown == sorted(set(shown))
    assert len(shown) + host.log.num_lost + host.num_dropped + host.num_waiting == len(
        busy.arrivals_ns
    )
    assert run.most_waiting_chunks <= 2
    assert host.log.num_changes <= 2 + busy.seconds / 20


@given(made_up, st.sampled_from([100.0, 400.0, 1500.0]))
@settings(deadline=None, max_examples=20)
def test_nobody_shows_more_in_time_than_the_oracle(world: World, bound_ms: float) -> None:
    params = Params(steps=2, latency_bound_ms=bound_ms)
    table = {shape: ms for shape, ms in H200_14B.step_ms().items() if shape.steps == 2}

    best = most_in_time(table, world, bound_ms)

    for host in (NewestWins(H200_14B, params), UnboundedQueue(2)):
        run = simulate(host, world, SimulatedEngine(H200_14B))
        # A session begins with a chunk of one frame, which the oracle knows nothing of.
        assert sum(ms <= bound_ms for ms in run.latency_ms.values()) <= best + 4


@given(made_up, st.sampled_from([100.0, 400.0, 1500.0]), st.sampled_from([2.0, 20.0, 60.0]))
@settings(deadline=None, max_examples=25)
def test_where_frames_are_shown_as_they_come_no_search_finds_more(
    world: World, bound_ms: float, call_ms: float
) -> None:
    options = [Option(4, 10 + call_ms, 10 + call_ms), Option(8, 20 + call_ms, 20 + call_ms)]

    simply = shown_one_by_one(options, world, bound_ms)

    assert simply is None or simply == searched(options, world, bound_ms)


@given(made_up, st.sampled_from([100.0, 400.0, 1500.0]))
@settings(deadline=None, max_examples=10)
def test_an_oracle_without_gaps_shows_no_less_than_who_leaves_none_longer(
    world: World, bound_ms: float
) -> None:
    params = Params(steps=2, latency_bound_ms=bound_ms)
    table = {shape: ms for shape, ms in H200_14B.step_ms().items() if shape.steps == 2}
    run = simulate(NewestWins(H200_14B, params), world, SimulatedEngine(H200_14B))
    in_time = sorted(number for number, ms in run.latency_ms.items() if ms <= bound_ms)
    longest = max((b - a for a, b in itertools.pairwise([0, *in_time])), default=1)

    # As above, a chunk of one frame is unknown to it.
    assert len(in_time) <= most_without_gaps(table, world, bound_ms, longest) + 4


@given(made_up, st.sampled_from([100.0, 400.0, 1500.0]))
@settings(deadline=None, max_examples=10)
def test_an_oracle_that_may_leave_any_gap_is_the_oracle(world: World, bound_ms: float) -> None:
    table = {Shape(4, Layout.SERIAL, 1): 90.0, Shape(8, Layout.SERIAL, 1): 150.0}
    num_frames = len(world.arrivals_ns)

    evenly = most_without_gaps(table, world, bound_ms, num_frames + 1)

    assert most_in_time(table, world, bound_ms) <= evenly <= num_frames


def test_the_oracle_without_gaps_knows_what_a_person_can_work_out() -> None:
    table = {Shape(4, Layout.SERIAL, 1): 100.0}
    world = world_of([10] * 40, [1.0])  # at 100 fps, of which 40 can be shown

    def most(longest_gap: int) -> int:
        return most_without_gaps(table, world, 180.0, longest_gap)

    # A chunk every 100 ms, its oldest frame at most 80 ms old as it begins: five chunks.
    assert most_in_time(table, world, 180.0) == most(40) == 20
    # The next frame but one is 80 ms old by the next chunk, the next one is too old already.
    assert most(1) == 4
    # Four frames 20 ms apart end 20 ms before the newest, and the chunk after them is too late.
    assert most(2) == 8
    assert most(3) == 20


def test_the_oracle_knows_what_a_person_can_work_out() -> None:
    table = {Shape(4, Layout.SERIAL, 1): 100.0}
    world = world_of([10] * 12, [1.0])

    # The chunks are done at 140, 240 and 340 ms; their oldest frames came at 10, 50 and 90 ms.
    assert most_in_time(table, world, 260.0) == 12
    assert most_in_time(table, world, 189.0) == 8
    # One of three frames at 30 ms and one of two at 130, with room for more.
    assert most_in_time(table, world, 129.0) == 5
    assert most_in_time(table, world, 99.0) == 0


def test_without_a_bound_the_reference_queue_grows_and_ours_does_not() -> None:
    load = next(world for world in worlds(20.0) if world.name == "60 fps, steady")

    queue = simulate(UnboundedQueue(2), load, SimulatedEngine(H200_14B))
    ours = simulate(NewestWins(H200_14B, Params(steps=2)), load, SimulatedEngine(H200_14B))

    assert max(queue.latency_ms.values()) > 5000
    assert max(ours.latency_ms.values()) < 500


@pytest.mark.parametrize("fps", [30, 60])
def test_under_steady_overload_the_scheduler_is_within_five_percent_of_the_oracle(
    fps: int,
) -> None:
    load = next(world for world in worlds(20.0) if world.name == f"{fps} fps, steady")
    case = slo.measure_case(H200_14B, load, "chunks")

    assert case["oracle_ratio"] >= 0.95
    assert case["hosts"]["scheduler"]["missed"] == 0


@pytest.mark.parametrize("device", [H200, H200_14B], ids=str)
@pytest.mark.parametrize("size", [2, 3, 4, 6, 8])
def test_a_source_whose_frames_come_in_bursts_is_shown_whole_and_costs_no_steps(
    device: StageTimes, size: int
) -> None:
    num_bursts = 600 // size
    gaps_ms = [
        0,
        *[1] * (size - 1),
        *([size * 1000 // 30 - size + 1] + [1] * (size - 1)) * num_bursts,
    ]
    params = Params(steps=device.max_steps, slo_mode="steps", latency_bound_ms=2000)
    host = NewestWins(device, params)

    run = simulate(host, world_of(gaps_ms, [1.0]), SimulatedEngine(device))

    assert len(run.latency_ms) > 0.95 * len(gaps_ms)
    assert {shape.steps for shape in run.shapes} == {device.max_steps}
    assert "wanted; as started" in host.says


def test_the_devices_are_as_fast_as_was_published() -> None:
    """See slo_devices: the estimate for an H200, and the authors' 16.6 fps for one step."""
    fps = [4000 / H200.step_ms()[Shape(4, Layout.SERIAL, steps)] for steps in (1, 2, 4)]
    assert fps == pytest.approx([100, 87, 68], rel=0.06)
    assert 4000 / RTX_4090.step_ms()[Shape(4, Layout.SERIAL, 1)] == pytest.approx(16.6, rel=0.06)


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        (Setup("hybrid", Size(512, 512)), [189, 146, 100]),
        (Setup("taehv", Size(512, 512)), [389, 241, 137]),
        (Setup("wan", Size(832, 480)), [65, 55, 42]),
        (Setup("taehv", Size(832, 480)), [256, 149, 81]),
    ],
)
def test_other_setups_are_as_fast_as_was_estimated(setup: Setup, expected: list[int]) -> None:
    table = H200.at(setup).step_ms()

    assert [4000 / table[Shape(4, Layout.SERIAL, steps)] for steps in (1, 2, 4)] == pytest.approx(
        expected, rel=0.12
    )


def test_what_fewest_steps_cannot_follow_a_cheaper_autoencoder_does() -> None:
    load = next(world for world in worlds(60.0) if world.name == "60 fps, steady")
    engine = SimulatedEngine(H200_14B)
    host = ChangingSetups(H200_14B, Params(steps=2, slo_mode="size"), engine)

    run = simulate(host, load, engine)

    assert [setup.vae for setup in host.log.frames] == ["wan", "hybrid"]
    assert host.log.num_changes == 1
    late_ns = 40 * NS_PER_S
    late = [number for number, at in enumerate(load.arrivals_ns, 1) if at > late_ns]
    assert sum(number in run.latency_ms for number in late) >= 0.95 * len(late)
    assert run.most_waiting_chunks <= 2
    assert re.match(r"VAE hybrid in place of VAE wan: 5\d fps possible with VAE wan, ", host.says)


def test_the_bench_writes_a_table_and_a_picture(tmp_path: Path) -> None:
    told: list[float] = []

    result = slo.run(4.0, "steps", lambda _, done: told.append(done), [H200])

    path = slo_report.write_picture(tmp_path / "new" / "slo.png", result)
    table = slo_report.format_table(result)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert len(result["cases"]) == 17
    assert "60 fps, thermal" in table
    assert told == sorted(told)
    assert told[-1] == 1.0
