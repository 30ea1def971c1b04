"""Parameters on one line, and finding them by name (ParGroup_, ParCollection_Class)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.fake_td.access import Guarded
from tests.fake_td.errors import tdError
from tests.fake_td.names import matches

if TYPE_CHECKING:
    from tests.fake_td.operators import OP
    from tests.fake_td.pages import Page
    from tests.fake_td.parameters import Par


def _shared(name: str) -> property:
    """A member that all parameters of the group share."""

    def get(group: ParGroup) -> Any:
        return getattr(group._pars[0], name)

    def put(group: ParGroup, value: Any) -> None:
        for par in group._pars:
            setattr(par, name, value)

    return property(get, put)


def _each(name: str) -> property:
    """A member with one value per parameter, as a tuple."""

    def get(group: ParGroup) -> tuple[Any, ...]:
        return tuple(getattr(par, name) for par in group._pars)

    def put(group: ParGroup, values: Any) -> None:
        if not isinstance(values, tuple | list) or len(values) != len(group._pars):
            raise tdError(f"ParGroup {group._name}.{name} = {values!r}: {len(group._pars)} values")
        for par, value in zip(group._pars, values, strict=True):
            setattr(par, name, value)

    return property(get, put)


class ParGroup(Guarded):
    """The parameters of one line."""

    label = _shared("label")
    help = _shared("help")
    enable = _shared("enable")
    readOnly = _shared("readOnly")
    startSection = _shared("startSection")
    order = _shared("order")
    val = _each("val")
    default = _each("default")

    def __init__(self, name: str, pars: list[Par]) -> None:
        self._td = pars[0]._td
        self._name = name
        self._pars = pars
        for par in pars:
            par._group = self

    @property
    def owner(self) -> OP:
        return self._pars[0].owner

    @property
    def name(self) -> str:
        return self._name

    @property
    def style(self) -> str:
        return self._pars[0].style

    @property
    def size(self) -> int:
        return len(self._pars)

    @property
    def valid(self) -> bool:
        return self._pars[0].valid

    @property
    def page(self) -> Page:
        return self._pars[0].page

    @property
    def isCustom(self) -> bool:
        return self._pars[0].isCustom

    def eval(self) -> tuple[Any, ...]:
        return tuple(par.eval() for par in self._pars)

    def reset(self) -> bool:
        return any([par.reset() for par in self._pars])

    def destroy(self) -> None:
        page, owner = self.page, self.owner
        page._groups.remove(self)
        for par in self._pars:
            del owner._pars[par._name]
            par._alive = False

    def pars(self, pattern: str) -> list[Par]:
        return [par for par in self._pars if matches(par._name, pattern)]

    def isSameParGroup(self, parGroup: ParGroup) -> bool:
        return self is parGroup

    def __getitem__(self, index: int) -> Par:
        self._guard("[]")
        return self._pars[index]

    def __len__(self) -> int:
        return len(self._pars)

    def __iter__(self) -> Iterator[Par]:
        self._guard("iter")
        return iter(self._pars)


class ParCollection:
    """`op.par`: a parameter per name, read and set."""

    def __init__(self, owner: OP) -> None:
        object.__setattr__(self, "_owner", owner)

    @property
    def owner(self) -> OP:
        owner: OP = self._owner
        owner._guard("par")
        return owner

    def __getattr__(self, name: str) -> Par:
        found = self[name]
        if found is None:
            raise AttributeError(f"{self._owner._path()} has no parameter {name!r}")
        return found

    def __setattr__(self, name: str, value: object) -> None:
        getattr(self, name).val = value

    def __getitem__(self, name: str) -> Par | None:
        found: Par | None = self.owner._pars.get(name)
        return found

    def __setitem__(self, name: str, value: object) -> None:
        self.__setattr__(name, value)


class ParGroupCollection:
    """`op.parGroup`: a group per name."""

    def __init__(self, owner: OP) -> None:
        self._owner = owner
        self._find: Callable[[str], ParGroup | None] = lambda name: next(
            (one for one in owner.customParGroups if one.name == name), None
        )

    @property
    def owner(self) -> OP:
        return self._owner

    def __getattr__(self, name: str) -> ParGroup:
        found = self._find(name)
        if found is None:
            raise AttributeError(f"{self._owner._path()} has no parameter group {name!r}")
        return found

    def __getitem__(self, name: str) -> ParGroup | None:
        return self._find(name)
