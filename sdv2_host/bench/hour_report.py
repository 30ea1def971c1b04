"""What a person reads of `bench hour`: the table and the pictures.

# N chunks
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.bench.hour import RESETS, SHOW, HourPlan, trace_path
from sdv2_host.bench.hour_resets import frame_steps
from sdv2_host.bench.hour_show import MINUTE_CHUNKS
from sdv2_host.bench.hour_trace import SAMPLE_EVERY, Trace
from sdv2_host.bench.hour_verdicts import (
    AS_WELL,
    NOISE_SPREADS,
    RECOVERED_AFTER,
    RSS_GROWTH,
    anchor_values,
)
from sdv2_host.bench.plots import Bar, Panel, draw_bars, draw_lines
from sdv2_host.stream.drift import LIMIT

SAYS = {True: "yes", False: "NO", None: "undecided"}
MIB = 2**20


def format_table(result: dict[str, Any]) -> str:
    """The result of `hour.run` as plain text tables for a terminal."""
    lines = [
        f"{result['minutes']} minutes of stream at {result['size']}, {result['steps']} "
        f"steps, one thread a stream; {result['seconds'] / 60:.1f} minutes; [95 % interval]"
    ]
    for name, stream in result["streams"].items():
        lines += ["", *_stream_lines(name, stream)]
    lines += ["", *_paired_lines(result["paired"])]
    return "\n".join(lines)


def _stream_lines(name: str, stream: dict[str, Any]) -> list[str]:
    speed, watchdog = stream["speed"], stream["watchdog"]
    step = speed["step_ms"]
    return [
        f"== {name}: {stream['chunks']} chunks, positions {stream['positions']} ==",
        f"faster than real time: {SAYS[speed['faster']]}; engine {speed['engine_ratio']:.2f} "
        f"times, with rendering and measuring {speed['ratio']:.2f}; a chunk takes "
        f"{step['p50']:.1f} ms (p95 {step['p95']:.1f}, p99 {step['p99']:.1f})",
        f"the product's drift watchdog: {watchdog['most']:.2f} at most, "
        f"{watchdog['chunks_over_limit']} chunks over its limit of {LIMIT:g}",
        *_memory_lines(stream["memory"]),
        *_drift_lines(stream["drift"]),
        *_recovery_lines(stream["recovery"]),
        *_reset_lines(stream["resets"], stream["positions"]),
    ]


def _memory_lines(memory: dict[str, Any]) -> list[str]:
    rss, blocks = memory["rss_bytes"], memory["blocks"]
    low, high = (value / MIB for value in rss["per_hour_interval"])
    counts = ", ".join(
        f"{name} {memory[name]['first']:.0f} to {memory[name]['last']:.0f} "
        f"(most {memory[name]['most']:.0f})"
        for name in ("handles", "threads")
    )
    return [
        f"memory flat (under {RSS_GROWTH:.0%} an hour): {SAYS[memory['flat']]}; RSS "
        f"{rss['first'] / MIB:.1f} to {rss['last'] / MIB:.1f} MiB, "
        f"{rss['per_hour'] / MIB:+.2f} MiB an hour [{low:+.2f}, {high:+.2f}]; {counts}; "
        f"Python's blocks {blocks['per_hour']:+.0f} an hour "
        f"[{blocks['per_hour_interval'][0]:+.0f}, {blocks['per_hour_interval'][1]:+.0f}] of "
        f"{blocks['last']:.0f}"
    ]


def _drift_lines(drift: dict[str, Any]) -> list[str]:
    lines = [
        f"drift within the first minute's noise (\u00b1{NOISE_SPREADS:g} spreads): "
        f"{SAYS[drift['within_noise']]}; {drift['anchors_later']} replays of the anchor against "
        f"{drift['anchors_at_first']} of the first minute; in spreads of those:",
        f"  {'statistic':<20}{'at first':>10}{'spread':>10}{'a minute':>10}{'in all':>9}{'':<18}"
        f"{'later-first':>12}{'beyond noise':>14}",
    ]
    for row in drift["statistics"]:
        lines.append(
            f"  {row['statistic']:<20}{row['first_minute']:>10.4f}{row['spread']:>10.5f}"
            f"{row['per_minute']:>+10.4f}{row['in_all']:>+9.2f} "
            f"{_between(row['in_all_interval']):<17}{row['later_less_first']:>+12.2f}"
            f"{row['beyond_noise']:>14.0%}"
        )
    return lines


def _recovery_lines(recovery: dict[str, Any]) -> list[str]:
    if not recovery["changes"]:
        return ["new looks: none"]
    slow = {name: since for name, since in recovery["by_style"].items() if since > RECOVERED_AFTER}
    lines = [
        f"a new look is as good as a fresh stream's (style score at most {AS_WELL:g} below) from "
        f"chunk {RECOVERED_AFTER} on: {SAYS[recovery['as_well']]}; {recovery['changes']} changes; "
        f"on the mean of all from chunk {recovery['recovered_after']} on; looks that take longer "
        f"than {RECOVERED_AFTER}: "
        + (", ".join(f"{name} {since}" for name, since in slow.items()) or "none"),
        f"  {'chunks since':<14}{'score':>7}{'fresh':>7}{'less':>8}{'':<19}"
        f"{'named':>7}{'fresh':>7}",
    ]
    for row in recovery["chunks"]:
        lines.append(
            f"  {row['chunks']:<14}{row['changed']:>7.3f}{row['fresh']:>7.3f}{row['less']:>+8.3f} "
            f"{_between(row['less_interval'], 3):<18}{row['named_changed']:>7.0%}"
            f"{row['named_fresh']:>7.0%}"
        )
    return lines


def _reset_lines(resets: dict[str, Any], positions: str) -> list[str]:
    where = "at resets" if positions == "reset" else "where the other mode resets"
    return [
        f"no step {where}, {name}: {_comparison(resets[name])}" for name in ("frames", "colours")
    ]


def _paired_lines(paired: dict[str, Any]) -> list[str]:
    return [
        f"{RESETS} over {SHOW}, the same frames and noise, no step at resets, {name}: "
        f"{_comparison(paired[name])}"
        for name in ("frames", "colours")
    ]


def _comparison(row: dict[str, Any]) -> str:
    if "effect" not in row:
        return f"{SAYS[None]}, {row['at']} resets"
    low, high = row["more_percent_interval"]
    return (
        f"{SAYS[row['no_step']]}; {row['at']} against {row['elsewhere']} chunks: change "
        f"{row['more_percent']:+.2f} % [{low:+.2f}, {high:+.2f}], effect size {row['effect']:+.3f} "
        f"{_between(row['effect_interval'], 3)}, KS {row['ks']:.3f} (95 %: {row['ks_95']:.3f}), "
        f"largest {row['largest_at_percent']:+.0f} %, as large elsewhere: "
        f"{row['as_large_elsewhere']}"
    )


def _between(interval: list[float], digits: int = 2) -> str:
    return f"[{interval[0]:+.{digits}f}, {interval[1]:+.{digits}f}]"


def draw(folder: Path, plan: HourPlan, traces: dict[str, Trace], result: dict[str, Any]) -> None:
    """Writes a PNG of each stream over time, and one of the steps around resets.

    Raises:
        ConfigError: a file cannot be written.
    """
    for one in plan.streams:
        anchors = one.show.anchors()
        path = trace_path(folder, one.name).with_suffix(".png")
        times_s, panels = _panels(anchors, traces[one.name])
        draw_lines(path, times_s, panels)
    by_offset = {
        f"{name} ({stream['positions']})": stream["resets"]["by_offset"]
        for name, stream in result["streams"].items()
    }
    by_offset[f"{RESETS} over {SHOW}"] = result["paired"]["by_offset"]
    groups = [
        (
            f"{name}: frame change at reset + n chunks, %",
            [
                Bar(f"{row['offset']:+d}", row["more_percent"], *row["more_percent_interval"])
                for row in rows
                if "effect" in row
            ],
        )
        for name, rows in by_offset.items()
    ]
    draw_bars(folder / "hour-steps.png", [group for group in groups if group[1]])


def _panels(anchors: list[int], trace: Trace) -> tuple[list[float], list[Panel]]:
    """Minute by minute."""
    num_minutes = -(-len(trace.detail_N) // MINUTE_CHUNKS)
    minutes = range(num_minutes)
    values_AS = anchor_values(anchors, trace)
    of_A = np.array(anchors) // MINUTE_CHUNKS
    first_S = np.nanmean(values_AS[of_A == 0], axis=0)
    spread_S = np.nanstd(values_AS[of_A == 0], axis=0, ddof=1)
    # A show may end before the anchor of its last minute does: the line goes on as it was.
    seen = [min(minute, int(of_A.max())) for minute in minutes]
    departure_S = [np.nanmean((values_AS[of_A == m] - first_S) / spread_S, axis=0) for m in seen]
    away = [float(np.nanmean(values_AS[of_A == m, -1])) * 255 for m in seen]
    rss = _each(trace.rss_bytes_M / MIB, num_minutes, MINUTE_CHUNKS // SAMPLE_EVERY)
    steps = _each(np.exp(frame_steps(trace)), num_minutes, MINUTE_CHUNKS)
    style = _each(trace.style_N, num_minutes, MINUTE_CHUNKS)
    drift = _each(trace.drift_N, num_minutes, MINUTE_CHUNKS, np.max)
    took = _each(trace.step_ms_N, num_minutes, MINUTE_CHUNKS)
    colour = [float(np.abs(row[:6]).max()) for row in departure_S]
    return [float(minute * 60) for minute in minutes], [
        Panel("anchor: farthest colour statistic, spreads of the first minute", colour, 0, 10),
        Panel("anchor: distance to the first one, levels of 255", away, 0, max(1.0, *away)),
        Panel("style score", style, 0, 1),
        Panel("change from frame to frame, of the source's (median)", steps, 0, max(steps)),
        Panel("resident memory, MiB", rss, min(rss) - 10, max(rss) + 10),
        Panel("the product's drift watchdog, at most", drift, 0, max(LIMIT, *drift)),
        Panel("time of a chunk, ms", took, 0, max(took)),
    ]


def _each(
    values_N: NDArray[Any],
    count: int,
    length: int,
    of: Callable[[NDArray[Any]], Any] = np.median,
) -> list[float]:
    """Median, or what else is asked `of` the numbers, of each of `count` parts; of a last one
    without any, the one before."""
    found: list[float] = []
    for index in range(count):
        part = values_N[index * length : (index + 1) * length]
        part = part[np.isfinite(part)]
        found.append(float(of(part)) if part.size else found[-1])
    return found
