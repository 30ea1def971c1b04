"""Which setup the engine works with, where that is not what the user asks for; see `ladder`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from sdv2_host.ipc.messages import Pace
from sdv2_host.params import Params, SloMode
from sdv2_host.stream.ladder import (
    LadderState,
    arrived,
    began_anew,
    decide,
    observed,
    refused,
)
from sdv2_host.stream.setups import Coding, Cost, Setup, ladder_of
from sdv2_host.stream.slo import Load, StepTable

SMOOTHING = 0.2
"""Of what a frame takes in the autoencoder."""
SILENCE_S = 10.0
"""A load that no chunk has told of for so long is over: the source has stopped, or the host is
paused. Between two chunks of a slow source it is not."""


class SetupDesk:
    """Asked whenever the worker has said something. Used from one thread.

    Fields: what the user asks for, the state of the ladder and the newest ladder with the mode
    that it is for (while that is asked for); the table of the warm-up, what a frame takes in the
    autoencoder, the load and when it was told last (per life of a worker).
    """

    def __init__(
        self,
        asked: Setup,
        vaes: Callable[[], Sequence[str]],
        costs: Mapping[Setup, Cost] = MappingProxyType({}),
    ) -> None:
        """`vaes` tells which autoencoders are installed; `costs` what is known already."""
        self._asked = asked
        self._vaes = vaes
        self._state = LadderState(asked, costs=costs)
        self._mode: SloMode = "off"
        self._ladder: tuple[Setup, ...] = (asked,)
        self._table: StepTable | None = None
        self._coding: Coding | None = None
        self._load: Load | None = None
        self._load_s = 0.0

    @property
    def wanted(self) -> Setup:
        """What an engine is being prepared for, or works with."""
        return self._state.preparing or self._state.setup

    @property
    def is_preparing(self) -> bool:
        return self._state.preparing is not None

    @property
    def costs(self) -> Mapping[Setup, Cost]:
        """Of all setups that ran."""
        return self._state.costs

    @property
    def says(self) -> str:
        """What was done to keep the rate, and why; '' = all is as the user asks."""
        return self._state.says

    def began(self, setup: Setup, table: StepTable, now_s: float) -> None:
        """A worker is at work with this setup, warmed up as the table says."""
        if setup == self._state.preparing:
            self._state = arrived(self._state, self._asked, now_s)
        else:
            self._state = began_anew(self._state, setup, now_s)
        self._table, self._coding, self._load = table, None, None

    def refused(self, reason: str, now_s: float) -> None:
        """No worker could start with what was to be prepared: the one before goes on."""
        if self.is_preparing:
            self._state = refused(self._state, reason, now_s)

    def told(
        self, pace: Pace | None, coding: Coding | None, params: Params, now_s: float
    ) -> Setup | None:
        """What another worker shall be prepared for now; None = nothing new.

        `coding` is of the newest chunk; None for both: no chunk was made.
        """
        before = self.wanted
        has_new_mode = self._follow(params.slo_mode)
        if pace is not None and coding is not None and self._table is not None:
            self._coding = _smoothed(self._coding, coding)
            table = replace(self._table, slowdown=pace.slowdown)
            self._state = observed(self._state, Cost(table, self._coding), now_s)
            self._load_s = now_s
            self._load = Load.of(params, pace.source_fps, is_lockstep=pace.is_lockstep)
        elif now_s - self._load_s > SILENCE_S:
            self._load = None
        elif not has_new_mode:
            return None  # between two chunks
        self._state = decide(self._state, self._ladder, self._load, now_s)
        return self.wanted if self.wanted != before else None

    def _follow(self, mode: SloMode) -> bool:
        """The ladder is of this mode; what is installed is looked for when that changes. True: it
        has changed."""
        has_changed = mode != self._mode
        if has_changed:
            self._mode, self._ladder = mode, ladder_of(self._asked, self._vaes(), mode)
        return has_changed


def _smoothed(before: Coding | None, now: Coding) -> Coding:
    if before is None:
        return now
    pairs = zip(before, now, strict=True)
    return Coding(*(old + SMOOTHING * (new - old) for old, new in pairs))
