"""Operators: names, paths, members, and the thread that may use them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.fake_td import NotModelled, TouchDesigner, tdError


def test_an_unknown_operator_type_is_refused(comp: Any) -> None:
    with pytest.raises(tdError, match="fancyTOP"):
        comp.create("fancyTOP")


@pytest.mark.parametrize("name", ["1st", "a b", "a/b", "a-b", "", "é"])
def test_an_operator_name_has_letters_digits_and_underscores(comp: Any, name: str) -> None:
    with pytest.raises(tdError, match="operator name"):
        comp.create("nullTOP", name)


def test_a_name_in_use_becomes_the_next_numbered_one(comp: Any) -> None:
    names = [comp.create("nullTOP", name).name for name in ("a", "a", "a", "b7", "b7")]

    assert names == ["a", "a1", "a2", "b7", "b8"]
    assert comp.create("textDAT").name == "text1"


def test_a_renamed_operator_is_found_by_its_new_name(comp: Any) -> None:
    top = comp.create("nullTOP", "a")
    comp.create("nullTOP", "b")

    top.name = "b"

    assert top.path == "/project1/comp/b1"
    assert comp.op("b1") is top
    assert comp.op("a") is None


def test_a_destroyed_operator_answers_only_that_it_is_gone(comp: Any) -> None:
    top, sink = comp.create("nullTOP", "a"), comp.create("nullTOP", "b")
    sink.inputConnectors[0].connect(top)

    top.destroy()

    assert top.valid is False
    assert sink.inputs == []
    for use in (lambda: top.name, top.destroy, lambda: top.par.format):
        with pytest.raises(tdError, match="destroyed"):
            use()


def test_an_operator_takes_no_members_of_ones_own(comp: Any) -> None:
    with pytest.raises(AttributeError, match="no member"):
        comp.myOwn = 1
    with pytest.raises(AttributeError, match="no setter"):
        comp.path = "/x"
    with pytest.raises(tdError, match="nodeX"):
        comp.nodeX = "left"


def test_only_components_stop_cooking(comp: Any) -> None:
    top = comp.create("constantTOP")
    with pytest.raises(tdError, match="only components"):
        top.allowCooking = False

    comp.allowCooking = False
    top.cook(force=True)

    assert top.totalCooks == 0


def test_paths_are_followed_as_written(touch: TouchDesigner, comp: Any) -> None:
    inner = comp.create("baseCOMP", "inner")
    dat = inner.create("textDAT", "dat")
    look: Callable[[str], Any] = lambda path: dat.evalExpression(f"op({path!r})")  # noqa: E731

    assert look("/project1/comp") is comp
    assert look("dat") is dat
    assert look("..") is inner
    assert comp.op("inner/dat") is dat
    assert comp.op("./inner") is inner
    assert inner.op("../inner") is inner
    assert comp.op("inn*") is inner
    assert touch.root.op("project1/comp/inner") is inner
    assert look("nowhere") is None
    with pytest.raises(NotModelled, match="Network_Path"):
        touch._find("../x", dat)


def test_a_script_operator_comes_with_docked_callbacks_unless_told_not_to(comp: Any) -> None:
    top = comp.create("scriptTOP", "script")
    bare = comp.create("scriptCHOP", "bare", initialize=False)

    assert [one.name for one in top.docked] == ["script_callbacks"]
    assert top.par.callbacks.eval() is comp.op("script_callbacks")
    assert bare.docked == []
    assert bare.par.callbacks.eval() is None


def test_opex_raises_where_op_returns_none(comp: Any) -> None:
    with pytest.raises(tdError, match="nowhere"):
        comp.opex("nowhere")


def test_another_thread_may_touch_nothing(touch: TouchDesigner, comp: Any) -> None:
    par = comp.appendCustomPage("P").appendFloat("Speed")[0]
    uses: list[Callable[[], Any]] = [
        lambda: comp.name,
        lambda: comp.par.Speed,
        par.eval,
        lambda: float(par),
        lambda: touch.td.op("/project1"),
        lambda: touch.td.project.name,
        lambda: touch.td.run("1"),
        lambda: comp.op("x"),
        lambda: len(comp.vfs),
        lambda: touch.td.absTime.frame,
    ]
    refused: list[str] = []

    def use_all() -> None:
        for one in uses:
            try:
                one()
            except tdError as problem:
                refused.append(str(problem))

    thread = threading.Thread(target=use_all)
    thread.start()
    thread.join()

    assert len(refused) == len(uses)
    assert all("main thread" in text for text in refused)
