"""Calling the functions of Execute and Parameter Execute DATs at their moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.fake_td.dats import DAT, executeDAT, parameterexecuteDAT
from tests.fake_td.names import matches
from tests.fake_td.parameters import ParMode

if TYPE_CHECKING:
    from tests.fake_td.parameters import Par
    from tests.fake_td.session import TouchDesigner

TOGGLES = {
    "onStart": "start",
    "onCreate": "create",
    "create": "create",
    "onExit": "exit",
    "onFrameStart": "framestart",
    "onFrameEnd": "frameend",
    "onPlayStateChange": "playstatechange",
    "onDeviceChange": "devicechange",
    "onProjectPreSave": "projectpresave",
    "onProjectPostSave": "projectpostsave",
}


class Change(NamedTuple):
    """One parameter that changed in a frame, and its value before."""

    par: Par
    prev: Any


class Watchers:
    """Who is told of what. Fields per frame: pulses and the changes for onValuesChanged."""

    def __init__(self, td: TouchDesigner) -> None:
        self._td = td
        self._pulses: list[Par] = []
        self._changes: dict[int, tuple[DAT, list[Change]]] = {}

    def execute(self, name: str, *args: Any, only: DAT | None = None) -> None:
        """Calls `name` of every active Execute DAT that has its toggle on, by names."""
        dats = self._of(executeDAT) if only is None else [only]
        for dat in sorted(dats, key=lambda one: (one.base, one.digits or 0)):
            if dat._alive and _is_on(dat, "active") and _is_on(dat, TOGGLES[name]):
                self._td._call_dat(dat, name, *args)

    def par_changed(self, par: Par) -> None:
        """A value was set; told to the watchers in the next frame, once."""

    def pulsed(self, par: Par) -> None:
        """A pulse, told to the watchers in the next frame."""
        self._pulses.append(par)

    def begin(self, dat: parameterexecuteDAT) -> None:
        """What the parameters are now is no change for a DAT that begins to watch them."""
        for par in self._watched(dat):
            par._seen = par._snapshot()

    def tell(self) -> None:
        """Pulses, then what changed since the frame before: once per parameter."""
        pulses, self._pulses = self._pulses, []
        changed = self._changed_pars()
        if not pulses and not changed:
            return
        dats = [one for one in self._of(parameterexecuteDAT) if _is_on(one, "active")]
        watched = {id(dat): {id(par) for par in self._watched(dat)} for dat in dats}
        for par in pulses:
            for dat in dats:
                if _is_on(dat, "onpulse") and id(par) in watched[id(dat)]:
                    self._td._call_dat(dat, "onPulse", par)
        for dat in dats:
            for par, before in changed:
                if id(par) in watched[id(dat)] and par.valid:
                    self._tell_one(dat, par, before)

    def end_frame(self) -> None:
        """onValuesChanged, with all changes of the frame."""
        changes, self._changes = self._changes, {}
        for dat, found in changes.values():
            if dat._alive:
                self._td._call_dat(dat, "onValuesChanged", found)

    def _changed_pars(self) -> list[tuple[Par, tuple[Any, str, ParMode, bool]]]:
        found = []
        for operator in self._td._operators():
            for par in list(operator._pars.values()):
                is_constant = par._mode is ParMode.CONSTANT
                now = par._snapshot() if is_constant else self._td._quietly(par._snapshot)
                if now is not None and now != par._seen:
                    found.append((par, par._seen))
                    par._seen = now
                    operator._make_dirty()
        return found

    def _tell_one(self, dat: DAT, par: Par, before: tuple[Any, str, ParMode, bool]) -> None:
        value, expr, mode, enable = par._seen
        if value != before[0]:
            if _is_on(dat, "valueschanged"):
                self._changes.setdefault(id(dat), (dat, []))[1].append(Change(par, before[0]))
            if _is_on(dat, "valuechange"):
                self._td._call_dat(dat, "onValueChange", par, before[0])
        if expr != before[1] and _is_on(dat, "expressionchange"):
            self._td._call_dat(dat, "onExpressionChange", par, expr, before[1])
        if mode != before[2] and _is_on(dat, "modechange"):
            self._td._call_dat(dat, "onModeChange", par, mode, before[2])
        if enable != before[3] and _is_on(dat, "enablechange"):
            self._td._call_dat(dat, "onEnableChange", par, enable, before[3])

    def _watched(self, dat: DAT) -> list[Par]:
        patterns = str(dat._pars["pars"]._current())
        return [
            par
            for operator in dat._pars["op"].evalOPs()
            for name, par in operator._pars.items()
            if matches(name, patterns) and _is_on(dat, "custom" if par.isCustom else "builtin")
        ]

    def _of(self, kind: type) -> list[Any]:
        return [one for one in self._td._operators() if isinstance(one, kind)]


def _is_on(dat: DAT, toggle: str) -> bool:
    return bool(dat._pars[toggle]._current())
