"""What a person reads of `bench multi`: the tables and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    return "\n".join([*lines, "", *_paper(result)])


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


def _paper(result: dict[str, Any]) -> list[str]:
    lines = [
        "the paper, four H100s: published fps; the same from fitted stage times (see "
        "bench/multi_devices.py):",
        "on one device, evenly split, by the reference's rule, this project's ring and chain; last "
        "its chain with this project's own estimated times",
        f"{'model':<7}{'size':<9}{'steps':>5}{'paper':>8}{'one':>7}{'even':>7}{'refer.':>8}"
        f"{'ring':>18}{'chain':>18}{'own times':>18}",
    ]
    for row in result["paper"]:
        own = row.get("own_chain")
        lines.append(
            f"{row['model']:<7}{row['size']:<9}{row['steps']:>5}{row['paper_fps']:>8.2f}"
            f"{row['one_device']['fps']:>7.1f}{row['even']['fps']:>7.1f}"
            f"{row['reference']['fps']:>8.1f}{_brief(row['ring']):>18}{_brief(row['chain']):>18}"
            f"{_brief(own) if own else '-':>18}"
        )
    lines += ["", "sequence parallelism over four, with the 40 to 120 ms of messages published:"]
    for row in result["sequence"]:
        low, high = row["fps"]
        lines.append(
            f"  {row['model']}, {row['steps']} steps: {low:.1f} to {high:.1f} fps; "
            f"the ring {row['ring_fps']:.1f}"
        )
    return lines


def _brief(row: dict[str, Any]) -> str:
    return f"{row['fps']:.1f}, {row['latency_ms']['p50']:.0f} ms"


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
    paper = []
    for row in result["paper"]:
        label = f"{row['model']} {row['size']} {row['steps']} steps"
        paper += [bar(f"{label}: paper", row["paper_fps"]), bar("this ring", row["ring"]["fps"])]
    groups = [
        ("frames per second of these devices", placements),
        ("as many of the first device", scaling),
        ("the paper's four H100s, and the ring with the same stage times", paper),
    ]
    return draw_bars(path, groups)
