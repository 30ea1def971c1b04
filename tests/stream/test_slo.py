"""The scheduler's laws, on step times of the paper's form: a constant and a part per latent."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.params import SloMode
from sdv2_host.stream.slo import (
    AIM,
    LEARNING_STEPS,
    MAX_GROWTH,
    PRICE,
    WORTH,
    Decision,
    Load,
    SloState,
    StepTable,
    allowed_shapes,
    decide,
    knee,
)
from sdv2_host.types import Layout, Shape

SERIAL, BATCH = Layout.SERIAL, Layout.BATCH


def table_of(
    constant_ms: float, latent_ms: float, outer_ms: float, max_steps: int = 4
) -> StepTable:
    """A call of m latents takes constant + latent x m, a chunk's autoencoder outer per latent."""

    def call_ms(num_latents: int) -> float:
        return constant_ms + latent_ms * num_latents

    step_ms = {
        Shape(4 * k, SERIAL, steps): k * outer_ms + steps * call_ms(k)
        for k in (1, 2, 3)
        for steps in range(1, max_steps + 1)
    }
    for steps in range(2, max_steps + 1):
        step_ms[Shape(4, BATCH, steps)] = outer_ms + call_ms(steps)
    return StepTable(Shape(4, SERIAL, 1), step_ms)


def settle(table: StepTable, load: Load, state: SloState | None = None) -> SloState:
    state = state or SloState(table.base(load.steps))
    for _ in range(60):
        state = decide(state, table, load).state
    return state


LAW = settings(deadline=None, max_examples=60)
positive = st.floats(0.5, 60)
tables = st.builds(table_of, positive, positive, positive)
loads = st.builds(
    Load,
    steps=st.integers(1, 4),
    source_fps=st.floats(1, 130),
    target_fps=st.one_of(st.just(0.0), st.floats(1, 120)),
    latency_bound_ms=st.one_of(st.just(0.0), st.floats(20, 5000)),
    num_waiting=st.integers(0, 24),
    mode=st.sampled_from(get_args(SloMode)),
)
NARROW = table_of(constant_ms=20, latent_ms=20, outer_ms=20)
"""Two steps: 40 fps in chunks of 4, 50 in chunks of 8, 50 in a batch."""


def test_who_keeps_up_goes_on_as_started() -> None:
    decision = decide(SloState(NARROW.base(2)), NARROW, Load(steps=2, source_fps=30))

    assert decision.shape == Shape(4, SERIAL, 2)
    assert not decision.has_changed
    assert decision.state.says == (
        "chunks of 4, serial, 2 steps: 40 fps possible, 30 wanted; as started"
    )


def test_who_does_not_keep_up_takes_the_shape_of_least_latency_that_does() -> None:
    state = settle(NARROW, Load(steps=2, source_fps=45))

    # 7 intervals and 160 ms of the longer chunk; 7 and 80 ms of the batch.
    assert state.shape == Shape(4, BATCH, 2)
    assert state.says == (
        "chunks of 4, batch, 2 steps: 50 fps possible, 45 wanted; as started "
        "(chunks of 4, serial, 2 steps) it would be 40"
    )


def test_fewer_steps_are_the_users_to_allow_and_come_last() -> None:
    load = Load(steps=2, source_fps=60)

    assert settle(NARROW, load).shape == Shape(4, SERIAL, 2)
    assert settle(NARROW, load).says.endswith("slo_mode steps would allow fewer steps")
    assert settle(NARROW, replace(load, mode="steps")).shape == Shape(4, SERIAL, 1)
    assert settle(NARROW, replace(load, mode="steps", source_fps=45)).shape.steps == 2


def test_with_a_bound_the_highest_rate_within_it_is_taken() -> None:
    load = Load(steps=2, source_fps=120)

    assert settle(NARROW, replace(load, latency_bound_ms=500)).shape.chunk_frames == 12
    assert settle(NARROW, replace(load, latency_bound_ms=180)).shape == Shape(4, SERIAL, 2)


def test_a_rate_that_costs_more_latency_than_it_is_worth_is_left() -> None:
    load = Load(steps=4, source_fps=120, latency_bound_ms=5000)

    def chosen(constant_ms: float) -> Shape:
        return settle(table_of(constant_ms, latent_ms=50, outer_ms=20), load).shape

    # Chunks of 8 bring 6 % more pictures with 7 ms a call for nothing, 7.6 % with 9 ms, and make
    # them twice as old; a batch brings 9 % and 12 %, 2.4 times as old.
    assert chosen(constant_ms=7) == Shape(4, SERIAL, 4)
    assert chosen(constant_ms=9) == Shape(8, SERIAL, 4)


def test_a_longer_chunk_waits_for_a_source_only_within_the_bound() -> None:
    slow_start = table_of(constant_ms=300, latent_ms=1, outer_ms=1)
    load = Load(steps=1, source_fps=12, latency_bound_ms=900)
    assert settle(slow_start, replace(load, source_fps=16)).shape.chunk_frames == 8

    assert settle(slow_start, load).shape.chunk_frames == 4  # 4 / 302 ms = 13 fps
    assert settle(slow_start, replace(load, source_fps=5)).shape.chunk_frames == 4


def test_lock_step_and_off_change_nothing() -> None:
    load = Load(steps=2, source_fps=120, latency_bound_ms=1000, num_waiting=24)
    for changed in (replace(load, mode="off"), replace(load, is_lockstep=True)):
        state = settle(NARROW, load)
        assert state.shape != NARROW.base(2)

        decision = decide(state, NARROW, changed)

        assert decision.shape == NARROW.base(2)
        assert decision.has_changed


def test_an_engine_with_nothing_to_choose_is_left_alone() -> None:
    table = StepTable(Shape(4, SERIAL, 1), {})

    decision = decide(SloState(table.base(3)), table, Load(steps=3, source_fps=200))

    assert decision == Decision(SloState(Shape(4, SERIAL, 3)), Shape(4, SERIAL, 3), False)


@given(tables, loads)
@LAW
def test_the_knee_is_the_least_latency_that_meets_the_load_or_the_highest_rate(
    table: StepTable, load: Load
) -> None:
    chosen = knee(table, load)

    shapes = allowed_shapes(table, load)
    base = shapes[0]
    if len(shapes) == 1:
        assert chosen == base
        return
    latency = {shape: table.latency_ms(shape, load.fps) for shape in shapes}
    limit = AIM * load.latency_bound_ms or MAX_GROWTH * latency[base]
    within = [shape for shape in shapes if latency[shape] <= limit]
    meeting = [shape for shape in within if table.fps(shape) >= load.fps]
    if meeting:
        assert chosen in meeting
        assert all(other.steps <= chosen.steps for other in meeting)
        same = [other for other in meeting if other.steps == chosen.steps]
        assert latency[chosen] == min(latency[other] for other in same)
    elif not within:
        assert latency[chosen] == min(latency.values())
    elif load.latency_bound_ms:
        for better in (one for one in within if table.fps(one) > WORTH * table.fps(chosen)):
            assert any(
                table.fps(one) * (latency[better] / latency[one]) ** PRICE >= table.fps(better)
                for one in within
                if table.fps(one) <= WORTH * table.fps(chosen)
            )
    else:
        assert chosen._replace(steps=base.steps) == base


@given(tables, loads, loads)
@LAW
def test_a_steady_load_settles_and_stays(table: StepTable, before: Load, load: Load) -> None:
    load = replace(load, num_waiting=0)
    state = settle(table, load, settle(table, before))

    later = settle(table, load, state)

    assert later.shape == state.shape
    assert later.says == state.says


@given(tables, loads)
@LAW
def test_settling_meets_what_the_knee_meets_with_some_to_spare(
    table: StepTable, load: Load
) -> None:
    """What is settled on keeps the rate wherever a shape within the limit does so with 5 %."""
    best = knee(table, load, 1.05)

    shape = settle(table, load).shape

    if len(allowed_shapes(table, load)) > 1 and table.fps(best) >= 1.05 * load.fps:
        assert table.fps(shape) >= load.fps
        assert shape.steps >= best.steps


@given(tables, loads, st.integers(0, 2**32))
@LAW
def test_noise_of_ten_percent_moves_nothing_for_long(
    table: StepTable, load: Load, seed: int
) -> None:
    chance = random.Random(seed)
    state = settle(table, load)
    changes = 0

    for _ in range(300):
        decision = decide(state, table, load)
        state, changes = decision.state, changes + decision.has_changed
        took_ms = table.step_ms[decision.shape] * chance.uniform(0.9, 1.1)
        table = table.observed(decision.shape, took_ms)

    assert changes <= 2


@given(tables, loads, st.floats(1.0, 3.0))
@LAW
def test_more_load_past_what_is_possible_changes_nothing(
    table: StepTable, load: Load, factor: float
) -> None:
    shapes = allowed_shapes(table, load)
    if len(shapes) == 1:
        return
    beyond = max(table.fps(shape) for shape in shapes) * 1.2
    overload = replace(load, source_fps=beyond, target_fps=0.0)

    more = replace(overload, source_fps=beyond * factor)

    assert knee(table, more) == knee(table, overload)


@given(tables, loads, st.floats(1.0, 4.0))
@LAW
def test_a_tighter_bound_never_gives_a_longer_latency(
    table: StepTable, load: Load, factor: float
) -> None:
    load = replace(load, latency_bound_ms=load.latency_bound_ms or 500.0, mode="chunks")
    tighter = replace(load, latency_bound_ms=load.latency_bound_ms / factor)

    wide, tight = knee(table, load), knee(table, tighter)

    # To rounding and to rates that count as equal, of which the one with less latency is taken.
    assert table.latency_ms(tight, load.fps) <= table.latency_ms(wide, load.fps) * 1.0001


def test_a_table_of_a_busy_machine_is_put_right_by_the_first_steps() -> None:
    shape = NARROW.base(2)
    table = NARROW
    for took_ms in (3.0, 2.0, 2.0, 900.0, 2.0):
        table = table.observed(shape, took_ms)

    assert table.ms(shape) == pytest.approx(2.0)


def test_a_device_that_slows_down_is_followed_and_a_spike_is_not() -> None:
    shape = NARROW.base(2)
    table = NARROW
    for _ in range(LEARNING_STEPS):
        table = table.observed(shape, NARROW.ms(shape))
    spiked = table.observed(shape, 10 * table.ms(shape))
    assert 1.0 < spiked.slowdown <= 1.07

    for _ in range(60):
        table = table.observed(shape, 1.5 * NARROW.ms(shape))

    assert table.slowdown == pytest.approx(1.5, abs=0.02)
    assert table.fps(Shape(8, SERIAL, 2)) == pytest.approx(50 / 1.5, abs=0.5)


def test_what_a_spike_left_goes_into_one_longer_chunk() -> None:
    load = Load(steps=2, source_fps=30, latency_bound_ms=1000)
    state = settle(NARROW, load)

    decision = decide(state, NARROW, replace(load, num_waiting=9))

    assert decision.shape == Shape(8, SERIAL, 2)
    assert decision.state.shape == Shape(4, SERIAL, 2)
    assert decide(decision.state, NARROW, load).shape == Shape(4, SERIAL, 2)


def test_sooner_again_when_the_load_falls_but_not_at_once() -> None:
    state = settle(NARROW, Load(steps=2, source_fps=45))
    load = Load(steps=2, source_fps=24)
    shapes = []

    for _ in range(20):
        state = decide(state, NARROW, load).state
        shapes.append(state.shape)

    assert shapes[:11] == [Shape(4, BATCH, 2)] * 11
    assert shapes[11:] == [Shape(4, SERIAL, 2)] * 9
