"""Custom parameters: names, values, modes, and who is told of a change."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fake_td import NotModelled, TouchDesigner, tdError

WATCHER = """
calls = []
def onValueChange(par, prev):
    calls.append(("value", par.name, par.eval(), prev))
def onPulse(par):
    calls.append(("pulse", par.name))
def onValuesChanged(changes):
    calls.append(("values", [(one.par.name, one.prev) for one in changes]))
def onModeChange(par, val, prev):
    calls.append(("mode", par.name, val.name, prev.name))
"""


@pytest.fixture
def page(comp: Any) -> Any:
    return comp.appendCustomPage("Stream")


@pytest.fixture
def watcher(comp: Any, page: Any) -> Any:
    page.appendFloat("Speed")
    page.appendPulse("Go")
    dat = comp.create("parameterexecuteDAT", "watch")
    dat.text = WATCHER
    dat.par.op = comp
    dat.par.pars = "*"
    dat.par.custom = dat.par.valuechange = dat.par.onpulse = True
    return dat


@pytest.mark.parametrize("name", ["speed", "SpeedUp", "Speed_up", "", "1Speed", "Speed up", "É"])
def test_a_custom_name_is_one_capital_then_lower_case_and_digits(page: Any, name: str) -> None:
    with pytest.raises(tdError, match="upper-case"):
        page.appendFloat(name)


def test_a_name_taken_is_replaced_or_refused_as_asked(comp: Any, page: Any) -> None:
    page.appendFloat("Speed")[0].val = 0.5

    with pytest.raises(tdError, match="replace is False"):
        page.appendInt("Speed", replace=False)
    page.appendInt("Speed")

    assert comp.par.Speed.style == "Int"
    assert len(page) == 1


def test_a_group_may_not_take_the_name_of_another_parameter(page: Any) -> None:
    page.appendFloat("Size1")

    with pytest.raises(tdError, match="another parameter"):
        page.appendFloat("Size", size=2)


def test_a_size_numbers_the_names_from_1(comp: Any, page: Any) -> None:
    group = page.appendFloat("Size", size=3)

    assert [par.name for par in group] == ["Size1", "Size2", "Size3"]
    assert comp.parGroup.Size.eval() == (0.0, 0.0, 0.0)


def test_a_page_name_is_taken_once(comp: Any, page: Any) -> None:
    with pytest.raises(tdError, match="already"):
        comp.appendCustomPage("Stream")


def test_pages_are_sorted_by_name(comp: Any, page: Any) -> None:
    comp.appendCustomPage("About")

    comp.sortCustomPages("About", "Stream")

    assert [one.name for one in comp.customPages] == ["About", "Stream"]
    with pytest.raises(tdError, match="pages are"):
        comp.sortCustomPages("Nowhere")


def test_an_unknown_parameter_is_no_attribute_and_no_item(comp: Any) -> None:
    with pytest.raises(AttributeError, match="no parameter 'Nothing'"):
        _ = comp.par.Nothing
    with pytest.raises(AttributeError, match="no parameter 'Nothing'"):
        comp.par.Nothing = 1
    assert comp.par["Nothing"] is None


def test_a_number_clamps_only_where_it_was_asked_to(page: Any) -> None:
    par = page.appendFloat("Speed")[0]
    par.max = 2

    par.val = 5
    assert par.eval() == 5
    par.clampMax = True
    assert par.eval() == 2
    par.val = -1
    assert par.eval() == -1
    par.clampMin = True
    assert par.eval() == 0


@pytest.mark.parametrize(
    ("style", "value"),
    [
        ("Float", "3"),
        ("Float", None),
        ("Int", 2.5),
        ("Str", 3),
        ("Toggle", 2),
        ("Toggle", "on"),
        ("Menu", "c"),
        ("Menu", 2),
        ("Menu", -1),
        ("File", 1),
        ("TOP", 1),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(page: Any, style: str, value: object) -> None:
    par = getattr(page, "append" + style)("Thing")[0]
    if style == "Menu":
        par.menuNames = ["a", "b"]

    with pytest.raises(tdError, match="Thing"):
        par.val = value


def test_a_menu_takes_a_name_or_an_index_and_tells_its_name(page: Any) -> None:
    par = page.appendMenu("Mode")[0]
    par.menuNames = ["soft", "hard"]

    par.val = 1
    assert (par.eval(), par.menuIndex) == ("hard", 1)
    par.val = "soft"
    assert (par.eval(), par.menuIndex) == ("soft", 0)


def test_a_string_menu_takes_any_text(page: Any) -> None:
    par = page.appendStrMenu("Preset")[0]
    par.menuNames = ["neon"]

    par.val = "of my own"

    assert par.eval() == "of my own"


def test_members_of_built_in_parameters_are_not_ours_to_set(comp: Any) -> None:
    for member, value in (("label", "x"), ("min", 1), ("default", ""), ("name", "X")):
        with pytest.raises(tdError, match="custom"):
            setattr(comp.par.ext0object, member, value)


def test_a_read_only_parameter_is_still_written_by_scripts(page: Any) -> None:
    par = page.appendStr("State")[0]
    par.readOnly = True

    par.val = "live"

    assert par.eval() == "live"


def test_an_expression_is_evaluated_and_a_value_ends_it(comp: Any, page: Any) -> None:
    par = page.appendFloat("Speed")[0]

    par.expr = "me.digits or 7"
    assert (par.eval(), par.mode.name) == (7.0, "EXPRESSION")
    par.val = 2
    assert (par.eval(), par.mode.name) == (2.0, "CONSTANT")


def test_a_bound_parameter_follows_its_master_once_its_mode_says_so(
    touch: TouchDesigner, comp: Any, page: Any
) -> None:
    page.appendFloat("Master")[0].val = 3
    par = page.appendFloat("Slave")[0]

    par.bindExpr = "me.par.Master"
    assert par.eval() == 0
    par.mode = touch.td.ParMode.BIND
    assert par.eval() == 3
    par.val = 5
    assert (comp.par.Master.eval(), par.mode.name) == (5.0, "BIND")


def test_export_mode_needs_an_export(touch: TouchDesigner, page: Any) -> None:
    par = page.appendFloat("Speed")[0]
    with pytest.raises(tdError, match="nothing exports"):
        par.mode = touch.td.ParMode.EXPORT

    touch.export(par, 2)
    assert (par.eval(), par.mode.name) == (2.0, "EXPORT")
    par.val = 1
    assert (par.eval(), par.mode.name) == (1.0, "CONSTANT")


def test_a_broken_expression_raises_where_it_is_read(page: Any) -> None:
    par = page.appendFloat("Speed")[0]
    par.expr = "nothing_of_that_name"

    with pytest.raises(tdError, match="nothing_of_that_name"):
        par.eval()


def test_an_operator_parameter_takes_its_family_only(comp: Any, page: Any) -> None:
    par = page.appendTOP("Source")[0]
    top, dat = comp.create("nullTOP"), comp.create("textDAT")

    par.val = top
    assert par.eval() is top
    with pytest.raises(tdError, match="TOPs only"):
        par.val = dat


def test_a_destroyed_parameter_says_so(comp: Any, page: Any) -> None:
    par = page.appendFloat("Speed")[0]

    comp.destroyCustomPars()

    assert par.valid is False
    with pytest.raises(tdError, match="destroyed"):
        par.eval()


def test_the_watcher_hears_of_a_value_once_in_the_next_frame(
    touch: TouchDesigner, comp: Any, watcher: Any
) -> None:
    comp.par.Speed = 0.25
    comp.par.Speed = 0.5
    assert watcher.module.calls == []

    touch.play(2)

    assert watcher.module.calls == [("value", "Speed", 0.5, 0.0)]


def test_setting_the_same_value_is_no_change(touch: TouchDesigner, comp: Any, watcher: Any) -> None:
    comp.par.Speed = 0.0

    touch.play(1)

    assert watcher.module.calls == []


def test_the_watcher_hears_of_what_an_expression_or_an_export_changes(
    touch: TouchDesigner, comp: Any, watcher: Any
) -> None:
    comp.par.Speed.expr = "absTime.frame"
    touch.play(2)
    touch.export(comp.par.Speed, 9.0)
    touch.play(1)

    changes = [call[2:] for call in watcher.module.calls]
    assert changes == [(1.0, 0.0), (2.0, 1.0), (9.0, 2.0)]


def test_pulses_come_one_by_one_in_their_order(
    touch: TouchDesigner, comp: Any, watcher: Any
) -> None:
    comp.par.Go.pulse()
    comp.par.Go.pulse()

    touch.play(1)

    assert watcher.module.calls == [("pulse", "Go"), ("pulse", "Go")]


@pytest.mark.parametrize("toggle", ["active", "custom", "valuechange"])
def test_a_watcher_hears_nothing_that_its_toggles_leave_out(
    touch: TouchDesigner, comp: Any, watcher: Any, toggle: str
) -> None:
    watcher.par[toggle] = False

    comp.par.Speed = 0.5
    touch.play(1)

    assert watcher.module.calls == []


def test_values_changed_come_together_at_the_end_of_the_frame(
    touch: TouchDesigner, comp: Any, watcher: Any
) -> None:
    watcher.par.valueschanged = True
    watcher.par.valuechange = False
    comp.par.Speed = 0.5

    touch.play(1)

    assert watcher.module.calls == [("values", [("Speed", 0.0)])]


def test_a_pulse_is_pulsed_not_set(page: Any) -> None:
    with pytest.raises(NotModelled, match="pulse"):
        page.appendPulse("Go")[0].val = 1
