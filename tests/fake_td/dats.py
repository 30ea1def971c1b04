"""Text, tables and scripts (DAT_Class)."""

from __future__ import annotations

import csv
import io
import json
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tests.fake_td.errors import NotModelled, tdError
from tests.fake_td.operators import OP
from tests.fake_td.tables import Cell, col_index, row_index

if TYPE_CHECKING:
    from tests.fake_td.components import COMP
    from tests.fake_td.parameters import Par
    from tests.fake_td.runs import Run
    from tests.fake_td.session import TouchDesigner


class DAT(OP):
    """A DAT: `_text` or `_rows`; `_version` counts its changes, the module is made per version."""

    _family: ClassVar[str] = "DAT"
    _num_inputs: ClassVar[int] = 1
    _is_table: bool = False

    def __init__(self, td: TouchDesigner, parent: COMP | None, name: str) -> None:
        super().__init__(td, parent, name)
        self._text = ""
        self._rows: list[list[str]] = []
        self._version = 0
        self._module: tuple[int, types.ModuleType] | None = None

    @property
    def text(self) -> str:
        self._demand()
        if self._is_table:
            return "".join("\t".join(row) + "\n" for row in self._rows)
        return self._text

    @text.setter
    def text(self, text: str) -> None:
        if not isinstance(text, str):
            raise tdError(f"{self._path()}.text = {text!r}: expected str")
        if self._is_table:
            self._rows = [line.split("\t") for line in text.splitlines()]
        else:
            self._text = text
        self._text_changed()

    @property
    def csv(self) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(self._rows)
        return out.getvalue()

    @csv.setter
    def csv(self, text: str) -> None:
        self._check_table("csv")
        self._rows = list(csv.reader(io.StringIO(text)))
        self._text_changed()

    @property
    def module(self) -> types.ModuleType:
        for readers in self._td._module_readers:
            readers.append((self, self._version))
        if self._module is None or self._module[0] != self._version:
            module = types.ModuleType(self._name)
            module.__dict__.update(self._td._names_for(self))
            with self._td._running(self):
                exec(compile(self._text, self._path(), "exec"), module.__dict__)
            self._module = (self._version, module)
        return self._module[1]

    @property
    def numRows(self) -> int:
        return len(self._rows) if self._is_table else 1

    @property
    def numCols(self) -> int:
        return max((len(row) for row in self._rows), default=0) if self._is_table else 1

    @property
    def isTable(self) -> bool:
        return self._is_table

    @property
    def isText(self) -> bool:
        return not self._is_table

    @property
    def isEditable(self) -> bool:
        return not self._wires

    @property
    def jsonObject(self) -> Any:
        return json.loads(self._text)

    def run(
        self,
        *args: object,
        endFrame: bool = False,
        fromOP: OP | None = None,
        asParameter: bool = False,
        group: str | None = None,
        delayFrames: int = 0,
        delayMilliSeconds: int = 0,
        wallTime: bool = False,
        delayRef: OP | None = None,
    ) -> Run:
        if asParameter or wallTime:
            raise NotModelled("DAT.run with asParameter or wallTime")
        runs = self._td._runs
        delay = runs.frames_of(delayFrames, delayMilliSeconds)
        return runs.add(self._text, fromOP or self, args, group, delay, at_end=endFrame, dat=self)

    def save(
        self, filepath: str | None = None, append: bool = False, createFolders: bool = False
    ) -> str:
        path = self._td._resolve_file(filepath or f"{self._name}.txt")
        if createFolders:
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if append else "w") as file:
            file.write(self.text)
        return path.as_posix()

    def write(self, args: str) -> str:
        self.text = self.text + args
        return self.text

    def clear(
        self, keepSize: bool = False, keepFirstRow: bool = False, keepFirstCol: bool = False
    ) -> None:
        if keepSize or keepFirstCol:
            raise NotModelled("DAT.clear with keepSize or keepFirstCol")
        self._rows = self._rows[:1] if keepFirstRow else []
        self._text = ""
        self._text_changed()

    def copy(self, DAT: DAT) -> None:
        self.text = DAT.text

    # Tables

    def appendRow(
        self,
        vals: Sequence[object] | None = None,
        nameOrIndex: str | int | None = None,
        sort: str | int | None = None,
    ) -> int:
        self._check_table("appendRow")
        if sort is not None:
            raise NotModelled("DAT.appendRow with sort")
        cells = _cells(vals)
        at = len(self._rows) if nameOrIndex is None else row_index(self._rows, nameOrIndex) + 1
        self._rows.insert(at, cells)
        self._square()
        self._text_changed()
        return at

    def appendRows(
        self,
        vals: Sequence[Sequence[object]] | None = None,
        nameOrIndex: str | int | None = None,
        sort: str | int | None = None,
    ) -> int:
        at = len(self._rows) - 1
        for row in vals or []:
            at = self.appendRow(row, nameOrIndex, sort)
            nameOrIndex = None if nameOrIndex is None else at
        return at

    def replaceRow(
        self,
        nameOrIndex: str | int,
        vals: Sequence[object] | None = None,
        entireRow: bool = True,
    ) -> int:
        self._check_table("replaceRow")
        at = row_index(self._rows, nameOrIndex)
        cells = _cells(vals)
        if not entireRow:
            cells += self._rows[at][len(cells) :]
        self._rows[at] = cells
        self._square()
        self._text_changed()
        return at

    def deleteRow(self, nameOrIndex: str | int) -> None:
        self._check_table("deleteRow")
        del self._rows[row_index(self._rows, nameOrIndex)]
        self._text_changed()

    def setSize(self, numrows: int, numcols: int) -> None:
        self._check_table("setSize")
        rows = [row[:numcols] + [""] * (numcols - len(row)) for row in self._rows[:numrows]]
        self._rows = rows + [[""] * numcols for _ in range(numrows - len(rows))]
        self._text_changed()

    def cell(
        self,
        rowNameOrIndex: str | int,
        colNameOrIndex: str | int,
        caseSensitive: bool = True,
        val: bool = False,
    ) -> Cell | str | None:
        try:
            found = self[rowNameOrIndex, colNameOrIndex]
        except tdError:
            return None
        return found.val if val else found

    def row(
        self, nameOrIndex: str | int, caseSensitive: bool = True, val: bool = False
    ) -> list[Cell] | list[str] | None:
        try:
            at = row_index(self._rows, nameOrIndex)
        except tdError:
            return None
        if val:
            return list(self._rows[at])
        return [Cell(self, at, col) for col in range(len(self._rows[at]))]

    def rows(self, *nameOrIndex: str | int, caseSensitive: bool = True, val: bool = False) -> Any:
        wanted = nameOrIndex or range(len(self._rows))
        return [self.row(one, caseSensitive, val) for one in wanted]

    def __getitem__(self, key: tuple[str | int, str | int]) -> Cell:
        self._guard("[]")
        self._demand()
        self._check_table("[row, col]")
        if not isinstance(key, tuple) or len(key) != 2:
            raise tdError(f"{self._path()}[{key!r}]: expected [row, column]")
        return Cell(self, row_index(self._rows, key[0]), col_index(self._rows, key[1]))

    def __setitem__(self, key: tuple[str | int, str | int], value: object) -> None:
        self[key].val = value

    def _square(self) -> None:
        width = self.numCols
        self._rows = [row + [""] * (width - len(row)) for row in self._rows]

    def _check_table(self, what: str) -> None:
        if not self._is_table:
            raise tdError(f"{self._path()}.{what}: not a table")

    # Files and changes

    def _text_changed(self) -> None:
        self._version += 1
        self._make_dirty()
        sync, file = self._pars.get("syncfile"), self._pars.get("file")
        if sync is not None and file is not None and sync._current() and file._current():
            self._td._resolve_file(str(file._current())).write_text(self.text)

    def _par_changed(self, par: Par) -> None:
        super()._par_changed(par)
        if par._name in ("syncfile", "file") and self._pars["syncfile"]._current():
            self._load_file()

    def _pulsed(self, par: Par) -> None:
        if par._name == "loadonstartpulse":
            self._load_file()
        elif par._name == "writepulse":
            self._td._resolve_file(str(self._pars["file"]._current())).write_text(self.text)
        else:
            super()._pulsed(par)

    def _load_file(self) -> None:
        path = self._td._resolve_file(str(self._pars["file"]._current()))
        if path.is_file():
            self._text = path.read_text()
            self._version += 1
            self._make_dirty()


def _cells(vals: Sequence[object] | None) -> list[str]:
    if isinstance(vals, str):
        raise tdError(f"row {vals!r}: expected a list of cells, not one str")
    return [str(one) for one in vals or []]


class textDAT(DAT):
    """Text_DAT."""


class tableDAT(DAT):
    """Table_DAT."""

    _is_table: bool = True


class PassingDAT(DAT):
    """A DAT that shows its input."""

    def _cook(self) -> None:
        source = next(iter(self._sources()), None)
        if isinstance(source, DAT):
            self._is_table = source._is_table
            self._text, self._rows = source._text, [list(row) for row in source._rows]


class nullDAT(PassingDAT):
    """Null_DAT."""


class outDAT(PassingDAT):
    """Out_DAT."""


class executeDAT(DAT):
    """Execute_DAT: watchers.py calls its functions."""


class parameterexecuteDAT(DAT):
    """Parameter_Execute_DAT: watchers.py calls its functions."""

    def _par_changed(self, par: Par) -> None:
        super()._par_changed(par)
        self._td._watchers.begin(self)
