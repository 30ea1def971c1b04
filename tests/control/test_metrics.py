"""The metrics page, read by a strict parser of the text format."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import replace

import pytest

from sdv2_host.control.metrics import CONTENT_TYPE, exposition
from sdv2_host.status import (
    HostState,
    HostStatus,
    LatencyBudget,
    ObsCounts,
    OscCounts,
    Percentiles,
    StageMs,
    StagesMs,
    WebCounts,
)
from tests.control.live_web import live_web

STATUS = HostStatus(
    HostState.LIVE,
    "live",
    "tiny",
    None,
    fps=24.5,
    frames_in=100,
    frames_out=90,
    dropped=7,
    delay_frames=3,
    latency_ms=Percentiles(80.0, 95.0, 120.0),
    budget=LatencyBudget(
        StagesMs(wait=StageMs(30.0, 28.0, 50.0, 60.0)), slowest="wait", limits_rate="denoise"
    ),
    spans_ms={"encode": 12.5, "denoise": 40.0},
    notes={"noise_scale": 0.45},
    worker_restarts=2,
    osc=OscCounts(datagrams=5, refused=1),
    obs=ObsCounts(switches=5, triggered=4),
    web=WebCounts(requests=9, evil_host=3, clients=2),
)

# Source: prometheus.io, exposition formats, "Text format details".
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
SAMPLE = re.compile(rf"(?P<name>{NAME})(?:\{{(?P<labels>{LABEL}(?:,{LABEL})*)\}})? (?P<value>\S+)")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> tuple[dict[str, str], Samples]:
    """Type of each family and value of each sample; anything against the format fails."""
    assert text.endswith("\n")
    kinds: dict[str, str] = {}
    samples: Samples = {}
    helped: list[str] = []
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, help_ = line[7:].split(" ", 1)
            assert name not in helped, "HELP once per family"
            assert not re.search(r"\\(?![\\n])", help_)
            helped.append(name)
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name not in kinds, "all lines of a family stand together"
            assert helped[-1] == name
            assert kind in ("gauge", "counter")
            assert kind != "counter" or name.endswith("_total")
            kinds[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, f"no sample: {line!r}"
            assert match["name"] == list(kinds)[-1], "a sample follows its TYPE"
            labels = re.findall(LABEL, match["labels"] or "")
            assert len({name for name, _ in labels}) == len(labels)
            key = (match["name"], frozenset(labels))
            assert key not in samples, "each sample once"
            samples[key] = float(match["value"])
            assert kinds[match["name"]] != "counter" or samples[key] >= 0
    return kinds, samples


def value(text: str, family: str, /, **labels: str) -> float:
    return parse(text)[1][(family, frozenset(labels.items()))]


def test_every_family_is_of_the_format_and_has_samples() -> None:
    kinds, samples = parse(exposition(STATUS, "stage1", 12.0))

    assert kinds.keys() == {name for name, _ in samples}
    assert all(name.startswith("sdv2_") for name in kinds)


def test_values_are_those_of_the_status_in_base_units() -> None:
    text = exposition(STATUS, "stage1", 12.0)

    assert value(text, "sdv2_fps") == 24.5
    assert value(text, "sdv2_latency_seconds", quantile="0.95") == 0.095
    assert value(text, "sdv2_stage_seconds", stage="encode") == 0.0125
    assert value(text, "sdv2_budget_seconds", part="wait", quantile="0.99") == 0.06
    assert value(text, "sdv2_budget_seconds", part="publish", quantile="0.5") == 0
    assert value(text, "sdv2_budget_mean_seconds", part="wait") == 0.03
    assert value(text, "sdv2_bottleneck", of="latency", part="wait") == 1
    assert value(text, "sdv2_bottleneck", of="rate", part="denoise") == 1
    assert value(text, "sdv2_note", name="noise_scale") == 0.45
    assert value(text, "sdv2_frames_in_total") == 100
    assert value(text, "sdv2_frames_dropped_total") == 7
    assert value(text, "sdv2_worker_restarts_total") == 2
    assert value(text, "sdv2_delay_frames") == 3
    assert value(text, "sdv2_osc_total", kind="refused") == 1
    assert value(text, "sdv2_web_total", kind="evil_host") == 3
    assert value(text, "sdv2_obs_total", kind="triggered") == 4
    assert value(text, "sdv2_web_clients") == 2
    assert value(text, "sdv2_uptime_seconds") == 12.0
    assert value(text, "sdv2_daemon_rss_bytes") > 1e6


@pytest.mark.parametrize("state", HostState)
def test_exactly_one_state_is_1(state: HostState) -> None:
    text = exposition(replace(STATUS, state=state), "stage1", 0.0)

    found = {
        dict(labels)["state"]: number
        for (name, labels), number in parse(text)[1].items()
        if name == "sdv2_state"
    }
    assert found == {one.value: float(one is state) for one in HostState}


def test_labels_of_any_text_are_quoted() -> None:
    name = 'a"b\\c\nd{}, é'
    text = exposition(replace(STATUS, notes={name: 1.0}), name, 0.0)

    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    assert value(text, "sdv2_note", name=escaped) == 1.0


def test_numbers_that_are_none_are_written_as_the_format_wants() -> None:
    notes = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1e-300, "e": 1e21}
    text = exposition(replace(STATUS, notes=notes), "s", 0.0)

    assert 'sdv2_note{name="a"} NaN\n' in text
    assert 'sdv2_note{name="b"} +Inf\n' in text
    assert 'sdv2_note{name="c"} -Inf\n' in text
    assert value(text, "sdv2_note", name="d") == 1e-300
    assert value(text, "sdv2_note", name="e") == 1e21


def test_a_host_that_has_measured_nothing_has_metrics_too() -> None:
    kinds, _ = parse(exposition(HostStatus(HostState.STARTING, "", "tiny", None), "s", 0.0))

    assert "sdv2_stage_seconds" not in kinds  # no family without a sample
    assert "sdv2_fps" in kinds


def test_the_page_is_served_as_what_it_is() -> None:
    async def run() -> tuple[str, str]:
        async with live_web() as web, web.session.get(web.url + "/metrics") as response:
            return response.headers["Content-Type"], await response.text()

    kind, text = asyncio.run(run())

    assert kind == CONTENT_TYPE
    assert value(text, "sdv2_fps") == 25
