"""Cells of a table (Cell_Class) and the rows that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fake_td.access import Guarded
from tests.fake_td.errors import tdError

if TYPE_CHECKING:
    from tests.fake_td.dats import DAT
    from tests.fake_td.operators import OP


class Cell(Guarded):
    """One cell; its value is always a str."""

    def __init__(self, dat: DAT, row: int, col: int) -> None:
        self._td = dat._td
        self._dat = dat
        self._row = row
        self._col = col

    @property
    def valid(self) -> bool:
        rows = self._dat._rows
        return self._row < len(rows) and self._col < len(rows[self._row])

    @property
    def row(self) -> int:
        return self._row

    @property
    def col(self) -> int:
        return self._col

    @property
    def owner(self) -> OP:
        return self._dat

    @property
    def val(self) -> str:
        return self._dat._rows[self._row][self._col]

    @val.setter
    def val(self, value: object) -> None:
        self._dat._rows[self._row][self._col] = str(value)
        self._dat._text_changed()

    def __str__(self) -> str:
        return self.val

    def __float__(self) -> float:
        return float(self.val)

    def __int__(self) -> int:
        return int(self.val)

    def __eq__(self, other: object) -> bool:
        return self.val == (other.val if isinstance(other, Cell) else str(other))

    __hash__ = object.__hash__


def row_index(rows: list[list[str]], name: str | int) -> int:
    """The index of the row with that number or first cell."""
    return _index([row[0] if row else "" for row in rows], name, "row")


def col_index(rows: list[list[str]], name: str | int) -> int:
    """The index of the column with that number or first cell."""
    return _index(rows[0] if rows else [], name, "column")


def _index(names: list[str], name: str | int, what: str) -> int:
    if isinstance(name, str):
        if name not in names:
            raise tdError(f"no {what} {name!r}: there are {names}")
        return names.index(name)
    if not -len(names) <= name < len(names):
        raise tdError(f"no {what} {name}: there are {len(names)}")
    return name % len(names)
