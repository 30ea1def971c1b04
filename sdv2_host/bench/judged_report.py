"""The paper's metrics, flicker and drift of `bench quality`, as a person reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdv2_host.bench.plots import Bar, draw_bars

COLUMNS = {
    "clip_neighbours": "CLIP, neighbours",
    "clip_prompt": "CLIP, prompt",
    "warp_paper": "warp, paper's script",
    "warp": "warp",
}
MEANINGS = {
    "clip": "CLIP: cosine x 100 of neighbouring frames, and of a frame with its prompt; by {clip}",
    "flow": "warp: mean |frame - previous frame moved along the source's flow|, 0..255, by {flow};"
    " the paper's script\ntakes the difference in 8 bits, where 3 - 5 is 254: compare it with the"
    " paper's table alone",
}
NOWHERE = (
    "warp error: flow forward and back agree nowhere by {flow}, as with weights that were not "
    "trained, or where each frame is another picture"
)
WIDTH = 22


def meaning_lines(names: dict[str, str]) -> list[str]:
    """What the columns are, and which network said so; `names`: clip and flow, '' = not given."""
    return [text.format(**names) for key, text in MEANINGS.items() if names[key]]


def score_lines(title: str, rows: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """A line for each named summary of a `PaperScore`, a column for each metric that one has."""
    shown = [name for name in COLUMNS if any(name in summary for _, summary in rows)]
    lines = [f"{title:<24}" + "".join(f"{COLUMNS[name]:>{WIDTH}}" for name in shown)]
    for name, summary in rows:
        cells = "".join(
            f"{summary[column]:>{WIDTH}.2f}" if column in summary else f"{'-':>{WIDTH}}"
            for column in shown
        )
        lines.append(f"{name:<24}{cells}")
    return lines


def judged_lines(judged: dict[str, Any]) -> list[str]:
    """Of `bench quality`: every style's output, then all of output, ground truth and source."""
    rows = [(row["style"], row["output"]) for row in judged["styles"]]
    total = judged["total"]
    rows += [
        ("all", total["output"]),
        ("ground truth", total["truth"]),
        ("source", total["source"]),
    ]
    lines = ["", *meaning_lines(judged), *score_lines("style", rows)]
    if "warp" not in total["source"]:
        lines.append("not measured: " + NOWHERE.format(**judged))
    if judged["flow_error"]:
        missed = ", ".join(
            f"{row['missed_px']:.2f} at {row['motion_px']}" for row in judged["flow_error"]
        )
        lines.append(f"flow against the exact one, px by px per frame: {missed}")
    return lines


def steadiness_lines(total: dict[str, Any]) -> list[str]:
    """Flicker of output, ground truth and source; drift of the output from the ground truth."""
    lines = [
        "",
        "flicker: change of cells of a 32nd of the picture as fast as every four frames or faster,"
        " rms 0..255,\nand its share of the energy of all change",
        f"{'':<14}{'flicker':>9}{'share':>8}",
    ]
    for name, key in (("output", "output"), ("ground truth", "truth"), ("source", "source")):
        flicker = total["flicker"][key]
        lines.append(f"{name:<14}{flicker['amplitude']:>9.3f}{flicker['share']:>8.1%}")
    lines.append("drift from the ground truth, 0..255 per minute: " + drift_text(total["drift"]))
    return lines


def drift_text(drifts: dict[str, dict[str, float | None]]) -> str:
    """Every level's slope with twice its error."""
    parts = []
    for name, found in drifts.items():
        slope, error = found["per_minute"], found["error"]
        known = "unknown" if error is None else f"{2 * error:.2f}"
        parts.append(f"{name} {slope:+.2f} +- {known}")
    return ", ".join(parts)


def draw_metrics(path: Path, result: dict[str, Any]) -> Path:
    """Writes a PNG: every style's flicker, from its ground truth's to its own, and what the judges
    say, with the middle half of frames; the path.

    Raises:
        ConfigError: the file cannot be written.
    """
    groups = [("flicker, rms 0..255: a dot, from that of the ground truth", _flicker_bars(result))]
    for name in ("clip_neighbours", "clip_prompt", "warp_paper"):
        rows = [row for row in result["judged"]["styles"] if name in row["output"]]
        bars = [
            Bar(row["style"], row["output"][name], *row["output"][f"{name}_quartiles"])
            for row in rows
        ]
        if bars:
            groups.append((f"{COLUMNS[name]}: mean, and the middle half of frames", bars))
    return draw_bars(path, groups)


def _flicker_bars(result: dict[str, Any]) -> list[Bar]:
    bars = []
    for row in result["styles"]:
        own, true = (row["flicker"][key]["amplitude"] for key in ("output", "truth"))
        bars.append(Bar(row["style"], own, min(own, true), max(own, true)))
    return bars
