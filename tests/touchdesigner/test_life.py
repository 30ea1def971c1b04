"""The component's life: made anew, copied, renamed, moved, deleted, saved, opened, ended."""

from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path

import numpy as np

from sdv2_host.ipc.frame_ring import default_run_dir
from sdv2_host.ipc.run_dir import is_lock_held
from sdv2_host.types import Frame, FrameMeta
from tests.client.fake_host import FakeHost
from tests.client.waiting import levels, numbered
from tests.touchdesigner.touch_stage import TouchStage, heard, touch_stage


def couriers() -> list[str]:
    """The threads that carry frames and OSC now."""
    return [one.name for one in threading.enumerate() if one.name.startswith("courier")]


def feeds(host: str) -> bool:
    """Whether anybody holds this host's input ring."""
    return is_lock_held(default_run_dir() / f"{host}-in.lock")


def until_shown(stage: TouchStage, number: int) -> None:
    """A picture has gone to the host and come back."""
    picture = numbered(number)
    stage.show(picture)
    stage.until(lambda: np.array_equal(stage.seen(), levels(picture)), f"picture {number}")


def test_frames_go_and_come_back_as_they_were(stage: TouchStage, host: FakeHost) -> None:
    until_shown(stage, 1)
    until_shown(stage, 2)


def test_an_extension_that_is_made_anew_goes_on_with_one_courier(
    stage: TouchStage, host: FakeHost
) -> None:
    until_shown(stage, 1)

    stage.comp.par.reinitextensions.pulse()
    stage.comp.op("sdv2").text += "\n# edited\n"
    stage.play(5)

    assert len(couriers()) == 1
    until_shown(stage, 2)
    stage.comp.Set(steps=4)
    stage.until(lambda: heard(host, "/sdv2/steps"), "sent")


def test_an_old_build_that_says_no_goodbye_leaves_one_courier_too(tmp_path: Path) -> None:
    with touch_stage(tmp_path, has_on_destroy=False) as stage:
        stage.play(3)
        assert len(couriers()) == 1

        stage.comp.initializeExtensions()
        stage.play(3)

        assert len(couriers()) == 1
        stage.comp.destroy()
        assert couriers() == []


def test_the_picture_is_held_while_the_extension_is_made_anew(
    stage: TouchStage, host: FakeHost
) -> None:
    until_shown(stage, 1)
    stage.comp.par.Sendinput = False
    stage.play(30)
    shown = stage.seen()

    stage.comp.initializeExtensions()
    stage.play(5)

    assert np.array_equal(stage.seen(), shown)


def test_a_copy_shows_the_same_host_and_only_one_feeds_it(
    stage: TouchStage, host: FakeHost
) -> None:
    until_shown(stage, 1)

    second = stage.touch.project1.copy(stage.comp, name="second")
    second.inputConnectors[0].connect(stage.source)
    stage.touch.look_at(second.op("out1"))
    stage.until(lambda: second.Status.input_trouble, "refused")
    until_shown(stage, 2)
    shown = second.op("out1")

    stage.until(lambda: np.array_equal(levels(shown.numpyArray()), levels(numbered(2))), "shown")
    assert len(couriers()) == 2
    assert stage.status.input_trouble == ""


def test_the_second_feeds_when_the_first_is_gone(stage: TouchStage, host: FakeHost) -> None:
    until_shown(stage, 1)
    second = stage.touch.project1.copy(stage.comp, name="second")
    second.inputConnectors[0].connect(stage.source)
    stage.until(lambda: second.Status.input_trouble, "refused")

    stage.comp.destroy()

    stage.comp = second
    stage.until(lambda: not second.Status.input_trouble, "feeds")
    until_shown(stage, 2)
    assert len(couriers()) == 1


def test_a_new_name_and_another_place_change_nothing(stage: TouchStage, host: FakeHost) -> None:
    until_shown(stage, 1)
    stage.comp.name = "renamed"
    stage.touch.project1.name = "show"

    until_shown(stage, 2)
    stage.comp.Set(steps=4)

    stage.until(lambda: heard(host, "/sdv2/steps"), "sent")
    assert len(couriers()) == 1


def test_deleted_it_leaves_nothing(stage: TouchStage, host: FakeHost) -> None:
    until_shown(stage, 1)
    assert feeds(stage.host)

    stage.comp.destroy()

    assert couriers() == []
    assert not feeds(stage.host)
    stage.play(3)


def test_switched_off_it_leaves_nothing_and_on_it_is_back(
    stage: TouchStage, host: FakeHost
) -> None:
    until_shown(stage, 1)

    stage.comp.par.Active = False
    stage.until(lambda: not couriers(), "off")
    assert not feeds(stage.host)
    assert np.array_equal(stage.seen(), levels(numbered(1)))
    stage.comp.par.Active = True

    until_shown(stage, 2)


def test_touchdesigner_ends_and_nothing_is_left(tmp_path: Path) -> None:
    with touch_stage(tmp_path) as stage, FakeHost(stage.host, default_run_dir()):
        until_shown(stage, 1)

    assert couriers() == []
    assert not feeds(stage.host)


def test_a_project_that_is_saved_and_opened_goes_on(stage: TouchStage, host: FakeHost) -> None:
    stage.comp.par.Bringlook = True
    stage.comp.par.Prompt = "the project's"
    until_shown(stage, 1)

    stage.reopen()

    until_shown(stage, 2)
    assert len(couriers()) == 1
    assert stage.comp.par.Host.eval() == stage.host
    assert stage.comp.par.Prompt.eval() == "the project's"


def test_another_version_beside_it_says_so_and_plays(stage: TouchStage, host: FakeHost) -> None:
    second = stage.touch.project1.copy(stage.comp, name="second")
    second.vfs["sdv2.zip"].byteArray = bytearray(with_a_comment(second.vfs["sdv2.zip"].byteArray))
    second.initializeExtensions()

    stage.until(lambda: "another version of this component" in second.Status.sentence, "says so")
    stage.until(lambda: second.Status.port == host.port and second.Status.facts, "found")
    second.Set(steps=4)

    stage.until(lambda: heard(host, "/sdv2/steps"), "plays")
    assert "another version" not in stage.status.sentence


def test_a_host_of_another_name_is_followed(stage: TouchStage, host: FakeHost) -> None:
    until_shown(stage, 1)
    with FakeHost(f"{stage.host}-b", default_run_dir()) as other:
        stage.comp.par.Host = f"{stage.host}-b"

        stage.until(lambda: stage.status.port == other.port, "found")
        until_shown(stage, 2)
        assert not feeds(stage.host)


def test_a_host_that_restarts_is_found_again_and_the_picture_held(
    stage: TouchStage, tmp_path: Path
) -> None:
    with FakeHost(stage.host, default_run_dir()):
        until_shown(stage, 1)
    stage.until(lambda: stage.fact("state") == "no host", "gone")
    assert np.array_equal(stage.seen(), levels(numbered(1)))

    with FakeHost(stage.host, default_run_dir()):
        until_shown(stage, 2)


def test_the_tile_says_what_is_wrong_and_the_output_only_when_asked(stage: TouchStage) -> None:
    card, pick = stage.comp.op("card"), stage.comp.op("pick")
    stage.until(lambda: "is running" in card.par.text.eval(), "says")
    assert pick.par.index.eval() == 0
    stage.comp.par.Card = True
    stage.until(lambda: pick.par.index.eval() == 1, "asked")

    with FakeHost(stage.host, default_run_dir()):
        until_shown(stage, 1)
        stage.until(lambda: pick.par.index.eval() == 0 and not card.par.text.eval(), "live")


def test_a_non_commercial_licence_is_told_which_size_to_use(tmp_path: Path) -> None:
    with (
        touch_stage(tmp_path, is_non_commercial=True) as stage,
        FakeHost(stage.host, default_run_dir()) as host,
    ):
        until_shown(stage, 1)
        stage.comp.par.Sendinput = False
        stage.until(lambda: not feeds(stage.host), "no more small ones")
        big = Frame(FrameMeta(1296, 16), np.zeros((16, 1296, 4), np.uint8))
        host.show(big, big)

        stage.until(lambda: "at most 1280x1280" in stage.fact("sentence"), "told")

        assert "1296x16" in stage.fact("sentence")
        assert stage.failures() == []


def with_a_comment(bundle: bytes) -> bytes:
    """A zip of the same files that is another version."""
    content = io.BytesIO(bundle)
    with zipfile.ZipFile(content, "a") as archive:
        archive.comment = b"another"
    return content.getvalue()


def test_a_component_that_lacks_a_part_says_so_once_and_goes_on_when_it_is_back(
    stage: TouchStage,
) -> None:
    stage.comp.par.Active = False
    stage.until(lambda: not couriers(), "off")
    stage.comp.op("output").name = "elsewhere"

    stage.comp.par.Active = True
    stage.play(30)

    (failure,) = stage.failures()
    assert "'output'" in failure
    assert couriers() == []
    assert "could not begin" in stage.fact("sentence")
    stage.comp.par.Active = False
    stage.comp.op("elsewhere").name = "output"
    stage.play(5)
    stage.comp.par.Active = True
    stage.until(couriers, "begun")


def test_a_part_that_goes_while_it_plays_takes_no_other_along(stage: TouchStage) -> None:
    stage.play(3)
    stage.comp.op("card").name = "elsewhere"

    with FakeHost(stage.host, default_run_dir()):
        stage.until(lambda: stage.fact("state") == "live", "told")

    assert {failure for failure in stage.failures() if "'card'" not in failure} == set()
