"""Each fault once or twice under a small show; `sdv2-host bench faults` does them all, often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sdv2_host.bench.fault_kinds import BY_NAME
from sdv2_host.bench.fault_report import draw, format_table
from sdv2_host.bench.fault_stage import StagePlan
from sdv2_host.bench.faults import FaultsPlan, chosen, run
from sdv2_host.errors import ConfigError
from sdv2_host.types import Size
from tests.host.live_host import linux_only

GAP = "gap over"
"""A machine that stalls for a tenth of a second is no fault of the host: what the cadence is, the
bench measures beside a calm show."""


def matrix(names: tuple[str, ...], times: int, engine: str = "passthrough") -> dict[str, Any]:
    stage = StagePlan(engine, Size(64, 64), silence_s=1.0)  # type: ignore[arg-type]
    return run(FaultsPlan(stage, names, times, seed=1), lambda text, share: None)


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


def test_a_fault_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="--only fire: no such fault, there are calm, kill"):
        chosen("kill,fire")


def test_without_a_choice_every_fault_is_done() -> None:
    assert chosen("") == tuple(BY_NAME)
    assert chosen("nan, kill") == ("nan", "kill")
