"""Table: the rows of parameters.json, and the check of what the Python API is given."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sdv2_host.errors import ParamError
from sdv2_host.surfaces.touch_row import Page, Row, Style, Value

Pages = dict[Page, tuple[Row, ...]]


def read_pages(text: str) -> Pages:
    """The pages of a parameters.json, in order; it is a file of ours and trusted."""
    content: dict[str, Any] = json.loads(text)
    return {
        Page(page["name"]): tuple(_row(row) for row in page["rows"]) for page in content["pages"]
    }


def _row(fields: dict[str, Any]) -> Row:
    lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
    return Row(**{**fields, **lists, "style": Style(fields["style"])})


@dataclass(frozen=True, slots=True)
class Table:
    """All rows, by what they are looked up by."""

    by_par: dict[str, Row]
    by_address: dict[str, Row]
    """Those that are parameters of the host."""
    by_param: dict[str, Row]
    """The same by our name."""
    by_action: dict[str, Row]
    """The pulses that fire an action of the host."""

    def param(self, name: str) -> Row:
        """The row of this parameter of ours. Raises: ParamError, naming what is near."""
        return _found(self.by_param, name, "parameter")

    def check(self, name: str, value: Value) -> Value:
        """The value in the type that the parameter has.

        Raises:
            ParamError: naming parameter, value and what is allowed.
        """
        row = self.param(name)
        checked = _checked(row, value)
        if checked is None:
            raise ParamError(f"{name} = {value!r:.80}, expected {row.allowed}")
        return checked


def make_table(pages: Pages) -> Table:
    rows = [row for page in pages.values() for row in page]
    params = [row for row in rows if row.param]
    return Table(
        by_par={row.par: row for row in rows},
        by_address={row.address: row for row in params},
        by_param={row.param: row for row in params},
        by_action={row.action: row for row in rows if row.action},
    )


def same(one: Value, other: Value) -> bool:
    """Whether both are one value, as far as a float32 on the wire can tell."""
    if isinstance(one, float) or isinstance(other, float):
        is_number = not isinstance(one, str) and not isinstance(other, str)
        return is_number and math.isclose(float(one), float(other), rel_tol=1e-6, abs_tol=1e-7)
    return one == other


def as_row_value(row: Row, value: object) -> Value:
    """A value that TouchDesigner or the host gave, in the type that the row has."""
    if row.style is Style.TOGGLE:
        return bool(value)
    if row.style is Style.INT:
        return round(float(str(value)))
    if row.style is Style.FLOAT:
        return float(str(value))
    return str(value)


def _found(rows: dict[str, Row], name: str, what: str) -> Row:
    row = rows.get(name)
    if row is None:
        near = difflib.get_close_matches(name, rows, n=3) or sorted(rows)
        raise ParamError(f"there is no {what} {name!r}; there is {_listed(near)}")
    return row


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _checked(row: Row, value: Value) -> Value | None:
    """None = not allowed."""
    if row.style is Style.TOGGLE:
        return bool(value) if value in (0, 1) else None
    if row.style in (Style.INT, Style.FLOAT):
        return _checked_number(row, value)
    if not isinstance(value, str):
        return None
    is_known = not row.choices or value in row.choices
    is_short = not row.max_chars or len(value) <= row.max_chars
    return value if is_known and is_short else None


def _checked_number(row: Row, value: Value) -> int | float | None:
    if isinstance(value, str | bool) or not math.isfinite(value):
        return None
    if row.minimum is not None and row.maximum is not None:
        is_side = not row.multiple or value == 0 or (value >= 64 and value % row.multiple == 0)
        if not row.minimum <= value <= row.maximum or not is_side:
            return None
    if row.style is Style.FLOAT:
        return float(value)
    return int(value) if value == int(value) else None
