"""The Python API and the pages: what the host hears of them, and what they take over from it."""

from __future__ import annotations

from typing import Any

import pytest

from sdv2_host.client.status import State
from sdv2_host.errors import ConfigError, HostError, ParamError
from sdv2_host.ipc.osc_encode import OutValue
from sdv2_host.surfaces.touch_row import Style
from sdv2_host.surfaces.touchdesigner import touch_pages
from tests.client.fake_host import FakeHost
from tests.touchdesigner.touch_stage import TouchStage

ROWS = [row for rows in touch_pages().values() for row in rows]
PULSES = {row.par: row.address for row in ROWS if row.action and not row.arg_pars}
OTHER_VALUES: dict[str, OutValue] = {
    "prompt": "gold",
    "prompt_b": "silver",
    "transition_unit": "chunks",
    "sink_mode": "fixed",
    "safe": "black",
    "quantize": "bar",
    "lora": "ink",
}


def heard(host: FakeHost, address: str) -> list[tuple[object, ...]]:
    return [tuple(message.args) for message in host.heard if message.address == address]


def other_value(row: Any) -> OutValue:
    """Another value than the default."""
    if row.style is Style.TOGGLE:
        return not row.default
    if row.param in OTHER_VALUES:
        return OTHER_VALUES[row.param]
    low, high = float(row.minimum), float(row.maximum)
    value = high if row.default != high else low
    return int(value) if row.style is Style.INT else value


@pytest.mark.parametrize(
    ("call", "address", "args"),
    [
        (lambda c: c.Go(), "/sdv2/cue/go", ()),
        (lambda c: c.Go(3), "/sdv2/cue/go", ("3",)),
        (lambda c: c.Go(2.5), "/sdv2/cue/go", ("2.5",)),
        (lambda c: c.Go("10"), "/sdv2/cue/go", ("10",)),
        (lambda c: c.Back(), "/sdv2/cue/back", ()),
        (lambda c: c.Panic(), "/sdv2/panic", ()),
        (lambda c: c.Resume(), "/sdv2/resume", ()),
        (lambda c: c.Snapshot(), "/sdv2/snapshot", ()),
        (lambda c: c.Tap(), "/sdv2/tempo/tap", ()),
        (lambda c: c.LoadPreset("Neon Rain"), "/sdv2/preset/load", ("Neon Rain",)),
        (lambda c: c.LoadPreset("Neon Rain", 2), "/sdv2/preset/load", ("Neon Rain", 2.0)),
        (lambda c: c.SavePreset("Mine"), "/sdv2/preset/save", ("Mine",)),
        (lambda c: c.SetPrompt("gold"), "/sdv2/prompt", ("gold",)),
        (lambda c: c.SetPrompt("gold", deck="b"), "/sdv2/prompt/b", ("gold",)),
        (lambda c: c.SetPrompt("gold", seconds=3), "/sdv2/prompt/go", ("gold", 3.0)),
        (lambda c: c.Set(steps=3), "/sdv2/steps", (3,)),
        (lambda c: c.Set(width=512), "/sdv2/output/width", (512,)),
    ],
)
def test_a_call_reaches_the_host(
    stage: TouchStage, host: FakeHost, call: Any, address: str, args: tuple[object, ...]
) -> None:
    call(stage.comp)

    stage.until(lambda: heard(host, address), address)
    assert heard(host, address) == [args]


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


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda c: c.Set(promt="x"), ParamError, "there is prompt"),
        (lambda c: c.Get("promt"), ParamError, "there is prompt"),
        (lambda c: c.SetPrompt("x", deck="c"), ParamError, "expected a or b"),
        (lambda c: c.SetPrompt("x", seconds=500), ParamError, "expected 0..120"),
        (lambda c: c.SetPrompt("x", seconds=1, deck="b"), ParamError, "move crossfade"),
        (lambda c: c.LoadPreset("x", seconds=-1), ParamError, "expected 0..120"),
    ],
)
def test_a_wrong_call_says_what_is_allowed(
    stage: TouchStage, call: Any, error: type[HostError], text: str
) -> None:
    stage.play()

    with pytest.raises(error, match=text):
        call(stage.comp)


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


@pytest.mark.parametrize("row", [r for r in ROWS if r.param], ids=lambda row: row.param)
def test_a_parameter_that_is_moved_is_sent_once(
    stage: TouchStage, host: FakeHost, row: Any
) -> None:
    value = other_value(row)
    setattr(stage.comp.par, row.par, value)
    stage.play(20)
    if row.is_sent_by_pulse:
        stage.comp.par.Outputsize.pulse()
        stage.until(lambda: heard(host, "/sdv2/output/size"), "sent by the pulse")
        assert value in heard(host, "/sdv2/output/size")[0]
    else:
        stage.until(lambda: heard(host, row.address), "sent")
    stage.play(20)
    sent = [(value,)] if not row.is_sent_by_pulse else []
    assert [(pytest.approx(args[0]),) if isinstance(value, float) else args for args in sent] == (
        heard(host, row.address)
    )


@pytest.mark.parametrize(("par", "address"), PULSES.items())
def test_a_pulse_fires_its_action_once(
    stage: TouchStage, host: FakeHost, par: str, address: str
) -> None:
    getattr(stage.comp.par, par).pulse()

    stage.until(lambda: heard(host, address), address)
    stage.play(10)
    assert heard(host, address) == [()]


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


def test_errors_that_the_host_tells_are_shown(stage: TouchStage, host: FakeHost) -> None:
    host.tell("/sdv2/error", "/sdv2/lora", "there is no LoRA ink")

    stage.until(lambda: stage.fact("error") == "/sdv2/lora: there is no LoRA ink", "shown")
