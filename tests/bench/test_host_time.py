"""What the host adds to a chunk."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.bench.host_time import covered, device_busy_ms, take_turns
from sdv2_host.bench.model_runs import Session
from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.params import Params
from sdv2_host.types import Frame, Layout, StyledChunk
from tests.bench.test_model_runs import GIVEN, LateEngine, after

CPU = torch.device("cpu")

intervals = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 9)).map(lambda at: (at[0], at[0] + at[1]))
)


@given(intervals)
def test_what_overlaps_is_counted_once(found: list[tuple[int, int]]) -> None:
    units = {unit for begin, end in found for unit in range(begin, end)}

    assert covered(found) == len(units)


def test_what_a_step_takes_beyond_the_bare_calls_is_the_hosts() -> None:
    session = Session(LateEngine(0, step_s=0.02), GIVEN)

    turns = take_turns(session, lambda: time.sleep(0.01), after(4))

    assert len(turns.host_ms) == len(turns.bare_ms) == 4
    assert min(turns.step_ms) >= 20
    assert min(turns.bare_ms) >= 10
    assert turns.host_ms == pytest.approx([ms - sorted_mean(turns.bare_ms) for ms in turns.step_ms])


def sorted_mean(values: list[float]) -> float:
    """The median of four."""
    return sum(sorted(values)[1:3]) / 2


class Multiplying(LateEngine):
    """Works for a while in each step, and then sleeps for as long as it is told."""

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        torch.ones(200, 200) @ torch.ones(200, 200)
        return super().step(frames, params, layout)


def test_a_profile_tells_the_devices_work_from_what_the_host_waits() -> None:
    session = Session(Multiplying(0, step_s=0.05), GIVEN)

    begin_ns = now_ns()
    busy_ms = device_busy_ms(session, CPU, num_chunks=2)
    all_ms = (now_ns() - begin_ns) / NS_PER_MS

    assert busy_ms is not None
    assert 0 < busy_ms <= all_ms / 2 - 50


def test_a_profile_that_sees_no_device_says_so() -> None:
    session = Session(LateEngine(0), GIVEN)

    assert device_busy_ms(session, CPU, num_chunks=1) is None
    assert device_busy_ms(session, torch.device("mps"), num_chunks=1) is None
