"""The slow decision's laws, on a device that takes what no prediction knows exactly."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.stream.ladder import (
    DOWN_S,
    FIRST_CHANGE_S,
    HOLD_S,
    REFUSED_S,
    SETTLE_S,
    SPARE_DOWN,
    SPARE_UP,
    UP_S,
    LadderState,
    arrived,
    began_anew,
    decide,
    observed,
    refused,
    target,
)
from sdv2_host.stream.setups import Cost, Setup, ladder_of, predicted
from sdv2_host.stream.slo import Load
from sdv2_host.types import Layout, Shape, Size
from tests.stream.test_setups import cost_of

LAW = settings(deadline=None, max_examples=30)
LONG = settings(deadline=None, max_examples=6)
ASKED = Setup("wan", Size(512, 512))
LADDER = ladder_of(ASKED, ("wan", "hybrid", "taehv"), "size")
COST = cost_of(encode_ms=10.0, decode_ms=17.0, call_ms=60.0)
"""24 fps with one step and the Wan VAE, 63 with TAEHV."""
LOAD = Load(steps=2, mode="size")
SHAPE = Shape(4, Layout.SERIAL, 1)


def gain(setup: Setup) -> float:
    """How much sooner a step is predicted to be than as asked."""
    return COST.table.ms(SHAPE) / predicted(COST, ASKED, setup).table.ms(SHAPE)


@dataclass
class Device:
    """Engines in simulated time: what each setup really takes, by a factor of
    what is predicted from the first."""

    factors: dict[Setup, float] = field(default_factory=dict)
    change_s: int = 5
    turn_s: int = 1
    noise: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    fails: Callable[[Setup], bool] = lambda _: False
    slowness: float = 1.0
    now_s: float = 0.0
    state: LadderState = field(default_factory=lambda: LadderState(ASKED))
    log: list[Setup] = field(default_factory=list)
    """Of each change that was begun."""

    def cost(self, setup: Setup) -> Cost:
        return predicted(COST, ASKED, setup).slower(self.factors.get(setup, 1.0) * self.slowness)

    def knows(self) -> Device:
        """All setups ran once."""
        self.state = replace(self.state, costs={setup: self.cost(setup) for setup in LADDER})
        return self

    def run(self, seconds: float, load: Load | None, ladder: tuple[Setup, ...] = LADDER) -> Device:
        for _ in range(int(seconds) // self.turn_s):
            self.now_s += self.turn_s
            noise = self.chance.uniform(1 - self.noise, 1 + self.noise)
            cost = self.cost(self.state.setup).slower(noise)
            self.state = observed(self.state, cost, self.now_s)
            before = self.state.preparing
            self.state = decide(self.state, ladder, load, self.now_s)
            self._prepare(before, ladder[0])
        return self

    def _prepare(self, before: Setup | None, asked: Setup) -> None:
        state = self.state
        if state.preparing is None:
            return
        if state.preparing != before:
            self.log.append(state.preparing)
        if self.now_s - state.began_s >= self.change_s:
            if self.fails(state.preparing):
                self.state = refused(state, "no memory", self.now_s)
            else:
                self.state = arrived(state, asked, self.now_s)


def load_of(fps: float, bound_ms: float = 0.0) -> Load:
    return replace(LOAD, source_fps=fps, latency_bound_ms=bound_ms)


fps_values = st.floats(2, 250)
factor_maps = st.fixed_dictionaries({setup: st.floats(0.6, 1.6) for setup in LADDER[1:]})
devices = st.builds(Device, factor_maps, st.integers(1, 20))


def test_who_keeps_the_rate_stays_and_says_nothing() -> None:
    device = Device().run(600, load_of(20))

    assert device.log == []
    assert device.state.says == ""


def test_first_the_autoencoder_changes_then_the_size_and_back_the_other_way() -> None:
    device = Device()

    down = [device.run(100, load_of(fps)).state.setup for fps in (20, 30, 50, 75)]
    up = [device.run(400, load_of(fps)).state.setup for fps in (50, 30, 12)]

    hybrid, taehv = (ASKED._replace(vae=vae) for vae in ("hybrid", "taehv"))
    assert down == [ASKED, hybrid, taehv, Setup("taehv", Size(416, 416))]
    assert up == [taehv, hybrid, ASKED]


def test_one_sentence_says_what_was_done_and_why() -> None:
    device = Device(change_s=8).run(DOWN_S[1], load_of(50))
    assert device.state.says == "preparing VAE taehv: 24 fps possible with VAE wan, 50 wanted"

    device.run(30, load_of(50))
    assert device.state.says == (
        "VAE taehv in place of VAE wan: 24 fps possible with VAE wan, 50 wanted"
    )

    device.run(60, load_of(10))
    assert device.state.says == ""
    assert device.state.why == "18 fps possible with VAE wan, 10 wanted"  # 2 steps


def test_over_the_latency_bound_a_setup_that_is_sooner_is_prepared() -> None:
    device = Device().run(100, load_of(10, bound_ms=420))

    # 300 ms fill a chunk; one step takes 168 ms, with hybrid 103, with taehv 64, then 42. AIM
    # leaves 399 ms, and a prediction needs 16 % to spare.
    assert device.state.setup == Setup("taehv", Size(416, 416))
    assert "VAE wan at 512x512 is over the latency limit of 399 ms" in device.state.says


def test_only_what_is_allowed_is_prepared_and_a_narrower_wish_holds_at_once() -> None:
    device = Device().run(60, load_of(200))
    assert device.state.setup == LADDER[-1]

    device.run(1, replace(load_of(200), mode="vae"), ladder_of(ASKED, ("taehv",), "vae"))

    assert device.state.preparing == ASKED
    assert device.run(60, load_of(200), (ASKED,)).state.setup == ASKED
    assert device.state.says == ""


def test_what_is_called_off_is_not_said_to_be_prepared() -> None:
    device = Device(change_s=8).run(DOWN_S[1], load_of(50))
    assert device.state.says.startswith("preparing VAE taehv")

    device.run(1, replace(load_of(50), mode="steps"), (ASKED,))
    assert (device.state.preparing, device.state.says) == (None, "")

    device.run(60, load_of(50))
    held = device.state.setup
    device.run(60, load_of(75), LADDER[:3])
    device.run(10, load_of(200))
    assert device.state.preparing is not None
    device.run(1, load_of(200), LADDER[: LADDER.index(held) + 1])
    assert device.state.says.startswith("VAE taehv in place of VAE wan")


def test_what_the_user_asks_for_meanwhile_wins() -> None:
    device = Device().run(SETTLE_S + FIRST_CHANGE_S + 1, load_of(50))
    assert device.state.preparing is not None
    wanted = Setup("wan", Size(640, 640))

    device.state = began_anew(device.state, wanted, device.now_s)
    device.run(1, load_of(2), ladder_of(wanted, (), "size"))

    assert device.state.setup == wanted
    assert device.state.preparing is None


def test_an_engine_that_cannot_be_started_is_not_tried_again_for_a_while() -> None:
    device = Device(fails=lambda setup: setup.vae == "taehv").run(60, load_of(28))
    hybrid = ASKED._replace(vae="hybrid")
    assert device.state.setup == hybrid
    device.log.clear()

    device.run(120, load_of(60))

    assert len(set(device.log)) == len(device.log) > 1
    assert device.state.setup == hybrid
    assert "is not tried for 5 min: no memory" in device.state.says
    assert device.run(REFUSED_S, load_of(60)).log[-1] in device.log[:-1]


def test_what_a_restart_calls_off_is_not_said_to_be_prepared() -> None:
    device = Device().run(SETTLE_S + FIRST_CHANGE_S + 1, load_of(50))
    assert device.state.says.startswith("preparing VAE taehv")

    device.state = began_anew(device.state, ASKED, device.now_s)

    assert (device.state.preparing, device.state.says) == (None, "")


def test_a_refusal_is_spoken_of_for_as_long_as_it_holds() -> None:
    one_smaller = LADDER[:4]
    device = Device(fails=lambda setup: setup.size != ASKED.size).run(100, load_of(50))
    in_place = device.state.says
    assert in_place.startswith("VAE taehv in place of VAE wan: ")

    device.run(30, load_of(70), one_smaller)
    assert device.state.says == f"{LADDER[3].size} is not tried for 5 min: no memory"
    device.run(REFUSED_S, load_of(50), one_smaller)

    assert device.state.says == in_place


def test_a_change_that_did_not_help_is_taken_back_and_not_tried_again_soon() -> None:
    as_slow = {setup: gain(setup) for setup in LADDER}
    device = Device(as_slow, turn_s=4).run(3600, load_of(50))

    assert device.state.setup == ASKED
    assert len(device.log) <= 12


def test_a_source_that_changes_back_and_forth_ends_the_changes() -> None:
    device = Device(turn_s=3)

    for _ in range(60):
        device.run(60, load_of(20)).run(60, load_of(40))

    assert len(device.log) <= 16


def test_a_device_that_slows_down_takes_its_other_setups_along() -> None:
    device = Device().knows().run(60, load_of(20))
    device.slowness = 1.5

    device.run(60, load_of(20))

    assert device.state.setup == ASKED._replace(vae="hybrid")
    for setup in LADDER:
        known = device.state.costs[setup].fps(load_of(200))
        assert abs(known / device.cost(setup).fps(load_of(200)) - 1) < 0.01


def test_without_a_source_or_in_lock_step_nothing_is_prepared() -> None:
    lockstep = replace(load_of(200), is_lockstep=True)

    device = Device().run(60, None).run(60, lockstep).run(60, load_of(0))

    assert device.log == []


@given(fps_values, fps_values, st.sampled_from(LADDER))
@LAW
def test_more_load_never_gets_a_better_setup(one_fps: float, other_fps: float, at: Setup) -> None:
    device = Device().knows()
    state = replace(device.state, setup=at, is_measured=True)

    less, more = (target(state, LADDER, load_of(fps), 0.0) for fps in sorted((one_fps, other_fps)))

    assert LADDER.index(less) <= LADDER.index(more)


@given(fps_values, st.sampled_from(LADDER), st.sampled_from([0.0, 300.0, 700.0]))
@LAW
def test_where_costs_are_known_it_settles_on_the_best_that_has_to_spare(
    fps: float, begin: Setup, bound_ms: float
) -> None:
    device = Device().knows()
    device.state, device.turn_s = replace(device.state, setup=begin), 4
    load = load_of(fps, bound_ms)

    device.run(600, load)

    at = device.state.setup
    meeting = [one for one in LADDER if device.cost(one).meets(load, SPARE_DOWN)]
    ample = [one for one in LADDER if device.cost(one).meets(load, SPARE_UP)]
    assert not meeting or device.cost(at).meets(load, 1.0)
    assert not ample or LADDER.index(at) <= LADDER.index(ample[0])
    assert len(device.log) <= 2


@given(devices, fps_values, st.integers(0, 2**32))
@LONG
def test_noise_of_ten_percent_and_wrong_predictions_come_to_rest(
    device: Device, fps: float, seed: int
) -> None:
    device.noise, device.chance = 0.1 / 3, random.Random(seed)  # what smoothing leaves of 10 %
    device.turn_s = 4
    device.run(2400, load_of(fps))
    device.log.clear()

    device.run(2400, load_of(fps))

    assert len(device.log) <= 2


@given(
    devices,
    st.lists(
        st.tuples(
            st.sampled_from(["run", "user", "mode", "worker", "fails"]),
            st.integers(1, 90),
            st.one_of(st.none(), fps_values),
        ),
        max_size=25,
    ),
)
@LAW
def test_whatever_happens_only_allowed_setups_are_prepared(
    device: Device, events: list[tuple[str, int, float | None]]
) -> None:
    ladder = LADDER
    for kind, seconds, fps in events:
        if kind == "user":
            ladder = ladder_of(Setup("hybrid", Size(16 * seconds + 64, 256)), ("taehv",), "size")
            device.state = began_anew(device.state, ladder[0], device.now_s)
        elif kind == "mode":
            ladder = ladder_of(ladder[0], ("taehv",), "vae" if seconds % 2 else "off")
        elif kind == "worker":
            device.state = began_anew(device.state, device.state.setup, device.now_s)
        elif kind == "fails":
            device.fails = lambda setup, odd=seconds % 3: setup.size.width // 16 % 3 == odd
        for _ in range(seconds):
            num_begun, began_s = len(device.log), device.now_s
            device.run(1, load_of(fps) if fps is not None else None, ladder)
            assert device.state.preparing is None or device.state.preparing in ladder
            assert len(device.log) - num_begun <= 1
            assert began_s < device.now_s
            assert "\n" not in device.state.says


def test_a_change_up_waits_for_as_long_as_changes_are_worth() -> None:
    for change_s in (2, 15):
        device = Device(change_s=change_s).run(60, load_of(50))
        assert device.state.setup != ASKED
        begin_s = device.now_s

        while device.state.preparing is None:
            device.run(1, load_of(10))

        assert device.now_s - begin_s >= max(UP_S, 4 * change_s)
    assert HOLD_S > UP_S
