"""How long a ring that loses a rank shows no new picture.

Ranks are killed or stopped in turn while the stream runs as fast as it can. Measured is the time
from the signal to the first picture that the new ring has made: what the old one still brought
does not count, nor do pictures of the past that the new one is fed again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from sdv2_host.bench.end_process import kill_at_once, suspend
from sdv2_host.bench.pipeline import source_frames
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.config import Config
from sdv2_host.errors import HostError, WorkerError
from sdv2_host.params import Params
from sdv2_host.stages.driver import Driver
from sdv2_host.stages.members import MemberLimits
from sdv2_host.stages.ring_engine import RingEngine, build_ring_engine
from sdv2_host.stages.work import Route
from sdv2_host.types import ProgressFn

LIMITS = MemberLimits(max_deaths=1 << 30, max_delay_s=0.1)
"""As the product's, but a device is taken back at once however often it was lost."""
NUM_BETWEEN = 12
"""Chunks that a ring has made before the next accident: more than it is fed of the past."""
GIVE_UP_S = 120.0
POLL_S = 0.001
ACCIDENTS: dict[str, Callable[[int], None]] = {"kill": kill_at_once, "hang": suspend}


class Recovery(NamedTuple):
    """After one accident."""

    place: int
    """Of the rank that it happened to."""
    noticed_ms: float
    """Until the driver knew, to a millisecond."""
    first_ms: float
    """To the first new picture."""
    whole_s: float
    """To the first picture of all devices."""


class _Stream:
    """A ring that is given chunks without end. Lifetime: one measurement.

    Fields: `_num_given`, `_num_came` frames; `chunk` number of the newest that has come, in its
    epoch: less than before means that another ring made it.
    """

    def __init__(self, ring: RingEngine, params: Params) -> None:
        self._ring = ring
        self._params = params
        assert ring.size is not None, "a model has a size"
        self._frames = source_frames(ring.size)
        self._num_given = self._num_came = 0
        self.chunk = -1.0
        self.step(ring.first_chunk_frames)

    def step(self, num_frames: int = 0) -> bool:
        """Gives one chunk and takes what has come; whether a new ring has made some of it."""
        frames = self._frames[: num_frames or self._ring.chunk_frames]
        styled = self._ring.step(frames, self._params)
        self._num_given += len(frames)
        self._num_came += len(styled.frames)
        before, self.chunk = self.chunk, styled.notes.get("chunk", self.chunk)
        return self.chunk < before

    def until(self, is_so: Callable[[bool], bool], what: str) -> int:
        """When it was so; asked after each step, with its answer.

        Raises:
            WorkerError: it never was.
        """
        give_up_ns = now_ns() + round(GIVE_UP_S * NS_PER_S)
        while not is_so(self.step()):
            if now_ns() > give_up_ns:
                raise WorkerError(f"{what}: not within {GIVE_UP_S:g} s")
        return now_ns()

    def finish(self) -> int:
        """How many of the frames given have not come, after waiting for all that is owed."""
        self._num_came += len(self._ring.finish().frames)
        return self._num_given - self._num_came


def measure_deaths(
    config: Config, params: Params, routes: tuple[Route, ...], times: int, progress: ProgressFn
) -> list[dict[str, Any]]:
    """A row per route and kind of accident: `times` for each rank in turn, or fewer and why.

    Raises:
        HostError: a ring could not be made.
    """
    return [
        _accidents(config.model_copy(update={"route": route.value}), params, name, times, progress)
        for route in routes
        for name in ACCIDENTS
    ]


def _accidents(
    config: Config, params: Params, name: str, times: int, progress: ProgressFn
) -> dict[str, Any]:
    ring = build_ring_engine(config, progress, LIMITS)
    recoveries: list[Recovery] = []
    num_lost: int | None = None
    problem = ""
    try:
        ring.warm_up(params, progress)
        wanted = times * len(config.ring_devices)
        stream = _Stream(ring, params)
        try:
            for number in range(wanted):
                progress(f"{config.route}: {name} {number + 1}", number / wanted)
                recoveries.append(_recovery(stream, ring, number, ACCIDENTS[name]))
            num_lost = stream.finish()
        except HostError as error:  # of a ring that does not come back: that is a result too
            problem = f"after {len(recoveries)} of {wanted}: {error}"
    finally:
        ring.close()
    return {
        "route": config.route,
        "accident": name,
        "times": len(recoveries),
        "problem": problem,
        "noticed_ms": _spread([one.noticed_ms for one in recoveries]),
        "first_ms": _spread([one.first_ms for one in recoveries]),
        "whole_s": _spread([one.whole_s for one in recoveries]),
        "frames_lost": num_lost,
        "recoveries": [one._asdict() for one in recoveries],
    }


def _spread(times_ms: list[float]) -> dict[str, float] | None:
    """None = there are none."""
    if not times_ms:
        return None
    middle = {f"p{p}": float(np.percentile(times_ms, p)) for p in (50, 90)}
    return {"min": min(times_ms), **middle, "max": max(times_ms)}


def _recovery(
    stream: _Stream, ring: RingEngine, number: int, accident: Callable[[int], None]
) -> Recovery:
    driver = ring.driver
    stream.until(lambda _: stream.chunk >= NUM_BETWEEN, "the ring is under way")
    begin_ns = now_ns()
    for _ in range(4):
        stream.step()
    # At any moment of a chunk's way, not always as one has just come.
    time.sleep(random.random() * (now_ns() - begin_ns) / 4 / NS_PER_S)
    plan = driver.plan
    assert plan is not None, "pictures have come"
    place = number % len(plan.ranks)  # devices that get nothing to do have no place
    num_devices = driver.standing.num_devices
    is_over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        noticed = pool.submit(_noticed_ns, driver, driver.standing.num_lost, is_over)
        struck_ns = now_ns()
        accident(driver.pids[plan.ranks[place]])
        try:
            first_ns = stream.until(lambda is_new: is_new, "a picture of a new ring")
        finally:
            is_over.set()
    is_whole = driver.standing.num_devices == num_devices
    if not is_whole:
        stream.until(lambda is_new: is_new, "a picture of all devices")
    whole_ns = now_ns()
    return Recovery(
        place,
        (noticed.result() - struck_ns) / NS_PER_MS,
        (first_ns - struck_ns) / NS_PER_MS,
        (whole_ns - struck_ns) / NS_PER_S,
    )


def _noticed_ns(driver: Driver, num_lost: int, is_over: threading.Event) -> int:
    """When one more rank is lost. Polled: the driver tells nobody, and its user need not know."""
    while driver.standing.num_lost == num_lost and not is_over.wait(POLL_S):
        pass
    return now_ns()
