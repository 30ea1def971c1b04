"""What the installer makes: operators, wires, pages; and what it says where it cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sdv2_host.client.host_command import find_command
from sdv2_host.commands.touchdesigner import source_folder, textport_line, write_touchdesigner
from sdv2_host.surfaces.touch_row import Row, Style
from sdv2_host.surfaces.touchdesigner import touch_pages
from tests.touchdesigner.touch_stage import TouchStage, touch_stage

OPERATORS = {
    "sdv2": "textDAT",
    "frames": "executeDAT",
    "parameters": "parameterexecuteDAT",
    "callbacks": "textDAT",
    "in1": "inTOP",
    "picture": "nullTOP",
    "output": "scriptTOP",
    "output_callbacks": "textDAT",
    "card": "textTOP",
    "pick": "switchTOP",
    "out1": "outTOP",
    "metrics": "scriptCHOP",
    "metrics_callbacks": "textDAT",
    "out2": "outCHOP",
    "status": "tableDAT",
    "log": "textDAT",
    "help": "textDAT",
}
WIRES = {
    "picture": ["in1"],
    "card": ["output"],
    "pick": ["output", "card"],
    "out1": ["pick"],
    "out2": ["metrics"],
}
ROWS = [(page.value, row) for page, rows in touch_pages().items() for row in rows]


def test_the_network_is_the_expected_one(stage: TouchStage) -> None:
    children = {child.name: child for child in stage.comp.children}

    assert {name: child.OPType for name, child in children.items()} == OPERATORS
    assert {
        name: [source.name for source in child.inputs]
        for name, child in children.items()
        if child.inputs
    } == WIRES
    assert len({(child.nodeX, child.nodeY) for child in children.values()}) == len(children)


def test_the_component_has_one_input_and_two_outputs(stage: TouchStage) -> None:
    ins, outs = stage.comp.inputConnectors, stage.comp.outputConnectors

    assert [one.inOP.name for one in ins] == ["in1"]
    assert [one.outOP.name for one in outs] == ["out1", "out2"]


def test_the_pages_are_those_of_the_tables(stage: TouchStage) -> None:
    made = {page.name: [par.name for par in page.pars] for page in stage.comp.customPages}

    assert made == {page.value: [row.par for row in rows] for page, rows in touch_pages().items()}
    assert list(made) == [page.value for page in touch_pages()]


FIELDS = (
    "style",
    "label",
    "help",
    "readOnly",
    "startSection",
    "min",
    "max",
    "clampMin",
    "clampMax",
)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the parameters of a new component are, by name."""
    with touch_stage(tmp_path_factory.mktemp("fresh")) as stage:
        for par in (stage.comp.par.Host, stage.comp.par.Command):
            par.val = par.default  # the stage and the installer gave them others
        return {
            par.name: {
                **{name: getattr(par, name) for name in FIELDS},
                "page": par.page.name,
                "choices": tuple(par.menuNames) if par.isMenu else (),
                "values": None if par.isPulse or par.isOP else (par.default, par.eval()),
            }
            for par in stage.comp.customPars
        }


@pytest.mark.parametrize(("page", "row"), ROWS, ids=[row.par for _, row in ROWS])
def test_a_parameter_is_as_its_row_says(
    fresh: dict[str, dict[str, Any]], page: str, row: Row
) -> None:
    par = fresh[row.par]

    assert (par["style"], par["page"], par["label"]) == (row.style.value, page, row.label)
    assert (par["help"], par["readOnly"]) == (row.help, row.is_read_only)
    assert par["startSection"] is row.begins_section
    assert row.style is not Style.MENU or par["choices"] == row.choices
    if row.minimum is not None:
        limits = (row.minimum, row.maximum, True, True)
        assert (par["min"], par["max"], par["clampMin"], par["clampMax"]) == limits
    if row.style not in (Style.PULSE, Style.DAT):
        assert par["values"] == (row.default, row.default)


def test_the_first_frame_runs_without_a_host(stage: TouchStage) -> None:
    stage.play(3)

    assert stage.fact("state") == "no host"
    assert f"sdv2-host run --name {stage.host}" in stage.fact("sentence")
    assert stage.comp.par.Status.eval() == stage.fact("sentence")
    assert stage.channel("live") == 0


def test_a_second_component_gets_the_next_name(stage: TouchStage) -> None:
    second = install_again(stage)

    assert second.name == "StreamDiffusion1"
    assert {child.name for child in second.children} == set(OPERATORS)


def test_a_dat_made_of_the_installer_makes_it_beside_itself(stage: TouchStage) -> None:
    place: Any = stage.touch.project1.create("baseCOMP", "place")
    dat = place.create("textDAT", "install")
    dat.text = (source_folder() / "install.py").read_text("utf-8")
    dat.par.file = str(source_folder() / "install.py")

    dat.run()

    assert place.op("StreamDiffusion") is not None


def test_what_the_command_writes_installs_without_the_checkout(
    stage: TouchStage, tmp_path: Path
) -> None:
    write_touchdesigner(tmp_path / "made")

    stage.touch.textport(textport_line(tmp_path / "made"))

    made: Any = stage.touch.project1.op("StreamDiffusion1")
    assert find_command(made.par.Command.eval()) == (sys.executable, "-m", "sdv2_host")
    assert bytes(made.vfs["sdv2.zip"].byteArray) == (tmp_path / "made/sdv2.zip").read_bytes()


def test_of_a_checkout_the_host_is_that_of_the_checkout(stage: TouchStage) -> None:
    assert stage.comp.par.Command.eval() == str(source_folder().parent.parent)


def test_another_version_is_not_installed_over_a_loaded_one(
    stage: TouchStage, tmp_path: Path
) -> None:
    write_touchdesigner(tmp_path / "made")
    (tmp_path / "made" / "sdv2.zip").write_bytes(another_version(tmp_path / "made/sdv2.zip"))

    with pytest.raises(RuntimeError, match=r"not installed: another version .* restart"):
        stage.touch.textport(textport_line(tmp_path / "made"))


def test_the_help_is_the_readme_and_opens(stage: TouchStage) -> None:
    stage.comp.par.Help.pulse()
    stage.play(2)

    assert stage.comp.op("help").text == (source_folder() / "README.md").read_text("utf-8")
    assert any("help" in opened for opened in stage.touch.opened)


def test_a_release_is_a_tox_that_plays_and_says_what_it_is(
    stage: TouchStage, tmp_path: Path
) -> None:
    path = Path(stage.comp.Release(str(tmp_path / "release")))
    manifest = json.loads(path.with_suffix(".json").read_text("utf-8"))

    here = stage.comp.par.Command.eval()
    loaded: Any = stage.touch.project1.loadTox(str(path))
    stage.play(2)

    assert path.name == "StreamDiffusion-v0.1.0.tox"
    assert manifest["asset"] == path.name
    assert manifest["size"] == path.stat().st_size
    assert set(manifest["custom_pars"]) == {row.par for _, row in ROWS}
    assert loaded.op("status")["state", 1].val == "no host"
    assert (here, loaded.par.Command.eval()) == (str(source_folder().parent.parent), "")


def install_again(stage: TouchStage) -> Any:
    stage.touch.textport(textport_line(source_folder()))
    return stage.touch.project1.op("StreamDiffusion1")


def another_version(bundle: Path) -> bytes:
    """A zip with the same content and other bytes."""
    return bundle.read_bytes() + b"\0"
