"""The page of a soundcheck: one file, nothing loaded from elsewhere, good on paper too. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from sdv2_host.checkup.charts import Chart, Series, draw
from sdv2_host.checkup.finding import Finding, Verdict
from sdv2_host.checkup.judging import Judgement, Readiness
from sdv2_host.checkup.measures import Measures

STYLE = Path(__file__).with_name("verdict_page.css")
CLASSES = {Readiness.READY: "ready", Readiness.CARE: "care", Readiness.NOT_READY: "not-ready"}
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the page says of where and when."""

    when: str
    command: str
    """That made it."""
    hardware: Mapping[str, object]


def verdict_page(
    judgement: Judgement, measures: Measures | None, findings: Sequence[Finding], facts: Facts
) -> str:
    """The whole page."""
    body = [_banner(judgement, facts)]
    if measures is not None:
        body += [_tiles(measures), _charts(measures), _events(measures)]
    body += [_objections(judgement), _table(findings), _footer(facts)]
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
        ("pictures a second", f"{measures.fresh_fps:.1f}", f"of {measures.source_fps:.0f} sent"),
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


def _charts(measures: Measures) -> str:
    marks = [event.at_s for event in measures.events]
    pictures = [
        f"<figure><figcaption>{_caption(chart)}</figcaption>{draw(chart)}</figure>"
        for chart in charts_of(measures, marks)
    ]
    return f'<section class="charts">{"".join(pictures)}</section>'


def charts_of(measures: Measures, marks_s: Sequence[float]) -> list[Chart]:
    """Those that there is something to show in."""
    samples, output, seconds = measures.samples, measures.output, measures.seconds
    times = [sample.at_s for sample in samples]
    gaps = [
        1000 * (later - before)
        for before, later in zip(output.published_s, output.published_s[1:], strict=False)
    ]

    def sampled(name: str, css: str, values: Sequence[float | None]) -> Series:
        return Series(name, times, [NAN if one is None else one for one in values], css)

    def chart(title: str, unit: str, *series: Series, wanted: float | None = None) -> Chart:
        return Chart(title, unit, series, seconds, marks_s, wanted)

    fps = sampled("styled", "a", [one.fps for one in samples])
    latency = Series("each picture", output.published_s, output.latency_ms, "b")
    charts = [
        chart("Styled pictures a second", "fps", fps, wanted=measures.source_fps),
        chart("From the camera to the output", "ms", latency),
        chart(
            "From one output picture to the next",
            "ms",
            Series("pause", output.published_s[1:], gaps, "c"),
            wanted=1000 / measures.source_fps if measures.source_fps else None,
        ),
        chart("Memory of the host", "MiB", sampled("host", "a", [one.host_mib for one in samples])),
        chart(
            "Processor",
            "%",
            sampled("all cores", "b", [100 * one.cpu_share for one in samples]),
            wanted=100.0,
        ),
    ]
    if any(one.gpu_mib is not None for one in samples):
        memory = sampled("card", "a", [one.gpu_mib for one in samples])
        charts.append(chart("Memory of the graphics card", "MiB", memory))
    if measures.hottest is not None:
        heat = sampled("card", "c", [one.celsius for one in samples])
        charts.append(chart("Heat of the graphics card", "°C", heat))
    return charts


def _caption(chart: Chart) -> str:
    dashed = " <i>- - as sent</i>" if chart.unit == "fps" else ""
    return f"{escape(chart.title)}, {escape(chart.unit)}{dashed}"


def _events(measures: Measures) -> str:
    rows = (
        f'<tr class="{"trouble" if event.is_refused else ""}"><td>{_clock(event.at_s)}</td>'
        f"<td>{escape(event.what)}</td><td>{escape(event.answer)}</td></tr>"
        for event in measures.events
    )
    return (
        "<section><h2>What was played</h2><p>The grey lines in the plots.</p>"
        f"<table><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


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
    means = f" On stage: {one.means}." if one.means and one.verdict is not Verdict.OK else ""
    todo = f" To do: {one.todo}." if one.todo else ""
    return f"<small>{escape(means + todo)}</small>" if means or todo else ""


def _footer(facts: Facts) -> str:
    hardware = ", ".join(f"{key} {value}" for key, value in facts.hardware.items())
    return f"<footer>{escape(facts.command)}<br>{escape(hardware)}</footer>"
