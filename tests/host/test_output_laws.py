"""Whatever is done to the output: one picture at a time, in order, of one size, as it was asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.clock import NS_PER_MS
from sdv2_host.host.playout import LOCKSTEP_QUIET_NS, Playout
from sdv2_host.params import Params
from sdv2_host.types import Size
from tests.any_params import any_params
from tests.host.one_clock_output import (
    DRY,
    STYLED,
    OneClockOutput,
    Output,
)

LIVE = ("freeze", "blackout", "mix", "panicked", "safe", "panic_s")
LONGEST_GAP_NS = 600 * NS_PER_MS
"""The slowest cadence is two frames a second, and the picture is shown again by then."""
Action = Callable[[OneClockOutput], None]


def chunk(output: OneClockOutput, size: Size, count: int, ahead_ms: int, then_ms: int) -> None:
    for index in range(count):
        output.offer(size, ahead_ms * index)
    output.run(then_ms)


def render(output: OneClockOutput, size: Size, count: int, then_ms: int) -> None:
    for _ in range(count):
        output.answer(size)
    output.run(then_ms)


SIZES = st.sampled_from([Size(4, 4), Size(4, 4), Size(1, 1), Size(5, 3), Size(64, 2)])
CHUNKS = st.builds(
    lambda *args: partial(chunk, size=args[0], count=args[1], ahead_ms=args[2], then_ms=args[3]),
    SIZES,
    st.integers(1, 12),
    st.integers(0, 60),
    st.integers(1, 300),
)
RENDERS = st.builds(
    lambda *args: partial(render, size=args[0], count=args[1], then_ms=args[2]),
    SIZES,
    st.integers(1, 8),
    st.integers(1, 100),
)
STALLS = st.builds(lambda ms: lambda output: output.run(ms), st.sampled_from([1, 90, 1500]))
PANICS = st.builds(
    Params,
    panicked=st.just(True),
    safe=st.sampled_from(["input", "black", "hold", "hold"]),
    panic_s=st.sampled_from([0.0, 0.2]),
)
LOOKS = st.one_of(any_params(LIVE), PANICS).map(lambda params: lambda output: output.play(params))
ACTIONS = st.one_of(CHUNKS, CHUNKS, CHUNKS, LOOKS, LOOKS, STALLS, RENDERS)
TICKS = st.sampled_from([None, 17 * NS_PER_MS, 40 * NS_PER_MS])


def the_output_is_sound(tick_ns: int | None, show: list[Action]) -> None:
    output = OneClockOutput(Playout(tick_ns))
    for action in show:
        action(output)
    output.run(50)

    it_never_goes_back(output.outputs)
    it_never_stops(output.outputs)
    for one in output.outputs:
        it_is_as_asked(one)
    answers = [one.answered for one in output.outputs if is_answer(one)]
    assert answers == output.lockstep
    num_fresh = sum(one.is_fresh for one in output.outputs)
    assert output.playout.counts[:2] == (num_fresh, len(output.outputs) - num_fresh)


def is_answer(one: Output) -> bool:
    return one.is_fresh and one.is_lockstep


def it_never_goes_back(outputs: list[Output]) -> None:
    for before, after in pairwise(outputs):
        is_new = after.is_fresh and after.answered > before.answered
        assert is_new or (not after.is_fresh and after.frame is before.frame)
        # One picture at a time, but for a render's, each of which is waited for.
        assert after.at_ns > before.at_ns or after.is_lockstep
        is_held = after.params.freeze and before.params.freeze
        assert after.frame is before.frame or not is_held
    for one in outputs:
        assert one.at_ns >= one.frame.meta.present_ts_ns


def it_never_stops(outputs: list[Output]) -> None:
    for before, after in pairwise(outputs):
        quiet_ns = LOCKSTEP_QUIET_NS if before.is_lockstep else 0
        assert after.at_ns - before.at_ns <= LONGEST_GAP_NS + quiet_ns


def it_is_as_asked(one: Output) -> None:
    """The picture is a mixture of what it may be made of, and of the frame's own size."""
    styled, picture, params = one.frame.pixels, one.picture, one.params
    assert picture.dtype == np.uint8
    assert picture.shape == styled.shape
    assert (picture[..., 3] == 255).all()
    levels = np.unique(picture[..., :3])
    assert len(levels) == 1, "pictures of one level give pictures of one level"
    wet_or_mixed = {float(STYLED), DRY + params.mix * (STYLED - DRY)}
    safe = {0.0} if params.safe == "black" else {0.0, float(DRY)}
    may_be = {base + one.safe_level * (other - base) for base in wet_or_mixed for other in safe}
    if params.blackout:
        assert levels[0] == 0
    elif params.safe == "hold" and one.safe_level > 0:
        assert levels[0] <= STYLED
    else:
        assert min(abs(levels[0] - level) for level in may_be) <= 2


@settings(max_examples=100)
@given(TICKS, st.lists(ACTIONS, min_size=3, max_size=15))
def test_the_output_shows_one_picture_at_a_time_in_order_of_its_size_as_asked(
    tick_ns: int | None, show: list[Action]
) -> None:
    the_output_is_sound(tick_ns, show)


@pytest.mark.slow
@settings(max_examples=200)
@given(TICKS, st.lists(ACTIONS, min_size=3, max_size=60))
def test_the_output_is_sound_for_longer(tick_ns: int | None, show: list[Action]) -> None:
    the_output_is_sound(tick_ns, show)
