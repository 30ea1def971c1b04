"""Finding operators, parents, extensions and modules by name (OP_Class, Td_Module, MOD_Class)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fake_td.errors import NotModelled, tdError

if TYPE_CHECKING:
    from tests.fake_td.components import COMP
    from tests.fake_td.operators import OP
    from tests.fake_td.session import TouchDesigner


class OPShortcut:
    """`op`: of an operator, looks inside it; in a script, beside the operator that runs it."""

    def __init__(self, td: TouchDesigner, base: OP | None, *, inside: bool) -> None:
        self._td = td
        self._base = base
        self._inside = inside

    def __call__(self, *pattern: str | int, includeUtility: bool = False) -> OP | None:
        found = self._td._find_all(pattern, self._from, inside=self._inside)
        return found[0] if found else None

    def __getattr__(self, shortcut: str) -> COMP:
        self._td._main_thread.check(f"op.{shortcut}")
        for comp in self._td._all_comps():
            if comp._pars["opshortcut"]._value == shortcut:
                return comp
        raise AttributeError(f"no component has the Global OP Shortcut {shortcut!r}")

    @property
    def _from(self) -> OP:
        return self._td._me_or_root() if self._base is None else self._base


class OPEXShortcut:
    """As `op`, but raises where that returns None."""

    def __init__(self, finder: OPShortcut) -> None:
        self._finder = finder

    def __call__(self, *pattern: str | int, includeUtility: bool = False) -> OP:
        found = self._finder(*pattern, includeUtility=includeUtility)
        if found is None:
            raise tdError(f"no operator {pattern} from {self._finder._from._path()}")
        return found


class ParentShortcut:
    """`parent(n)` climbs n levels; `parent.Name` climbs to the component with that shortcut."""

    def __init__(self, td: TouchDesigner, base: OP | None) -> None:
        self._td = td
        self._base = base

    def __call__(self, n: int = 1) -> COMP | None:
        self._td._main_thread.check("parent()")
        at: Any = self._td._me_or_root() if self._base is None else self._base
        for _ in range(n):
            at = at._parent if at is not None else None
        return at

    def __getattr__(self, shortcut: str) -> COMP:
        level = 1
        while (comp := self(level)) is not None:
            named = comp._pars.get("parentshortcut")
            if named is not None and named._value == shortcut:
                return comp
            level += 1
        raise AttributeError(f"no parent has the Parent Shortcut {shortcut!r}")


class Ext:
    """`ext.Name`: an extension of this component or of the nearest parent that has it."""

    def __init__(self, td: TouchDesigner, base: OP | None) -> None:
        self._td = td
        self._base = base

    def __getattr__(self, name: str) -> Any:
        self._td._main_thread.check(f"ext.{name}")
        at: Any = self._td._me_or_root() if self._base is None else self._base
        while at is not None:
            if at._family == "COMP" and (found := at._extensions.named(name)) is not None:
                return found
            at = at._parent
        raise AttributeError(f"no extension {name!r} here or in a parent")


class MOD:
    """`mod.name`: the Text DAT of that name beside the running one, as a module."""

    def __init__(self, td: TouchDesigner, base: OP | None) -> None:
        self._td = td
        self._base = base

    def __getattr__(self, name: str) -> Any:
        return self(name)

    def __call__(self, path: str) -> Any:
        at = self._td._me_or_root() if self._base is None else self._base
        found = self._td._find(path, at)
        if found is None:
            raise NotModelled(f"mod({path!r}): only DATs beside the running one are searched")
        return found.module
