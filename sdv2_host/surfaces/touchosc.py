"""A layout of TouchOSC (2021 and later): a page for each group. Zlib-compressed XML.

    lexml > node GROUP > node PAGER > node GROUP (a page) > FADER, BUTTON, LABEL, TEXT

Every node has properties, values, messages and children. Host and port are not part of a layout:
TouchOSC keeps them under Connections.
Source: https://hexler.net/touchosc/manual and the structure that tosclib documents.
"""

from __future__ import annotations

import uuid
import zlib
from xml.etree import ElementTree

from sdv2_host.param_rows import Group
from sdv2_host.param_table import NORM_ROOT
from sdv2_host.surfaces.layout import Kind, Widget, widgets

WIDTH, HEIGHT, TAB_H = 1024, 768, 44
COLUMNS, CELL_H, GAP, LABEL_H = 4, 96, 8, 24
CELL_W = (WIDTH - GAP) // COLUMNS - GAP
CHOICE_MAX = 5
RECEIVE_PORT = 9401
"""Of TouchOSC: what its Connections must say for the button that subscribes."""
IDS = uuid.UUID("0b6f7c1e-55ad-4a26-9b53-6c1f1d0a9400")
"""Names make the same ids each time: a layout that did not change is the same file."""
DARK, LIT, TEXT = (0.09, 0.11, 0.14), (0.54, 0.64, 1.0), (0.92, 0.93, 0.96)
ALARM = (0.85, 0.18, 0.25)
TOGGLE_RELEASE, MOMENTARY = 1, 0
EAST = 1

Frame = tuple[int, int, int, int]
Colour = tuple[float, float, float]


def touchosc() -> bytes:
    """The layout file."""
    root = ElementTree.Element("lexml", {"version": "3"})
    whole = _node(root, "GROUP", "sdv2-host", (0, 0, WIDTH, HEIGHT), DARK)
    pager = _node(whole, "PAGER", "pages", (0, 0, WIDTH, HEIGHT), DARK)
    _property(pager, "i", "tabbarSize", str(TAB_H))
    for group in Group:
        page = _node(pager, "GROUP", group.value, (0, TAB_H, WIDTH, HEIGHT - TAB_H), DARK)
        _property(page, "s", "tabLabel", group.value)
        for index, widget in enumerate(widgets(group)):
            _cell(page, widget, index)
        if group is Group.SHOW:
            _subscribe(page, len(widgets(group)))
    xml = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return zlib.compress(xml, 9)


def _place(index: int) -> tuple[int, int]:
    row, column = divmod(index, COLUMNS)
    return GAP + column * (CELL_W + GAP), GAP + row * (CELL_H + GAP)


def _subscribe(page: ElementTree.Element, index: int) -> None:
    """The host answers to the port that sent: TouchOSC hears on another one, which it must name."""
    x, y = _place(index)
    label = _node(page, "LABEL", "subscribe label", (x, y, CELL_W, LABEL_H), DARK)
    _value(label, "text", f"subscribe, receive port {RECEIVE_PORT}")
    _property(label, "i", "textSize", "14")
    _colour(label, "textColor", TEXT)
    frame = (x, y + LABEL_H, CELL_W, CELL_H - LABEL_H)
    node = _node(page, "BUTTON", "subscribe", frame, LIT)
    _value(node, "x", "0")
    _property(node, "i", "buttonType", str(MOMENTARY))
    _osc(node, "/sdv2/subscribe", "x", "INTEGER", str(RECEIVE_PORT), is_constant=True)


def _cell(page: ElementTree.Element, widget: Widget, index: int) -> None:
    x, y = _place(index)
    is_choice = widget.kind is Kind.CHOICE
    label_w = CELL_W // 2 if is_choice else CELL_W
    label = _node(page, "LABEL", f"{widget.name} label", (x, y, label_w, LABEL_H), DARK)
    _value(label, "text", widget.label)
    _property(label, "i", "textSize", "14")
    _colour(label, "textColor", TEXT)
    frame = (x, y + LABEL_H, CELL_W, CELL_H - LABEL_H)
    if is_choice:
        in_force = (x + label_w, y, CELL_W - label_w, LABEL_H)
        _choices(page, widget, frame, in_force)
        return
    colour = ALARM if widget.name == "panic" else LIT
    node = _node(page, _TYPES[widget.kind], widget.name, frame, colour)
    if widget.kind is Kind.TEXT:
        _value(node, "text", "")
        _osc(node, widget.address, "text", "STRING", "text")
        return
    _value(node, "x", "0")
    if widget.kind in (Kind.FADER, Kind.NUMBER):
        # The alias: a TouchOSC fader is 0..1, as are motor faders behind it.
        _property(node, "i", "orientation", str(EAST))
        norm = NORM_ROOT + widget.address.removeprefix("/sdv2/")
        _osc(node, norm, "x", "FLOAT", "x")
        return
    is_toggle = widget.kind is Kind.TOGGLE
    _property(node, "i", "buttonType", str(TOGGLE_RELEASE if is_toggle else MOMENTARY))
    _osc(node, widget.address, "x", "FLOAT", "x")


_TYPES = {
    Kind.FADER: "FADER",
    Kind.NUMBER: "FADER",
    Kind.TOGGLE: "BUTTON",
    Kind.BANG: "BUTTON",
    Kind.TEXT: "TEXT",
}


def _choices(page: ElementTree.Element, widget: Widget, frame: Frame, in_force: Frame) -> None:
    """A button for each choice, which sends its text; and the one in force, as the host tells."""
    told = _node(page, "LABEL", f"{widget.name} in force", in_force, DARK)
    _value(told, "text", "")
    _property(told, "i", "textSize", "14")
    _colour(told, "textColor", LIT)
    _osc(told, widget.address, "text", "STRING", "text")
    assert widget.spec is not None, "only parameters have choices"
    x, y, width, height = frame
    share = width // max(len(widget.spec.choices), 1)
    for number, choice in enumerate(widget.spec.choices[:CHOICE_MAX]):
        place = (x + number * share, y, share - 2, height)
        node = _node(page, "BUTTON", f"{widget.name} {choice}", place, LIT)
        _value(node, "x", "0")
        _property(node, "i", "buttonType", str(MOMENTARY))
        _osc(node, widget.address, "x", "STRING", choice, is_constant=True)
        label = _node(page, "LABEL", f"{widget.name} {choice} label", place, LIT)
        _property(label, "b", "background", "0")
        _property(label, "b", "interactive", "0")
        _property(label, "i", "textSize", "12")
        _value(label, "text", choice)


def _node(
    parent: ElementTree.Element, kind: str, name: str, frame: Frame, colour: Colour
) -> ElementTree.Element:
    into = parent.find("children") if parent.tag == "node" else parent
    assert into is not None, "every node has children"
    path = f"{parent.get('ID', '')}/{name}"
    node = ElementTree.SubElement(into, "node", {"ID": str(uuid.uuid5(IDS, path)), "type": kind})
    for part in ("properties", "values", "messages", "children"):
        ElementTree.SubElement(node, part)
    _property(node, "s", "name", name)
    value = _property(node, "r", "frame", "")
    for axis, number in zip("xywh", frame, strict=True):
        ElementTree.SubElement(value, axis).text = str(number)
    _colour(node, "color", colour)
    return node


def _property(node: ElementTree.Element, kind: str, key: str, text: str) -> ElementTree.Element:
    parent = node.find("properties")
    assert parent is not None, "every node has properties"
    made = ElementTree.SubElement(parent, "property", {"type": kind})
    ElementTree.SubElement(made, "key").text = key
    value = ElementTree.SubElement(made, "value")
    if text:
        value.text = text
    return value


def _colour(node: ElementTree.Element, key: str, colour: Colour) -> None:
    value = _property(node, "c", key, "")
    for channel, number in zip("rgba", (*colour, 1.0), strict=True):
        ElementTree.SubElement(value, channel).text = f"{number:g}"


def _value(node: ElementTree.Element, key: str, default: str) -> None:
    parent = node.find("values")
    assert parent is not None, "every node has values"
    made = ElementTree.SubElement(parent, "value")
    for name, text in (
        ("key", key),
        ("locked", "0"),
        ("lockedDefaultCurrent", "0"),
        ("default", default),
        ("defaultPull", "0"),
    ):
        ElementTree.SubElement(made, name).text = text


def _osc(
    node: ElementTree.Element,
    address: str,
    trigger: str,
    conversion: str,
    value: str,
    *,
    is_constant: bool = False,
) -> None:
    """Sends the control's value, or a constant, to the address; and follows what comes back."""
    parent = node.find("messages")
    assert parent is not None, "every node has messages"
    osc = ElementTree.SubElement(parent, "osc")
    for name, text in (
        ("enabled", "1"),
        ("send", "1"),
        ("receive", "0" if is_constant else "1"),
        ("feedback", "0"),
        ("connections", "00001"),
    ):
        ElementTree.SubElement(osc, name).text = text
    cause = ElementTree.SubElement(ElementTree.SubElement(osc, "triggers"), "trigger")
    ElementTree.SubElement(cause, "var").text = trigger
    ElementTree.SubElement(cause, "condition").text = "RISE" if is_constant else "ANY"
    _partial(ElementTree.SubElement(osc, "path"), "CONSTANT", "STRING", address)
    kind = "CONSTANT" if is_constant else "VALUE"
    _partial(ElementTree.SubElement(osc, "arguments"), kind, conversion, value)


def _partial(parent: ElementTree.Element, kind: str, conversion: str, value: str) -> None:
    made = ElementTree.SubElement(parent, "partial")
    for name, text in (
        ("type", kind),
        ("conversion", conversion),
        ("value", value),
        ("scaleMin", "0"),
        ("scaleMax", "1"),
    ):
        ElementTree.SubElement(made, name).text = text
