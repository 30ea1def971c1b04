"""Each fault once or twice under a small show; `sdv2-host bench faults` does them all, often."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sdv2_host.bench.end_process import kill_at_once
from sdv2_host.bench.fault_kinds import BY_NAME, FAULTS, Deed, Fault, refused
from sdv2_host.bench.fault_report import draw, format_table
from sdv2_host.bench.fault_stage import Stage, StagePlan
from sdv2_host.bench.faults import FaultsPlan, chosen, run
from sdv2_host.clock import now_ns
from sdv2_host.errors import ConfigError
from sdv2_host.types import Size
from tests.host.live_host import linux_only
from tests.hosts import orphans

GAP = "gap over"
"""A machine that stalls for a tenth of a second is no fault of the host: what the cadence is, the
bench measures beside a calm show."""


def matrix(names: tuple[str, ...], times: int, engine: str = "passthrough") -> dict[str, Any]:
    stage = StagePlan(engine, Size(64, 64), silence_s=1.0)  # type: ignore[arg-type]
    plan = FaultsPlan(stage, chosen(",".join(names)), times, seed=1)
    return run(plan, lambda text, share: None, lambda report: None)


def faults_of(row: dict[str, Any]) -> list[str]:
    return [verdict for verdict in row["verdicts"] if GAP not in verdict]


@linux_only
@pytest.mark.parametrize("name", ["exception", "ring-out"])
def test_the_show_goes_on(name: str, tmp_path: Path) -> None:
    report = matrix((name,), 1)
    row = report["rows"][0]

    assert faults_of(row) == []
    assert row["recovered"] == 1
    assert row["recovered_ms"]["worst"] > 0
    assert name in format_table(report)
    assert Image.open(draw(tmp_path / "faults.png", report)).width > 0


@linux_only
@pytest.mark.soak
@pytest.mark.parametrize("name", [n for n in BY_NAME if n not in {"exception", "ring-out", "nan"}])
def test_the_show_goes_on_whatever_happens(name: str) -> None:
    row = matrix((name,), 2)["rows"][0]
    if "skipped" in row:
        pytest.skip(row["skipped"])

    assert faults_of(row) == []


@linux_only
@pytest.mark.soak
@pytest.mark.parametrize("name", ["nan", "oom"])
def test_the_show_goes_on_when_the_model_fails(name: str) -> None:
    row = matrix((name,), 1, "tiny")["rows"][0]

    assert faults_of(row) == []


def kill_the_host(stage: Stage, rng: random.Random) -> Deed:
    """For good: nobody starts it again, so it is not there when things are put right."""
    injected_ns = now_ns()
    kill_at_once(stage.host.status.pid)
    assert stage.until(lambda: not stage.host.status.is_running, 60)
    return Deed(injected_ns, undo=lambda: stage.client.post("/api/set", {"values": {"seed": 1}}))


@linux_only
def test_a_fault_that_ends_the_host_is_a_row_that_says_so() -> None:
    stage = StagePlan("passthrough", Size(64, 64))
    fatal = Fault("fatal", "the host dies of it", kill_the_host)
    before, kept = orphans(), list[dict[str, Any]]()

    run(FaultsPlan(stage, (fatal,), 2, seed=1, recovery_s=0.1), lambda *_: None, kept.append)

    verdicts = kept[0]["rows"][0]["verdicts"]
    assert verdicts[0] == "round 1 of 2 never recovered"
    assert "host faults is not running" in verdicts
    assert any(one.startswith("the host is gone: The host has ended: killed") for one in verdicts)
    assert any(one.startswith("left: segment lfr.") for one in verdicts)
    assert orphans() <= before


@linux_only
def test_ctrl_c_leaves_the_rows_that_are_done(tmp_path: Path) -> None:
    files = ("--json", str(tmp_path / "faults.json"), "--png", str(tmp_path / "faults.png"))
    args = ("bench", "faults", "--engine", "passthrough", "--only", "nan,calm", *files)

    with subprocess.Popen(
        [sys.executable, "-m", "sdv2_host", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stderr is not None
        assert any("calm: starting" in line for line in iter(child.stderr.readline, ""))
        child.send_signal(signal.SIGINT)
        table, _ = child.communicate(timeout=100)

    rows = json.loads((tmp_path / "faults.json").read_text())["rows"]
    assert child.returncode == 130
    assert [row["name"] for row in rows] == ["nan"]
    assert "nan         skipped: engine passthrough has no numbers" in table
    assert Image.open(tmp_path / "faults.png").width > 0


def interrupted_in(round_text: str, told: list[str]) -> Callable[[str, float], None]:
    """A progress that is a Ctrl-C when that round begins."""

    def progress(text: str, share: float) -> None:
        told.append(text)
        if text.endswith(round_text):
            os.kill(os.getpid(), signal.SIGINT)  # as a terminal does: to the whole process

    return progress


@linux_only
@pytest.mark.soak
def test_a_show_in_a_place_of_its_own_ends_with_ctrl_c_after_the_round_in_hand() -> None:
    plan = FaultsPlan(StagePlan("passthrough", Size(64, 64)), chosen("disk-full"), 20, seed=1)
    told: list[str] = []

    try:
        report = run(plan, interrupted_in(": 1 of 20", told), lambda report: None)
    except KeyboardInterrupt:
        assert told[-1] == "disk-full: 1 of 20"
    else:
        pytest.skip(report["rows"][0]["skipped"])


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("exit('stream x is already written by process 7')", ""),
        ("exit('no module of that name')", "a second source ended with code 1, not refused"),
        ("exit()", "a second source ended with code 0, not refused"),
    ],
)
def test_who_ends_for_another_reason_than_that_the_place_is_taken_was_not_refused(
    ending: str, told: str
) -> None:
    second = subprocess.Popen([sys.executable, "-c", ending], stderr=subprocess.PIPE)

    assert refused(second, "a second source") == told


def test_a_fault_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="--only fire: no such fault, there are calm, kill"):
        chosen("kill,fire")


def test_without_a_choice_every_fault_is_done() -> None:
    assert chosen("") == FAULTS
    assert chosen("nan, kill") == (BY_NAME["nan"], BY_NAME["kill"])
