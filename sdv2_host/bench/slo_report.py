"""What a person reads of `bench slo`: the table and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from sdv2_host.bench.plots import save

INK, DIM, BACKGROUND = (236, 238, 244), (120, 124, 136), (18, 19, 24)
COLOURS = {
    "scheduler": (120, 220, 140),
    "as started": (110, 160, 250),
    "fixed batch": (250, 190, 90),
    "unbounded queue": (240, 100, 100),
}
LEFT_PX, TOP_PX, BAR_PX, GROUP_PX, PANEL_PX, LABEL_PX = 130, 60, 8, 44, 90, 120
MOST_LATENCY = 2.0
"""Of the bound; what is later fills the panel."""


def format_table(result: dict[str, Any]) -> str:
    """One line per device and load, then the summary."""
    lines = [
        f"slo_mode {result['mode']}; shown of the oracle's at equal latency, frames per second, "
        "latency p50 / p95 / p99 in ms, frames later than the bound",
        "",
        f"{'device':<13}{'load':<21}{'bound':>6}{'oracle':>8}  {'scheduler':<34}"
        f"{'as started':<30}{'fixed batch':<30}{'unbounded queue':<30}",
    ]
    for case in result["cases"]:
        hosts = case["hosts"]
        others = "".join(f"{_host(hosts[name]):<30}" for name in list(COLOURS)[1:])
        lines.append(
            f"{case['device']:<13}{case['world']:<21}{case['bound_ms']:>6.0f}"
            f"{case['oracle_ratio']:>8.1%}  {_host(hosts['scheduler']):<34}{others}"
        )
    summary = result["summary"]
    if summary["changed_setup"]:
        lines += _setup_lines(result)
    lines += [
        "",
        f"of the oracle's throughput at equal latency: median {summary['oracle_ratio_median']:.1%},"
        f" worst {summary['oracle_ratio_worst']:.1%}, with stalls "
        f"{summary['oracle_ratio_worst_with_stalls']:.1%}; within 5 % in "
        f"{summary['within_5_percent']} of {summary['cases']} cases" + _evenly(summary),
        f"most frames waiting: {summary['most_waiting_chunks']:.2f} chunks",
    ]
    return "\n".join(lines)


def _evenly(summary: dict[str, Any]) -> str:
    """What an oracle that may leave no longer gaps says, where that is more."""
    num_within = summary["within_5_percent_evenly"]
    if num_within == summary["within_5_percent"]:
        return ""
    return f", in {num_within} of one's whose pictures come no further apart"


def _setup_lines(result: dict[str, Any]) -> list[str]:
    """One line per case in which autoencoder or size changed, and a summary."""
    head = f"{'changes':>8}{'last at':>9}{'then in time':>14}  share of frames"
    lines = ["", f"{'device':<13}{'load':<21}{head}"]
    for case in result["cases"]:
        setups, ratio = case["setups"], case["settled_ratio"]
        if setups["changes"]:
            shares = ", ".join(f"{name} {share:.0%}" for name, share in setups["shares"].items())
            in_time = "" if ratio is None else f"{ratio:.1%}"
            lines.append(
                f"{case['device']:<13}{case['world']:<21}{setups['changes']:>8}"
                f"{setups['settled_s']:>7.0f} s{in_time:>14}  {shares}"
            )
    summary = result["summary"]
    if summary["settled_ratio_worst"] is not None:
        lines += [
            "",
            f"another setup in {summary['changed_setup']} of {summary['cases']} cases, at most "
            f"{summary['most_changes']} changes in one; of the frames after the last change, in "
            f"time: median {summary['settled_ratio_median']:.1%}, worst "
            f"{summary['settled_ratio_worst']:.1%}",
        ]
    return lines


def _host(measures: dict[str, Any]) -> str:
    p50, p95, p99 = measures["latency_ms"].values()
    return f"{measures['fps']:>5.1f} {p50:>5.0f}/{p95:>5.0f}/{p99:>5.0f} {measures['missed']:>4}"


def write_picture(path: Path, result: dict[str, Any]) -> Path:
    """A PNG: per device, frames per second and 99th percentile of latency of every host; the path.

    Raises:
        ConfigError: the file cannot be written.
    """
    devices = list(dict.fromkeys(case["device"] for case in result["cases"]))
    num_worlds = max(sum(case["device"] == name for case in result["cases"]) for name in devices)
    size = (
        LEFT_PX + num_worlds * GROUP_PX + 20,
        TOP_PX + len(devices) * (2 * PANEL_PX + 40) + LABEL_PX,
    )
    picture = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for index, (name, colour) in enumerate(COLOURS.items()):
        draw.rectangle((10 + index * 150, 10, 20 + index * 150, 20), fill=colour)
        draw.text((26 + index * 150, 9), name, fill=INK)
    draw.text((10, 30), "white line: the oracle at equal latency; p99 over the bound", fill=DIM)
    for row, device in enumerate(devices):
        cases = [case for case in result["cases"] if case["device"] == device]
        _draw_device(draw, TOP_PX + row * (2 * PANEL_PX + 40), device, cases)
    _draw_labels(picture, size[1] - LABEL_PX, [case["world"] for case in cases])
    return save(picture, path)


def _draw_device(
    draw: ImageDraw.ImageDraw, top: int, device: str, cases: list[dict[str, Any]]
) -> None:
    """Two panels: frames per second above, latency below."""
    most_fps = max(
        max(case["oracle"]["shown_in_time"] / case["seconds"], measures["fps"])
        for case in cases
        for measures in case["hosts"].values()
    )
    middle, bottom = top + PANEL_PX, top + 2 * PANEL_PX + 16
    draw.text((10, top + 4), device, fill=INK)
    draw.text((10, top + 20), f"fps, up to {most_fps:.0f}", fill=DIM)
    draw.text((10, middle + 20), f"p99, to {MOST_LATENCY:.0f} x", fill=DIM)
    draw.text((10, middle + 34), f"{cases[0]['bound_ms']:.0f} ms", fill=DIM)
    for column, case in enumerate(cases):
        left = LEFT_PX + column * GROUP_PX
        for place, (name, colour) in enumerate(COLOURS.items()):
            measures, x = case["hosts"][name], left + place * BAR_PX
            height = PANEL_PX * measures["fps"] / most_fps
            draw.rectangle((x, middle - height, x + BAR_PX - 2, middle), fill=colour)
            late = min(measures["latency_ms"]["p99"] / case["bound_ms"], MOST_LATENCY)
            height = PANEL_PX * late / MOST_LATENCY
            draw.rectangle((x, bottom - height, x + BAR_PX - 2, bottom), fill=colour)
        oracle_fps = case["oracle"]["shown_in_time"] / case["seconds"]
        y = middle - PANEL_PX * oracle_fps / most_fps
        draw.line((left - 3, y, left + len(COLOURS) * BAR_PX + 1, y), fill=INK)
    bound_y = bottom - PANEL_PX / MOST_LATENCY
    draw.line((LEFT_PX - 6, bound_y, LEFT_PX + len(cases) * GROUP_PX, bound_y), fill=DIM)


def _draw_labels(picture: Image.Image, top: int, names: list[str]) -> None:
    """The loads' names, upright under their bars."""
    for column, name in enumerate(names):
        label = Image.new("RGB", (LABEL_PX, 14), BACKGROUND)
        ImageDraw.Draw(label).text((0, 1), name.replace(" fps, ", " "), fill=INK)
        picture.paste(label.rotate(-90, expand=True), (LEFT_PX + column * GROUP_PX + 8, top))
