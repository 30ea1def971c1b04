"""What the output shows while the model makes no pictures, on a clock that goes on by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.clock import NS_PER_MS, NS_PER_S
from sdv2_host.host.absence import Absence
from sdv2_host.host.output_mix import OutputMix
from sdv2_host.host.playout import Playout
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameFlags, FrameMeta, Size
from tests.host.one_clock_output import DRY, STYLED, dry_picture, styled_picture

TURN_MS = 10
SIZE = Size(2, 2)


@dataclass
class Show:
    """A source, a worker and the output stage, which does what `Presenter._turn` does."""

    params: Params
    frame_ms: int = 40
    step_ms: int = 0
    """What the worker takes for a chunk of four."""
    is_source_on: bool = True
    is_hung: bool = False
    is_dead: bool = False
    flags: FrameFlags = FrameFlags.NONE
    now_ns: int = 100 * NS_PER_S
    number: int = 0
    waiting: list[int] = field(default_factory=list)
    idle_ns: int = 0
    playout: Playout = field(default_factory=Playout)
    absence: Absence = field(default_factory=Absence)
    levels: list[float] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mix = OutputMix(self.params)

    def play(self, **changes: object) -> None:
        self.params = self.params.model_copy(update=changes)
        self.mix.play(self.params, self.now_ns)
        self.playout.freeze(self.params.freeze)

    def kill(self) -> None:
        self.is_dead, self.is_hung = True, False
        self.waiting.clear()
        self.absence.worker_left(self.now_ns)

    def start(self) -> None:
        self.is_dead = self.is_hung = False
        self.waiting.clear()
        self.absence.worker_came(3, 0.0)

    def run(self, for_s: float) -> list[float]:
        """Levels of the safe picture meanwhile."""
        begin = len(self.levels)
        for _ in range(round(for_s * 1000 / TURN_MS)):
            self._turn()
            self.now_ns += TURN_MS * NS_PER_MS
        return self.levels[begin:]

    def run_until(self, level: float) -> None:
        """The safe picture has stayed at this level for a second: at last it does."""
        for _ in range(100):
            if set(self.run(1.0)) == {level}:
                return
        raise AssertionError(f"after 100 s it is at {self.levels[-1]}, not at {level}")

    def _turn(self) -> None:
        now = self.now_ns
        if self.is_source_on and now // NS_PER_MS % self.frame_ms == 0:
            self.number += 1
            self.waiting.append(self.number)
            self.mix.offer(Frame(FrameMeta(*SIZE, frame=self.number), dry_picture(SIZE)), SIZE, now)
        self._style(now)
        self._look(now)
        shown = self.playout.decide(now)
        if shown is None and (self.mix.is_changed or self.mix.is_fading(now)):
            shown = self.playout.again(now)
        self._look(now)
        self.levels.append(self.mix.safe_level(now))
        if shown is not None:
            self.shown.append(int(self.mix.compose(shown.frame, now)[0, 0, 0]))

    def _style(self, now: int) -> None:
        """As a worker does: the newest four, evenly spread over the time that they take."""
        if self.params.pause:
            self.waiting.clear()
        is_at_work = not (self.is_hung or self.is_dead or self.params.pause) and now >= self.idle_ns
        if not is_at_work or len(self.waiting) < 4:
            return
        self.idle_ns = now + self.step_ms * NS_PER_MS
        for index, number in enumerate(self.waiting[-4:]):
            due_ns = self.idle_ns + index * self.frame_ms * NS_PER_MS
            meta = FrameMeta(
                *SIZE,
                source_frame=number,
                source_capture_ts_ns=number,
                flags=self.flags,
                present_ts_ns=due_ns,
            )
            self.playout.offer(Frame(meta, styled_picture(SIZE)))
        self.waiting.clear()

    def _look(self, now: int) -> None:
        self.absence.input_is(self.number, now)
        self.mix.miss(self.absence.look(self.playout.num_due, self.params, now), now)


def a_show(hold_s: float = 2.0, panic_s: float = 0.5, **others: int) -> Show:
    """Pictures flow."""
    show = Show(Params(hold_s=hold_s, panic_s=panic_s), **others)
    show.start()
    show.run(3.0)
    return show


def test_while_pictures_flow_the_safe_one_is_never_seen() -> None:
    assert set(a_show().run(5.0)) == {0.0}


def test_a_dead_worker_is_held_then_faded_and_the_next_ones_picture_fades_back() -> None:
    show = a_show(hold_s=2.0, panic_s=0.5)
    show.kill()

    held, faded = show.run(1.9), show.run(1.0)
    show.start()
    back = show.run(1.0)

    assert set(held) == {0.0}
    assert faded == sorted(faded)
    assert faded[-1] == 1.0
    assert back[0] == 1.0
    assert back[-1] == 0.0
    assert show.shown[-1] == STYLED
    assert DRY in show.shown


def test_a_worker_that_comes_back_in_time_is_never_faded() -> None:
    show = a_show(hold_s=2.0)
    show.kill()
    levels = show.run(1.5)
    show.start()

    assert set(levels + show.run(3.0)) == {0.0}


def test_a_worker_that_hangs_is_faded_though_nobody_has_declared_it_dead() -> None:
    show = a_show(hold_s=2.0, panic_s=0.5)
    show.is_hung = True

    levels = show.run(3.5)
    show.is_hung = False

    assert set(levels[:200]) == {0.0}
    assert levels[-1] == 1.0
    assert show.run(1.0)[-1] == 0.0


def test_workers_that_die_before_their_first_picture_do_not_hold_the_output_for_ever() -> None:
    show = a_show(hold_s=2.0)
    show.kill()
    for _ in range(4):
        show.run(0.5)
        show.start()
        show.is_hung = True
        show.run(0.5)
        show.kill()

    assert show.levels[-1] == 1.0


def test_a_source_that_stops_is_no_fault() -> None:
    show = a_show(hold_s=0.5)
    show.is_source_on = False

    assert set(show.run(20.0)) == {0.0}


def test_a_source_that_stops_behind_a_hung_worker_leaves_the_safe_picture_black() -> None:
    show = a_show(hold_s=0.5, panic_s=0.2)
    show.is_hung = True
    show.run(2.0)

    show.is_source_on = False

    assert set(show.run(3.0)) == {1.0}
    assert show.shown[-1] == 0


def test_without_source_and_worker_the_output_goes_to_the_safe_picture() -> None:
    show = a_show(hold_s=1.0)
    show.is_source_on = False
    show.run(60.0)
    show.kill()

    assert show.run(0.9)[-1] == 0.0
    assert show.run(1.0)[-1] == 1.0


@pytest.mark.parametrize("held", ["pause", "freeze"])
def test_what_a_person_holds_is_held_whatever_the_worker_does(held: str) -> None:
    show = a_show(hold_s=0.5, panic_s=0.2)
    show.play(**{held: True})
    show.run(1.0)
    show.kill()

    assert set(show.run(5.0)) == {0.0}
    assert show.shown[-1] == STYLED
    show.play(**{held: False})
    assert show.run(2.0)[-1] == 1.0


def test_after_a_pause_the_model_has_its_time_again() -> None:
    show = a_show(hold_s=1.0)
    show.play(pause=True)
    show.run(10.0)
    show.play(pause=False)

    assert set(show.run(3.0)) == {0.0}


def test_an_engine_that_is_slow_is_known_to_be() -> None:
    show = a_show(hold_s=0.1, panic_s=0.2)
    show.step_ms = 5000
    show.absence.worker_came(3, 5000.0)

    assert set(show.run(30.0)) == {0.0}


def test_an_engine_that_became_slow_is_faded_once_and_then_waited_for() -> None:
    show = a_show(hold_s=0.5, panic_s=0.2)
    show.step_ms = 3000

    first, then = show.run(5.0), show.run(20.0)

    assert max(first) == 1.0
    assert set(then[50:]) == {0.0}


def test_a_source_of_one_frame_in_two_seconds_is_waited_for() -> None:
    show = a_show(hold_s=0.5, frame_ms=2000)
    show.run(20.0)

    assert set(show.levels) == {0.0}


def test_a_rate_that_was_asked_for_is_waited_for() -> None:
    absence = Absence()
    absence.worker_came(3, 0.0)
    slow = Params(hold_s=1.0, target_fps=0.5)
    absence.look(1, slow, 0)
    looks = []
    for second in range(1, 12):
        absence.input_is(30 * second, second * NS_PER_S)
        looks.append(absence.look(1, slow, second * NS_PER_S))

    assert looks == [False] * 9 + [True, True]  # owed from 1 s on, 8 s to fill a chunk, 1 s held


def test_what_a_dead_worker_has_left_is_shown_and_begins_the_hold_anew() -> None:
    absence, params = Absence(), Params(hold_s=1.0)
    absence.worker_came(3, 0.0)
    absence.look(1, params, 0)
    absence.worker_left(0)
    absence.look(2, params, NS_PER_S // 2)

    assert not absence.look(2, params, NS_PER_S * 14 // 10)
    assert absence.look(2, params, NS_PER_S * 15 // 10)


def test_before_the_first_picture_nothing_is_missing() -> None:
    show = Show(Params(hold_s=0.0), is_hung=True)

    assert set(show.run(5.0)) == {0.0}


def test_hold_0_shows_the_safe_picture_at_once_and_panic_0_cuts_to_it() -> None:
    show = a_show(hold_s=0.0, panic_s=0.0)
    show.kill()

    assert set(show.run(0.5)) == {1.0}
    assert show.shown[-1] == DRY


def test_a_cut_back_never_shows_the_picture_of_before() -> None:
    show = a_show(hold_s=0.0, panic_s=0.0)
    show.kill()
    show.run(1.0)
    newest = show.number
    show.start()
    begin = len(show.shown)
    show.run(2.0)

    shown = show.shown[begin:]
    assert set(shown) == {DRY, STYLED}
    assert shown == sorted(shown), "the input, then new pictures"
    assert show.playout.newest is not None
    assert show.playout.newest.source_frame > newest


def test_a_panic_stays_over_all_of_it() -> None:
    show = a_show(hold_s=1.0, panic_s=0.2)
    show.play(panicked=True)
    show.run(1.0)
    show.kill()
    levels = show.run(3.0)
    show.start()
    levels += show.run(2.0)

    assert set(levels) == {1.0}
    show.play(panicked=False)
    assert show.run(1.0)[-1] == 0.0


def test_the_safe_picture_hold_is_the_last_one() -> None:
    show = a_show(hold_s=0.5)
    show.play(safe="hold")
    show.kill()

    show.run(3.0)

    assert show.levels[-1] == 1.0
    assert set(show.shown) == {STYLED}


def test_a_lockstep_frame_is_never_faded_back_to() -> None:
    show = a_show(hold_s=0.5, panic_s=5.0)
    show.kill()
    show.run(8.0)
    show.start()
    show.flags = FrameFlags.LOCKSTEP
    begin = len(show.shown)
    show.run(1.0)

    assert set(show.shown[begin:]) <= {DRY, STYLED}, "either, whole"
    assert show.shown[-1] == STYLED


ACTIONS: dict[str, Callable[[Show], None]] = {
    "kill": Show.kill,
    "start": Show.start,
    "hang": lambda show: setattr(show, "is_hung", True),
    "wake": lambda show: setattr(show, "is_hung", False),
    "panic": lambda show: show.play(panicked=True),
    "resume": lambda show: show.play(panicked=False, freeze=False, pause=False, blackout=False),
    "freeze": lambda show: show.play(freeze=True),
    "pause": lambda show: show.play(pause=True),
    "source stops": lambda show: setattr(show, "is_source_on", False),
    "source goes on": lambda show: setattr(show, "is_source_on", True),
    "a while": lambda show: None,
}


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(ACTIONS)), st.sampled_from([0.05, 0.3, 1.0, 4.0])),
        max_size=12,
    ),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([0.2, 1.0]),
)
def test_the_safe_level_is_continuous_and_ends_where_it_should(
    actions: list[tuple[str, float]], hold_s: float, panic_s: float
) -> None:
    show = a_show(hold_s=hold_s, panic_s=panic_s)

    for name, for_s in actions:
        ACTIONS[name](show)
        show.run(for_s)
    show.play(freeze=False, pause=False)
    show.is_source_on = True
    panicked = float(show.params.panicked)
    show.run_until(1.0 if show.is_dead or show.is_hung else panicked)
    show.start()
    show.run_until(panicked)

    step = TURN_MS / 1000 / panic_s + 1e-9
    assert max(abs(after - before) for before, after in pairwise(show.levels)) <= step
    assert show.shown[-1] == (DRY if panicked else STYLED)
