"""The frame: who is called when, what fails, and what the component's code takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fake_td import TouchDesigner, tdError
from tests.fake_td.extended import calls, execute


def test_execute_dats_are_called_where_their_toggles_say_so(
    touch: TouchDesigner, comp: Any
) -> None:
    dat = execute(comp, framestart=True, devicechange=True)

    touch.play(1)
    touch.change_devices()
    touch.project.save("it.toe")

    assert dat.module.calls == [("onFrameStart", 2.0), ("onDeviceChange",)]


def test_saving_exit_and_pause_are_told(touch: TouchDesigner, comp: Any) -> None:
    dat = execute(
        *(comp,),
        **{"exit": True, "projectpresave": True, "projectpostsave": True, "playstatechange": True},
    )

    comp.time.play = False
    touch.project.save("it.toe")
    touch.quit()

    assert [call[0] for call in dat.module.calls] == [
        *("onPlayStateChange", "onProjectPreSave", "onProjectPostSave", "onExit")
    ]


def test_a_pause_stops_time_and_the_power_button_stops_all(touch: TouchDesigner, comp: Any) -> None:
    dat = execute(comp, framestart=True)

    comp.time.play = False
    touch.play(2)
    touch.app.power = False
    touch.play(2)

    assert touch.abs_time.frame == 0
    assert dat.module.calls == [("onFrameStart", 1.0)] * 2


def test_the_process_ends_without_a_word_to_extensions(touch: TouchDesigner, extended: Any) -> None:
    extended.Hello()

    touch.quit()

    assert calls(extended) == ["init"]


def test_a_script_that_raises_is_shown_and_the_next_frame_comes(
    touch: TouchDesigner, comp: Any
) -> None:
    dat = comp.create("executeDAT")
    dat.text = "def onFrameStart(frame):\n    raise ValueError('ouch')\n"
    dat.par.framestart = True

    touch.play(2)

    failures = touch.take_failures()
    assert [failure.what for failure in failures] == ["ValueError: ouch"] * 2
    assert "ouch" in comp.scriptErrors(recurse=True)
    comp.clearScriptErrors(recurse=True)
    assert comp.scriptErrors(recurse=True) == ""


def test_leaving_with_a_failure_that_nobody_took_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ouch"), TouchDesigner(tmp_path) as touch:
        touch.run("raise ValueError('ouch')")


def test_a_delayed_script_runs_in_its_frame(touch: TouchDesigner, comp: Any) -> None:
    comp.store("ran", [])
    for delay in (2, 0):
        touch.run("args[0].fetch('ran').append(absTime.frame)", comp, delayFrames=delay)
    touch.run("args[0].fetch('ran').append('never')", comp, delayFrames=1).kill()

    touch.play(3)

    assert comp.fetch("ran") == [0.0, 2.0]


def test_a_run_takes_the_text_of_a_script(touch: TouchDesigner) -> None:
    with pytest.raises(tdError, match="text of a script"):
        touch.run(lambda: None)  # type: ignore[arg-type]


def test_errors_and_warnings_belong_into_a_cook(comp: Any) -> None:
    with pytest.raises(tdError, match="cooking"):
        comp.addError("x")
    comp.addScriptError("shown")
    assert comp.scriptErrors() == "shown"


def test_component_time_is_its_code_without_the_cooks_it_asks_for(
    touch: TouchDesigner, comp: Any
) -> None:
    script = comp.create("scriptTOP", "script")
    callbacks = comp.create("textDAT", "callbacks")
    callbacks.text = (
        "import time\nimport numpy\nBIG = numpy.zeros((2160, 3840, 4), numpy.uint8)\n"
        "def busy(ms):\n    end = time.thread_time_ns() + ms * 1e6\n"
        "    while time.thread_time_ns() < end: pass\n"
        "def onCook(scriptOp):\n    busy(3)\n    scriptOp.copyNumpyArray(BIG)\n"
    )
    script.par.callbacks = callbacks
    dat = comp.create("executeDAT")
    dat.text = (
        "def onFrameStart(frame):\n"
        "    op('callbacks').module.busy(5)\n"
        "    op('script').cook(force=True)\n"
        "    op('script').numpyArray()\n"
    )
    dat.par.framestart = True

    touch.play(2)

    taken = touch.component_times[1]
    assert taken.frame == 2
    # Downloading 33 million floats takes more than 40 ms of processor time; none of it counts.
    assert 8 <= taken.cpu_ms < 30
