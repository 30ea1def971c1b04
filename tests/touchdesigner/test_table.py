"""The rows that pages are made of, and what the Python API makes of values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sdv2_touch.table import Table, as_row_value, make_table, read_pages, same

from sdv2_host.actions import ACTIONS
from sdv2_host.errors import ParamError
from sdv2_host.param_table import PARAMS
from sdv2_host.surfaces.files import BEGIN, TOUCH, TOUCH_PARAMETERS, with_touch_tables, write_touch
from sdv2_host.surfaces.touch_row import Page
from sdv2_host.surfaces.touchdesigner import NO_ROW_ACTIONS, touch_json, touch_pages

FOLDER = Path(__file__).parent.parent.parent / TOUCH
REMEDY = "stale: run python -m sdv2_host surfaces write --docs"
ROWS = [row for rows in touch_pages().values() for row in rows]


@pytest.fixture
def table() -> Table:
    return make_table(read_pages(touch_json()))


def test_what_is_kept_is_what_the_tables_make() -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")

    assert (FOLDER / TOUCH_PARAMETERS).read_text("utf-8") == touch_json(), REMEDY
    assert with_touch_tables(readme) == readme, REMEDY


def test_writing_leaves_nothing_stale(tmp_path: Path) -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")
    head, _, tail = readme.partition(BEGIN)
    (tmp_path / "README.md").write_text(head + BEGIN + tail[tail.index("<!-- end") :], "utf-8")

    write_touch(tmp_path)

    assert (tmp_path / "README.md").read_text("utf-8") == readme
    assert (tmp_path / TOUCH_PARAMETERS).read_text("utf-8") == touch_json()


def test_every_parameter_is_on_exactly_one_page() -> None:
    assert sorted(row.param for row in ROWS if row.param) == sorted(PARAMS)


def test_every_action_is_a_pulse_or_said_to_be_none() -> None:
    assert {row.action for row in ROWS if row.action} | NO_ROW_ACTIONS == set(ACTIONS)


def test_the_names_are_touchdesigners_and_no_two_are_one() -> None:
    pars = [row.par for row in ROWS]

    assert [par for par in pars if not re.fullmatch(r"[A-Z][a-z0-9]*", par)] == []
    assert len(set(pars)) == len(pars)


def test_what_is_read_is_what_was_written() -> None:
    assert read_pages(touch_json()) == {page: tuple(rows) for page, rows in touch_pages().items()}
    assert list(read_pages(touch_json())) == list(Page)


def test_ranges_and_defaults_are_those_of_the_host(table: Table) -> None:
    for name, spec in PARAMS.items():
        row = table.param(name)
        assert (row.minimum, row.maximum, row.default) == (spec.minimum, spec.maximum, spec.default)
        assert row.choices == spec.choices
        assert spec.address in row.help


def test_arguments_of_an_action_are_rows_before_its_pulse(table: Table) -> None:
    load, size = table.by_action["preset_load"], table.by_action["output_size"]

    assert load.arg_pars == ("Presetloadname", "Presetloadseconds")
    assert size.arg_pars == ("Width", "Height")
    assert table.by_par["Presetloadname"].suggestions == "presets"
    assert all(name in table.by_par for row in ROWS for name in row.arg_pars)


@pytest.mark.parametrize(
    ("name", "value", "made"),
    [
        ("steps", 3, 3),
        ("steps", 3.0, 3),
        ("crossfade", 1, 1.0),
        ("freeze", 1, True),
        ("freeze", False, False),
        ("sink_mode", "fixed", "fixed"),
        ("prompt", "", ""),
        ("width", 512, 512),
        ("width", 0, 0),
        ("seed", 2**31 - 1, 2**31 - 1),
    ],
)
def test_a_value_that_is_allowed_comes_in_its_type(
    table: Table, name: str, value: float | str, made: float | str
) -> None:
    checked = table.check(name, value)

    assert (checked, type(checked)) == (made, type(made))


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("steps", 5, "1..4"),
        ("steps", 2.5, "1..4"),
        ("steps", "two", "1..4"),
        ("steps", True, "1..4"),
        ("crossfade", float("nan"), "0..1"),
        ("crossfade", -0.1, "0..1"),
        ("freeze", 2, "true or false"),
        ("freeze", "on", "true or false"),
        ("sink_mode", "sticky", "auto or fixed or adaptive"),
        ("width", 500, "0 or a multiple of 16"),
        ("width", 48, "from 64 to 2048"),
        ("prompt", 5, "at most 2000 characters"),
        ("prompt", "x" * 2001, "at most 2000 characters"),
    ],
)
def test_another_value_is_refused_with_what_is_allowed(
    table: Table, name: str, value: float | str, allowed: str
) -> None:
    with pytest.raises(ParamError) as caught:
        table.check(name, value)

    assert f"{name} = " in str(caught.value)
    assert allowed in str(caught.value)


def test_a_name_that_there_is_not_is_refused_with_what_is_near(table: Table) -> None:
    with pytest.raises(ParamError, match="no parameter 'promt'; there is prompt"):
        table.check("promt", "x")


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (0.1, 0.10000000149, True),
        (0.1, 0.1001, False),
        (1, 1.0, True),
        ("1", 1.0, False),
        ("a", "a", True),
        (True, 1, True),
    ],
)
def test_values_are_the_same_as_far_as_a_float32_tells(
    one: float | str, other: float | str, is_same: bool
) -> None:
    assert same(one, other) is is_same


def test_what_the_host_tells_becomes_the_parameters_type(table: Table) -> None:
    assert as_row_value(table.param("freeze"), 1) is True
    assert as_row_value(table.param("steps"), 2.0) == 2
    assert as_row_value(table.param("crossfade"), 1) == 1.0
    assert as_row_value(table.param("sink_mode"), "fixed") == "fixed"
