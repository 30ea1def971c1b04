"""The Python API and the pages as a player has them, beside a made-up host."""

from __future__ import annotations

import pytest

from sdv2_host.client.status import State
from sdv2_host.errors import ConfigError, ParamError
from sdv2_host.ipc.frame_ring import default_run_dir
from tests.client.fake_host import FakeHost
from tests.touchdesigner.touch_stage import TouchStage, heard


def test_a_fade_in_seconds_is_one_though_transitions_count_chunks(
    stage: TouchStage, host: FakeHost
) -> None:
    stage.comp.Set(transition_unit="chunks")

    stage.comp.SetPrompt("gold", seconds=3)

    stage.until(lambda: heard(host, "/sdv2/prompt/go"), "faded")
    assert heard(host, "/sdv2/prompt/transition_unit")[-1] == ("seconds",)
    assert host.addresses().index("/sdv2/prompt/go") == len(host.addresses()) - 1


def test_set_is_all_or_nothing(stage: TouchStage, host: FakeHost) -> None:
    stage.play()

    with pytest.raises(ParamError, match=r"steps = 9, expected 1\.\.4"):
        stage.comp.Set(crossfade=0.5, steps=9)

    stage.play(5)
    assert stage.comp.Get("crossfade") == 0
    assert heard(host, "/sdv2/prompt/crossfade") == []


def test_set_and_get_speak_of_the_same_value(stage: TouchStage, host: FakeHost) -> None:
    stage.comp.Set(noise_s_max=0.75, sink_mode="fixed", freeze=True)

    assert stage.comp.Get("noise_s_max") == 0.75
    assert stage.comp.Get("sink_mode") == "fixed"
    assert stage.comp.Get("freeze") is True
    assert stage.comp.par.Noisesmax.eval() == 0.75
    stage.until(lambda: heard(host, "/sdv2/freeze"), "heard")
    stage.play(10)
    assert len(heard(host, "/sdv2/noise/s_max")) == 1


def test_what_is_not_active_keeps_values_and_refuses_actions(stage: TouchStage) -> None:
    stage.comp.par.Active = False
    stage.play(2)

    stage.comp.Set(steps=4)

    assert stage.comp.Get("steps") == 4
    assert stage.status.state is State.CLOSED
    with pytest.raises(ConfigError, match="not active; switch Active on"):
        stage.comp.Panic()


def test_arguments_go_with_their_pulse_and_empty_ones_are_left_out(
    stage: TouchStage, host: FakeHost
) -> None:
    stage.comp.par.Presetloadname = "Neon Rain"
    stage.comp.par.Presetload.pulse()
    stage.comp.par.Cuego.pulse()
    stage.until(lambda: heard(host, "/sdv2/cue/go"), "fired")

    stage.comp.par.Presetloadseconds = 2.5
    stage.comp.par.Cuegocue = "7"
    stage.comp.par.Presetload.pulse()
    stage.comp.par.Cuego.pulse()
    stage.until(lambda: len(heard(host, "/sdv2/cue/go")) == 2, "fired again")

    assert heard(host, "/sdv2/preset/load") == [("Neon Rain",), ("Neon Rain", 2.5)]
    assert heard(host, "/sdv2/cue/go") == [(), ("7",)]


def test_menus_offer_what_the_host_has(stage: TouchStage, host: FakeHost) -> None:
    host.tell("/sdv2/status/presets", "Neon Rain", "Film Noir")
    host.tell("/sdv2/status/cue_lists", "First night")

    stage.until(lambda: stage.comp.par.Presetloadname.menuNames == ["Neon Rain", "Film Noir"])
    stage.until(lambda: stage.comp.par.Cuesloadname.menuNames == ["First night"])
    stage.until(lambda: stage.host in stage.comp.par.Host.menuNames, "hosts")


def test_the_control_page_opens_in_the_browser(stage: TouchStage, host: FakeHost) -> None:
    stage.comp.par.Openpage.pulse()
    stage.play(2)

    assert f"http://127.0.0.1:{host.port}/" in "".join(stage.touch.opened)


def test_a_button_that_cannot_says_why_in_the_status(stage: TouchStage) -> None:
    stage.play(2)
    stage.comp.par.Openpage.pulse()
    stage.until(lambda: "no control page" in stage.fact("sentence"), "refused")

    stage.comp.par.Help.pulse()

    stage.until(lambda: "is running" in stage.fact("sentence"), "the next one clears it")


def test_a_button_that_could_not_is_forgotten_when_a_host_is_met(stage: TouchStage) -> None:
    stage.play(2)
    stage.comp.par.Openpage.pulse()
    stage.until(lambda: "no control page" in stage.fact("sentence"), "refused")

    with FakeHost(stage.host, default_run_dir()):
        stage.until(lambda: "no control page" not in stage.fact("sentence"), "met")


def test_errors_that_the_host_tells_are_shown(stage: TouchStage, host: FakeHost) -> None:
    host.tell("/sdv2/error", "/sdv2/lora", "there is no LoRA ink")

    stage.until(lambda: stage.fact("error") == "there is no LoRA ink (/sdv2/lora)", "shown")
    assert stage.comp.par.Lasterror.eval() == "there is no LoRA ink (/sdv2/lora)"
