"""Texts, tables, modules and channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fake_td import TouchDesigner, tdError


@pytest.fixture
def table(comp: Any) -> Any:
    dat = comp.create("tableDAT", "table")
    dat.appendRow(["name", "value"])
    dat.appendRow(["fps", 24])
    return dat


@pytest.fixture
def chop(comp: Any) -> Any:
    made = comp.create("scriptCHOP", "script")
    made.par.modoutsidecook = True
    return made


def test_cells_are_found_by_index_and_by_name_and_hold_text(table: Any) -> None:
    assert table["fps", "value"].val == "24"
    assert table[1, 0].val == "fps"
    table["fps", 1] = 25.5
    assert (str(table[1, 1]), float(table[1, 1])) == ("25.5", 25.5)
    assert table.text == "name\tvalue\nfps\t25.5\n"


def test_a_missing_cell_raises_but_cell_returns_none(table: Any) -> None:
    with pytest.raises(tdError, match="no row 'drops'"):
        _ = table["drops", 1]
    with pytest.raises(tdError, match="no column 2"):
        table[0, 2] = "x"
    assert table.cell("drops", 1) is None


def test_rows_are_appended_replaced_and_cleared(table: Any) -> None:
    assert table.appendRow(["state", "live", "more"]) == 2
    assert (table.numRows, table.numCols) == (3, 3)
    assert table.row("fps", val=True) == ["fps", "24", ""]
    table.replaceRow("fps", ["fps", 30])
    assert table.row("fps", val=True) == ["fps", "30", ""]
    table.clear(keepFirstRow=True)
    assert table.numRows == 1


def test_a_row_is_a_list_and_a_text_is_no_table(comp: Any, table: Any) -> None:
    with pytest.raises(tdError, match="list of cells"):
        table.appendRow("fps")
    with pytest.raises(tdError, match="not a table"):
        comp.create("textDAT").appendRow(["fps"])


def test_an_out_dat_shows_its_input(comp: Any, table: Any) -> None:
    out = comp.create("outDAT")
    out.inputConnectors[0].connect(table)

    assert out["fps", "value"].val == "24"
    table["fps", "value"] = 30
    assert out["fps", "value"].val == "30"


def test_a_module_has_the_names_of_td_and_lasts_until_its_text_changes(comp: Any) -> None:
    dat = comp.create("textDAT", "code")
    dat.text = "count = 0\ndef where():\n    return (me.path, parent().path, op('code').name)\n"

    dat.module.count = 5

    assert dat.module.count == 5
    assert dat.module.where() == ("/project1/comp/code", "/project1/comp", "code")
    dat.text += "\n"
    assert dat.module.count == 0


def test_a_script_that_is_no_dat_imports_td(touch: TouchDesigner, tmp_path: Path) -> None:
    script = tmp_path / "install.py"
    script.write_text(
        "import td\nMADE = td.op('/project1').create(td.baseCOMP, 'made')\n"
        "assert td.root.op('project1/made') is MADE and td.parent() is None\n"
    )

    touch.textport(f"import runpy; runpy.run_path({str(script)!r})")

    assert touch.project1.op("made") is not None


def test_a_script_dragged_in_runs_as_the_dat_it_became(comp: Any, tmp_path: Path) -> None:
    (tmp_path / "install.py").write_text(
        "made = me.parent().create(baseCOMP, 'made')\nmade.comment = me.par.file.eval()\n"
    )
    dat = comp.create("textDAT")
    dat.par.file = "install.py"
    dat.par.loadonstartpulse.pulse()

    dat.run()

    assert comp.op("made").comment == "install.py"


def test_a_dat_synced_to_a_file_follows_it_both_ways(comp: Any, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("one")
    dat = comp.create("textDAT")

    dat.par.file = "code.py"
    dat.par.syncfile = True
    assert dat.text == "one"
    dat.text = "two"

    assert (tmp_path / "code.py").read_text() == "two"


def test_channels_are_made_and_written_by_a_script_chop(comp: Any, chop: Any) -> None:
    chop.clear()
    chop.numSamples = 2
    chop.appendChan("fps")[1] = 24
    out = comp.create("outCHOP")
    out.inputConnectors[0].connect(chop)

    assert chop["fps"].vals == [0.0, 24.0]
    assert (out.numChans, out["fps"][1]) == (1, 24.0)
    with pytest.raises(tdError, match="already"):
        chop.appendChan("fps")
    with pytest.raises(tdError, match="no channel 'drops'"):
        _ = out["drops"]
    assert out.chan("drops") is None


def test_channels_are_written_in_the_cook_only_unless_allowed(comp: Any, chop: Any) -> None:
    chop.appendChan("fps")
    chop.par.modoutsidecook = False

    for write in (chop.clear, chop.appendChan, lambda: chop["fps"].__setitem__(0, 1)):
        with pytest.raises(tdError, match="onCook"):
            write()
    out = comp.create("outCHOP")
    out.inputConnectors[0].connect(chop)
    with pytest.raises(tdError, match="only a Script CHOP"):
        out["fps"][0] = 1


def test_an_array_of_channels_is_float32(chop: Any) -> None:
    chop.copyNumpyArray(np.ones((2, 3), np.float32), baseName="a")

    assert [one.name for one in chop.chans()] == ["a1", "a2"]
    with pytest.raises(tdError, match="float32"):
        chop.copyNumpyArray(np.ones((2, 3)))
