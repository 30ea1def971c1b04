"""Streams of toys over two machines, and what they can be told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sdv2_host.bench.ring_of_two import DEVICES_EACH, joining_here
from sdv2_host.params import Params
from sdv2_host.stages.driver import Standing
from sdv2_host.stages.rank_ticket import BuildRank
from sdv2_host.stages.ring_engine import RingEngine
from tests.stages.places import in_chunks, toy_clip
from tests.stages.toy_ring import PATIENT, build_toy, toy_ring

WAIT_S = 90.0
CHUNKS = in_chunks(toy_clip(53))
PARAMS = Params(steps=2, drift="off")


class Setting(NamedTuple):
    route: str = "ring"
    silence_s: float = PATIENT.silence_s
    build: BuildRank = build_toy
    params: Params = PARAMS

    @contextmanager
    def opened(self) -> Iterator[RingEngine]:
        torch.set_num_threads(1)
        limits = replace(PATIENT, silence_s=self.silence_s)
        with toy_ring(
            DEVICES_EACH, route=self.route, limits=limits, joining=joining_here()
        ) as engine:
            yield engine


def standing(engine: RingEngine) -> Standing:
    return engine.driver.standing


def given(first: int, last: int) -> Callable[[RingEngine], NDArray[np.uint8]]:
    """Chunks first..last-1 are given; what came out meanwhile."""
    return partial(_give, first, last)


def _give(first: int, last: int, engine: RingEngine) -> NDArray[np.uint8]:
    return np.concatenate([engine.step(frames, PARAMS).frames for frames in CHUNKS[first:last]])


def finished(engine: RingEngine) -> NDArray[np.uint8]:
    """All that was owed."""
    return engine.finish().frames


def until_devices(count: int) -> Callable[[RingEngine], Standing]:
    """The ring has so many; how it is."""
    return partial(_until_devices, count)


def _until_devices(count: int, engine: RingEngine) -> Standing:
    deadline = time.monotonic() + WAIT_S
    while engine.driver.standing.num_devices != count:
        assert time.monotonic() < deadline, engine.driver.standing
        time.sleep(0.02)
    return engine.driver.standing
