"""Extensions, storage and files: what lives on and what does not."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.fake_td import TouchDesigner, tdError
from tests.fake_td.extended import EXTENSION, calls, execute, extend


def test_an_extension_is_made_when_it_is_first_asked_for(
    touch: TouchDesigner, extended: Any
) -> None:
    touch.play(1)
    assert calls(extended) == []

    assert extended.Hello() == "hello from /project1/comp"
    assert calls(extended) == ["init"]
    touch.play(1)
    assert calls(extended) == ["init", "onInitTD"]


def test_only_capitalised_members_are_promoted(extended: Any) -> None:
    assert extended.ext.Ext.quiet() == "quiet"
    with pytest.raises(AttributeError, match="no member 'quiet'"):
        extended.quiet()
    extended.par.ext0promote = False
    with pytest.raises(AttributeError, match="no member 'Hello'"):
        extended.Hello()


def test_an_extension_is_found_from_inside_its_component(extended: Any) -> None:
    inner = extended.create("textDAT")

    assert inner.ext.Ext.owner is extended
    extended.par.ext0name = "Other"
    assert inner.ext.Other.owner is extended
    with pytest.raises(AttributeError, match="no extension 'Ext'"):
        _ = inner.ext.Ext


def test_re_init_ends_the_old_extension_before_it_makes_the_new(extended: Any) -> None:
    extended.Hello()

    extended.par.reinitextensions.pulse()

    assert calls(extended) == ["init", "onDestroyTD stands", "init"]


def test_changed_code_makes_a_new_extension_at_the_next_use(extended: Any) -> None:
    extended.Hello()
    old = calls(extended)

    extended.op("code").text = EXTENSION.replace("hello", "goodbye")

    assert extended.Hello() == "goodbye from /project1/comp"
    assert old == ["init", "onDestroyTD stands"]


def test_destroying_the_component_ends_the_extension_while_it_stands(extended: Any) -> None:
    extended.Hello()
    heard = calls(extended)

    extended.destroy()

    assert heard == ["init", "onDestroyTD stands"]


def test_a_build_without_on_destroy_drops_the_extension_in_silence(tmp_path: Path) -> None:
    with TouchDesigner(tmp_path, has_on_destroy=False) as touch:
        comp = touch.project1.create("baseCOMP")
        comp.create("textDAT", "code").text = EXTENSION
        comp.par.ext0object = "op('./code').module.Ext(me)"
        heard = calls(comp)
        _ = comp.extensions

        comp.destroy()

        assert heard == ["init"]


def test_an_extension_may_not_be_used_while_it_begins_or_ends(
    touch: TouchDesigner, extended: Any
) -> None:
    code = extended.op("code")
    code.text = (
        "class Ext:\n    def __init__(self, owner): owner.Hello()\n    def Hello(self): ...\n"
    )

    with pytest.raises(AttributeError):
        extended.Hello()

    assert "while it begins or ends" in touch.take_failures()[0].what
    assert "while it begins or ends" in extended.scriptErrors()


def test_storage_is_searched_upwards_unless_asked_not_to(comp: Any) -> None:
    inner = comp.create("textDAT")
    comp.store("look", "neon")

    assert inner.fetch("look") == "neon"
    assert inner.fetchOwner("look") is comp
    assert inner.fetch("look", "none", search=False) == "none"
    with pytest.raises(tdError, match="nothing stored"):
        inner.fetch("other")
    comp.unstore("lo*")
    assert inner.fetch("look", None) is None


def test_a_tox_brings_back_parameters_texts_storage_files_and_wires(
    touch: TouchDesigner, extended: Any
) -> None:
    page = extended.appendCustomPage("Stream")
    page.appendFloat("Speed")[0].val = 0.5
    menu = page.appendMenu("Mode")[0]
    menu.menuNames = ["soft", "hard"]
    menu.val = "hard"
    extended.store("look", ["neon"])
    extended.vfs.addByteArray(b"zip", "bundle.zip")
    top, out = extended.create("nullTOP"), extended.create("outTOP")
    out.inputConnectors[0].connect(top)
    extended.Hello()

    path = extended.save("released/it.tox", createFolders=True)
    made = touch.project1.loadTox(path)

    assert made.name == "comp1"
    assert (made.par.Speed.eval(), made.par.Mode.eval()) == (0.5, "hard")
    assert made.par.Mode.menuNames == ["soft", "hard"]
    assert made.fetch("look") == ["neon"]
    assert made.vfs["bundle.zip"].byteArray == b"zip"
    assert made.op("out1").inputs == [made.op("null1")]
    assert calls(made) == []
    assert made.Hello() == "hello from /project1/comp1"


def test_a_copy_has_an_extension_of_its_own(touch: TouchDesigner, extended: Any) -> None:
    extended.Hello()

    copied = touch.project1.copy(extended, name="second")

    assert copied.Hello() == "hello from /project1/second"
    assert copied.ext.Ext is not extended.ext.Ext


def test_what_lives_for_a_session_needs_a_startup_value_to_be_saved(
    touch: TouchDesigner, comp: Any
) -> None:
    comp.store("courier", threading.Lock())
    with pytest.raises(tdError, match="courier"):
        comp.save("it.tox")

    comp.storeStartupValue("courier", None)

    assert touch.project1.loadTox(comp.save("it.tox")).fetch("courier") is None


def test_saving_into_no_folder_is_refused(comp: Any) -> None:
    with pytest.raises(tdError, match="createFolders"):
        comp.save("nowhere/it.tox")


def test_embedded_files_are_found_by_exact_name(comp: Any, tmp_path: Path) -> None:
    file = comp.vfs.addByteArray(bytearray(b"abc"), "a/b.bin")

    assert (len(comp.vfs), list(comp.vfs), file.size) == (1, ["a/b.bin"], 3)
    assert file.virtualPath == "vfs:/project1/comp:a/b.bin"
    assert Path(comp.vfs.export(str(tmp_path))[0]).read_bytes() == b"abc"
    with pytest.raises(tdError, match=r"a/c\.bin"):
        _ = comp.vfs["a/c.bin"]
    with pytest.raises(tdError, match="bytes"):
        comp.vfs.addByteArray("text", "x")
    with pytest.raises(tdError, match="not begin"):
        comp.vfs.addByteArray(b"", "/x")
    file.destroy()
    assert len(comp.vfs) == 0


def test_a_reloaded_project_has_its_network_but_no_extension(
    touch: TouchDesigner, extended: Any
) -> None:
    execute(extended, start=True, create=True)
    extended.Hello()
    heard = calls(extended)

    touch.open(touch.saved())

    comp: Any = touch.project1.op("comp")
    assert heard == ["init", "onDestroyTD stands"]
    assert extended.valid is False
    assert calls(comp) == []
    assert comp.op("execute").module.calls == [("onStart",), ("onCreate",)]


def test_a_project_is_opened_in_another_process_as_it_was_saved(tmp_path: Path) -> None:
    with TouchDesigner(tmp_path) as first:
        comp: Any = extend(first.project1.create("baseCOMP", "comp"))
        execute(comp, start=True)
        saved = first.saved()

    with TouchDesigner(tmp_path) as second:
        second.open(saved)
        comp = second.project1.op("comp")

        assert comp.op("execute").module.calls == [("onStart",)]
        assert comp.Hello() == "hello from /project1/comp"
