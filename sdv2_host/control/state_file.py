"""What survives a restart: parameters, the preset and cue in hand, tempo. Kept as it changes.

After a crash the show goes on as it looked, so nothing is restored that would hide the picture by
itself: not blackout, freeze, pause or a recording. A panic stays: somebody wanted a safe picture.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sdv2_host.control.console import Change, Console, Notice
from sdv2_host.control.documents import Format
from sdv2_host.errors import ConfigError
from sdv2_host.param_table import BY_ADDRESS, PARAMS, ParamValue
from sdv2_host.param_values import apply, coerce_all
from sdv2_host.params import Params

log = logging.getLogger(__name__)

SAVE_AFTER_S = 1.0
"""From a change to the file: a fader that moves makes one file, not a hundred."""
NOT_RESTORED = frozenset(
    (
        *("blackout", "freeze", "pause", "record", "record_show"),
        *("engine", "vae", "width", "height"),
    )
)

PANIC = frozenset(("panicked", "safe", "panic_s"))
"""They hold whatever engine comes next: only resume ends a panic."""
WITH_ANY_ENGINE = PANIC | {"prompt", "prompt_b"}

Name = Annotated[str, Field(max_length=64)]


class State(BaseModel):
    """Of one host."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    engine: Name = ""
    params: dict[str, str | bool | int | float] = Field(max_length=200)
    """By address."""
    preset: Name = ""
    cue_list: Name = ""
    cue: Name = ""


STATE = Format("sdv2-state", State, {0: lambda raw: {"params": {}, **raw}})


def load_state(path: Path) -> State | None:
    """The state that was kept; None = none, or a damaged one, which is set aside as NAME.bad."""
    if not path.exists():
        return None
    try:
        return STATE.read(path).value
    except ConfigError as error:
        log.warning("%s; starting with the defaults", error)
        try:
            path.replace(path.with_name(path.name + ".bad"))
        except OSError:
            log.warning("cannot set %s aside", path)
        return None


def initial_params(
    state: State | None, defaults: Params, given: Collection[str], engine: str
) -> Params:
    """The parameters to begin with: those `given` at the start, else those kept, else defaults.

    A state of another engine gives its prompts and its panic alone: noise and steps mean something
    else there.
    """
    if state is None:
        return defaults
    is_same = state.engine == engine
    kept: dict[str, ParamValue] = {}
    for address, value in state.params.items():
        spec = BY_ADDRESS.get(address)
        if spec is None or spec.name in NOT_RESTORED or spec.name in given:
            continue
        if is_same or spec.name in WITH_ANY_ENGINE:
            kept[spec.name] = value
    result = coerce_all(kept)
    for text in result.errors.values():
        log.warning("of the last run's state: %s", text)
    return apply(defaults, result.patch)


class StateKeeper:
    """Writes the file when something changed, and at the end. A `Listener`."""

    def __init__(self, console: Console, path: Path, after_s: float = SAVE_AFTER_S) -> None:
        self._console = console
        self._path = path
        self._after_s = after_s
        self._written: State | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_failed = False
        self._lock = threading.Lock()
        self._is_saving = self._is_stale = False
        self._number = 0
        self._saved_number = 0

    def on_change(self, change: Change) -> None:
        if "panicked" in change.values:
            self._cancel()
            self._save_soon()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._after_s, self._save_soon)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def on_notice(self, notice: Notice) -> None: ...

    def close(self) -> None:
        """What is in force now is in the file."""
        self._cancel()
        self._is_stale = False
        self._number += 1
        self._save(self._state(), self._number)

    def _save_soon(self) -> None:
        self._timer = None
        if self._is_saving:  # whoever toggles a panic as fast as a fader makes no queue of files
            self._is_stale = True
            return
        self._is_saving, self._is_stale = True, False
        self._number += 1
        # Off the loop: fsync of a slow disk takes as long as many frames.
        loop = asyncio.get_running_loop()
        saving = loop.run_in_executor(None, self._save, self._state(), self._number)
        saving.add_done_callback(self._saved)

    def _saved(self, saving: asyncio.Future[None]) -> None:
        saving.result()
        self._is_saving = False
        if self._is_stale:
            self._save_soon()

    def _save(self, state: State, number: int) -> None:
        with self._lock:
            if state == self._written or number < self._saved_number:
                return
            self._saved_number = number
            try:
                STATE.write(self._path, state)
            except ConfigError as error:
                if not self._has_failed:
                    log.warning("the state is not kept: %s", error)
                self._has_failed = True
            else:
                self._written = state
                self._has_failed = False

    def _state(self) -> State:
        params = self._console.params
        board = self._console.board
        return State(
            engine=self._console.stage.snapshot().engine,
            params={spec.address: getattr(params, spec.name) for spec in PARAMS.values()},
            preset=str(board.get("preset", "")),
            cue_list=str(board.get("cue_list", "")),
            cue=str(board.get("cue", "")),
        )
