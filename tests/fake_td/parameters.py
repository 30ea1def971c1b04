"""One parameter (Par_Class)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from tests.fake_td import par_styles
from tests.fake_td.access import Member
from tests.fake_td.errors import NotModelled, tdError
from tests.fake_td.names import check_par_name
from tests.fake_td.par_members import CustomMember, Kinds, Range

if TYPE_CHECKING:
    from tests.fake_td.operators import OP
    from tests.fake_td.pages import Page
    from tests.fake_td.par_groups import ParGroup


class ParMode(Enum):
    CONSTANT = "CONSTANT"
    EXPRESSION = "EXPRESSION"
    EXPORT = "EXPORT"
    BIND = "BIND"


class Par(Kinds):
    """A parameter. `_value` is its constant; `_seen` what the watchers were last told."""

    enable = CustomMember(True)
    readOnly = Member(False)
    enableExpr = CustomMember("")
    startSection = CustomMember(False)
    password = CustomMember(False)
    help = CustomMember("")
    label = CustomMember("")
    order = CustomMember(0.0)
    menuSource = CustomMember("")
    min = Range(float)
    max = Range(float)
    clampMin = Range(bool)
    clampMax = Range(bool)
    normMin = Range(float)
    normMax = Range(float)

    def __init__(self, owner: OP, name: str, style: str, *, page: Page | None = None) -> None:
        self._td = owner._td
        self._owner = owner
        self._name = name
        self._style = style
        self._page = page
        self._members: dict[str, Any] = {}
        self._ranges: dict[str, float] = {
            **{"min": 0.0, "max": 1.0, "clampMin": False, "clampMax": False},
            **{"normMin": 0.0, "normMax": 1.0},
        }
        self._menu_names: list[str] = []
        self._menu_labels: list[str] = []
        self._default = self._value = par_styles.DEFAULTS[style]
        self._mode = ParMode.CONSTANT
        self._expr = ""
        self._bind_expr = ""
        self._export: tuple[OP, Any] | None = None
        self._group: ParGroup | None = None
        self._alive = True
        self._seen = self._snapshot()

    @property
    def _where(self) -> str:
        return f"{self._owner._path()}.par.{self._name}"

    def _guard(self, name: str) -> None:
        super()._guard(name)
        if name != "valid" and not (self._alive and self._owner._alive):
            raise tdError(f"parameter {self._name!r} was destroyed; it has no {name} any more")

    def _check_custom(self, what: str) -> None:
        if self._page is None:
            raise tdError(f"{self._where}.{what}: can be set on custom parameters only")

    # What it holds

    @property
    def val(self) -> Any:
        return self._value

    @val.setter
    def val(self, value: Any) -> None:
        if isinstance(value, Par):
            value = value.eval()
        if self._mode is ParMode.BIND:
            self._set_master(value)
            return
        self._value = par_styles.stored(self, value)
        self._mode = ParMode.CONSTANT
        self._owner._par_changed(self)

    @property
    def expr(self) -> str:
        return self._expr

    @expr.setter
    def expr(self, expression: str) -> None:
        if not isinstance(expression, str):
            raise tdError(
                f"{self._where}.expr = {expression!r}: expected the text of an expression"
            )
        self._expr = expression
        self._mode = ParMode.EXPRESSION
        self._owner._par_changed(self)

    @property
    def bindExpr(self) -> str:
        return self._bind_expr

    @bindExpr.setter
    def bindExpr(self, expression: str) -> None:
        if not isinstance(expression, str):
            raise tdError(f"{self._where}.bindExpr = {expression!r}: expected the text of one")
        self._bind_expr = expression

    @property
    def mode(self) -> ParMode:
        return self._mode

    @mode.setter
    def mode(self, mode: ParMode) -> None:
        if not isinstance(mode, ParMode):
            raise tdError(f"{self._where}.mode = {mode!r}: expected a ParMode")
        if mode is ParMode.EXPORT and self._export is None:
            raise tdError(f"{self._where}.mode = EXPORT: nothing exports to it")
        self._mode = mode
        self._owner._par_changed(self)

    def _set_master(self, value: Any) -> None:
        """A bound parameter's value is its master's (Binding)."""
        master = self._td._evaluate(self._bind_expr, self._owner)
        if not isinstance(master, Par):
            raise NotModelled(f"{self._where}: bound to {master!r}, which is no parameter")
        master.val = par_styles.stored(self, value)

    def eval(self) -> Any:
        if self._style in par_styles.OP_STYLES:
            found = self.evalOPs()
            return found[0] if len(found) == 1 else (found or None)
        return self._current()

    def evalExpression(self) -> Any:
        return self._td._evaluate(self._expr, self._owner)

    def evalOPs(self) -> list[OP]:
        current = self._current()
        if not isinstance(current, str):
            current = par_styles.stored(self, current)
        found = [self._td._find(path, self._owner) for path in str(current).split()]
        return [one for one in found if one is not None]

    def _current(self) -> Any:
        if self._mode is ParMode.CONSTANT:
            return self._value
        if self._mode is ParMode.EXPORT:
            assert self._export is not None, "session.export sets both"
            return par_styles.stored(self, self._export[1])
        if self._mode is ParMode.EXPRESSION:
            result = self.evalExpression()
        else:
            result = self._td._evaluate(self._bind_expr, self._owner)
        if isinstance(result, Par):
            result = result.eval()
        return par_styles.stored(self, result)

    def _snapshot(self) -> tuple[Any, str, ParMode, bool]:
        """(value, expression, mode, enable): what a Parameter Execute DAT watches."""
        enable = self._members.get("enable", True)
        if self._mode is ParMode.CONSTANT:
            return (self._value, self._expr, self._mode, enable)
        return (self._current(), self._expr, self._mode, enable)

    @property
    def bindMaster(self) -> object:
        if self._mode is not ParMode.BIND:
            return None
        return self._td._evaluate(self._bind_expr, self._owner)

    @property
    def exportOP(self) -> OP | None:
        return self._export[0] if self._export else None

    # What it is

    @property
    def owner(self) -> OP:
        return self._owner

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._check_custom("name")
        check_par_name(name)
        if name in self._owner._pars:
            raise tdError(f"{self._owner._path()} has a parameter {name!r} already")
        pars = {(name if one is self else key): one for key, one in self._owner._pars.items()}
        self._owner._pars = pars
        self._name = name

    @property
    def page(self) -> Page:
        if self._page is None:
            raise NotModelled(f"{self._where}.page: of a built-in parameter")
        return self._page

    @page.setter
    def page(self, page: Page) -> None:
        self._check_custom("page")
        assert self._page is not None, "custom"
        assert self._group is not None, "custom"
        self._page._groups.remove(self._group)
        page._groups.append(self._group)
        for par in self._group._pars:
            par._page = page

    @property
    def default(self) -> Any:
        return self._default

    @default.setter
    def default(self, value: Any) -> None:
        self._check_custom("default")
        self._default = par_styles.stored(self, value)

    @property
    def menuNames(self) -> list[str] | None:
        return list(self._menu_names) if self.isMenu else None

    @menuNames.setter
    def menuNames(self, names: list[str]) -> None:
        self._set_menu("menuNames", names)
        self._menu_names = list(names)
        if self._style == "Menu" and names and self._value not in names:
            self._value = names[0]

    @property
    def menuLabels(self) -> list[str] | None:
        return list(self._menu_labels) if self.isMenu else None

    @menuLabels.setter
    def menuLabels(self, labels: list[str]) -> None:
        self._set_menu("menuLabels", labels)
        self._menu_labels = list(labels)

    def _set_menu(self, what: str, entries: Any) -> None:
        self._check_custom(what)
        if not self.isMenu:
            raise tdError(f"{self._where}.{what}: not a menu")
        if not isinstance(entries, list | tuple) or not all(isinstance(e, str) for e in entries):
            raise tdError(f"{self._where}.{what} = {entries!r}: expected a list of str")

    @property
    def menuIndex(self) -> int:
        return self._menu_names.index(self._current()) if self.isMenu else -1

    @menuIndex.setter
    def menuIndex(self, index: int) -> None:
        if not self.isMenu or not 0 <= index < len(self._menu_names):
            raise tdError(f"{self._where}.menuIndex = {index}: the menu has {self._menu_names}")
        self.val = self._menu_names[index]

    @property
    def parGroup(self) -> ParGroup:
        if self._group is None:
            raise NotModelled(f"{self._where}.parGroup: of a built-in parameter")
        return self._group

    @property
    def style(self) -> str:
        return self._style

    @property
    def vecIndex(self) -> int:
        return self._group._pars.index(self) if self._group else 0

    @property
    def valid(self) -> bool:
        return self._alive and self._owner._alive

    @property
    def isDefault(self) -> bool:
        return self._mode is ParMode.CONSTANT and bool(self._value == self._default)

    @property
    def isCustom(self) -> bool:
        return self._page is not None

    # What is done to it

    def pulse(self, value: object = 1, frames: float = 0, seconds: float = 0) -> None:
        if self._style != "Pulse":
            raise NotModelled(f"{self._where}.pulse(): of a {self._style}")
        self._owner._pulsed(self)

    def reset(self) -> bool:
        changed = not self.isDefault
        self.val = self._default
        return changed

    def copy(self, par: Par) -> None:
        raise NotModelled(f"{self._where}.copy({par!r})")

    def destroy(self) -> None:
        self._check_custom("destroy()")
        assert self._group is not None, "custom parameters have one"
        self._group.destroy()

    def isSamePar(self, par: Par) -> bool:
        return self._owner is par._owner and self._name == par._name

    def __float__(self) -> float:
        return float(self.eval())

    def __int__(self) -> int:
        return int(self.eval())

    def __bool__(self) -> bool:
        return bool(self.eval())

    def __str__(self) -> str:
        return str(self.eval())

    def __eq__(self, other: object) -> bool:
        return bool(self.eval() == (other.eval() if isinstance(other, Par) else other))

    __hash__ = object.__hash__
