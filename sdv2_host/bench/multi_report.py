"""What a person reads of `bench multi`: the tables and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdv2_host.bench.multi_paper_report import paper_bars, paper_lines
from sdv2_host.bench.plots import Bar, draw_bars


def format_table(result: dict[str, Any]) -> str:
    """Routes, placements, scaling, balancing, and the paper's figures beside the model's."""
    traffic = result["traffic"]
    source = f"{traffic['source_fps']:g} fps" if traffic["source_fps"] else "always there"
    lines = [
        f"simulated: {len(result['devices'])} devices, {result['steps']} steps, source {source}, "
        f"hop {traffic['hop_ms']:g} ms, jitter {traffic['jitter']:.0%}; ms per chunk of 4 frames",
        "",
        f"{'':<20}{'fps':>7}{'p50 ms':>9}{'p95 ms':>9}  {'busy':<34}items of each device",
    ]
    for row in [*result["routes"], *result["placements"]]:
        name = _route_name(row) if "route" in row else f"ring, {row['placement']}"
        lines.append(f"{name:<20}" + _outcome(row))
    lines += [
        "",
        f"{'devices like the first':<24}"
        + "".join(f"{_scale_head(r):>26}" for r in ("ring", "chain")),
    ]
    for row in result["scaling"]:
        cells = [
            f"{row[route]['fps']:.1f} fps, {row[route]['latency_ms']['p50']:.0f} ms"
            for route in ("ring", "chain")
        ]
        lines.append(f"{row['devices']:<24}" + "".join(f"{cell:>26}" for cell in cells))
    lines += ["", "600 s, one device 1.5 times slower for 150 s of every 300, times known to 10 %:"]
    for row in result["balancing"]:
        lines.append(
            f"  moves: {row['rules']:<12}{row['of_clairvoyant']:>7.1%} of a scheduler that knows, "
            f"{row['moves']} moves"
        )
    return "\n".join([*lines, "", *paper_lines(result["paper"])])


def _route_name(row: dict[str, Any]) -> str:
    return f"{row['route']}" + (f", {row['decoders']} decoders" if row["decoders"] > 1 else "")


def _scale_head(route: str) -> str:
    return f"{route}: fps, latency p50"


def _outcome(row: dict[str, Any]) -> str:
    if row["fps"] is None:
        return f"{'-':>7}  too few devices"
    busy = " ".join(f"{part:.0%}" for part in row["busy"])
    p50, p95 = row["latency_ms"]["p50"], row["latency_ms"]["p95"]
    items = ", ".join(
        f"{device}: {count}" for device, count in zip(row["order"], row["items"], strict=True)
    )
    return f"{row['fps']:>7.1f}{p50:>9.0f}{p95:>9.0f}  {busy:<34}{items}"


def write_picture(path: Path, result: dict[str, Any]) -> Path:
    """A PNG: frames per second of every route, placement, number of devices and published figure.

    Raises:
        ConfigError: the file cannot be written.
    """

    def bar(label: str, fps: float) -> Bar:
        return Bar(label, fps, 0.0, fps)

    rows = [row for row in result["placements"] if row["fps"] is not None]
    placements = [bar(row["route"], row["fps"]) for row in result["routes"]]
    placements += [bar(f"ring, {row['placement']}", row["fps"]) for row in rows]
    scaling = [
        bar(f"{row['devices']}, {route}", row[route]["fps"])
        for row in result["scaling"]
        for route in ("ring", "chain")
    ]
    bars = paper_bars(result["paper"])
    groups = [
        ("frames per second of these devices", placements),
        ("as many of the first device", scaling),
        ("the paper's four H100s, and the same by what it reports of one", bars),
    ]
    return draw_bars(path, groups)
