"""The console: what every surface plays. One state, one order of changes, one log of refusals.

Surfaces (OSC, WebSocket, HTTP, presets, cues, mappings) call `set` and `call`, and listen. It holds
no socket and no file; what is behind it (the daemon) is a `Stage`, what the actions do are handlers
that others register. Used from one event loop.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from sdv2_host.actions import ACTIONS, Args, check_args
from sdv2_host.blend import Part, format_blend, normalized
from sdv2_host.clock import now_ns
from sdv2_host.control.fader import Duration
from sdv2_host.errors import HostError, ParamError
from sdv2_host.param_table import PARAMS, ParamValue, Patch
from sdv2_host.param_values import coerce_all
from sdv2_host.params import Params
from sdv2_host.status import HostStatus

log = logging.getLogger(__name__)

MAX_NOTICES = 200
SHOWN_CHARS = 300
DECKS = ("prompt", "prompt_b")

Fact = str | int | float | bool | None | list[str] | dict[str, "str | int | float | bool | None"]
"""A value of the board, as JSON carries it."""


class Stage(Protocol):
    """What is played: the daemon."""

    @property
    def params(self) -> Params:
        """The newest snapshot: what was asked for, not what a fade has got to."""

    def apply(self, patch: Patch, origin: str, fade: Duration | None = None) -> Params:
        """The parameters with the patch in them, which are the newest from now on.

        `fade` None: prompts take the parameter `transition`, everything else changes at once.
        """

    def snapshot(self) -> HostStatus:
        """The state of now."""


class Change(NamedTuple):
    """Something is different: `values` of parameters and `facts` of the board that changed."""

    seq: int
    """Counts changes, from 1; a gap means that one was missed."""
    origin: str
    values: dict[str, ParamValue]
    facts: dict[str, Fact]


class Notice(NamedTuple):
    """One line for people: what was refused, clamped or has happened."""

    at_ns: int
    level: str
    """'info', 'warning' or 'error'."""
    origin: str
    text: str


class SetResult(NamedTuple):
    """Answer to `Console.set`."""

    seq: int
    values: dict[str, ParamValue]
    """What is in force now of what was set, and of what that pushed along."""
    clamped: dict[str, str]
    errors: dict[str, str]


class Listener(Protocol):
    """Told in the loop, at once, in order; must not raise and not call the console back."""

    def on_change(self, change: Change) -> None: ...

    def on_notice(self, notice: Notice) -> None: ...


Handler = Callable[[Args, str], str]
"""(arguments, origin) -> one line that says what was done. Raises HostError."""


class Held(NamedTuple):
    """A change that may wait for the beat."""

    kind: str
    """The newest of a kind takes the place of one that waits."""
    what: str
    """For people."""
    run: Callable[[], object]
    is_output: bool = False
    """It shows with the next output frame: nothing of it goes through the model."""


class Deferral(Protocol):
    """Holds changes back until the beat; see control/tempo.py."""

    def defer(self, held: Held) -> bool:
        """True: its `run` will be called when it is time. False: it is time now."""

    def forget(self, kind: str) -> None:
        """A change of this kind that waits will not be made."""


class Console:
    """Fields, per process: the stage; `seq` of the newest change; the board of facts that are no
    parameters ('presets', 'preset', 'cues', 'cue', 'tempo', ...); handlers by action; listeners;
    the newest notices; how many sets there were, and which was the newest of each parameter."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.deferral: Deferral | None = None
        self.seq = 0
        self.board: dict[str, Fact] = {}
        self.notices: deque[Notice] = deque(maxlen=MAX_NOTICES)
        self._num_sets = 0
        self._set_at: dict[str, int] = {}
        self._listeners: list[Listener] = []
        self._handlers: dict[str, Handler] = {
            "prompt_transition": self._prompt_transition,
            "prompt_blend": self._prompt_blend,
            "seed_randomise": self._seed_randomise,
            "panic": self._panic,
            "resume": self._resume,
        }

    @property
    def params(self) -> Params:
        return self.stage.params

    def register(self, handlers: Mapping[str, Handler]) -> None:
        """These actions are done by these from now on.

        An action without a handler answers that this host cannot do it.
        """
        assert handlers.keys() <= ACTIONS.keys(), "only what is in the table"
        self._handlers |= handlers

    def listen(self, listener: Listener) -> Callable[[], None]:
        """The listener is told; call what is returned to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def set(
        self,
        raw: Mapping[str, object],
        origin: str,
        *,
        fade: Duration | None = None,
        whole: bool = False,
        now: bool = False,
    ) -> SetResult:
        """Values by name or address, as one change.

        Out of range is clamped, what cannot be understood is left out; both are noted and told.
        With `whole` nothing is applied if one value is wrong. `now` passes by the beat.
        """
        patch, clamped, errors = coerce_all(raw)
        for text in (*clamped.values(), *errors.values()):
            self.note("warning", origin, text)
        if not patch or (whole and errors):
            return SetResult(self.seq, {}, clamped, errors)
        if not now and self._waits(patch, origin, fade):
            return SetResult(self.seq, {}, clamped, errors)
        return self._apply(patch, origin, fade)._replace(clamped=clamped, errors=errors)

    def hold(self, held: Held) -> bool:
        """The change is made: now, or on the beat; True = it waits."""
        if self.deferral is not None and self.deferral.defer(held):
            return True
        held.run()
        return False

    def _waits(self, patch: Patch, origin: str, fade: Duration | None) -> bool:
        """Whether the patch brings a new prompt, which waits for the beat.

        What is no part of a look, panic above all, is for now, and so is what comes with it.
        """
        given = [name for name in DECKS if name in patch]
        is_look = all(PARAMS[name].in_preset for name in patch)
        if self.deferral is None or not given or not is_look:
            return False
        kind = " ".join(given)
        if all(patch[name] == getattr(self.params, name) for name in given):
            self.deferral.forget(kind)
            return False
        what = f"prompt {str(patch[given[0]])[:40]!r}"
        since = self._num_sets

        def run() -> None:
            # What was moved while this waited stays where it was moved to.
            kept = {key: patch[key] for key in patch if self._set_at.get(key, 0) <= since}
            self._apply(kept, origin, fade)

        return self.deferral.defer(Held(kind, what, run))

    def _apply(self, patch: Patch, origin: str, fade: Duration | None) -> SetResult:
        self._num_sets += 1
        self._set_at |= dict.fromkeys(patch, self._num_sets)
        before = self.params
        after = self.stage.apply(patch, origin, fade)
        changed = _changed(before, after)
        if changed:
            self._tell_change(origin, changed, {})
        values = changed | {name: getattr(after, name) for name in patch}
        return SetResult(self.seq, values, {}, {})

    def publish(self, facts: Mapping[str, Fact], origin: str) -> None:
        """The board shows these; told where they differ."""
        changed = {key: fact for key, fact in facts.items() if self.board.get(key) != fact}
        if changed:
            self.board |= changed
            self._tell_change(origin, {}, changed)

    def call(self, name: str, args: Args, origin: str) -> str:
        """The action is done; one line that says what it did.

        Raises:
            ParamError: unknown action, or arguments that it cannot take.
            HostError: it could not be done.
        """
        spec = ACTIONS.get(name)
        if spec is None:
            raise ParamError(f"unknown action {name[:80]!r}, known are {', '.join(ACTIONS)}")
        checked = check_args(spec, args)
        if spec.sets:
            values: dict[str, object] = dict(zip(spec.sets, checked, strict=True))
            result = self.set(values, origin, whole=True)
            if result.errors:
                raise ParamError("; ".join(result.errors.values()))
            return ", ".join(f"{key} = {value}" for key, value in result.values.items())
        handler = self._handlers.get(name)
        if handler is None:
            raise ParamError(f"{spec.address}: this host has nothing to do that with")
        return handler(checked, origin)

    def try_call(self, name: str, args: Args, origin: str) -> bool:
        """As `call`, for surfaces that cannot take an answer: the outcome is noted."""
        try:
            text = self.call(name, args, origin)
        except HostError as error:
            self.note("error", origin, str(error))
            return False
        self.note("info", origin, text)
        return True

    def note(self, level: str, origin: str, text: str) -> None:
        """One more line in the log that surfaces show. Texts of peers must be quoted before."""
        notice = Notice(now_ns(), level, origin, text[:SHOWN_CHARS])
        self.notices.append(notice)
        log.log(_LEVELS[level], "%s: %s", origin, notice.text)
        for listener in list(self._listeners):
            listener.on_notice(notice)

    def refresh(self, origin: str, before: Params) -> None:
        """Told what changed since `before` by other ways than `set`."""
        changed = _changed(before, self.params)
        if changed:
            self._tell_change(origin, changed, {})

    def _tell_change(
        self, origin: str, values: dict[str, ParamValue], facts: dict[str, Fact]
    ) -> None:
        self.seq += 1
        change = Change(self.seq, origin, values, facts)
        for listener in list(self._listeners):
            listener.on_change(change)

    def _prompt_transition(self, args: Args, origin: str) -> str:
        in_chunks = self.params.transition_unit == "chunks"
        fade = Duration(float(args[1]), in_chunks) if len(args) > 1 else None
        result = self.set({"prompt": args[0]}, origin, fade=fade, whole=True)
        if result.errors:
            raise ParamError("; ".join(result.errors.values()))
        return f"prompt {str(args[0])[:60]!r}"

    def _prompt_blend(self, args: Args, origin: str) -> str:
        if len(args) % 2:
            args = (*args, 1.0)
        parts = [
            Part(str(text), float(weight))
            for text, weight in zip(args[::2], args[1::2], strict=True)
        ]
        if not any(part.weight > 0 for part in parts):
            raise ParamError("/sdv2/prompt/blend: all weights are 0, give one part more")
        return self._prompt_transition((format_blend(normalized(parts)),), origin)

    def _seed_randomise(self, args: Args, origin: str) -> str:
        seed = secrets.randbelow(100_000)
        self.set({"seed": seed}, origin)
        return f"seed {seed}"

    def _panic(self, args: Args, origin: str) -> str:
        self.set({"panicked": True}, origin, now=True)
        return f"panic: the output shows the safe picture ({self.params.safe}); resume ends it"

    def _resume(self, args: Args, origin: str) -> str:
        held = ("panicked", "blackout", "freeze", "pause")
        self.set(dict.fromkeys(held, False), origin, now=True)
        return "resumed"


def _changed(before: Params, after: Params) -> dict[str, ParamValue]:
    names = (name for name in PARAMS if getattr(after, name) != getattr(before, name))
    return {name: getattr(after, name) for name in names}


_LEVELS = {"info": logging.DEBUG, "warning": logging.WARNING, "error": logging.WARNING}
