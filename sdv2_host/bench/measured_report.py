"""What a person reads of `bench multi` on real devices: the tables and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdv2_host.bench.plots import Bar, draw_bars

ACCIDENTS = {"kill": "killed (kill -9)", "hang": "hung (stopped)"}


def format_table(result: dict[str, Any]) -> str:
    """Setups in their order, what places of the rings do, and recoveries."""
    times = result["times"]
    lines = [
        f"measured: engine {result['engine']}, {result['size']}, {result['steps']} steps, devices "
        f"{', '.join(result['devices'])}; medians of {result['rounds']} rounds of "
        f"{result['seconds']:g} s; ms per chunk of 4 frames",
        "",
        f"{'':<38}{'fps':>7}{'of bare':>9}{'p50 ms':>8}{'p95 ms':>8}{'alone ms':>10}"
        f"{'promised':>10}{'of it':>7}",
        *[_row(row) for row in result["rows"]],
        "",
        "of bare: the same round's fps of the pipeline alone on the first device, serial = 1.",
        "alone: one chunk, with no other on its way. promised: fps of the best partition by the "
        "times below.",
        "",
        "each place of a ring, by the times its rank tells while it runs:",
    ]
    for row in result["rows"]:
        lines += [_place(row, place, number) for number, place in enumerate(row.get("places", []))]
    lines += ["", "each device by itself, before: encode, a block, decode, less for a further row"]
    for name, one in zip(result["devices"], times, strict=True):
        block_ms = sum(one["block_ms"]) / len(one["block_ms"])
        lines.append(
            f"  {name:<8}{one['encode_ms']:>8.2f}{block_ms:>8.2f} x {len(one['block_ms'])}"
            f"{one['decode_ms']:>8.2f}{one['row_saving']:>8.0%}"
        )
    if result["hop_ms"] is not None:
        lines.append(f"one latent frame from device to device, over gloo: {result['hop_ms']:.2f}")
    lines += death_lines(result)
    if "times_file" in result:
        hop = f" --hop-ms {result['hop_ms']:.2f}" if result["hop_ms"] is not None else ""
        lines += [
            "",
            "to simulate more of such devices: "
            f"sdv2-host bench multi --times {result['times_file']}{hop}",
        ]
    return "\n".join(lines)


def _row(row: dict[str, Any]) -> str:
    latency = row["latency_ms"]
    text = (
        f"{row['setup']:<38}{row['fps']:>7.1f}{row['of_bare']:>9.2f}{latency['p50']:>8.0f}"
        f"{latency['p95']:>8.0f}{row['lone_ms']:>10.0f}"
    )
    if "promised_fps" in row:
        text += f"{row['promised_fps']:>10.1f}{row['of_promised']:>7.0%}"
    return text


def _place(row: dict[str, Any], place: dict[str, Any], number: int) -> str:
    first, last = place["items"]
    return (
        f"  {row['setup']:<38}place {number}: items {first}..{last}, "
        f"{place['stage_ms']:.1f} ms a chunk, busy {place['busy']:.0%}"
    )


def death_lines(result: dict[str, Any]) -> list[str]:
    """What lost ranks cost, if any were lost on purpose."""
    if not result["deaths"]:
        return []
    lines = [
        "",
        "a rank lost, each in turn: ms until that is noticed (median), and to the first new "
        "picture; s until all are back",
    ]
    lines.append(
        f"{'':<30}{'times':>6}{'noticed':>9}{'min':>8}{'median':>8}{'p90':>8}{'max':>8}"
        f"{'back s':>8}{'frames lost':>13}"
    )
    for row in result["deaths"]:
        name = f"{row['route']}, {ACCIDENTS[row['accident']]}"
        text = f"{name:<30}{row['times']:>6}"
        if row["times"]:
            first = row["first_ms"]
            text += (
                f"{row['noticed_ms']['p50']:>9.0f}{first['min']:>8.0f}{first['p50']:>8.0f}"
                f"{first['p90']:>8.0f}{first['max']:>8.0f}{row['whole_s']['p50']:>8.1f}"
            )
        if row["frames_lost"] is not None:
            text += f"{row['frames_lost']:>13}"
        lines += [text, *([f"  {row['problem']}"] if row["problem"] else [])]
    return lines


def write_picture(path: Path, result: dict[str, Any]) -> Path:
    """A PNG: speed and latency of every setup, and how long a lost rank is seen.

    Raises:
        ConfigError: the file cannot be written.
    """
    speeds = [
        Bar(row["setup"], row["fps"], min(row["fps_of_rounds"]), max(row["fps_of_rounds"]))
        for row in result["rows"]
    ]
    latencies = [
        Bar(row["setup"], row["latency_ms"]["p50"], row["lone_ms"], row["latency_ms"]["p95"])
        for row in result["rows"]
    ]
    groups = [
        ("frames per second: median, least and most of the rounds", speeds),
        ("latency, ms: one chunk alone, median and p95 at full speed", latencies),
    ]
    for accident, said in ACCIDENTS.items():
        bars = [
            Bar(
                row["route"], row["first_ms"]["p50"], row["first_ms"]["min"], row["first_ms"]["max"]
            )
            for row in result["deaths"]
            if row["accident"] == accident and row["times"]
        ]
        if bars:
            groups.append((f"a rank {said}: ms to the first new picture, least to most", bars))
    return draw_bars(path, groups)
