"""The generated surfaces: up to date, whole, and well-formed."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sdv2_host.actions import ACTION_BY_ADDRESS, ACTIONS
from sdv2_host.commands.docs import schema_files, write_docs
from sdv2_host.params import BY_ADDRESS, BY_NORM_ADDRESS, PARAMS, Group
from sdv2_host.surfaces.files import REFERENCE, surface_files, with_reference
from sdv2_host.surfaces.layout import Kind, widgets
from sdv2_host.surfaces.open_stage_control import open_stage_control
from sdv2_host.surfaces.pure_data import pure_data
from sdv2_host.surfaces.touchosc import touchosc

DOCS = Path(__file__).parent.parent.parent / "docs"
REMEDY = "stale: run python -m sdv2_host surfaces write --docs"
SHOWN = {w.address for group in Group for w in widgets(group)}


@pytest.mark.parametrize("name", surface_files())
def test_what_is_kept_in_docs_is_what_the_tables_make(name: str) -> None:
    kept, made = (DOCS / "surfaces" / name).read_bytes(), surface_files()[name]

    # Every build of zlib packs in its own way.
    is_packed = name.endswith(".tosc")
    assert (zlib.decompress(kept) if is_packed else kept) == (
        zlib.decompress(made) if is_packed else made
    ), REMEDY


def test_the_table_of_addresses_is_up_to_date() -> None:
    text = (DOCS / REFERENCE).read_text("utf-8")

    assert with_reference(text) == text, REMEDY
    for address in (*BY_ADDRESS, *ACTION_BY_ADDRESS):
        assert f"`{address}`" in text


@pytest.mark.parametrize("name", schema_files())
def test_the_schemas_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == schema_files()[name], REMEDY


def test_writing_the_docs_leaves_nothing_stale(tmp_path: Path) -> None:
    (tmp_path / REFERENCE).write_text((DOCS / REFERENCE).read_text("utf-8"), "utf-8")

    written = write_docs(tmp_path)

    kept = [path for path in DOCS.rglob("*") if path.suffix in (".json", ".tosc", ".pd")]
    assert {path.relative_to(DOCS) for path in kept} <= {p.relative_to(tmp_path) for p in written}
    assert all(path.exists() for path in written)


def test_every_parameter_has_a_control_and_every_action_without_arguments() -> None:
    free = {a.address for a in ACTIONS.values() if all(arg.is_optional for arg in a.args)}

    assert {spec.address for spec in PARAMS.values()} | free == SHOWN


def test_the_session_of_open_stage_control_is_whole() -> None:
    session = json.loads(open_stage_control("10.0.0.1", 9000))
    tabs = session["content"]["tabs"]
    found = [widget for tab in tabs for widget in tab["widgets"]]

    assert (session["type"], session["content"]["type"]) == ("session", "root")
    assert {tab["type"] for tab in tabs} == {"tab"}
    assert {widget["address"] for widget in found} == SHOWN | {"/sdv2/subscribe"}
    assert len({widget["id"] for widget in found}) == len(found)
    assert {target for widget in found for target in widget["target"]} == {"10.0.0.1:9000"}
    steps = next(widget for widget in found if widget["id"] == "steps")
    assert (steps["range"], steps["steps"], steps["typeTags"]) == ({"min": 1, "max": 4}, 4, "i")


def test_the_layout_of_touchosc_is_whole() -> None:
    root = ElementTree.fromstring(zlib.decompress(touchosc()))
    nodes = list(root.iter("node"))

    assert (root.tag, root.get("version")) == ("lexml", "3")
    assert len({node.get("ID") for node in nodes}) == len(nodes)
    for node in nodes:
        assert [part.tag for part in node] == ["properties", "values", "messages", "children"]
        keys = [p.findtext("key") for p in node.iterfind("properties/property")]
        assert {"name", "frame", "color"} <= set(keys)
        assert len(set(keys)) == len(keys)
    sent = {partial.findtext("value") for partial in root.iterfind(".//osc/path/partial")}
    norms = {norm: spec.address for norm, spec in BY_NORM_ADDRESS.items()}
    assert {norms.get(str(address), address) for address in sent} == SHOWN


def test_widgets_of_touchosc_stay_on_their_page() -> None:
    root = ElementTree.fromstring(zlib.decompress(touchosc()))
    pager = next(node for node in root.iter("node") if node.get("type") == "PAGER")
    for page in pager.iterfind("children/node"):
        _, _, width, height = frame(page)
        for node in page.iterfind("children/node"):
            x, y, w, h = frame(node)
            assert 0 <= x <= x + w <= width
            assert 0 <= y <= y + h <= height


def frame(node: ElementTree.Element) -> tuple[int, ...]:
    value = next(
        p.find("value")
        for p in node.iterfind("properties/property")
        if p.findtext("key") == "frame"
    )
    assert value is not None
    return tuple(int(str(value.findtext(axis))) for axis in "xywh")


def test_the_patch_of_pure_data_connects_what_it_has() -> None:
    lines = pure_data("127.0.0.1", 9000).decode().splitlines()
    wires = [line.rstrip(";").split() for line in lines if line.startswith("#X connect")]
    objects = [line for line in lines if line.startswith("#X") and "connect " not in line[:11]]

    assert all(int(wire[2]) < len(objects) for wire in wires)
    assert all(int(wire[4]) < len(objects) for wire in wires)
    text = "\n".join(lines)
    for address in SHOWN:
        assert f"oscformat {address.strip('/').replace('/', ' ')};" in text


def test_a_number_with_a_wide_range_is_typed_and_not_slid() -> None:
    kinds = {w.name: w.kind for group in Group for w in widgets(group)}

    assert kinds["seed"] is Kind.NUMBER
    assert kinds["crossfade"] is Kind.FADER
    assert kinds["panic"] is Kind.BANG
