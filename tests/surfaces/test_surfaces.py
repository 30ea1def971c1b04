"""The generated surfaces: up to date, whole, and well-formed."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sdv2_host.actions import ACTION_BY_ADDRESS, ACTIONS
from sdv2_host.commands.docs import schema_files, write_docs
from sdv2_host.param_rows import Group
from sdv2_host.param_table import BY_ADDRESS, BY_NORM_ADDRESS, PARAMS
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
    assert {norms.get(str(address), address) for address in sent} == SHOWN | {"/sdv2/subscribe"}


def test_every_parameter_in_touchosc_shows_what_the_host_tells() -> None:
    root = ElementTree.fromstring(zlib.decompress(touchosc()))
    hears = {
        osc.findtext("path/partial/value")
        for osc in root.iter("osc")
        if osc.findtext("receive") == "1"
    }

    norms = {norm: spec.address for norm, spec in BY_NORM_ADDRESS.items()}
    assert {norms.get(str(address), address) for address in hears} >= set(BY_ADDRESS)


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


def canvases(patch: str) -> dict[str, list[str]]:
    """Lines of each canvas of a Pd patch by its name; the outer one is ''."""
    found: dict[str, list[str]] = {}
    open_names: list[str] = []
    for line in patch.splitlines():
        if line.startswith("#N canvas"):
            open_names.append("" if not open_names else line.split()[6])
            found[open_names[-1]] = []
        else:
            if line.startswith("#X restore"):
                open_names.pop()
            found[open_names[-1]].append(line)
    return found


def test_the_patch_of_pure_data_connects_what_it_has() -> None:
    parts = canvases(pure_data("127.0.0.1", 9000).decode())

    assert set(parts) == {"", "network", "wires"}
    for lines in parts.values():
        wires = [line.rstrip(";").split() for line in lines if line.startswith("#X connect")]
        num_objects = len(lines) - len(wires)
        assert wires
        assert all(int(number) < num_objects for w in wires for number in (w[2], w[4]))
    text = "\n".join(parts["wires"])
    for address in SHOWN:
        assert f"oscformat {address.strip('/').replace('/', ' ')};" in text
    for spec in PARAMS.values():
        assert f" s sdv2-{spec.name};" in text


def test_every_control_of_the_patch_has_its_place() -> None:
    lines = canvases(pure_data("127.0.0.1", 9000).decode())[""]
    words = [line.split() for line in lines if not line.startswith("#X connect")]
    places = [(int(w[2]), int(w[3])) for w in words]

    assert len(set(places)) == len(places)
    assert max(y for _, y in places) < 520


def test_a_number_with_a_wide_range_is_typed_and_not_slid() -> None:
    kinds = {w.name: w.kind for group in Group for w in widgets(group)}

    assert kinds["seed"] is Kind.NUMBER
    assert kinds["crossfade"] is Kind.FADER
    assert kinds["panic"] is Kind.BANG
