"""Menus whose entries come from the host: hosts that run, presets, cue lists."""

from __future__ import annotations

import td

from sdv2_host.client.status import Status
from sdv2_touch.table import Table

SEPARATOR = ", "
"""Of the texts of one fact, as the courier joins them; no name of a preset or list has a comma."""


def fill_menus(owner: td.COMP, table: Table, status: Status) -> None:
    """The menus offer what there is now; what a parameter holds stays as it is."""
    entries = {
        "hosts": list(status.running),
        "presets": _texts(status, "presets"),
        "cue_lists": _texts(status, "cue_lists"),
    }
    for row in table.by_par.values():
        if not row.suggestions:
            continue
        par = owner.par[row.par]
        assert par is not None, f"the component has lost its parameter {row.par}"
        names = entries[row.suggestions]
        if list(par.menuNames) != names:
            par.menuNames = names
            par.menuLabels = names


def _texts(status: Status, fact: str) -> list[str]:
    """The texts of one fact."""
    return [text for text in str(status.facts.get(fact, "")).split(SEPARATOR) if text]
