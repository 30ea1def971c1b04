"""A page of custom parameters (Page_Class)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.fake_td.access import Guarded
from tests.fake_td.errors import tdError
from tests.fake_td.names import check_par_name
from tests.fake_td.par_groups import ParGroup
from tests.fake_td.parameters import Par

if TYPE_CHECKING:
    from tests.fake_td.operators import OP

SUFFIXES = {"XY": "xy", "WH": "wh", "RGB": "rgb", "RGBA": "rgba"}


class Page(Guarded):
    """Custom parameters in their order."""

    def __init__(self, owner: OP, name: str) -> None:
        self._td = owner._td
        self._owner = owner
        self._name = name
        self._groups: list[ParGroup] = []

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def owner(self) -> OP:
        return self._owner

    @property
    def index(self) -> int:
        return self._owner._pages.index(self)

    @property
    def isCustom(self) -> bool:
        return True

    @property
    def pars(self) -> list[Par]:
        return [par for group in self._groups for par in group._pars]

    @property
    def parGroups(self) -> list[ParGroup]:
        return list(self._groups)

    def __len__(self) -> int:
        return len(self.pars)

    def __getitem__(self, index: int) -> Par:
        return self.pars[index]

    def __iter__(self) -> Iterator[Par]:
        return iter(self.pars)

    def appendFloat(
        self,
        name: str,
        label: str | None = None,
        size: int = 1,
        order: int | None = None,
        replace: bool = True,
    ) -> ParGroup:
        return self._append("Float", name, label, order, replace, _numbered(name, size))

    def appendInt(
        self,
        name: str,
        label: str | None = None,
        size: int = 1,
        order: int | None = None,
        replace: bool = True,
    ) -> ParGroup:
        return self._append("Int", name, label, order, replace, _numbered(name, size))

    def appendStr(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("Str", name, label, order, replace, [name])

    def appendStrMenu(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("StrMenu", name, label, order, replace, [name])

    def appendMenu(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("Menu", name, label, order, replace, [name])

    def appendToggle(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("Toggle", name, label, order, replace, [name])

    def appendPulse(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("Pulse", name, label, order, replace, [name])

    def appendMomentary(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("Momentary", name, label, order, replace, [name])

    def appendHeader(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("Header", name, label, order, replace, [name])

    def appendFile(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("File", name, label, order, replace, [name])

    def appendFileSave(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("FileSave", name, label, order, replace, [name])

    def appendFolder(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("Folder", name, label, order, replace, [name])

    def appendPython(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("Python", name, label, order, replace, [name])

    def appendOP(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("OP", name, label, order, replace, [name])

    def appendCOMP(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("COMP", name, label, order, replace, [name])

    def appendTOP(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("TOP", name, label, order, replace, [name])

    def appendCHOP(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("CHOP", name, label, order, replace, [name])

    def appendDAT(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        return self._append("DAT", name, label, order, replace, [name])

    def appendXY(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        names = [name + letter for letter in SUFFIXES["XY"]]
        return self._append("Float", name, label, order, replace, names)

    def appendWH(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        names = [name + letter for letter in SUFFIXES["WH"]]
        return self._append("Float", name, label, order, replace, names)

    def appendRGB(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        names = [name + letter for letter in SUFFIXES["RGB"]]
        return self._append("Float", name, label, order, replace, names)

    def appendRGBA(
        self, name: str, label: str | None = None, order: int | None = None, replace: bool = True
    ) -> ParGroup:
        names = [name + letter for letter in SUFFIXES["RGBA"]]
        return self._append("Float", name, label, order, replace, names)

    def sort(self, *pars: str) -> None:
        names = [group._name for group in self._groups]
        if sorted(pars) != sorted(names):
            raise tdError(f"Page {self._name}.sort{pars}: the page has {names}")
        self._groups.sort(key=lambda group: pars.index(group._name))

    def resetPars(self) -> bool:
        return any([group.reset() for group in self._groups])

    def destroy(self) -> None:
        for group in list(self._groups):
            group.destroy()
        self._owner._pages.remove(self)

    def _append(
        self,
        style: str,
        name: str,
        label: str | None,
        order: int | None,
        replace: bool,
        par_names: list[str],
    ) -> ParGroup:
        check_par_name(name)
        if label is not None and not isinstance(label, str):
            raise tdError(f"{name}: label = {label!r}: expected str")
        self._make_room(name, par_names, replace)
        pars = [Par(self._owner, one, style, page=self) for one in par_names]
        for par in pars:
            par._members["label"] = name if label is None else label
            self._owner._pars[par._name] = par
        group = ParGroup(name, pars)
        at = len(self._groups) if order is None else order
        self._groups.insert(at, group)
        return group

    def _make_room(self, name: str, par_names: list[str], replace: bool) -> None:
        """Takes away a parameter of that name, if that is allowed."""
        for one in par_names:
            old = self._owner._pars.get(one)
            if old is None:
                continue
            if not replace:
                raise tdError(f"{self._owner._path()} has a parameter {one!r}; replace is False")
            if old._group is None or old._group._name != name:
                raise tdError(f"{name!r} would take the name {one!r} of another parameter")
            old._group.destroy()


def _numbered(name: str, size: int) -> list[str]:
    if not isinstance(size, int) or size < 1:
        raise tdError(f"{name}: size = {size!r}: expected a whole number from 1")
    return [name] if size == 1 else [f"{name}{number}" for number in range(1, size + 1)]
