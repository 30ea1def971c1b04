"""What a person reads of `bench video`: the tables and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdv2_host.bench.judged_report import NOWHERE, drift_text, meaning_lines, score_lines
from sdv2_host.bench.plots import Panel, draw_lines
from sdv2_host.bench.steadiness import MIN_FRAMES

MINUTE_S = 60
MISSING = {
    "clip": "CLIP scores: give a CLIP with --clip FOLDER",
    "flow": "warp error: give RAFT-large with --raft FILE",
}


def format_table(result: dict[str, Any]) -> str:
    """The result of `video.run` as plain text for a terminal."""
    width, height = result["size"]
    lines = [
        f"{result['styled']} against {result['source']}: {result['frames']} frames at "
        f"{result['fps']:.4g} fps, {width}x{height}"
    ]
    if result["ended_first"]:
        lines.append(
            f"the {result['ended_first']} one ended first; the rest of the other is left out"
        )
    scores = result["scores"]
    if scores["styled"]:
        lines += ["", *meaning_lines(result)]
        lines += score_lines("", [(name, scores[name]) for name in ("styled", "source")])
    if result["motion"]:
        lines += ["", f"{'motion, px/frame':<18}{'pixels':>8}{'styled':>8}{'source':>8}"]
        lines += [
            f"{row['motion_px']:<18}{row['share']:>8.0%}{row['warp_styled']:>8.2f}"
            f"{row['warp_source']:>8.2f}"
            for row in result["motion"]
        ]
    return "\n".join([*lines, "", *_steadiness_lines(result), *_unmeasured(result)])


def _steadiness_lines(result: dict[str, Any]) -> list[str]:
    lines = []
    for name, flicker in result["flicker"].items():
        if flicker is not None:
            lines.append(
                f"flicker, {name}: {flicker['amplitude']:.3f} of 255, {flicker['share']:.1%} of "
                "the energy of all change"
            )
    lines += [
        f"drift per minute, {name}: {drift_text(drifts)}"
        for name, drifts in result["drift"].items()
    ]
    if result["frames"] < MINUTE_S * result["fps"]:
        shown_s = result["frames"] / result["fps"]
        lines.append(f"(drift goes by {shown_s:.1f} s: what these show counts as if it went on)")
    return lines


def _unmeasured(result: dict[str, Any]) -> list[str]:
    """A line for every number that is not there, with what it takes."""
    lacking = [what for name, what in MISSING.items() if not result[name]]
    if result["clip"] and not result["prompt"]:
        lacking.append("CLIP score of the prompt: say it with --prompt TEXT")
    if result["flow"] and result["frames"] > 1 and not result["motion"]:
        lacking.append(NOWHERE.format(**result))
    if None in result["flicker"].values():
        lacking.append(f"flicker: it takes {MIN_FRAMES} frames")
    return [f"not measured: {what}" for what in lacking]


def draw(path: Path, result: dict[str, Any]) -> Path | None:
    """Writes a PNG of what changes from frame to frame; the path; None of a single frame.

    Raises:
        ConfigError: the file cannot be written.
    """
    if result["frames"] < 2:
        return None
    panels = [
        Panel(f"{name}: {sum(values) / len(values):.2f}", values, min(values), max(values))
        for name, values in result["series"].items()
    ]
    times_s = [(index + 1) / result["fps"] for index in range(result["frames"] - 1)]
    return draw_lines(path, times_s, panels)
