"""From worker to worker on the output: no input frame left out, none twice, pictures faded."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.clock import NS_PER_MS
from sdv2_host.host.handover import LOCKSTEP_PATIENCE_NS, PATIENCE_NS, Handover
from sdv2_host.host.playout import Playout, Shown
from sdv2_host.types import Frame, FrameFlags, FrameMeta, Size

MS = NS_PER_MS
INTERVAL_MS = 40
CHUNK = 4
SMALL, LARGE = Size(4, 4), Size(8, 4)
OLD, NEXT = 40, 200
"""Levels of the workers' pictures."""


def picture_of(number: int, level: int, size: Size = SMALL, *, is_lockstep: bool = False) -> Frame:
    """A worker's picture of input frame `number`, which was captured when it was its turn."""
    meta = FrameMeta(
        *size,
        flags=FrameFlags.LOCKSTEP if is_lockstep else FrameFlags.NONE,
        source_frame=number,
        source_capture_ts_ns=number * INTERVAL_MS * MS,
    )
    return Frame(meta, np.full((size.height, size.width, 4), level, np.uint8))


def due(frame: Frame, at_ms: int) -> Frame:
    meta = frame.meta
    return Frame(
        FrameMeta(
            meta.width,
            meta.height,
            flags=meta.flags,
            source_frame=meta.source_frame,
            source_capture_ts_ns=meta.source_capture_ts_ns,
            present_ts_ns=at_ms * MS,
        ),
        frame.pixels,
    )


@dataclass
class Worker:
    """Styles chunks of the numbered input: the first frame alone, then `CHUNK` at once."""

    level: int
    first: int
    late_ms: int
    size: Size = SMALL

    def chunks(self, last: int) -> Iterable[tuple[int, list[Frame]]]:
        """(when it is done, its pictures), in ms."""
        begins = [self.first, *range(self.first + 1, last, CHUNK)]
        for begin, end in itertools.pairwise(begins):
            done_ms = (end - 1) * INTERVAL_MS + self.late_ms
            numbers = range(begin, end)
            yield (
                done_ms,
                [
                    due(picture_of(n, self.level, self.size), done_ms + (n - begin) * INTERVAL_MS)
                    for n in numbers
                ],
            )


@dataclass
class Output:
    """A playout and a handing over on a simulated clock, one look every 5 ms."""

    seconds: float = 0.4
    playout: Playout = field(default_factory=Playout)
    handover: Handover | None = None
    is_done: bool = False
    shown: list[tuple[int, Shown, Frame]] = field(default_factory=list)
    """(when in ms, what the playout said, what was shown)."""

    def begin(self, at_ms: int) -> None:
        self.handover = Handover(self.seconds, at_ms * MS)

    def old(self, frames: list[Frame]) -> None:
        for frame in frames:
            if self.handover is None:
                self.playout.offer(frame)
            elif not self.is_done:
                self.handover.offer_old(frame, self.playout)

    def next(self, frames: list[Frame]) -> None:
        assert self.handover is not None
        for frame in frames:
            if self.is_done:
                self.playout.offer(frame)
            else:
                self.handover.offer_next(frame, self.playout)

    def look(self, at_ms: int) -> None:
        is_over = self.handover is not None and not self.is_done
        if is_over and self.handover is not None:
            self.is_done = self.handover.advance(self.playout, at_ms * MS)
        while True:
            shown = self.playout.decide(at_ms * MS)
            if shown is None:
                return
            frame = shown.frame
            if self.handover is not None and not self.is_done:
                frame = self.handover.compose(frame, at_ms * MS)
            self.shown.append((at_ms, shown, frame))
            if not frame.is_lockstep:
                return

    @property
    def fresh(self) -> list[int]:
        metas = [shown.turn_of or shown.frame.meta for _, shown, _ in self.shown if shown.is_fresh]
        return [meta.source_frame for meta in metas]

    @property
    def numbers(self) -> list[int]:
        """As the output ring would say it."""
        return [(s.turn_of or s.frame.meta).source_frame for _, s, _ in self.shown]

    @property
    def levels(self) -> list[int]:
        return [int(frame.pixels[0, 0, 0]) for _, _, frame in self.shown]


def run(output: Output, old: Worker, following: Worker, last: int = 60) -> None:
    """Both style the same input up to frame `last`; the next one is ready as its first comes."""
    ready_ms = following.first * INTERVAL_MS
    old_chunks, next_chunks = list(old.chunks(last)), list(following.chunks(last))
    for at_ms in range(0, (last - CHUNK) * INTERVAL_MS, 5):
        if output.handover is None and at_ms >= ready_ms:
            output.begin(at_ms)
        for chunks, offer in ((old_chunks, output.old), (next_chunks, output.next)):
            while chunks and chunks[0][0] <= at_ms:
                offer(chunks.pop(0)[1])
        output.look(at_ms)


@pytest.mark.parametrize("phase", range(CHUNK))
def test_a_handing_over_shows_the_input_frames_that_one_worker_alone_shows(phase: int) -> None:
    output = Output()

    run(output, Worker(OLD, 0, 10), Worker(NEXT, 20 + phase, 10))

    assert output.is_done
    assert output.fresh == list(range(output.fresh[0], output.fresh[-1] + 1))
    assert output.levels[0] == OLD
    assert output.levels[-1] == NEXT


def naive_fade(output: Output, old: list[Frame], share_of: list[tuple[int, float]]) -> list[int]:
    """What the mixtures should be: of the newest old picture that is due, and the next one's."""
    levels = []
    for (at_ms, share), (_, shown, _) in zip(share_of, output.shown, strict=True):
        beneath = [f for f in old if f.meta.present_ts_ns <= at_ms * MS][-1].pixels[0, 0, 0]
        over = shown.frame.pixels[0, 0, 0]
        levels.append(int((int(beneath) * (256 - share) + int(over) * share + 128) // 256))
    return levels


def test_in_the_fade_both_workers_move_and_their_shares_are_those_of_the_clock() -> None:
    """Each old picture has a level of its own, so that one that stands still would show."""
    output = Output(seconds=0.4)
    old = [due(picture_of(n, 40 + n), n * INTERVAL_MS) for n in range(40)]
    following = [due(picture_of(n, 200 + n), n * INTERVAL_MS) for n in range(10, 40)]
    for at_ms in range(0, 40 * INTERVAL_MS, 5):
        if at_ms == 10 * INTERVAL_MS:
            output.begin(at_ms)
        number, rest = divmod(at_ms, INTERVAL_MS)
        if rest == 0:
            output.old([old[number]])
            if number >= 10:
                output.next([following[number - 10]])
        output.look(at_ms)

    begin_ms = next(at for at, shown, _ in output.shown if shown.frame.pixels[0, 0, 0] >= 200)
    shares = [
        (at_ms, 256 * min(1.0, max(0.0, (at_ms - begin_ms) / 400))) for at_ms, _, _ in output.shown
    ]
    rounded = [(at_ms, round(share)) for at_ms, share in shares]
    assert output.levels == naive_fade(output, old, rounded)  # type: ignore[arg-type]
    assert output.is_done


class Restless(Worker):
    """Its pictures change their size from chunk to chunk, as passthrough's do with the input's."""

    def chunks(self, last: int) -> Iterable[tuple[int, list[Frame]]]:
        for index, (done_ms, frames) in enumerate(super().chunks(last)):
            size = (SMALL, LARGE)[index % 2]
            numbers = [frame.meta.source_frame for frame in frames]
            dues = [frame.meta.present_ts_ns // MS for frame in frames]
            yield (
                done_ms,
                [due(picture_of(n, NEXT, size), at) for n, at in zip(numbers, dues, strict=True)],
            )


class Stopping(Worker):
    """Its last picture is shown through the whole fade."""

    def chunks(self, last: int) -> Iterable[tuple[int, list[Frame]]]:
        return super().chunks(min(last, 26))


def test_a_size_that_changes_in_the_fade_is_followed_by_the_old_picture_too() -> None:
    output = Output(seconds=0.4)

    run(output, Stopping(OLD, 0, 10), Restless(NEXT, 20, 10))

    assert output.is_done
    mixtures = [frame for _, _, frame in output.shown if OLD < frame.pixels[0, 0, 0] < NEXT]
    sizes = {frame.pixels.shape[:2] for frame in mixtures}
    assert sizes == {(size.height, size.width) for size in (SMALL, LARGE)}


def test_the_new_size_holds_from_the_first_new_picture_and_the_old_one_fills_it() -> None:
    output = Output(seconds=0.4)

    run(output, Worker(OLD, 0, 10), Worker(NEXT, 20, 10, LARGE))

    sizes = [frame.pixels.shape[:2] for _, _, frame in output.shown]
    begin = sizes.index((4, 8))
    assert set(sizes[:begin]) == {(4, 4)}
    assert set(sizes[begin:]) == {(4, 8)}
    assert output.levels[begin] == OLD
    assert (output.shown[begin][2].pixels[..., :3] == OLD).all()


@pytest.mark.parametrize(("old_ms", "next_ms"), [(10, 400), (400, 10)])
def test_engines_of_other_latency_never_take_the_output_back(old_ms: int, next_ms: int) -> None:
    output = Output()

    run(output, Worker(OLD, 0, old_ms), Worker(NEXT, 20, next_ms), last=80)

    assert output.is_done
    assert output.numbers == sorted(output.numbers)
    assert output.fresh == sorted(set(output.fresh))
    gaps_ms = [b[0] - a[0] for a, b in itertools.pairwise(output.shown)]
    assert max(gaps_ms[CHUNK:]) <= 2 * INTERVAL_MS + 10
    assert output.fresh[-1] > 60


def test_a_cut_shows_no_mixture() -> None:
    output = Output(seconds=0.0)

    run(output, Worker(OLD, 0, 10), Worker(NEXT, 20, 10))

    assert set(output.levels) == {OLD, NEXT}
    assert output.levels == sorted(output.levels)
    assert output.fresh == list(range(output.fresh[0], output.fresh[-1] + 1))


@pytest.mark.parametrize(
    ("is_lockstep", "patience_ns"), [(False, PATIENCE_NS), (True, LOCKSTEP_PATIENCE_NS)]
)
def test_a_worker_that_shows_nothing_is_not_waited_for_and_longer_in_a_render(
    is_lockstep: bool, patience_ns: int
) -> None:
    output = Output()
    output.old([due(picture_of(1, OLD, is_lockstep=is_lockstep), 40)])
    output.look(50)
    output.begin(100)

    output.look(100 + patience_ns // MS)
    assert not output.is_done
    output.look(101 + patience_ns // MS)

    assert output.is_done


def test_a_source_whose_clock_is_set_back_meanwhile_is_met_all_the_same() -> None:
    playout, handover = Playout(), Handover(0.4, 0)
    handover.offer_next(due(picture_of(1000, NEXT), 0), playout)

    for number in range(1, 4):
        at_ms = number * INTERVAL_MS
        handover.offer_old(due(picture_of(number, OLD), at_ms), playout)
        handover.offer_next(due(picture_of(number, NEXT), at_ms), playout)
        playout.decide(at_ms * MS)
        handover.advance(playout, at_ms * MS)

    assert handover.has_met


def test_a_worker_that_has_died_is_not_waited_for() -> None:
    output = Output()
    output.old([due(picture_of(1, OLD), 40)])
    output.look(50)
    output.begin(100)
    output.next([due(picture_of(5, NEXT), 110)])
    output.look(112)
    assert not output.is_done

    assert output.handover is not None
    output.handover.cut()
    output.look(115)

    assert output.is_done
    assert output.levels == [OLD, NEXT]


def test_a_freeze_in_the_fade_holds_the_mixture() -> None:
    output = Output(seconds=1.0)
    run(output, Worker(OLD, 0, 10), Worker(NEXT, 20, 10), last=36)
    mixed = output.levels[-1]
    assert OLD < mixed < NEXT

    output.playout.freeze(True)
    for at_ms in range(32 * INTERVAL_MS, 40 * INTERVAL_MS, 5):
        output.look(at_ms)

    assert output.is_done
    assert output.levels[-1] == mixed


def test_a_frozen_output_changes_workers_unseen() -> None:
    output = Output()
    output.old([due(picture_of(1, OLD), 40)])
    output.look(50)
    output.playout.freeze(True)
    output.begin(100)
    for at_ms in range(100, 3000, 20):
        number = at_ms // INTERVAL_MS
        output.old([due(picture_of(number, OLD + 1), at_ms)])
        output.next([due(picture_of(number, NEXT), at_ms)])
        output.look(at_ms)

    assert output.is_done
    assert set(output.levels) == {OLD}


def test_after_the_next_worker_dies_in_the_fade_the_old_one_is_shown_alone() -> None:
    output = Output(seconds=1.0)
    old = Worker(OLD, 0, 10)
    run(output, old, Worker(NEXT, 20, 10), last=36)
    assert OLD < output.levels[-1] < NEXT
    assert output.handover is not None

    output.handover.undo(output.playout, 32 * INTERVAL_MS * MS)
    output.handover = None
    later = [due(picture_of(n, OLD), n * INTERVAL_MS) for n in range(28, 60)]
    for at_ms in range(32 * INTERVAL_MS, 60 * INTERVAL_MS, 5):
        while later and later[0].meta.present_ts_ns <= at_ms * MS:
            output.old([later.pop(0)])
        output.look(at_ms)

    assert output.levels[-1] == OLD
    assert output.numbers == sorted(output.numbers)
    assert output.fresh == sorted(set(output.fresh))
    assert output.fresh[-1] == 59


@given(
    first_next=st.integers(3, 12),
    order=st.lists(st.booleans(), min_size=60, max_size=60),
    before_ready=st.integers(0, 20),
)
def test_every_lockstep_frame_is_answered_once_by_one_worker_whoever_is_quicker(
    first_next: int, order: list[bool], before_ready: int
) -> None:
    """Both answer all frames, the next one from `first_next` on: in any interleaving."""
    output = Output(seconds=0.4)
    old = [picture_of(n, OLD, is_lockstep=True) for n in range(1, 31)]
    following = [picture_of(n, NEXT, LARGE, is_lockstep=True) for n in range(first_next, 31)]
    at_ms = 0
    for index, is_old in enumerate(order):
        at_ms += 5
        if index >= before_ready and output.handover is None:
            output.begin(at_ms)
        if is_old and old:
            output.old([old.pop(0)])
        elif output.handover is not None and following:
            output.next([following.pop(0)])
        output.look(at_ms)
    while old or following:
        at_ms += 5
        if output.handover is None:
            output.begin(at_ms)
        output.old([old.pop(0)] if old else [])
        output.next([following.pop(0)] if following else [])
        output.look(at_ms)

    assert output.fresh == list(range(1, 31))
    assert set(output.levels) <= {OLD, NEXT}
    assert output.levels == sorted(output.levels)


def test_a_render_that_begins_in_the_fade_ends_it() -> None:
    output = Output(seconds=1.0)
    run(output, Worker(OLD, 0, 10), Worker(NEXT, 20, 10), last=36)
    assert not output.is_done
    before = len(output.shown)

    for number in range(40, 44):
        output.old([picture_of(number, OLD, is_lockstep=True)])
        output.next([picture_of(number, NEXT, is_lockstep=True)])
        output.look(number * INTERVAL_MS)

    assert output.fresh[-4:] == [40, 41, 42, 43]
    assert output.levels[before:] == [NEXT] * (len(output.shown) - before)
    assert output.is_done
