"""Whatever source and user do: every frame is shown once, in order, or counted as dropped."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.host.backlog import BACKLOG_CHUNKS
from sdv2_host.ipc.messages import Report
from sdv2_host.types import FrameFlags, Layout, PixelFormat, Size
from tests.any_params import any_params
from tests.host.one_turn_worker import (
    DEADLINE_S,
    OneTurnWorker,
    is_lockstep,
    number_in,
    one_turn_worker,
)

LIVE = (
    "steps",
    "seed",
    "prompt",
    "target_fps",
    "latency_bound_ms",
    "slo_mode",
)
Action = Callable[[OneTurnWorker], None]


def send(worker: OneTurnWorker, count: int) -> None:
    worker.send(count)


def render(worker: OneTurnWorker, count: int) -> None:
    """No more than its client may have under way, and than a host has room for."""
    room = min(worker.engine.delay_frames + 1 - worker.num_rendering, 48 - len(worker.waiting))
    worker.send(max(0, min(count, room)), FrameFlags.LOCKSTEP)


def turns(worker: OneTurnWorker, count: int) -> None:
    for _ in range(count):
        turn = worker.turn()
        if isinstance(turn.message, Report):
            report = turn.message
            assert report.frames_in == len(worker.source.sent)
            assert report.frames_out + report.dropped + report.queue_depth == report.frames_in
            assert report.frames_out == len(worker.shown) + worker.num_owed
            assert worker.outlet.num_in_flight == worker.engine.num_in_flight
            assert report.version == worker.desk.newest.version


def resize(worker: OneTurnWorker, size: Size, pixel_format: PixelFormat) -> None:
    worker.source.resize(size, pixel_format)


def cut(worker: OneTurnWorker) -> None:
    worker.source.cuts = True


def restart(worker: OneTurnWorker) -> None:
    worker.source.restart()
    worker.send(1)


SIZES = st.sampled_from([Size(4, 4), Size(1, 1), Size(3, 7), Size(64, 2), Size(600, 300)])
FORMATS = st.sampled_from([PixelFormat.RGBA8, PixelFormat.BGRA8])
CUTS = st.one_of(
    st.builds(lambda s, f: partial(resize, size=s, pixel_format=f), SIZES, FORMATS),
    st.just(cut),
    st.just(restart),
)
RARELY = st.sampled_from([False, False, False, True])
ORDERS = any_params(LIVE, pause=RARELY).map(lambda params: lambda worker: worker.order(params))


def rounds(sends: Callable[..., None], count: int, num_turns: int, num_rounds: int) -> list[Action]:
    """A source of one rate, and a worker that keeps up with it, or does not."""
    return [partial(sends, count=count), partial(turns, count=num_turns)] * num_rounds


RATES = st.one_of(st.integers(1, 9), st.integers(10, 40))
ROUNDS = st.builds(
    rounds, st.sampled_from([send, send, render]), RATES, st.integers(0, 4), st.integers(1, 5)
)
STALLS = st.builds(lambda count: [partial(turns, count=count)], st.integers(1, 5))
CHANGES = st.one_of(CUTS, ORDERS, ORDERS).map(lambda action: [action])
SCENES = st.tuples(st.one_of(CHANGES, STALLS), ROUNDS).map(lambda parts: parts[0] + parts[1])


def shows(min_scenes: int, max_scenes: int) -> st.SearchStrategy[list[Action]]:
    scenes = st.lists(SCENES, min_size=min_scenes, max_size=max_scenes)
    return scenes.map(lambda found: [action for scene in found for action in scene])


def nothing_is_lost(run_dir: Path, layout: Layout, show: list[Action]) -> None:
    with one_turn_worker(run_dir, layout) as worker:
        worker.send(1)
        for action in show:
            action(worker)
            the_queue_is_short(worker)
        order_is_kept(worker)
        no_lockstep_frame_is_passed_over(worker)


def the_queue_is_short(worker: OneTurnWorker) -> None:
    counts, wish = worker.counts, worker.intake._backlog.wish
    num_ordinary = sum(not frame.is_lockstep for frame in worker.waiting)
    assert counts.taken + counts.dropped + counts.queue_depth == counts.frames_in
    assert num_ordinary <= BACKLOG_CHUNKS * wish.num_frames


def order_is_kept(worker: OneTurnWorker) -> None:
    """Each picture is that of its frame, and what is said of it is true."""
    sent = {one.number: one.meta for one in worker.source.sent}
    numbers = [number_in(frame) for frame in worker.shown]
    assert numbers == sorted(set(numbers))
    for number, frame in zip(numbers, worker.shown, strict=True):
        meta, source = frame.meta, sent[number]
        assert (meta.source_frame, meta.source_capture_ts_ns, meta.width, meta.height) == (
            source.frame,
            source.capture_ts_ns,
            source.width,
            source.height,
        )
        assert is_lockstep(meta) == is_lockstep(source)
    for before, after in pairwise(frame.meta for frame in worker.shown):
        assert after.user_tag >= before.user_tag
        assert after.frame == before.frame + 1
    # Frames of a render's chunks are due at once, and what waits before them is history.
    parts = groupby((frame.meta.present_ts_ns for frame in worker.shown), key=bool)
    for due_ns in (list(part) for is_paced, part in parts if is_paced):
        assert due_ns == sorted(set(due_ns))


def no_lockstep_frame_is_passed_over(worker: OneTurnWorker) -> None:
    shown = {number_in(frame) for frame in worker.shown}
    num_left = worker.num_owed + len(worker.waiting)
    for session in worker.source.sessions:
        is_over = session is not worker.source.sessions[-1]
        wanted = [one.number for one in session if is_lockstep(one.meta)]
        came = [number for number in wanted if number in shown]
        # As many as a client sends once more at the end of a session.
        allowed = worker.engine.delay_frames + num_left if is_over else num_left
        assert came == wanted[: len(came)]
        assert len(wanted) - len(came) <= allowed


@settings(max_examples=20)
@given(st.sampled_from(Layout), shows(2, 6))
def test_every_frame_is_shown_once_in_order_or_counted_as_dropped(
    tmp_path_factory: pytest.TempPathFactory, layout: Layout, show: list[Action]
) -> None:
    nothing_is_lost(tmp_path_factory.mktemp("run"), layout, show)


@pytest.mark.slow
@settings(max_examples=30)
@given(st.sampled_from(Layout), shows(4, 16))
def test_every_frame_is_shown_once_or_counted_for_longer(
    tmp_path_factory: pytest.TempPathFactory, layout: Layout, show: list[Action]
) -> None:
    nothing_is_lost(tmp_path_factory.mktemp("run"), layout, show)


@pytest.mark.parametrize("layout", Layout)
def test_a_source_that_stops_has_all_its_frames_shown(run_dir: Path, layout: Layout) -> None:
    with one_turn_worker(run_dir, layout) as worker:
        for count in (1, 4, 6):
            worker.send(count)
            worker.turn()
        deadline_s = time.monotonic() + DEADLINE_S
        while len(worker.shown) < 11 and time.monotonic() < deadline_s:
            worker.turn()
        counts = worker.counts

    assert [number_in(frame) for frame in worker.shown] == list(range(1, 12))
    assert (counts.taken, counts.dropped, counts.queue_depth) == (11, 0, 0)
