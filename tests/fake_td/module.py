"""The module `td` (Td_Module)."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.fake_td import (
    application,
    chops,
    components,
    cuda,
    dats,
    errors,
    finders,
    operators,
    pages,
    par_groups,
    parameters,
    runs,
    scripts,
    tables,
    tops,
    vfs,
    watchers,
    wires,
)
from tests.fake_td.errors import NotModelled

if TYPE_CHECKING:
    from tests.fake_td.operators import OP
    from tests.fake_td.session import TouchDesigner

SOURCES = (
    *(application, chops, components, cuda, dats, errors, finders, operators, pages, par_groups),
    *(parameters, runs, scripts, tables, tops, vfs, watchers, wires),
)
HIDDEN = {
    *("NotModelled", "Guarded", "Member", "CustomMember", "Range", "CustomPages", "Scripted"),
    *("PassingTOP", "PassingCHOP", "PassingDAT", "Watchers", "Runs", "Extensions", "Troubles"),
    *("Wired", "Cooking", "Storage", "Kinds"),
    *("BuiltIn", "Enum", "NamedTuple", "ClassVar", "Any"),
}
CLASSES: dict[str, type] = {
    name: value
    for source in SOURCES
    for name, value in vars(source).items()
    if isinstance(value, type)
    and value.__module__.startswith("tests.fake_td")
    and name not in HIDDEN
}
OPERATOR_TYPES = {
    name: kind
    for name, kind in CLASSES.items()
    if issubclass(kind, operators.OP) and name[0].islower()
}


MEMBERS: dict[str, Callable[[TouchDesigner, OP | None], Any]] = {
    "op": lambda td, me: finders.OPShortcut(td, me, inside=False),
    "opex": lambda td, me: finders.OPEXShortcut(finders.OPShortcut(td, me, inside=False)),
    "parent": finders.ParentShortcut,
    "ext": finders.Ext,
    "mod": finders.MOD,
    "root": lambda td, me: td.root,
    "project": lambda td, me: td.project,
    "app": lambda td, me: td.app,
    "absTime": lambda td, me: td.abs_time,
    "licenses": lambda td, me: td.licenses,
    "ui": lambda td, me: td.ui,
    "ops": lambda td, me: td.ops,
    "run": lambda td, me: td.run,
    "debug": lambda td, me: td.debug,
}


def names_for(td: TouchDesigner, me: OP | None) -> dict[str, Any]:
    """What a script finds without importing anything; `me` is the operator that runs it."""
    names = {**CLASSES, **{name: make(td, me) for name, make in MEMBERS.items()}}
    if me is not None:
        names["me"] = me
    return names


class TdModule(types.ModuleType):
    """`import td` in a module that is no DAT: the names mean the operator that runs just now."""

    def __init__(self, td: TouchDesigner) -> None:
        super().__init__("td")
        self.__dict__.update(CLASSES, _session=td)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        session: TouchDesigner = self.__dict__["_session"]
        session._main_thread.check(f"td.{name}")
        me = session._me()
        if name in MEMBERS:
            return MEMBERS[name](session, me)
        if name != "me":
            raise AttributeError(f"module td has no {name!r}")
        if me is None:
            raise NotModelled("td.me outside of a script")
        return me
