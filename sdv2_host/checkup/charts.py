"""Charts over time as inline SVG: lines, their scale, and marks of what happened. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 760, 150
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 12, 22
MAX_POINTS = 600
NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


class Series(NamedTuple):
    """One line; NaN = nothing was known, which leaves a hole."""

    name: str
    times_s: Sequence[float]
    values: Sequence[float]
    css: str
    """Class of the stroke."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture."""

    title: str
    unit: str
    series: Sequence[Series]
    seconds: float
    """Length of the axis."""
    marks_s: Sequence[float] = ()
    """Where something happened."""
    wanted: float | None = None
    """A dashed line at what is wished for."""


def draw(chart: Chart) -> str:
    """An <svg> of its own, which needs the page's style."""
    known = [v for one in chart.series for v in one.values if not math.isnan(v)]
    top = nice_top(max([*known, chart.wanted or 0.0], default=0.0))
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(chart.title)}">'
    ]
    parts += _grid(top, chart.unit, chart.seconds)
    parts += [
        f'<line class="mark" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>'
        for x in (_x(mark, chart.seconds) for mark in chart.marks_s)
    ]
    if chart.wanted is not None:
        y = _y(chart.wanted, top)
        parts.append(
            f'<line class="wanted" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        )
    for one in chart.series:
        parts += [
            f'<path class="{one.css}" d="{path}"/>' for path in _paths(one, chart.seconds, top)
        ]
    return "\n".join((*parts, "</svg>"))


def nice_top(largest: float) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten that is not below; 1 for nothing."""
    if largest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(step * power for step in NICE if step * power >= largest)


def thinned(times_s: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    """At most about MAX_POINTS: of each stretch the largest value, which is what is looked for."""
    stride = max(1, len(values) // MAX_POINTS)
    points = []
    for begin in range(0, len(values), stride):
        stretch = range(begin, min(begin + stride, len(values)))
        known = [i for i in stretch if not math.isnan(values[i])]
        at = max(known, key=lambda i: values[i]) if known else begin
        points.append((times_s[at], values[at]))
    return points


def _paths(one: Series, seconds: float, top: float) -> list[str]:
    """One for each stretch without a hole."""
    paths, words = list[str](), list[str]()
    for time_s, value in thinned(one.times_s, one.values):
        if math.isnan(value):
            paths.append(" ".join(words))
            words = []
            continue
        letter = "L" if words else "M"
        words.append(f"{letter}{_x(time_s, seconds):.1f},{_y(value, top):.1f}")
    return [path for path in (*paths, " ".join(words)) if path]


def _grid(top: float, unit: str, seconds: float) -> list[str]:
    lines = []
    for share in (0.0, 0.5, 1.0):
        y = _y(share * top, top)
        lines.append(
            f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        )
        label = f"{share * top:g}" + (f" {unit}" if share == 1.0 else "")
        lines.append(f'<text class="scale" x="{LEFT - 6}" y="{y + 4:.1f}">{escape(label)}</text>')
    for time_s in time_ticks(seconds):
        label = _clock(time_s)
        x = _x(time_s, seconds)
        lines.append(f'<text class="time" x="{x:.1f}" y="{HEIGHT - 6}">{label}</text>')
    return lines


def _across(css: str, y: float) -> str:
    return f'<line class="{css}" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'


def time_ticks(seconds: float) -> list[float]:
    """Where the axis has a number: at most seven, at round times, the beginning among them."""
    steps = (5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
    step = next((one for one in steps if seconds / one <= 6), steps[-1])
    return [float(time_s) for time_s in range(0, math.floor(seconds) + 1, step)]


def _clock(time_s: float) -> str:
    return f"{int(time_s) // 60}:{int(time_s) % 60:02d}"


def _x(time_s: float, seconds: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, time_s / max(seconds, 1e-9)))


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(1.0, max(0.0, value / top))
