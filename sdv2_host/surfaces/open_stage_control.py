"""A session of Open Stage Control 1.x: a tab for each group.

Source: the session files of its documentation, https://openstagecontrol.ammd.net/docs/
"""

from __future__ import annotations

import json
from typing import Any

from sdv2_host.param_rows import Group
from sdv2_host.surfaces.layout import Kind, Widget, widgets

VERSION = "1.29.0"
COLUMNS, CELL_W, CELL_H, GAP = 4, 220, 110, 10


def open_stage_control(host: str, port: int) -> bytes:
    """The session file; its widgets send to host:port.

    For feedback let it send `/sdv2/subscribe` once: the button of that name is on the first tab.
    """
    target = [f"{host}:{port}"]
    tabs = [_tab(group, target) for group in Group if widgets(group)]
    tabs[0]["widgets"].append(_subscribe(target, len(tabs[0]["widgets"])))
    root = {"type": "root", "id": "root", "label": "sdv2-host", "widgets": [], "tabs": tabs}
    session = {
        "createdWith": "sdv2-host",
        "version": VERSION,
        "type": "session",
        "content": root,
    }
    return (json.dumps(session, indent=1) + "\n").encode()


def _tab(group: Group, target: list[str]) -> dict[str, Any]:
    cells = [_widget(widget, index, target) for index, widget in enumerate(widgets(group))]
    return {"type": "tab", "id": f"tab_{group.value.lower()}", "label": group.value,
            "layout": "default", "widgets": cells, "tabs": []}  # fmt: skip


def _place(index: int) -> dict[str, int]:
    row, column = divmod(index, COLUMNS)
    left, top = GAP + column * (CELL_W + GAP), GAP + row * (CELL_H + GAP)
    return {"left": left, "top": top, "width": CELL_W, "height": CELL_H}


def _subscribe(target: list[str], index: int) -> dict[str, Any]:
    return {"type": "button", "id": "subscribe", "label": "subscribe", "mode": "tap", "on": "",
            "address": "/sdv2/subscribe", "target": target, **_place(index)}  # fmt: skip


def _widget(widget: Widget, index: int, target: list[str]) -> dict[str, Any]:
    base: dict[str, Any] = {
        "id": widget.name,
        "label": widget.label,
        "comments": widget.help,
        "address": widget.address,
        "target": target,
        **_place(index),
    }
    spec = widget.spec
    if spec is None:
        return base | {"type": "button", "mode": "tap", "on": 1}
    if widget.kind is Kind.FADER:
        is_whole = spec.kind is int
        return base | {
            "type": "fader",
            "horizontal": True,
            "design": "compact",
            "range": {"min": spec.minimum, "max": spec.maximum},
            "steps": "" if not is_whole or spec.step is None else _steps(spec.minimum, spec.maximum,
                                                                         spec.step),
            "decimals": 0 if is_whole else 3,
            "typeTags": "i" if is_whole else "f",
            "unit": spec.unit,
            "default": spec.default,
            "doubleTap": True,
        }  # fmt: skip
    if widget.kind is Kind.TOGGLE:
        return base | {"type": "button", "mode": "toggle", "on": 1, "off": 0,
                       "default": int(bool(spec.default))}  # fmt: skip
    if widget.kind is Kind.CHOICE:
        return base | {"type": "switch", "values": list(spec.choices), "default": spec.default,
                       "typeTags": "s"}  # fmt: skip
    is_number = widget.kind is Kind.NUMBER
    return base | {"type": "input", "default": spec.default, "numeric": is_number,
                   "typeTags": "i" if is_number else "s"}  # fmt: skip


def _steps(low: float | None, high: float | None, step: float) -> int:
    assert low is not None, "a fader has a range"
    assert high is not None, "a fader has a range"
    return round((high - low) / step) + 1
