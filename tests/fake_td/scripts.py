"""Operators whose result a callback makes (Script_TOP, Script_CHOP)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from tests.fake_td.components import CustomPages
from tests.fake_td.errors import tdError
from tests.fake_td.operators import OP

if TYPE_CHECKING:
    from tests.fake_td.parameters import Par


TEMPLATE = """
def onSetupParameters(scriptOp):
    return

def onPulse(par):
    return

def onCook(scriptOp):
    return
"""


class CookLevel(Enum):
    """When a Script operator cooks (ScriptTOP_Class, onGetCookLevel)."""

    AUTOMATIC = "inputs changed and output used"
    ON_CHANGE = "inputs changed, output used or not"
    WHEN_USED = "every frame in which the output is used"
    ALWAYS = "every frame"


class Scripted(CustomPages, OP):
    """Calls onCook(scriptOp) of its callbacks DAT."""

    def _initialize(self) -> None:
        """A new one has a docked DAT with empty callbacks (Script_CHOP, Summary)."""
        assert self._parent is not None, "only components are roots"
        dat: Any = self._parent.create("textDAT", f"{self._name}_callbacks")
        dat.text = TEMPLATE
        dat.dock = self
        self._pars["callbacks"].val = dat

    def _cook(self) -> None:
        self._call("onCook", self)

    def _demand(self) -> None:
        if (
            not self._cooking
            and not self.cookedThisFrame
            and self._level()
            in (
                CookLevel.WHEN_USED,
                CookLevel.ALWAYS,
            )
        ):
            self._dirty = True
        super()._demand()

    def _cooks_by_itself(self) -> bool:
        """Cooks in this frame though nobody looks."""
        level = self._level()
        return level is CookLevel.ALWAYS or (level is CookLevel.ON_CHANGE and self._dirty)

    def _level(self) -> CookLevel:
        level = self._call("onGetCookLevel", self)
        return level if isinstance(level, CookLevel) else CookLevel.AUTOMATIC

    def _call(self, name: str, *args: Any) -> Any:
        dat: Any = self._pars["callbacks"].eval()
        return None if dat is None else self._td._call_dat(dat, name, *args, complain_to=self)

    def _pulsed(self, par: Par) -> None:
        if par._name == "setuppars":
            self._call("onSetupParameters", self)
        elif par.isCustom:
            self._call("onPulse", par)
        else:
            super()._pulsed(par)

    def _check_may_write(self, what: str) -> None:
        if not self._cooking and not self._pars["modoutsidecook"]._current():
            raise tdError(
                f"{self._path()}.{what}: only in its onCook, or with Modify Outside of Cook on"
            )

    def _written(self) -> None:
        """The result was set from outside of the cook: readers have to cook."""
        if not self._cooking:
            self._cook_frame = self._td._frame
            self._changed()
