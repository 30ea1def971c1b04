"""What a person reads of `bench quality`: the tables and the contact sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from sdv2_host.bench.change import table_lines
from sdv2_host.bench.corners import CORNERS, Corner, Noise, verdict
from sdv2_host.bench.judged_report import judged_lines, steadiness_lines
from sdv2_host.bench.plots import Bar, Panel, draw_bars, draw_lines, save
from sdv2_host.bench.trace import METRICS
from sdv2_host.gpu.tiny_engine import Past

LABEL_WIDTH_PX = 96
GAP_PX = 4
COLUMNS = 2
INK, BACKGROUND = (236, 238, 244), (18, 19, 24)
MEASURES = {"warp": "warp error", "slip_px": "slip", "beyond": "beyond", "away": "away"}
"""Of the ablation, in words."""
NEITHER, BOTH = Corner(Past.NO_SINKS, Noise.UPPER), Corner(Past.SINKS, Noise.AWARE)


class Example(NamedTuple):
    """One frame of a style: rgb [3, H, W] in 0..1."""

    style: str
    source_3HW: Tensor
    output_3HW: Tensor
    truth_3HW: Tensor


def format_table(result: dict[str, Any]) -> str:
    """The result of `quality.run` as plain text tables for a terminal."""
    steps = result["params"]["steps"]
    lines = [f"engine {result['engine']}: {steps} steps, {result['seconds']:.0f} s"]
    if "styles" in result:
        lines += _style_lines(result)
    if "ablation" in result:
        lines += ["", *_ablation_lines(result["ablation"])]
    if "change" in result:
        lines += ["", *table_lines(result["change"])]
    if "trace" in result:
        lines += ["", *_trace_lines(result["trace"])]
    return "\n".join(lines)


def _style_lines(result: dict[str, Any]) -> list[str]:
    plan = result["plan"]
    lines = [
        f"{plan['clips']} held-out clips x {plan['frames_per_clip']} frames at "
        f"{plan['size_px']} px",
        f"classifier: {result['classifier_held_out_accuracy']:.1%} right on held-out ground truth, "
        f"{result['classifier_accuracy_here']:.1%} on these clips",
        "warp error: mean |frame - previous frame moved along the exact flow|, 0..255;"
        " PSNR in dB against the ground-truth style",
        "",
        f"{'style':<12}{'named':>7}{'warp':>8}{'truth':>7}{'source':>8}{'ratio':>7}"
        f"{'PSNR':>8}{'unchanged':>11}{'flicker':>9}{'truth':>7}",
    ]
    for row in [*result["styles"], {"style": "all", **result["total"]}]:
        lines.append(
            f"{row['style']:<12}{row['recognised']:>7.0%}{row['warp_output']:>8.2f}"
            f"{row['warp_truth']:>7.2f}{row['warp_source']:>8.2f}{row['warp_ratio']:>7.2f}"
            f"{row['psnr_output']:>8.1f}{row['psnr_unchanged']:>11.1f}"
            f"{row['flicker']['output']['amplitude']:>9.2f}"
            f"{row['flicker']['truth']['amplitude']:>7.2f}"
        )
    total, phrasing = result["total"], result["held_out_phrasing"]
    lines += [
        f"warp ratio: all pixels pooled {total['warp_ratio']:.2f}, mean of styles "
        f"{total['warp_ratio_mean_of_styles']:.2f}, worst style "
        f"{total['warp_ratio_worst_style']:.2f} (a blurred picture scores low: read it with PSNR)",
        "",
        f"prompts in wordings not trained on: {phrasing['recognised']:.0%} of "
        f"{phrasing['prompts']} named",
        "",
        f"{'motion, px/frame':<18}{'pixels':>8}{'warp':>8}{'truth':>7}{'ratio':>7}",
    ]
    for row in result["motion"]:
        lines.append(
            f"{row['motion_px']:<18}{row['share']:>8.0%}{row['warp_output']:>8.2f}"
            f"{row['warp_truth']:>7.2f}{row['warp_ratio']:>7.2f}"
        )
    return [*lines, *steadiness_lines(total), *judged_lines(result["judged"])]


def _ablation_lines(ablation: dict[str, Any]) -> list[str]:
    frames = " + ".join(f"{part['num_frames']}" for part in ablation["stretches"])
    paces = ", ".join(f"{part['pace']:g}" for part in ablation["stretches"])
    lines = [
        f"ablation: {ablation['clips']} held-out clips of {frames} frames at pace {paces}, "
        f"{ablation['size_px']} px, in {', '.join(ablation['styles'])}",
        "slip: warp error over the difference of neighbouring pixels, in px; blur does not lower "
        "it; [95 % interval over clips]",
        "beyond: mean |what is left over along the flow - what is left over in the ground-truth "
        "style sent through",
        "  the autoencoder alone|, 0..255",
        "away: root mean square difference from the ground-truth style, 0..255",
        f"{'past':<15}{'noise':<21}{'warp':>6}{'':<18}{'slip':>8}{'':<18}{'beyond':>8}{'':<18}"
        f"{'away':>8}{'':<18}{'PSNR':>6}",
    ]
    for row in ablation["corners"]:
        lines.append(
            f"{row['past']:<15}{row['noise']:<13}{row['mean_noise']:>6.3f}"
            f"{row['warp']:>8.3f} {_between(row['warp_interval']):<17}"
            f"{row['slip_px']:>8.3f} {_between(row['slip_px_interval']):<17}"
            f"{row['beyond']:>8.3f} {_between(row['beyond_interval']):<17}"
            f"{row['away']:>8.2f} {_between(row['away_interval']):<17}"
            f"{row['psnr_output']:>6.1f}"
        )
    lines += ["", *_warp_by_motion(ablation)]
    for title, rows in _effect_tables(ablation):
        lines += ["", _columns(title, [f"on {measure}" for measure in MEASURES.values()])]
        lines += [_columns(name, [_effect(row, one) for one in MEASURES]) for name, row in rows]
    return lines


def _warp_by_motion(ablation: dict[str, Any]) -> list[str]:
    """What there is to win: how much of the error in fast pixels is the noise's."""
    rows = {
        "ground-truth style": ablation["bounds"]["truth"],
        "sent through the autoencoder alone": ablation["bounds"]["autoencoder_alone"],
    }
    for corner in (NEITHER, BOTH):
        row = ablation["corners"][CORNERS.index(corner)]
        rows[f"{row['past']}, {row['noise']}"] = row["warp_by_motion"]
    header = "".join(
        f"{name if name == 'all' else f'{name} px':>11}" for name in ablation["bounds"]["truth"]
    )
    return [
        f"{'warp error':<34}{header}",
        *(
            f"{name:<34}" + "".join(f"{error:>11.2f}" for error in by_motion.values())
            for name, by_motion in rows.items()
        ),
    ]


def _columns(first: str, others: list[str]) -> str:
    return (f"{first:<34}" + "".join(f"{other:<46}" for other in others)).rstrip()


def _effect_tables(ablation: dict[str, Any]) -> list[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """Title and named rows: a table for each comparison, and one of the rest."""
    tables = []
    for comparison in ablation["comparisons"]:
        rows = []
        for place in comparison["places"]:
            where = place["motion_px"]
            suffix = "" if where == "all" else f", {where} px"
            rows += [
                (f"{row['effect']}{suffix}", row)
                for row in place["effects"]
                if where == "all" or row["effect"] == "motion-aware noise"
            ]
        tables.append((f"against {comparison['against']}", rows))
    others = [(row["effect"], row) for row in ablation["others"]]
    return [*tables, ("beside the table", others)]


def _effect(row: dict[str, Any], measure: str) -> str:
    low, high = row[f"{measure}_interval"]
    return (
        f"{row[measure]:+.4f} [{low:+.4f}, {high:+.4f}] {row[f'{measure}_percent']:+.2f} % "
        f"{verdict(row, measure)}"
    )


def _between(interval: list[float]) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _trace_lines(trace: dict[str, Any]) -> list[str]:
    """Chunk by chunk."""
    lines = [
        f"motion and noise: window {trace['window_frames']} frames, gain {trace['gain']:g}, "
        f"reaction {trace['reaction']:g}",
        f"{'':>16}" + "".join(f"{metric:>16}" for metric in METRICS),
        f"{'s':>6}{'px/frame':>10}" + f"{'motion':>8}{'noise':>8}" * len(METRICS),
    ]
    for row in trace["chunks"]:
        seen = "".join(
            f"{row[metric]['motion']:>8.2f}{row[metric]['noise_scale']:>8.3f}" for metric in METRICS
        )
        lines.append(f"{row['time_s']:>6.2f}{row['motion_px']:>10.2f}{seen}")
    return lines


def draw_trace(path: Path, trace: dict[str, Any]) -> Path:
    """Writes a PNG: exact motion, and motion and noise by each metric, over time; the path.

    Raises:
        ConfigError: the file cannot be written.
    """
    rows = trace["chunks"]
    motion_px = [row["motion_px"] for row in rows]
    s_min, s_max = trace["bounds"]
    panels = [Panel("exact motion, px per frame", motion_px, 0.0, max(1.0, *motion_px))]
    for metric in METRICS:
        motion = [row[metric]["motion"] for row in rows]
        noise = [row[metric]["noise_scale"] for row in rows]
        panels.append(Panel(f"motion as measured on {metric}", motion, 0.0, 1.0))
        panels.append(Panel(f"noise by motion on {metric}", noise, s_min, s_max))
    return draw_lines(path, [row["time_s"] for row in rows], panels)


def draw_ablation(path: Path, ablation: dict[str, Any]) -> Path:
    """Writes a PNG: the corners and the effects, all with intervals; the path.

    Raises:
        ConfigError: the file cannot be written.
    """
    groups: list[tuple[str, list[Bar]]] = []
    for measure, title in MEASURES.items():
        corners = [
            _bar(f"{row['past']}, {row['noise']}", row, measure) for row in ablation["corners"]
        ]
        groups.append((title, corners))
        for heading, rows in _effect_tables(ablation):
            bars = [_bar(name, row, measure) for name, row in rows]
            groups.append((f"effects on {title}, {heading}; left of 0 = better", bars))
    return draw_bars(path, groups)


def _bar(name: str, row: dict[str, Any], measure: str) -> Bar:
    return Bar(name, row[measure], *row[f"{measure}_interval"])


def write_contact_sheet(path: Path, examples: list[Example]) -> Path:
    """Writes a PNG, a row per style in two columns: source, output, ground truth; the path.

    Raises:
        ConfigError: the file cannot be written.
    """
    side = examples[0].source_3HW.shape[-1]
    rows = -(-len(examples) // COLUMNS)
    column_width = LABEL_WIDTH_PX + 3 * (side + GAP_PX)
    sheet = Image.new("RGB", (COLUMNS * column_width, 20 + rows * (side + GAP_PX)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column in range(COLUMNS):
        for index, title in enumerate(("source", "output", "ground truth")):
            x = column * column_width + LABEL_WIDTH_PX + index * (side + GAP_PX)
            draw.text((x, 4), title, fill=INK)
    for place, example in enumerate(examples):
        left = (place // rows) * column_width
        top = 20 + (place % rows) * (side + GAP_PX)
        draw.text((left + 6, top + 6), example.style, fill=INK)
        for index, picture in enumerate(example[1:]):
            x = left + LABEL_WIDTH_PX + index * (side + GAP_PX)
            sheet.paste(_image(picture), (x, top))
    return save(sheet, path)


def _image(rgb_3HW: Tensor) -> Image.Image:
    pixels = (rgb_3HW.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().numpy())
