"""Members of a parameter that are set on custom ones only, and what kind it is (Par_Class)."""

from __future__ import annotations

from typing import Any

from tests.fake_td import par_styles
from tests.fake_td.access import Guarded, Member
from tests.fake_td.errors import tdError


class CustomMember(Member):
    """A member that can be set on custom parameters only."""

    def __set__(self, owner: Any, value: Any) -> None:
        owner._guard(self._name)
        owner._check_custom(self._name)
        super().__set__(owner, value)


class Range(Member):
    """min, max, ... of a custom number; the value follows a narrower range at once."""

    def __init__(self, kind: type) -> None:
        super().__init__(None, kind)

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self
        owner._guard(self._name)
        return owner._ranges[self._name]

    def __set__(self, owner: Any, value: Any) -> None:
        owner._guard(self._name)
        owner._check_custom(self._name)
        if not isinstance(value, bool | int | float):
            raise tdError(f"{owner._where}.{self._name} = {value!r}: expected a number")
        owner._ranges[self._name] = value
        if owner._style in par_styles.NUMBER_STYLES:
            owner._value = par_styles.clamped(owner, owner._value)


class Kinds(Guarded):
    """What kind of parameter it is."""

    _style: str

    @property
    def isPulse(self) -> bool:
        return self._style == "Pulse"

    @property
    def isMomentary(self) -> bool:
        return self._style == "Momentary"

    @property
    def isMenu(self) -> bool:
        return self._style in ("Menu", "StrMenu")

    @property
    def isNumber(self) -> bool:
        return self._style in par_styles.NUMBER_STYLES

    @property
    def isFloat(self) -> bool:
        return self._style == "Float"

    @property
    def isInt(self) -> bool:
        return self._style == "Int"

    @property
    def isOP(self) -> bool:
        return self._style in par_styles.OP_STYLES

    @property
    def isPython(self) -> bool:
        return self._style == "Python"

    @property
    def isString(self) -> bool:
        return self._style in par_styles.TEXT_STYLES

    @property
    def isToggle(self) -> bool:
        return self._style == "Toggle"
