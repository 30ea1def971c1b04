"""Charts over time as inline SVG: lines, their scale, and marks of what happened. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

WIDE, NARROW, HEIGHT = 936, 456, 150
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 16, 22
MAX_POINTS = 600
NOTHING = 1e-9
"""Less than this is no height for a chart, and the least floats have no power of ten below."""
NICE = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


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
    """Where something happened: numbered from 1."""
    wanted: float | None = None
    """A dashed line at what is wished for."""
    most: float | None = None
    """Values above are drawn at the upper edge, so that one that stands out does not flatten the
    others."""
    width: int = WIDE

    def x_of(self, time_s: float) -> float:
        share = min(1.0, max(0.0, time_s / max(self.seconds, 1e-9)))
        return LEFT + (self.width - LEFT - RIGHT) * share

    @property
    def top(self) -> float:
        """The upper edge's value."""
        known = [v for one in self.series for v in one.values if not math.isnan(v)]
        most = max(known, default=0.0)
        if self.most is not None:
            most = min(most, self.most)
        return nice_top(max(most, self.wanted or 0.0))


def draw(chart: Chart) -> str:
    """An <svg> of its own, which needs the page's style."""
    top = chart.top
    parts = [
        f'<svg class="chart" viewBox="0 0 {chart.width} {HEIGHT}" role="img" '
        f'aria-label="{escape(chart.title)}">',
        *_grid(chart, top),
        *_marks(chart),
    ]
    if chart.wanted is not None:
        parts.append(_across("wanted", chart, _y(chart.wanted, top)))
    for one in chart.series:
        parts += [f'<path class="{one.css}" d="{path}"/>' for path in _paths(one, chart, top)]
    return "\n".join((*parts, "</svg>"))


def nice_top(largest: float) -> float:
    """The least of NICE times a power of ten that is not below; 1 for as good as nothing."""
    if largest < NOTHING:
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


def _paths(one: Series, chart: Chart, top: float) -> list[str]:
    """One for each stretch without a hole."""
    paths, words = list[str](), list[str]()
    for time_s, value in thinned(one.times_s, one.values):
        if math.isnan(value):
            paths.append(" ".join(words))
            words = []
            continue
        letter = "L" if words else "M"
        words.append(f"{letter}{chart.x_of(time_s):.1f},{_y(value, top):.1f}")
    return [path for path in (*paths, " ".join(words)) if path]


def _grid(chart: Chart, top: float) -> list[str]:
    lines = []
    for share in (0.0, 0.5, 1.0):
        y = _y(share * top, top)
        label = f"{share * top:g}" + (f" {chart.unit}" if share == 1.0 else "")
        lines += [
            _across("grid", chart, y),
            f'<text class="scale" x="{LEFT - 6}" y="{y + 4:.1f}">{escape(label)}</text>',
        ]
    for time_s in time_ticks(chart.seconds):
        x = chart.x_of(time_s)
        lines.append(f'<text class="time" x="{x:.1f}" y="{HEIGHT - 6}">{clock_text(time_s)}</text>')
    return lines


def _marks(chart: Chart) -> list[str]:
    lines = []
    for number, mark_s in enumerate(chart.marks_s, 1):
        x = chart.x_of(mark_s)
        lines += [
            f'<line class="mark" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>',
            f'<text class="number" x="{x:.1f}" y="{TOP - 4}">{number}</text>',
        ]
    return lines


def _across(css: str, chart: Chart, y: float) -> str:
    right = chart.width - RIGHT
    return f'<line class="{css}" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'


def time_ticks(seconds: float) -> list[float]:
    """Where the axis has a number: at most seven, at round times, the beginning among them."""
    steps = (5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
    step = next((one for one in steps if seconds / one <= 6), steps[-1])
    return [float(time_s) for time_s in range(0, math.floor(seconds) + 1, step)]


def clock_text(time_s: float) -> str:
    """Minutes and seconds."""
    return f"{int(time_s) // 60}:{int(time_s) % 60:02d}"


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(1.0, max(0.0, value / top))
