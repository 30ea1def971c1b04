"""What the host adds to a chunk."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sdv2_host.bench.host_time import TimedCalls, covered, device_busy_ms, part_steps
from sdv2_host.bench.model_runs import Session
from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.params import Params
from sdv2_host.stream.cached_call import PastCall
from sdv2_host.stream.model_calls import ModelCalls
from sdv2_host.types import Frame, Layout, StyledChunk
from sdv2_host.wan.model import TextByBlock
from sdv2_host.wan.streaming_vae import VAECache
from tests.bench.test_model_runs import GIVEN, LateEngine, after

CPU = torch.device("cpu")
NOTHING, FORGETFUL = torch.zeros(1), VAECache([], [])

intervals = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 9)).map(lambda at: (at[0], at[0] + at[1]))
)


@given(intervals)
def test_what_overlaps_is_counted_once(found: list[tuple[int, int]]) -> None:
    units = {unit for begin, end in found for unit in range(begin, end)}

    assert covered(found) == len(units)


class SleepingCalls:
    """Calls that take so long and give back what they are given."""

    num_rehearsals = 1

    def preparing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        time.sleep(0.01)
        return frames_BTCHW

    def predict(self, x_BFCHW: Tensor, t_BF: Tensor, text: TextByBlock, past: PastCall) -> Tensor:
        raise NotImplementedError

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        time.sleep(0.02)
        return z_BFCHW


class Calling(LateEngine):
    """Makes two calls in each step, and then is busy with itself for 20 ms."""

    def __init__(self, calls: ModelCalls) -> None:
        super().__init__(0, step_s=0.02)
        self._calls = calls

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        self._calls.decode(self._calls.encode(NOTHING, FORGETFUL, False), FORGETFUL, False)
        return super().step(frames, params, layout)


def test_what_a_step_takes_beyond_the_models_calls_is_the_hosts() -> None:
    calls = TimedCalls(SleepingCalls())
    session = Session(Calling(calls), GIVEN)

    parted = part_steps(session, calls, after(4))

    assert len(parted.host_ms) == 4
    assert min(parted.calls_ms) >= 30
    assert min(parted.host_ms) >= 20
    sums = [calls + host for calls, host in zip(parted.calls_ms, parted.host_ms, strict=True)]
    assert sums == pytest.approx(parted.step_ms)
    assert parted.over_bare > 1


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
