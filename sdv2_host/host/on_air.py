"""What worker and presenter are sent: what was asked for, when its prompts are ready and its fades
have got there. Pure, clock given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sdv2_host.control.fader import AT_ONCE, PROMPT_NAMES, Duration, Fader
from sdv2_host.host.prompt_desk import Decks
from sdv2_host.param_table import PARAMS
from sdv2_host.params import Params


class Moment(NamedTuple):
    """Now, in both units that a fade counts in."""

    ns: int
    chunks: int
    """Styled so far."""


@dataclass(slots=True)
class OnAir:
    """Fields, per process: `asked` the newest parameters; `decks` the newest prompts that are
    ready, None = none yet; the fader, whose target is `asked` with those prompts; how long the
    prompts that are not ready yet will take once they are."""

    asked: Params
    decks: Decks | None
    _fader: Fader
    _prompt_time: Duration

    @classmethod
    def begin(cls, params: Params) -> OnAir:
        return cls(params, None, Fader(params), AT_ONCE)

    @property
    def is_moving(self) -> bool:
        """The parameters on air change by themselves."""
        return self._fader.is_moving

    def ask(self, params: Params, time: Duration | None, decks: Decks | None, now: Moment) -> None:
        """These are the newest parameters, `decks` the prompts that are ready.

        `time` None: new prompts take the transition, all else changes at once.
        """
        before, self.asked = self.asked, params
        if (params.prompt, params.prompt_b) != (before.prompt, before.prompt_b):
            self._prompt_time = transition(params) if time is None else time
        self._aim(decks, time or AT_ONCE, now)

    def ready(self, decks: Decks | None, now: Moment) -> None:
        """Prompts that were asked for some time ago are ready."""
        self._aim(decks, AT_ONCE, now)

    def at(self, now: Moment) -> Params:
        """The parameters on air."""
        return self._fader.at(now.ns, now.chunks)

    def _aim(self, decks: Decks | None, time: Duration, now: Moment) -> None:
        has_new_prompts = decks is not None and self.decks is not None and decks != self.decks
        self.decks = decks
        target = self.asked
        if decks is not None:
            target = target.model_copy(update={"prompt": decks.a, "prompt_b": decks.b})
        times = dict.fromkeys(changed_names(self._fader.target, target), time)
        if has_new_prompts:
            times |= dict.fromkeys(times.keys() & PROMPT_NAMES, self._prompt_time)
        self._fader.go(target, times, now.ns, now.chunks)


def transition(params: Params) -> Duration:
    """How long a new prompt takes, as the parameters say."""
    return Duration(params.transition, params.transition_unit == "chunks")


def changed_names(before: Params, after: Params) -> set[str]:
    """Parameters of the table that differ."""
    return {name for name in PARAMS if getattr(before, name) != getattr(after, name)}
