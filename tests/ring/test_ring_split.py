"""Several processes decode bands of one picture, and it is whole, also when one of them dies."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.config import Config
from sdv2_host.params import Params
from sdv2_host.stages.rank_process import run_rank
from sdv2_host.stages.ring_engine import RingEngine
from sdv2_host.stages.ring_plan import RankFacts, RingPlan
from sdv2_host.stages.ring_setup import RingSetup
from sdv2_host.stages.route import RoutePlan
from tests.stages.places import NUM_BLOCKS, SIZE, in_chunks, toy_clip
from tests.stages.toy_ring import (
    ALONE,
    NUM_REPLAYED,
    build_toy,
    even_plan,
    lost_at,
    quiet,
    ring_models,
    whole,
)

CHUNKS = in_chunks(toy_clip(45))
STEADY = [Params(steps=2, drift="off")] * len(CHUNKS)


pytestmark = pytest.mark.usefixtures("one_thread")


def two_decode(config: Config, facts: Sequence[RankFacts], num_steps: int) -> RingPlan:
    """As many blocks for each but the last; it and the one before decode a half each."""
    plan = even_plan(config, facts[:-1], num_steps)
    route = plan.route
    cuts = (*route.cuts, route.num_items)
    split = RoutePlan(route.route, route.num_steps, route.num_blocks, cuts, num_decoders=2)
    return plan._replace(ranks=tuple(fact.rank for fact in facts), route=split)


@contextmanager
def split_ring(route: str) -> Iterator[RingEngine]:
    """Of three processes, warm; nobody who dies comes back."""
    sizes = {"width": SIZE.width, "height": SIZE.height}
    config = Config.model_validate({**sizes, "devices": "cpu,cpu,cpu", "route": route})
    setup = RingSetup(
        config=config,
        devices=("cpu",) * 3,
        run_rank=run_rank,
        build=build_toy,
        plan=partial(two_decode, config),
        num_steps=2,
        num_replayed=NUM_REPLAYED,
        limits=ALONE,
    )
    engine = RingEngine(setup, ring_models().text)
    try:
        engine.warm_up(STEADY[0], quiet)
        yield engine
    finally:
        engine.close()


def played(engine: RingEngine, victim: int | None = None) -> NDArray[np.uint8]:
    """A session, before whose seventh chunk that rank is killed."""
    out = []
    for index, (frames, params) in enumerate(zip(CHUNKS, STEADY, strict=True)):
        if index == 6 and victim is not None:
            os.kill(engine.driver.pids[victim], signal.SIGKILL)
        out.append(engine.step(frames, params).frames)
    return np.concatenate([*out, engine.finish().frames])


@pytest.mark.parametrize("route", ["ring", "chain"])
def test_pictures_of_two_decoding_processes_are_those_of_one_device(route: str) -> None:
    with split_ring(route) as engine:
        got = played(engine)
        says = engine.driver.standing.says

    total = NUM_BLOCKS * (2 if route == "chain" else 1)
    assert (
        f"cpu {total // 2}..{total} and band 1 of 2, cpu {total}..{total} and band 2 of 2" in says
    )
    assert np.array_equal(got, whole(CHUNKS, STEADY))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to kill with")
@pytest.mark.parametrize("victim", [1, 2])
def test_a_killed_decoder_costs_no_picture_and_leaves_no_half_of_one(victim: int) -> None:
    with split_ring("ring") as engine:
        got = played(engine, victim)

        assert engine.driver.standing.num_devices == 2
    assert any(np.array_equal(got, lost_at(n, CHUNKS, STEADY)) for n in range(len(CHUNKS)))
