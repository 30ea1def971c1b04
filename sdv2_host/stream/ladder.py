"""The slow decision above `slo.decide`'s fast one: which autoencoder, and which size.

Neither can change between two chunks. Another engine is prepared beside the one at work, which
takes seconds and slows it down meanwhile. So the fast decision comes first: only what the fewest
steps that are allowed cannot do is done here, in the order of `ladder_of`, and taken back from the
other end. A change down waits for about as long as changes take: who waits until the loss is as
large as the price pays at most twice the least. A change up, which only improves the picture,
waits longer, and needs more to spare where the gain is predicted and not measured.

What did not hold or did not help is known by its measured cost, and that way is not gone again
for a while, each time for longer.

Pure: no torch, no clock; `now_s` is any clock that goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sdv2_host.stream.setups import VAE_LADDER, Cost, Setup, predicted
from sdv2_host.stream.slo import WORTH, Load, latency_limit_ms

SPARE_DOWN = 1.05
SPARE_UP = 1.2
"""What a setup must have to spare to be changed to. The one at work only has to do: 10 % of noise
in step times is less than what lies between."""
SPARE_UNMEASURED = 1.1
"""More than that, where the cost is predicted."""
GAIN = 1.1
"""Of the rate, where nothing meets the load: less is not worth a change."""
FIRST_CHANGE_S = 6.0
"""What a change takes, until one was seen."""
SETTLE_S = 3.0
"""After a change the other engine still fades out and slows this one down."""
DOWN_S = (2.0, 10.0)
"""Least and most patience for a change down."""
UP_S = 20.0
UP_CHANGES = 4.0
"""Patience for a change up, also in times of what changes take."""
HOLD_S = 120.0
"""A change up that was taken back within this did not hold."""
PAUSE_S, MOST_PAUSE_S = 60.0, 3600.0
"""How long a way is not gone again after its first failure; twice as long with each further."""
REFUSED_S = 300.0
"""The same for a setup that no engine started with."""


class Pause(NamedTuple):
    """Of one way, up or down."""

    until_s: float = 0.0
    num_failures: int = 0

    def failed(self, now_s: float) -> Pause:
        pause_s = min(PAUSE_S * 2**self.num_failures, MOST_PAUSE_S)
        return Pause(now_s + pause_s, self.num_failures + 1)


NO_PAUSE = Pause()


@dataclass(frozen=True, slots=True)
class LadderState:
    """What survives a decision. Lifetime: a process."""

    setup: Setup
    """Of the engine at work..."""
    since_s: float = 0.0
    """...since then."""
    costs: Mapping[Setup, Cost] = field(default_factory=dict)
    """Of all setups that ran, as the device is now."""
    is_measured: bool = False
    """The cost of `setup` is of this life of it."""
    wish: Setup | None = None
    """What would be better..."""
    wish_since_s: float = 0.0
    preparing: Setup | None = None
    """What an engine is being prepared for; nothing is decided meanwhile."""
    began_s: float = 0.0
    change_s: float = FIRST_CHANGE_S
    """What the last change took."""
    came_up: bool = False
    """The last change was one up."""
    up: Pause = NO_PAUSE
    down: Pause = NO_PAUSE
    refused: Mapping[Setup, float] = field(default_factory=dict)
    """What no engine started with, and until when it is not tried again."""
    why: str = ""
    """Of the last change."""
    says: str = ""
    """One line for a person; '' = all is as asked for."""
    rests: str = ""
    """The same of the setup at work, for when nothing is being prepared and no refusal holds."""


def observed(state: LadderState, cost: Cost, now_s: float) -> LadderState:
    """The state after the engine at work has told what its steps take.

    A device that has become slower since it told last is so for the other setups too. While two
    engines share it, it tells nothing of either alone.
    """
    if state.preparing is not None or now_s - state.since_s < SETTLE_S:
        return state
    costs = dict(state.costs)
    if state.is_measured:
        factor = cost.table.slowdown / costs[state.setup].table.slowdown
        costs = {setup: other.slower(factor) for setup, other in costs.items()}
    return replace(state, costs={**costs, state.setup: cost}, is_measured=True)


def decide(
    state: LadderState, ladder: Sequence[Setup], load: Load | None, now_s: float
) -> LadderState:
    """The state after a look at the load, None = it is not known; `preparing` is what to do.

    `ladder` is what may be chosen now, first what the user asks for.
    """
    state = _without_what_is_over(state, ladder, now_s)
    if state.preparing is not None:
        return state
    if state.setup not in ladder:
        is_refused = state.refused.get(ladder[0], now_s) > now_s
        back = f"{state.setup.beside(ladder[0])} is not allowed any more"
        return state if is_refused else _prepare(state, ladder[0], back, now_s)
    if load is None or not load.fps or load.is_lockstep or not state.is_measured:
        return replace(state, wish=None)
    if state.came_up and now_s - state.since_s >= HOLD_S and state.up.num_failures:
        state = replace(state, up=NO_PAUSE)
    best = target(state, ladder, load, now_s)
    state = _wishing(state, ladder, best, now_s)
    if state.wish is None or now_s - state.wish_since_s < _patience_s(state):
        return state
    return _change(state, state.wish, load, now_s)


def target(state: LadderState, ladder: Sequence[Setup], load: Load, now_s: float) -> Setup:
    """The best setup that meets the load with enough to spare; where none does, the one of the
    highest rate. The one at work where that is not worth a change."""
    at = ladder.index(state.setup)
    may = [
        setup
        for index, setup in enumerate(ladder)
        if index == at or _is_open(state, setup, is_up=index < at, now_s=now_s)
    ]
    costs = {setup: cost_of(state, setup) for setup in may}
    for setup in may:
        is_up = ladder.index(setup) < at
        spare = 1.0 if setup == state.setup else SPARE_UP if is_up else SPARE_DOWN
        spare *= 1.0 if setup in state.costs else SPARE_UNMEASURED
        if costs[setup].meets(load, spare):
            return setup
    rates = {setup: cost.fps(load) for setup, cost in costs.items()}
    fastest = next(one for one in may if rates[one] * WORTH >= max(rates.values()))
    if ladder.index(fastest) < at:
        return fastest if fastest in state.costs else state.setup
    return fastest if rates[fastest] >= GAIN * rates[state.setup] else state.setup


def cost_of(state: LadderState, setup: Setup) -> Cost:
    """As measured, or as predicted from the setup at work."""
    if setup in state.costs:
        return state.costs[setup]
    return predicted(state.costs[state.setup], state.setup, setup)


def arrived(state: LadderState, asked: Setup, now_s: float) -> LadderState:
    """The state once the engine that was prepared is at work; `asked` is what the user asks for."""
    setup = state.preparing
    assert setup is not None, "something was prepared"
    says = ""
    if setup != asked:
        says = f"{setup.beside(asked)} in place of {asked.beside(setup)}: {state.why}"
    return replace(
        state,
        setup=setup,
        since_s=now_s,
        is_measured=False,
        preparing=None,
        change_s=now_s - state.began_s,
        came_up=_is_better(setup, state.setup),
        says=says,
        rests=says,
    )


def refused(state: LadderState, reason: str, now_s: float) -> LadderState:
    """The state when no engine has started with what was prepared; the one before goes on."""
    setup = state.preparing
    assert setup is not None, "something was prepared"
    return replace(
        state,
        preparing=None,
        refused={**state.refused, setup: now_s + REFUSED_S},
        says=f"{setup.beside(state.setup)} is not tried for {REFUSED_S / 60:.0f} min: {reason}",
    )


def began_anew(state: LadderState, setup: Setup, now_s: float) -> LadderState:
    """The state when an engine has started with what the user asked for, or once more."""
    fresh = LadderState(setup, now_s, state.costs, change_s=state.change_s)
    if setup != state.setup:
        return fresh
    says = state.says if state.preparing is None else state.rests
    return replace(state, since_s=now_s, is_measured=False, preparing=None, wish=None, says=says)


def _without_what_is_over(state: LadderState, ladder: Sequence[Setup], now_s: float) -> LadderState:
    """Neither a preparation of what may not be chosen any more nor refusals of long ago, and no
    word of them."""
    if state.preparing is not None and state.preparing not in ladder:
        state = replace(state, preparing=None, wish=None, says=state.rests)
    if not state.refused or max(state.refused.values()) > now_s:
        return state
    says = state.rests if state.preparing is None else state.says
    return replace(state, refused={}, says=says)


def _is_open(state: LadderState, setup: Setup, *, is_up: bool, now_s: float) -> bool:
    """Whether this way may be gone, and the setup be tried."""
    pause = state.up if is_up else state.down
    return now_s >= max(pause.until_s, state.refused.get(setup, 0.0))


def _is_better(setup: Setup, other: Setup) -> bool:
    """Of two on one ladder."""
    if setup.size.num_pixels != other.size.num_pixels:
        return setup.size.num_pixels > other.size.num_pixels
    return VAE_LADDER.index(setup.vae) < VAE_LADDER.index(other.vae)


def _wishing(state: LadderState, ladder: Sequence[Setup], best: Setup, now_s: float) -> LadderState:
    """A wish lasts as long as its direction; of those for up, the least is kept."""
    if best == state.setup:
        return replace(state, wish=None)
    is_up = _is_better(best, state.setup)
    if state.wish is None or state.wish not in ladder:
        return replace(state, wish=best, wish_since_s=now_s)
    if _is_better(state.wish, state.setup) != is_up:
        return replace(state, wish=best, wish_since_s=now_s)
    keeps = is_up and _is_better(best, state.wish)
    return state if keeps else replace(state, wish=best)


def _patience_s(state: LadderState) -> float:
    assert state.wish is not None, "asked of a wish"
    if _is_better(state.wish, state.setup):
        return max(UP_S, UP_CHANGES * state.change_s)
    return min(max(state.change_s, DOWN_S[0]), DOWN_S[1])


def _change(state: LadderState, setup: Setup, load: Load, now_s: float) -> LadderState:
    """The setup is prepared, and of what did not hold or help it is learnt."""
    cost, new = state.costs[state.setup], cost_of(state, setup)
    is_up = _is_better(setup, state.setup)
    if not is_up and state.came_up and now_s - state.since_s < HOLD_S:
        state = replace(state, up=state.up.failed(now_s))
    if is_up and not new.meets(load, 1.0):  # as fast as this one: the change down was no help
        state = replace(state, down=state.down.failed(now_s))
    shown, name = (new, setup.beside(state.setup)) if is_up else (cost, state.setup.beside(setup))
    return _prepare(state, setup, _reason(shown, name, load), now_s)


def _reason(cost: Cost, name: str, load: Load) -> str:
    fps = cost.fps(load)
    if fps >= load.fps and not cost.meets(load, 1.0):
        return f"{name} is over the latency limit of {latency_limit_ms(cost.table, load):.0f} ms"
    return f"{fps:.0f} fps possible with {name}, {load.fps:.0f} wanted"


def _prepare(state: LadderState, setup: Setup, why: str, now_s: float) -> LadderState:
    says = f"preparing {setup.beside(state.setup)}: {why}"
    return replace(state, preparing=setup, began_s=now_s, wish=None, why=why, says=says)
