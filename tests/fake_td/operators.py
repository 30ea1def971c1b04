"""Any operator (OP_Class)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tests.fake_td.access import Member
from tests.fake_td.built_in_pars import TABLES
from tests.fake_td.cooking import Cooking
from tests.fake_td.errors import NotModelled, tdError
from tests.fake_td.finders import MOD, Ext, OPEXShortcut, OPShortcut, ParentShortcut
from tests.fake_td.names import TRAILING_DIGITS, check_operator_name, free_name, matches
from tests.fake_td.par_groups import ParCollection, ParGroup, ParGroupCollection
from tests.fake_td.parameters import Par
from tests.fake_td.storage import Storage
from tests.fake_td.troubles import Troubles
from tests.fake_td.wires import Wired

if TYPE_CHECKING:
    from tests.fake_td.components import COMP, timeCOMP
    from tests.fake_td.pages import Page
    from tests.fake_td.session import TouchDesigner


class OP(Wired, Cooking, Storage, Troubles):
    """An operator in the network.

    Fields: `_pars` in their order, `_pages` custom ones, `_wires` input index -> (source, output),
    `_storage` and `_startup` per operator, `_dirty` what a cook would change.
    """

    _family: ClassVar[str] = ""
    _num_inputs: ClassVar[int] = 0
    _num_outputs: ClassVar[int] = 1

    bypass = Member(False)
    activeViewer = Member(False)
    display = Member(False)
    render = Member(False)
    expose = Member(True)
    lock = Member(False)
    selected = Member(False)
    current = Member(False)
    viewer = Member(False)
    showCustomOnly = Member(False)
    showDocked = Member(True)
    comment = Member("")
    nodeX = Member(0, int, float)
    nodeY = Member(0, int, float)
    nodeWidth = Member(130, int, float)
    nodeHeight = Member(90, int, float)
    nodeCenterX = Member(0, int, float)
    nodeCenterY = Member(0, int, float)
    color = Member((0.55, 0.55, 0.55), tuple)

    def __init__(self, td: TouchDesigner, parent: COMP | None, name: str) -> None:
        self._td = td
        self._parent = parent
        self._name = name
        self._id = td._next_id()
        self._alive = True
        self._members: dict[str, Any] = {}
        self._pars: dict[str, Par] = {}
        self._pages: list[Page] = []
        self._wires: dict[int, tuple[OP, int]] = {}
        self._storage: dict[str, Any] = {}
        self._startup: dict[str, Any] = {}
        self._tags: set[str] = set()
        self._dock: OP | None = None
        self._begin_cooking()
        self._begin_troubles()
        self._make_built_in_pars()

    def _make_built_in_pars(self) -> None:
        for name, made in TABLES.get(type(self).__name__, {}).items():
            par = Par(self, name, made.style)
            par._menu_names = par._menu_labels = list(made.menu)
            if made.low is not None:
                par._ranges.update(min=made.low, clampMin=True)
            if made.default is not None:
                par._default = par._value = made.default
            self._pars[name] = par

    def _initialize(self) -> None:
        """The initialization script of a new operator (COMP_Class, create)."""

    def _guard(self, name: str) -> None:
        super()._guard(name)
        if name != "valid" and not self._alive:
            raise tdError(f"operator {self._name!r} was destroyed; it has no {name} any more")

    def __repr__(self) -> str:
        return f"type:{type(self).__name__} path:{self._path()}"

    # General

    @property
    def valid(self) -> bool:
        return self._alive

    @property
    def id(self) -> int:
        return self._id

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        check_operator_name(name)
        if self._parent is None:
            raise tdError("the root cannot be renamed")
        siblings = self._parent._children
        others = [other for other in siblings if other != self._name]
        name = free_name(name, others)
        self._parent._children = {
            (name if one is self else key): one for key, one in siblings.items()
        }
        self._name = name

    @property
    def path(self) -> str:
        return self._path()

    def _path(self) -> str:
        if self._parent is None:
            return "/"
        return self._parent._path().rstrip("/") + "/" + self._name

    @property
    def digits(self) -> int | None:
        match = TRAILING_DIGITS.fullmatch(self._name)
        assert match is not None, "the pattern matches every string"
        return int(match[2]) if match[2] else None

    @property
    def base(self) -> str:
        return self._name.rstrip("0123456789")

    @property
    def par(self) -> ParCollection:
        return ParCollection(self)

    @property
    def parGroup(self) -> ParGroupCollection:
        return ParGroupCollection(self)

    @property
    def ext(self) -> Ext:
        return Ext(self._td, self)

    @property
    def mod(self) -> MOD:
        return MOD(self._td, self)

    @property
    def op(self) -> OPShortcut:
        return OPShortcut(self._td, self, inside=True)

    @property
    def opex(self) -> OPEXShortcut:
        return OPEXShortcut(self.op)

    def ops(self, *patterns: str | int, includeUtility: bool = False) -> list[OP]:
        return self._td._find_all(patterns, self, inside=True)

    @property
    def parent(self) -> ParentShortcut:
        return ParentShortcut(self._td, self)

    @property
    def time(self) -> timeCOMP:
        return self._td._timeline

    @property
    def pages(self) -> list[Page]:
        raise NotModelled("OP.pages: pages of built-in parameters")

    @property
    def builtinPars(self) -> list[Par]:
        return [par for par in self._pars.values() if not par.isCustom]

    @property
    def customPars(self) -> list[Par]:
        return [par for page in self._pages for par in page.pars]

    @property
    def customParGroups(self) -> list[ParGroup]:
        return [group for page in self._pages for group in page.parGroups]

    @property
    def customPages(self) -> list[Page]:
        return list(self._pages)

    @property
    def currentPage(self) -> Page:
        return self._members.get("currentPage") or self._pages[0]

    @currentPage.setter
    def currentPage(self, page: Page | str) -> None:
        found = [one for one in self._pages if page is one or page == one._name]
        if not found:
            raise tdError(f"{self._path()} has no page {page!r}")
        self._members["currentPage"] = found[0]

    @property
    def tags(self) -> set[str]:
        return self._tags

    @tags.setter
    def tags(self, tags: set[str]) -> None:
        self._tags = set(tags)

    @property
    def children(self) -> list[OP]:
        return []

    @property
    def numChildren(self) -> int:
        return len(self.children)

    @property
    def allowCooking(self) -> bool:
        return bool(self._members.get("allowCooking", True))

    @allowCooking.setter
    def allowCooking(self, allowed: bool) -> None:
        if self._family != "COMP" and not allowed:
            raise tdError(f"{self._path()}.allowCooking: only components can turn it off")
        self._members["allowCooking"] = bool(allowed)

    @property
    def dock(self) -> OP | None:
        return self._dock

    @dock.setter
    def dock(self, host: OP | None) -> None:
        if host is not None and (not isinstance(host, OP) or host._parent is not self._parent):
            raise tdError(f"{self._path()}.dock = {host!r}: expected an operator beside it or None")
        self._dock = host

    @property
    def docked(self) -> list[OP]:
        beside = self._parent._children.values() if self._parent else []
        return [one for one in beside if one._dock is self]

    # Type

    @property
    def type(self) -> str:
        return self.OPType.removesuffix(self._family)

    @property
    def OPType(self) -> str:
        return type(self).__name__

    @property
    def family(self) -> str:
        return self._family

    @property
    def isCOMP(self) -> bool:
        return self._family == "COMP"

    @property
    def isTOP(self) -> bool:
        return self._family == "TOP"

    @property
    def isCHOP(self) -> bool:
        return self._family == "CHOP"

    @property
    def isDAT(self) -> bool:
        return self._family == "DAT"

    # Methods

    def pars(self, pattern: str) -> list[Par]:
        return [par for name, par in self._pars.items() if matches(name, pattern)]

    def evalExpression(self, str: str) -> Any:
        return self._td._evaluate(str, self)

    def destroy(self) -> None:
        if self._parent is None:
            raise tdError("the root cannot be destroyed")
        with self._td._meter.apart():
            self._die()

    def _die(self) -> None:
        assert self._parent is not None, "the root stays"
        beside = [one for one in self._parent._children.values() if one is not self]
        for one in beside:
            if any(source is self for source, _ in one._wires.values()):
                one._wires = {at: wire for at, wire in one._wires.items() if wire[0] is not self}
                one._input_changed()
            if one._dock is self:
                one._dock = None
        del self._parent._children[self._name]
        self._td._forget(self)
        self._alive = False

    def relativePath(self, OP: OP) -> str:
        raise NotModelled("OP.relativePath")

    def resetPars(
        self,
        parNames: str = "*",
        parGroupNames: str = "*",
        pageNames: str = "*",
        includeBuiltin: bool = True,
        includeCustom: bool = True,
    ) -> bool:
        chosen = [
            par
            for par in self.pars(parNames)
            if (includeCustom if par.isCustom else includeBuiltin) and not par.isPulse
        ]
        return any([par.reset() for par in chosen])

    def asType(self, opType: type, checkType: bool = False) -> Any:
        if checkType and not isinstance(self, opType):
            raise tdError(f"{self._path()} is no {opType.__name__}")
        return self

    def openParameters(self) -> None:
        self._td.opened.append(f"parameters of {self._path()}")

    def openViewer(self, unique: bool = False, borders: bool = True) -> None:
        self._td.opened.append(f"viewer of {self._path()}")
