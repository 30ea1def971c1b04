"""The custom parameter pages of a component, made from the rows of parameters.json."""

from __future__ import annotations

from collections.abc import Callable

import td

from sdv2_host.surfaces.touch_row import Row, Style
from sdv2_touch.table import Pages

APPEND: dict[Style, Callable[[td.Page, str, str], td.ParGroup]] = {
    Style.FLOAT: lambda page, name, label: page.appendFloat(name, label=label),
    Style.INT: lambda page, name, label: page.appendInt(name, label=label),
    Style.STR: lambda page, name, label: page.appendStr(name, label=label),
    Style.MENU: lambda page, name, label: page.appendMenu(name, label=label),
    Style.STR_MENU: lambda page, name, label: page.appendStrMenu(name, label=label),
    Style.TOGGLE: lambda page, name, label: page.appendToggle(name, label=label),
    Style.PULSE: lambda page, name, label: page.appendPulse(name, label=label),
    Style.DAT: lambda page, name, label: page.appendDAT(name, label=label),
}


def make_pages(comp: td.COMP, pages: Pages) -> None:
    """The component has these pages, every parameter at its default."""
    for name, rows in pages.items():
        page = comp.appendCustomPage(name.value)
        for row in rows:
            _make_par(page, row)
    comp.sortCustomPages(*(name.value for name in pages))


def _make_par(page: td.Page, row: Row) -> None:
    par = APPEND[row.style](page, row.par, row.label)[0]
    par.help = row.help
    par.startSection = row.begins_section
    if row.choices:
        par.menuNames = list(row.choices)
        par.menuLabels = list(row.choices)
    if row.minimum is not None and row.maximum is not None:
        par.min, par.max = row.minimum, row.maximum
        par.clampMin = par.clampMax = True
        par.normMin, par.normMax = row.minimum, row.slider_maximum or row.maximum
    if row.default is not None:
        par.default = row.default
        par.val = row.default
    par.readOnly = row.is_read_only
