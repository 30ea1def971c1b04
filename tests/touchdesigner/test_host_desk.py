"""Start, Stop and Restart of a real host from the component; what is said where that fails."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.client.waiting import numbered, until
from tests.hosts import descriptors, is_running
from tests.touchdesigner.touch_stage import TouchStage, touch_stage


def test_a_render_without_a_host_ends_with_the_reason(tmp_path: Path) -> None:
    with touch_stage(tmp_path) as stage:
        stage.comp.par.Locksteptimeout = 1
        stage.comp.par.Lockstep = True
        stage.show(numbered(1))

        stage.play(30)

        assert "lock-step has ended" in stage.comp.scriptErrors()
        stage.until(lambda: "lock-step has ended" in stage.fact("sentence"), "told")
        assert stage.comp.par.Lockstep.eval() is True
        stage.comp.par.Lockstep = False
        stage.until(lambda: "lock-step" not in stage.fact("sentence"), "over")


def test_a_host_is_started_restarted_and_stopped_from_the_pages(
    stage: TouchStage, tmp_path: Path
) -> None:
    started(stage, tmp_path)
    first = stage.status.pid
    assert "ready" in stage.comp.op("log").text

    stage.comp.par.Restarthost.pulse()
    stage.until(lambda: stage.status.pid not in (0, first), "restarted")
    stage.until(lambda: not is_running(first), "the first has ended")
    second = stage.status.pid
    stage.comp.StopHost()

    stage.until(lambda: stage.fact("state") == "no host", "stopped")
    stage.until(lambda: not is_running(second), "the second has ended")
    assert f"{stage.host}-out.json" not in descriptors(stage.host)


def test_a_host_that_was_started_outlives_an_extension_and_can_be_stopped(
    stage: TouchStage, tmp_path: Path
) -> None:
    started(stage, tmp_path)

    stage.comp.initializeExtensions()
    stage.until(lambda: stage.status.pid, "met again")
    pid = stage.status.pid
    stage.comp.par.Stophost.pulse()

    stage.until(lambda: stage.fact("state") == "no host", "stopped")
    stage.until(lambda: not is_running(pid), "ended")


def test_a_host_ends_with_the_project_unless_told_otherwise(tmp_path: Path) -> None:
    with touch_stage(tmp_path) as stage:
        started(stage, tmp_path)
        pid = stage.status.pid

    until(lambda: not is_running(pid), f"process {pid} has ended")


def test_a_host_ends_with_a_component_that_is_deleted(stage: TouchStage, tmp_path: Path) -> None:
    started(stage, tmp_path)
    pid = stage.status.pid

    stage.comp.destroy()
    stage.play(3)

    until(lambda: not is_running(pid), f"process {pid} has ended")


def test_a_host_stays_where_it_is_to_outlive_the_project(tmp_path: Path) -> None:
    with touch_stage(tmp_path) as stage:
        started(stage, tmp_path)
        stage.comp.par.Autostop = False
        stage.play(30)
        stage.touch.play(30, rate_hz=100)
        pid = stage.status.pid

    try:
        assert is_running(pid)
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not is_running(pid), f"process {pid} has ended")


def test_a_host_starts_with_the_project_where_wanted(stage: TouchStage, tmp_path: Path) -> None:
    set_up(stage, tmp_path)
    stage.comp.par.Autostart = True
    stage.play(2)

    stage.touch.open(stage.touch.saved())
    stage.comp = stage.touch.project1.op("StreamDiffusion")

    stage.until(lambda: stage.status.facts, "started")


def test_a_command_that_is_not_there_is_named(stage: TouchStage) -> None:
    stage.play(2)
    stage.comp.par.Command = "/nowhere/sdv2"

    stage.comp.par.Starthost.pulse()

    stage.until(lambda: "There is no /nowhere/sdv2" in stage.fact("sentence"), "named")


def started(stage: TouchStage, folder: Path) -> None:
    """The host runs that the component has started."""
    set_up(stage, folder)
    stage.comp.StartHost()
    stage.until(lambda: stage.status.facts, "started")
    stage.until(lambda: "ready" in stage.comp.op("log").text, "logged")


def set_up(stage: TouchStage, folder: Path) -> None:
    """The pages say how a host is started."""
    par = stage.comp.par
    par.Command, par.Engine = sys.executable, "passthrough"
    par.Arguments = f'--port 0 --data-dir "{folder / "the data"}"'
