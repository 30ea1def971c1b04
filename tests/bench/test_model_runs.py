"""Playing engines through their seam: the same figures whenever pictures come."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from sdv2_host.bench.model_runs import (
    NUM_SESSIONS,
    Given,
    Session,
    first_pictures_ms,
    run_freely,
    run_paced,
)
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta, Layout, ProgressFn, Shape, Size, StyledChunk

CLIP = [Frame(FrameMeta(2, 2), np.full((2, 2, 4), number, np.uint8)) for number in range(6)]
GIVEN = Given(CLIP, Params())


class LateEngine:
    """Gives every frame back, so many steps late; keeps what it was given."""

    name = "late"
    size = Size(2, 2)
    first_chunk_frames, chunk_frames = 1, 4
    layout = Layout.SERIAL
    delay_frames = 3
    most_behind = 0
    step_ms: Mapping[Shape, float] = {}

    def __init__(self, late_steps: int, step_s: float = 0.0, collects: bool = False) -> None:
        self._late_steps, self._step_s, self._collects = late_steps, step_s, collects
        self._inside: list[list[Frame]] = []
        self.sessions: list[list[int]] = []

    def warm_up(self, params: Params, progress: ProgressFn) -> None: ...

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        time.sleep(self._step_s)
        self.sessions[-1] += [int(frame.pixels[0, 0, 0]) for frame in frames]
        self._inside.append(frames)
        late = len(self._inside) - self._late_steps
        return self._out(max(late, 0))

    def collect(self) -> StyledChunk:
        return self._out(len(self._inside) if self._collects else 0)

    def finish(self) -> StyledChunk:
        return self._out(len(self._inside))

    def reset(self) -> None:
        self._inside.clear()
        self.sessions.append([])

    def _out(self, num_chunks: int) -> StyledChunk:
        done = [frame.pixels for chunk in self._inside[:num_chunks] for frame in chunk]
        del self._inside[:num_chunks]
        pixels = np.stack(done) if done else np.empty((0, 2, 2, 4), np.uint8)
        return StyledChunk(pixels, {"denoise": 1.5}, {})


def after(num_chunks: int) -> Callable[[int, float], bool]:
    return lambda chunks, _: chunks >= num_chunks


@pytest.mark.parametrize("late_steps", [0, 1, 3])
def test_a_free_run_times_every_chunk_once_however_late_its_pictures_are(late_steps: int) -> None:
    engine = LateEngine(late_steps, step_s=0.002)

    run = run_freely(Session.filled(engine, GIVEN), after(5))

    assert len(run.chunk_ms) == 5
    assert sum(run.chunk_ms) == pytest.approx(run.seconds * 1000)
    assert min(run.step_ms) >= 2
    assert set(run.spans_ms["denoise"]) == {1.5}


def test_the_clip_goes_round_without_a_gap() -> None:
    engine = LateEngine(0)

    run_freely(Session.filled(engine, GIVEN), after(4))

    (session,) = engine.sessions
    assert session == [number % 6 for number in range(len(session))]


@pytest.mark.parametrize("late_steps", [0, 2])
def test_each_session_is_timed_to_its_first_picture(late_steps: int) -> None:
    engine = LateEngine(late_steps, step_s=0.003)

    times_ms = first_pictures_ms(engine, GIVEN)

    assert len(times_ms) == NUM_SESSIONS
    assert min(times_ms) >= 3
    assert engine.sessions == [[0]] * NUM_SESSIONS


@pytest.mark.parametrize(("late_steps", "collects"), [(0, False), (2, False), (2, True)])
def test_a_frame_waits_for_the_rest_of_its_chunk(late_steps: int, collects: bool) -> None:
    engine = LateEngine(late_steps, collects=collects)

    run = run_paced(engine, GIVEN, 400.0, after(4))

    num_given = 1 + 4 * 3
    assert len(run.latency_ms) == num_given
    assert min(run.latency_ms) >= 0
    # Of each chunk the first waits three gaps longer than the last, which came with it.
    waited = run.latency_ms[1::4], run.latency_ms[4::4]
    assert all(a - b == pytest.approx(7.5, abs=0.01) for a, b in zip(*waited, strict=True))


def test_an_engine_that_is_too_slow_is_given_the_newest_frames() -> None:
    engine = LateEngine(0, step_s=0.05)

    run = run_paced(engine, GIVEN, 200.0, after(5))

    assert run.num_dropped > 0
    assert len(run.latency_ms) == 1 + 4 * 4


def test_a_late_engine_that_is_asked_in_between_shows_its_pictures_sooner() -> None:
    asked, never = (
        run_paced(LateEngine(1, collects=collects), GIVEN, 100.0, after(5))
        for collects in (True, False)
    )

    next_chunk_ms = 40
    assert min(asked.latency_ms[:-4]) < next_chunk_ms <= min(never.latency_ms[1:-4]) + 0.01
