"""An engine that ends a session loses what it owes: counted, answered, and the next one begins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.config import Config
from sdv2_host.host.engines import NoMemory
from sdv2_host.host.outlet import Outlet
from sdv2_host.host.show_engine import RecordedEngine
from sdv2_host.host.show_reader import feed, open_show
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameFlags, FrameMeta, Layout, StyledChunk
from tests.host.one_turn_worker import OneTurnWorker, one_turn_worker
from tests.host.show_steps import CLOSE_S, frames_of
from tests.naive_engine import NaiveEngine

LOCKSTEP = FrameFlags.LOCKSTEP


@dataclass
class BreakingEngine(NaiveEngine):
    """Ends the session with the step, or the look at what is done, that follows `breaks`."""

    breaks: bool = False
    num_lost: int = 0
    """Frames."""

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        assert len(frames) == (4 if self.is_begun else 1), "a session begins with one frame"
        return self._ending(super().step(frames, params, layout))

    def collect(self) -> StyledChunk:
        return self._ending(super().collect())

    def _ending(self, styled: StyledChunk) -> StyledChunk:
        if not self.breaks:
            return styled
        self.breaks = False
        self.num_lost += self.num_in_flight + len(styled.frames)
        self.reset()
        return replace(styled, frames=styled.frames[:0], ends_session=True)


class RememberingEngine(BreakingEngine):
    """Ends it when all that is on its way is asked for, too."""

    memory = NoMemory()

    def finish(self) -> StyledChunk:
        return self._ending(super().finish())


def test_a_session_that_ends_as_its_recording_begins_is_recorded_from_the_next_one_on(
    tmp_path: Path,
) -> None:
    engine, showing = RememberingEngine(), Params(show=str(tmp_path / "a.show"))
    recorded = RecordedEngine(engine, Config(engine="passthrough"), Params())
    recorded.step(frames_of(1, 1), Params())

    engine.breaks = True
    ended = recorded.step(frames_of(2, 4), showing)
    recorded.reset()
    recorded.step(frames_of(6, 1), showing)
    recorded.close(CLOSE_S)
    (part,) = open_show(tmp_path / "a.show")

    assert ended.ends_session
    assert [[frame.meta.frame for frame in fed.frames] for fed in feed(part)] == [[6]]
    assert not any(news.has_failed for news in recorded.take_news())


def broken_worker(worker: OneTurnWorker, layout: Layout) -> BreakingEngine:
    engine = BreakingEngine(layout)
    worker.engine = engine
    # No longer chunks, which a slow machine would take.
    worker.order(Params(steps=4, slo_mode="off"))
    return engine


@pytest.mark.parametrize("layout", Layout)
def test_frames_of_a_session_that_the_engine_ended_are_dropped_and_counted(
    run_dir: Path, layout: Layout
) -> None:
    with one_turn_worker(run_dir, layout) as worker:
        engine = broken_worker(worker, layout)
        for index, count in enumerate((1, 4, 4, 4, 4, 4, 4, 4)):
            worker.send(count)
            engine.breaks = engine.breaks or index == 3
            worker.turn()
        counts = worker.counts

    assert counts.frames_in == counts.taken + counts.dropped + counts.queue_depth == 29
    assert counts.taken - worker.outlet.num_lost == len(worker.shown) + worker.num_owed
    assert worker.outlet.num_lost == engine.num_lost > 0
    sources = [frame.meta.source_frame for frame in worker.shown]
    assert sources == sorted(set(sources))


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("breaks_at", [0, 2, 4])
def test_every_lockstep_frame_is_answered_once_in_order_though_its_session_was_ended(
    run_dir: Path, layout: Layout, breaks_at: int
) -> None:
    with one_turn_worker(run_dir, layout) as worker:
        engine = broken_worker(worker, layout)
        for index in range(12):
            engine.breaks = index == breaks_at
            worker.send(1 if index == 0 else 4, LOCKSTEP)
            worker.turn()
            worker.turn()
        for _ in range(6):
            worker.turn()
        owed = engine.num_in_flight + len(worker.waiting)

    metas = [frame.meta for frame in worker.shown]
    assert [meta.source_frame for meta in metas] == list(range(1, 46 - owed))
    assert all(meta.flags == LOCKSTEP for meta in metas)
    assert owed <= engine.delay_frames


def test_a_session_that_ends_between_two_chunks_is_followed_by_another(run_dir: Path) -> None:
    with one_turn_worker(run_dir, Layout.BATCH) as worker:
        engine = broken_worker(worker, Layout.BATCH)
        for count in (1, 4):
            worker.send(count)
            worker.turn()

        engine.breaks = True
        worker.turn()
        for _ in range(3):
            worker.send(4)
            worker.turn()

    assert worker.outlet.num_lost == engine.num_lost > 0
    assert worker.outlet.num_in_flight == engine.num_in_flight


def frame(number: int, flags: FrameFlags = FrameFlags.NONE) -> Frame:
    meta = FrameMeta(2, 2, frame=number, capture_ts_ns=number, flags=flags)
    return Frame(meta, np.zeros((2, 2, 4), np.uint8))


def test_an_answer_is_the_newest_picture_or_black_before_the_first(
    run_dir: Path, stream: str
) -> None:
    one = StyledChunk(np.full((1, 2, 2, 4), 7, np.uint8), {}, {})
    broken = replace(one, frames=one.frames[:0], ends_session=True)
    with (
        FrameReader(stream, run_dir=run_dir) as reader,
        Outlet(FrameWriter(stream, run_dir=run_dir)) as outlet,
    ):
        outlet.expect([frame(1, LOCKSTEP), frame(2), frame(3, LOCKSTEP)])
        outlet.publish(broken, version=5)
        outlet.expect([frame(4)])
        outlet.publish(one, version=5)
        outlet.expect([frame(5, LOCKSTEP)])
        outlet.publish(broken, version=6)
        frames = [reader.read_next() for _ in range(5)]

    shown = [found for found in frames if found is not None]
    assert [found.meta.source_frame for found in shown] == [1, 3, 4, 5]
    assert [found.meta.user_tag for found in shown] == [5, 5, 5, 6]
    assert [found.meta.present_ts_ns for found in shown if found.is_lockstep] == [0, 0, 0]
    assert [found.pixels[0, 0].tolist() for found in shown] == [
        *[[0, 0, 0, 255]] * 2,
        *[[7, 7, 7, 7]] * 2,
    ]
    assert outlet.num_lost == 4
    assert outlet.num_in_flight == 0
