"""The page of a soundcheck: one file, nothing loaded from elsewhere, good on paper too. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from sdv2_host.checkup.charts import NARROW, WIDE, Chart, Series, clock_text, draw
from sdv2_host.checkup.finding import Finding
from sdv2_host.checkup.judging import Judgement, Readiness
from sdv2_host.checkup.measures import Event, Measures

STYLE = Path(__file__).with_name("verdict_page.css")
CLASSES = {Readiness.READY: "ready", Readiness.CARE: "care", Readiness.NOT_READY: "not-ready"}
NAN = float("nan")
HEADROOM = 1.5
"""Of the latency's chart over what 99 % stay within."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the page says of where and when."""

    when: str
    command: str
    """With the settings it was made with."""
    hardware: Mapping[str, object]


def verdict_page(
    judgement: Judgement, measures: Measures | None, findings: Sequence[Finding], facts: Facts
) -> str:
    """The whole page."""
    body = [_banner(judgement, facts)]
    if measures is not None:
        body += [_tiles(measures), _objections(judgement), _budget(measures)]
        body += [_charts(measures), _events(measures)]
    else:
        body.append(_objections(judgement))
    body += [_table(findings), _footer(facts)]
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{judgement.readiness.value} - sdv2-host soundcheck</title>",
            f"<style>{STYLE.read_text(encoding='utf-8')}</style></head><body><main>",
            *(part for part in body if part),
            "</main></body></html>\n",
        )
    )


def _banner(judgement: Judgement, facts: Facts) -> str:
    why, but, todo = map(escape, judgement.sentences)
    return (
        f'<header class="{CLASSES[judgement.readiness]}">'
        f'<div class="when">sdv2-host soundcheck<br>{escape(facts.when)}</div>'
        f"<h1>{judgement.readiness.value}</h1>"
        f"<p>{why}</p><p>{but}</p><p>{todo}</p></header>"
    )


def _tiles(measures: Measures) -> str:
    latency, pauses = measures.latency, measures.pauses
    longest = f"{pauses[0].ms:.0f} ms" if pauses else "none"
    tiles = [
        ("pictures a second", f"{measures.fresh_fps:.1f}", f"of {measures.wanted_fps:.0f} wanted"),
        ("latency", f"{latency.p50:.0f} ms", f"99 % within {latency.p99:.0f} ms"),
        ("output stood still", longest, _times(len(pauses))),
        ("engine deaths", str(measures.restarts), f"ready {measures.ready_s:.0f} s after a start"),
        ("memory", _memory(measures), f"{measures.memory_growth_mib:+.0f} MiB in the run"),
    ]
    if measures.hottest is not None:
        tiles.append(("hottest card", f"{measures.hottest:.0f} °C", "at most"))
    cells = (
        f"<div><small>{escape(name)}</small><b>{escape(value)}</b><small>{escape(note)}</small></div>"
        for name, value, note in tiles
    )
    return f'<section class="tiles">{"".join(cells)}</section>'


def _times(count: int) -> str:
    return {0: "not once", 1: "once"}.get(count, f"{count} times")


def _memory(measures: Measures) -> str:
    most = max((sample.host_mib for sample in measures.samples), default=0.0)
    return f"{most / 1024:.1f} GiB" if most >= 1024 else f"{most:.0f} MiB"


def _budget(measures: Measures) -> str:
    if not measures.says:
        return ""
    return f"<section><h2>Where the time goes</h2><p>{escape(measures.says)}.</p></section>"


def _charts(measures: Measures) -> str:
    marks = [event.at_s for event in measures.events]
    pictures = [
        f"<figure><figcaption>{_caption(chart)}</figcaption>{draw(chart)}</figure>"
        for chart in charts_of(measures, marks)
    ]
    return f'<section class="charts">{"".join(pictures)}</section>'


def charts_of(measures: Measures, marks_s: Sequence[float]) -> list[Chart]:
    """Those that there is something to show in: the wide ones first."""
    samples, output, seconds = measures.samples, measures.output, measures.seconds
    times = [sample.at_s for sample in samples]
    period_ms = 1000 / measures.cadence_fps if measures.cadence_fps else None
    gaps_ms = [
        1000 * (later - before)
        for before, later in zip(output.published_s, output.published_s[1:], strict=False)
    ]

    def sampled(title: str, unit: str, css: str, values: Sequence[float | None]) -> Chart:
        known = [NAN if one is None else one for one in values]
        return Chart(title, unit, [Series(title, times, known, css)], seconds, width=NARROW)

    def framed(title: str, css: str, at_s: Sequence[float], values: Sequence[float]) -> Chart:
        return Chart(title, "ms", [Series(title, at_s, values, css)], seconds, marks_s)

    fps = sampled("Styled pictures a second", "fps", "a", [one.fps for one in samples])
    latency = framed("From the camera to the output", "b", output.published_s, output.latency_ms)
    pauses = framed("From one output picture to the next", "c", output.published_s[1:], gaps_ms)
    charts = [
        replace(fps, marks_s=marks_s, wanted=measures.wanted_fps, width=WIDE),
        replace(latency, most=HEADROOM * measures.latency.p99),
        replace(pauses, wanted=period_ms),
        sampled("Memory of the host", "MiB", "a", [one.host_mib for one in samples]),
        replace(
            sampled("Processor", "%", "b", [100 * one.cpu_share for one in samples]), wanted=100.0
        ),
    ]
    if any(one.gpu_mib is not None for one in samples):
        held = [one.gpu_mib for one in samples]
        charts.append(sampled("Memory of the graphics card", "MiB", "a", held))
    if measures.hottest is not None:
        heat = [one.celsius for one in samples]
        charts.append(sampled("Heat of the graphics card", "°C", "c", heat))
    return charts


def _caption(chart: Chart) -> str:
    dashed = " <i>dashed: as wanted</i>" if chart.wanted is not None and chart.marks_s else ""
    return f"{escape(chart.title)}{dashed}"


def _events(measures: Measures) -> str:
    items = (
        f'<li class="{"trouble" if event.is_refused else ""}">{clock_text(event.at_s)} '
        f"{escape(event.what)}{_answer(event)}</li>"
        for event in measures.events
    )
    return (
        f"<section><h2>What was played</h2><p>To pictures of: {escape(measures.source)}.</p>"
        f'<ol class="played">{"".join(items)}</ol></section>'
    )


def _answer(event: Event) -> str:
    return f" <small>{escape(event.answer)}</small>" if event.is_refused else ""


def _objections(judgement: Judgement) -> str:
    if not judgement.objections:
        return ""
    rows = (
        f'<tr class="{one.verdict.value}"><td>{one.verdict.value}</td><td>{escape(one.why)}</td>'
        f"<td>{escape(one.todo)}</td></tr>"
        for one in judgement.objections
    )
    return (
        "<section><h2>What to put right</h2><table><thead><tr><th></th><th>why</th><th>what to do"
        f"</th></tr></thead><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _table(findings: Sequence[Finding]) -> str:
    rows, group = list[str](), ""
    for one in findings:
        if one.group != group:
            group = one.group
            rows.append(f'<tr class="group"><th colspan="3">{escape(group)}</th></tr>')
        rows.append(
            f'<tr class="{one.verdict.value}"><td>{one.verdict.value}</td>'
            f"<td>{escape(one.subject)}</td><td>{escape(one.seen)}{_advice(one)}</td></tr>"
        )
    if not rows:
        return ""
    return (
        "<section><h2>What the doctor saw</h2>"
        f"<table><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _advice(one: Finding) -> str:
    means = f" On stage: {one.means}." if one.means else ""
    todo = f" To do: {one.todo}." if one.todo else ""
    return f"<small>{escape(means + todo)}</small>" if means or todo else ""


def _footer(facts: Facts) -> str:
    hardware = ", ".join(f"{key} {value}" for key, value in facts.hardware.items())
    return f"<footer>{escape(facts.command)}<br>{escape(hardware)}</footer>"
