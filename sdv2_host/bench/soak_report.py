"""What a person reads of `bench soak`: the table and the picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdv2_host.bench.plots import Panel, draw_lines


def format_table(result: dict[str, Any]) -> str:
    """The verdicts, each with its number and its bound."""
    came = result["came"]
    lines = [
        f"{result['hours']:g} h of a show at {result['size']}, engine {result['engine']}, seed "
        f"{result['seed']}: {result['frames']} frames in {result['took_s'] / 60:.1f} min, "
        f"{result['compressed']:.1f} times as fast; {result['fresh']} pictures",
        f"{sum(came.values())} turns of {len(came)} kinds, {came.get('worker killed', 0)} workers "
        f"killed, {came.get('engine swap', 0)} engines swapped; faders at 60 Hz of the show",
    ]
    for verdict in result["verdicts"]:
        word = "ok " if verdict["holds"] else "NOT"
        lines.append(f"{word} {verdict['what']:<40} {verdict['says']}")
    p50, p99 = result["latency_p50_ms"], result["latency_p99_ms"]
    lines.append("latency by tenths, ms   p50 " + " ".join(_number(one) for one in p50))
    lines.append("                        p99 " + " ".join(_number(one) for one in p99))
    lines += [f"broke off {count} times: {what}" for what, count in result["broke"].items()]
    lines += [f"in the host's log: {line}" for line in result["errors"][:5]]
    lines.append("the show goes on" if result["holds"] else "NOT FLAT: see above")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "    -" if value is None else f"{value:5.1f}"


def draw(path: Path, result: dict[str, Any]) -> Path:
    """Writes a PNG of everything over the time of the run; the path.

    Raises:
        ConfigError: the file cannot be written.
    """
    marks = result["marks"]
    times_s = [mark["s"] for mark in marks]
    workers = [mark["worker"] or [0, 0.0, 0, 0] for mark in marks]
    panels = [
        _panel("daemon: memory, MiB", [mark["daemon"][0] for mark in marks]),
        _panel("daemon: descriptors", [mark["daemon"][1] for mark in marks]),
        _panel("daemon: threads", [mark["daemon"][2] for mark in marks]),
        _panel("worker: memory, MiB", [worker[1] for worker in workers]),
        _panel("worker: descriptors", [worker[2] for worker in workers]),
        _panel("segments of shared memory", [mark["segments"] for mark in marks]),
        _panel("pictures a second", [mark["fps"] for mark in marks]),
        _panel("latency p99 of ordinary frames by tenths, ms", _steps(times_s, result)),
    ]
    return draw_lines(path, times_s, panels)


def _panel(title: str, values: Sequence[float]) -> Panel:
    """From 0, but for what hardly moves: of that the movement is shown."""
    low, high = min(values), max(*values, 1.0)
    return Panel(title, values, low - 1 if low > high / 2 else 0.0, high + max(1.0, high / 50))


def _steps(times_s: Sequence[float], result: dict[str, Any]) -> list[float]:
    """The tenths' values at the marks."""
    p99 = [one or 0.0 for one in result["latency_p99_ms"]]
    last = max(mark["frame"] for mark in result["marks"])
    return [p99[min(mark["frame"] * 10 // max(last, 1), 9)] for mark in result["marks"]]
