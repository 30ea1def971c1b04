"""Components: operators that hold networks (COMP_Class)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tests.fake_td import tox
from tests.fake_td.access import Guarded
from tests.fake_td.errors import NotModelled, tdError
from tests.fake_td.extensions import Extensions
from tests.fake_td.names import check_operator_name, free_name, matches
from tests.fake_td.operators import OP
from tests.fake_td.pages import Page
from tests.fake_td.vfs import VFS
from tests.fake_td.wires import Connector

if TYPE_CHECKING:
    from tests.fake_td.parameters import Par
    from tests.fake_td.session import TouchDesigner

IN_TYPES = {"inTOP", "inCHOP"}
OUT_TYPES = {"outTOP", "outCHOP", "outDAT"}


class CustomPages(Guarded):
    """Pages of custom parameters: on components and script operators."""

    _pages: list[Page]

    def appendCustomPage(self, name: str) -> Page:
        if not isinstance(name, str) or not name:
            raise tdError(f"page name {name!r}: expected a text")
        if any(page._name == name for page in self._pages):
            raise tdError(f"there is a custom page {name!r} already")
        page = Page(self, name)  # type: ignore[arg-type]
        self._pages.append(page)
        return page

    def destroyCustomPars(self) -> int:
        count = sum(len(page) for page in self._pages)
        for page in list(self._pages):
            page.destroy()
        return count

    def sortCustomPages(self, *pages: str) -> None:
        names = [page._name for page in self._pages]
        if not set(pages) <= set(names):
            raise tdError(f"sortCustomPages{pages}: the pages are {names}")
        self._pages.sort(key=lambda page: pages.index(page._name) if page._name in pages else 999)


class COMP(CustomPages, OP):
    """A component: children by name, embedded files, an extension."""

    _family: ClassVar[str] = "COMP"

    def __init__(self, td: TouchDesigner, parent: COMP | None, name: str) -> None:
        super().__init__(td, parent, name)
        self._children: dict[str, OP] = {}
        self._vfs = VFS(self)
        self._extensions = Extensions(self)
        self._is_changed = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self._guard(name)
        return self._extensions.promoted(name)

    @property
    def extensions(self) -> list[Any]:
        return self._extensions.instances()

    @property
    def extensionsReady(self) -> bool:
        return self._extensions.is_ready

    def initializeExtensions(self, index: int | None = None) -> Any:
        return self._extensions.remake()

    @property
    def vfs(self) -> VFS:
        return self._vfs

    @property
    def dirty(self) -> bool:
        return self._is_changed

    @property
    def children(self) -> list[OP]:
        return list(self._children.values())

    # Making operators

    def create(self, opType: type | str, name: str | None = None, initialize: bool = True) -> Any:
        kind = self._td._operator_type(opType)
        if name is None:
            name = kind.__name__.removesuffix(kind._family) + "1"
        check_operator_name(name)
        made = kind(self._td, self, free_name(name, self._children))
        self._children[made._name] = made
        if initialize:
            made._initialize()
        self._td._created(made)
        return made

    def copy(self, OP: OP, name: str | None = None, includeDocked: bool = True) -> Any:
        made = tox.place(tox.state_of(OP), self, name or OP._name)
        if includeDocked:
            for one in OP.docked:
                self.copy(one).dock = made
        return made

    def copyOPs(self, listOfOPs: list[OP]) -> list[OP]:
        raise NotModelled("COMP.copyOPs")

    def findChildren(  # noqa: PLR0917
        self,
        type: type | None = None,
        name: str | None = None,
        path: str | None = None,
        depth: int | None = None,
        maxDepth: int | None = None,
        text: str | None = None,
        comment: str | None = None,
        tags: list[str] | None = None,
        allTags: bool = False,
        parValue: str | None = None,
        parExpr: str | None = None,
        parName: str | None = None,
        onlyNonDefaults: bool = False,
        includeUtility: bool = False,
        key: Callable[[OP], bool] | None = None,
    ) -> list[OP]:
        if any((path, text, comment, allTags, parValue, parExpr, parName, onlyNonDefaults)):
            raise NotModelled("findChildren by path, text, comment, allTags or parameter")
        return [
            one
            for level, one in self._below(1)
            if (type is None or isinstance(one, type))
            and (name is None or matches(one._name, name))
            and (depth is None or level == depth)
            and (maxDepth is None or level <= maxDepth)
            and (not tags or any(matches(tag, " ".join(tags)) for tag in one._tags))
            and (key is None or key(one))
        ]

    def _below(self, level: int) -> list[tuple[int, OP]]:
        found: list[tuple[int, OP]] = []
        for child in self._children.values():
            found.append((level, child))
            if isinstance(child, COMP):
                found += child._below(level + 1)
        return found

    # Files

    def loadTox(
        self,
        filepath: str,
        unwired: bool = False,
        pattern: str | None = None,
        password: str | None = None,
    ) -> OP:
        path = self._td._resolve_file(filepath)
        if not path.is_file():
            raise tdError(f"loadTox: {filepath!r} is no file")
        return self.loadByteArray(path.read_bytes(), unwired, pattern, password)

    def loadByteArray(
        self,
        byteArray: bytes | bytearray,
        unwired: bool = False,
        pattern: str | None = None,
        password: str | None = None,
    ) -> OP:
        if pattern is not None or password is not None:
            raise NotModelled("loading a part of a component, or an encrypted one")
        state = tox.unpacked(bytes(byteArray))
        return tox.place(state, self, state["name"])

    def save(
        self,
        filepath: str | None = None,
        createFolders: bool = False,
        password: str | None = None,
    ) -> str:
        path = self._td._resolve_file(filepath or f"{self._name}.tox")
        if createFolders:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.is_dir():
            raise tdError(f"save: no folder {path.parent}; createFolders=True makes it")
        Path(path).write_bytes(self.saveByteArray(password))
        return path.as_posix()

    def saveByteArray(self, password: str | None = None) -> bytearray:
        if password is not None:
            raise NotModelled("an encrypted component")
        return bytearray(tox.packed(tox.state_of(self)))

    # Wires

    @property
    def inputConnectors(self) -> list[Connector]:
        return [
            Connector(self, index, is_input=True, inner=inner)
            for index, inner in enumerate(self._doors(IN_TYPES))
        ]

    @property
    def outputConnectors(self) -> list[Connector]:
        return [
            Connector(self, index, is_input=False, inner=inner)
            for index, inner in enumerate(self._doors(OUT_TYPES))
        ]

    def _doors(self, kinds: set[str]) -> list[OP]:
        found = [one for one in self._children.values() if type(one).__name__ in kinds]
        return sorted(found, key=lambda one: (one.base, one.digits or 0))

    def _behind(self, output: int) -> OP:
        return self._doors(OUT_TYPES)[output]

    def _sources(self) -> list[OP]:
        return []

    def _input_changed(self) -> None:
        for door in self._doors(IN_TYPES):
            door._make_dirty()

    # Life

    def _pulsed(self, par: Par) -> None:
        if par._name == "reinitextensions":
            self._extensions.remake()
            return
        super()._pulsed(par)

    def _die(self) -> None:
        self._extensions.drop()
        for child in self.children:
            child._die()
        super()._die()


class baseCOMP(COMP):
    """Base_COMP."""


class containerCOMP(COMP):
    """Container_COMP."""


class timeCOMP(COMP):
    """Time_COMP: the timeline."""

    @property
    def frame(self) -> float:
        return float(self._td._num_played % 600 + 1)

    @property
    def seconds(self) -> float:
        return (self.frame - 1) / self.rate

    @property
    def rate(self) -> float:
        return self._td.project.cookRate

    @property
    def play(self) -> bool:
        return self._td._is_playing

    @play.setter
    def play(self, playing: bool) -> None:
        self._td._set_playing(bool(playing))
