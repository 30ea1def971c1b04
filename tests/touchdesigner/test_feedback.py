"""Parameters and the host's values stay equal, without echo and without a fight."""

from __future__ import annotations

from typing import Any

import pytest

from sdv2_host.ipc.frame_ring import default_run_dir
from tests.client.fake_host import FakeHost
from tests.touchdesigner.touch_stage import TouchStage, heard

CROSSFADE, STEPS = "/sdv2/prompt/crossfade", "/sdv2/steps"
CALLBACKS = """
def onParameterChange(comp, address, value, origin):
    comp.store('changes', comp.fetch('changes', []) + [(address, value, origin)])

def onStateChange(comp, state, sentence):
    comp.store('states', comp.fetch('states', []) + [state])

def onHostChange(comp, host, version):
    comp.store('hosts', comp.fetch('hosts', []) + [(host, version)])
"""


def settle(stage: TouchStage, host: FakeHost) -> None:
    """Whatever was on its way has arrived: a mark that is sent last has been heard."""
    host.heard.clear()
    stage.comp.Tap()
    stage.until(lambda: heard(host, "/sdv2/tempo/tap"), "settled")


def test_what_the_host_tells_is_shown_and_not_sent_back(stage: TouchStage, host: FakeHost) -> None:
    host.tell(CROSSFADE, 0.25)
    host.tell("/sdv2/freeze", 1)
    host.tell("/sdv2/sink/mode", "fixed")
    host.tell("/sdv2/prompt", "from elsewhere")
    host.tell("/sdv2/output/width", 512)

    stage.until(lambda: stage.comp.par.Width.eval() == 512, "told")
    assert stage.comp.par.Crossfade.eval() == pytest.approx(0.25)
    assert stage.comp.par.Freeze.eval() is True
    assert stage.comp.par.Sinkmode.eval() == "fixed"
    assert stage.comp.par.Prompt.eval() == "from elsewhere"
    settle(stage, host)
    assert set(host.addresses()) <= {"/sdv2/tempo/tap", "/sdv2/subscribe"}


def test_the_hosts_values_are_taken_over_when_it_is_met(stage: TouchStage, host: FakeHost) -> None:
    stage.until(lambda: stage.comp.par.Prompt.eval() == "the host's", "taken over")

    assert not heard(host, "/sdv2/prompt")


def test_a_look_that_is_brought_wins_and_states_are_not_brought(stage: TouchStage) -> None:
    stage.comp.par.Bringlook = True
    stage.comp.par.Prompt = "the project's"
    stage.comp.par.Blackout = True
    stage.play(20)

    with FakeHost(stage.host, default_run_dir()) as host:
        stage.until(lambda: heard(host, "/sdv2/prompt"), "brought")
        settle_values = {address: heard(host, address) for address in host.addresses()}
        stage.play(20)

    assert settle_values["/sdv2/prompt"][-1] == ("the project's",)
    assert "/sdv2/noise/s_max" in settle_values
    assert stage.comp.par.Prompt.eval() == "the project's"


def test_an_expression_drives_and_is_never_overwritten(stage: TouchStage, host: FakeHost) -> None:
    stage.comp.store("level", 0.5)
    stage.comp.par.Crossfade.expr = "me.fetch('level')"
    stage.until(lambda: heard(host, CROSSFADE)[-1:] == [(0.5,)], "driven")

    host.tell(CROSSFADE, 0.9)
    settle(stage, host)
    stage.comp.store("level", 0.75)
    stage.until(lambda: heard(host, CROSSFADE)[-1:] == [(0.75,)], "driven on")

    assert stage.comp.par.Crossfade.expr == "me.fetch('level')"
    assert stage.comp.par.Crossfade.eval() == 0.75


def test_an_export_drives_and_is_never_overwritten(stage: TouchStage, host: FakeHost) -> None:
    stage.touch.export(stage.comp.par.Crossfade, 0.5)
    stage.until(lambda: heard(host, CROSSFADE)[-1:] == [(0.5,)], "driven")

    host.tell(CROSSFADE, 0.9)
    settle(stage, host)

    assert stage.comp.par.Crossfade.eval() == 0.5


def test_a_bind_drives_and_its_master_is_never_overwritten(
    stage: TouchStage, host: FakeHost
) -> None:
    fader: Any = stage.touch.project1.create("baseCOMP", "desk")
    fader.appendCustomPage("Desk").appendFloat("Fader")
    fader.par.Fader = 0.5
    stage.comp.par.Crossfade.bindExpr = "op('/project1/desk').par.Fader"
    stage.comp.par.Crossfade.mode = type(stage.comp.par.Crossfade.mode).BIND
    stage.until(lambda: heard(host, CROSSFADE)[-1:] == [(0.5,)], "driven")

    host.tell(CROSSFADE, 0.9)
    settle(stage, host)

    assert fader.par.Fader.eval() == 0.5


def test_what_is_driven_is_sent_to_every_host_that_is_met(stage: TouchStage) -> None:
    stage.comp.par.Crossfade.expr = "0.5"
    stage.play(20)

    with FakeHost(stage.host, default_run_dir()) as first:
        stage.until(lambda: (0.5,) in heard(first, CROSSFADE), "first")
    with FakeHost(stage.host, default_run_dir()) as second:
        stage.until(lambda: (0.5,) in heard(second, CROSSFADE), "second")


def test_an_expression_that_fails_is_named_and_the_rest_goes_on(
    stage: TouchStage, host: FakeHost
) -> None:
    stage.comp.par.Crossfade.expr = "op('nowhere')['chan']"
    stage.until(lambda: "Crossfade cannot be evaluated" in stage.fact("sentence"), "named")

    stage.comp.par.Steps = 4
    stage.until(lambda: heard(host, STEPS) == [(4,)], "goes on")
    stage.comp.par.Crossfade.expr = "0.5"

    stage.until(lambda: "Crossfade" not in stage.fact("sentence"), "mended")
    assert stage.failures() == []


def test_what_is_no_number_is_named_and_not_sent(stage: TouchStage, host: FakeHost) -> None:
    stage.comp.par.Crossfade.expr = "float('nan')"

    stage.until(lambda: "Crossfade cannot be evaluated" in stage.fact("sentence"), "named")
    settle(stage, host)
    assert heard(host, CROSSFADE) == []
    stage.comp.par.Crossfade.expr = "0.5"
    stage.until(lambda: heard(host, CROSSFADE) == [(0.5,)], "mended")


def test_a_fader_that_is_moved_here_is_not_fought(stage: TouchStage, host: FakeHost) -> None:
    stage.play(20)
    board = stage.comp.ext.StreamDiffusion._session.board
    now_s = board.clock_s()
    board.clock_s = lambda: now_s  # no pause of a busy machine ends the hold
    for number in range(1, 21):
        stage.comp.par.Crossfade = number / 20
        stage.play(2)
        host.tell(CROSSFADE, 0.0)  # told before the host heard of the move

    assert stage.comp.par.Crossfade.eval() == 1.0
    stage.until(lambda: heard(host, CROSSFADE)[-1:] == [(1.0,)], "sent")
    assert stage.comp.par.Crossfade.eval() == 1.0


def test_a_correction_that_comes_later_is_taken_over(stage: TouchStage, host: FakeHost) -> None:
    stage.comp.par.Steps = 4
    stage.until(lambda: heard(host, STEPS) == [(4,)], "sent")
    stage.touch.play(60, rate_hz=200)

    host.tell(STEPS, 2)

    stage.until(lambda: stage.comp.par.Steps.eval() == 2, "corrected")
    settle(stage, host)
    assert not heard(host, STEPS)


def test_a_flood_of_changes_is_shown_a_few_per_frame_and_none_is_lost(
    stage: TouchStage, host: FakeHost
) -> None:
    stage.play(20)
    session = stage.comp.ext.StreamDiffusion._session
    rows = [row for row in session.board.table.by_address.values() if row.style.value == "Float"]
    told = {row.address: float(row.maximum) for row in rows}

    for address, value in told.items():
        host.tell(address, value)

    stage.until(lambda: stage.comp.par.Bpm.eval() == 300, "the last")
    shown = {row.address: stage.comp.par[row.par].eval() for row in rows}
    assert shown == pytest.approx(told)


def test_callbacks_hear_who_moved_what_and_how_the_host_does(
    stage: TouchStage, host: FakeHost
) -> None:
    stage.comp.op("callbacks").text = CALLBACKS

    stage.comp.par.Steps = 4
    host.tell(CROSSFADE, 0.5)
    host.tell("/sdv2/status/state", "failed")
    stage.until(lambda: len(stage.comp.fetch("changes", [])) >= 2, "called back")
    stage.until(lambda: "failed" in stage.comp.fetch("states", []), "states")

    assert {*stage.comp.fetch("changes")} >= {(STEPS, 4, "here"), (CROSSFADE, 0.5, "host")}


def test_another_dat_may_hold_the_callbacks(stage: TouchStage, host: FakeHost) -> None:
    mine: Any = stage.touch.project1.create("textDAT", "mine")
    mine.text = CALLBACKS
    stage.comp.par.Callbackdat = "/project1/mine"

    stage.comp.par.Steps = 4

    stage.until(lambda: (STEPS, 4, "here") in stage.comp.fetch("changes", []), "called back")


def test_callbacks_that_fail_are_the_users_to_see_and_stop_nothing(
    stage: TouchStage, host: FakeHost
) -> None:
    stage.comp.op("callbacks").text = "def onParameterChange(*args):\n    raise KeyError('mine')\n"

    stage.comp.par.Steps = 4

    stage.until(lambda: heard(host, STEPS) == [(4,)], "goes on")
    assert "KeyError: 'mine'" in stage.comp.scriptErrors()
    assert stage.failures() == []
