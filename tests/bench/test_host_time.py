"""What the host adds to a chunk."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.bench.host_time import covered, device_busy_ms, take_turns
from tests.bench.test_model_runs import GIVEN, LateEngine, after

intervals = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 9)).map(lambda at: (at[0], at[0] + at[1]))
)


@given(intervals)
def test_what_overlaps_is_counted_once(found: list[tuple[int, int]]) -> None:
    units = {unit for begin, end in found for unit in range(begin, end)}

    assert covered(found) == len(units)


def test_what_a_step_takes_beyond_the_bare_calls_is_the_hosts() -> None:
    engine = LateEngine(0, step_s=0.02)

    turns = take_turns(engine, GIVEN, lambda: time.sleep(0.01), after(4))

    assert len(turns.host_ms) == len(turns.bare_ms) == 4
    assert min(turns.step_ms) >= 20
    assert min(turns.bare_ms) >= 10
    assert turns.host_ms == pytest.approx([ms - sorted_mean(turns.bare_ms) for ms in turns.step_ms])


def sorted_mean(values: list[float]) -> float:
    """The median of four."""
    return sum(sorted(values)[1:3]) / 2


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_a_profile_that_sees_no_device_says_so() -> None:
    assert device_busy_ms(LateEngine(0), GIVEN, torch.device("cpu"), num_chunks=1) is None
