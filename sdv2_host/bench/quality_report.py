"""What a person reads of `bench quality`: the tables and the contact sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from sdv2_host.errors import ConfigError

LABEL_WIDTH_PX = 96
GAP_PX = 4
COLUMNS = 2
INK, BACKGROUND = (236, 238, 244), (18, 19, 24)


class Example(NamedTuple):
    """One frame of a style: rgb [3, H, W] in 0..1."""

    style: str
    source_3HW: Tensor
    output_3HW: Tensor
    truth_3HW: Tensor


def format_table(result: dict[str, Any]) -> str:
    """The result of `quality.run` as plain text tables for a terminal."""
    plan = result["plan"]
    lines = [
        f"engine {result['engine']}: {plan['clips']} held-out clips x {plan['frames_per_clip']} "
        f"frames at {plan['size_px']} px, {plan['params']['steps']} steps, "
        f"{result['seconds']:.0f} s",
        f"classifier: {result['classifier_held_out_accuracy']:.1%} right on held-out ground truth, "
        f"{result['classifier_accuracy_here']:.1%} on these clips",
        "warp error: mean |frame - previous frame moved along the exact flow|, 0..255;"
        " PSNR in dB against the ground-truth style",
        "",
        f"{'style':<12}{'named':>7}{'warp':>8}{'truth':>7}{'source':>8}{'ratio':>7}"
        f"{'PSNR':>8}{'unchanged':>11}",
    ]
    for row in [*result["styles"], {"style": "all", **result["total"]}]:
        lines.append(
            f"{row['style']:<12}{row['recognised']:>7.0%}{row['warp_output']:>8.2f}"
            f"{row['warp_truth']:>7.2f}{row['warp_source']:>8.2f}{row['warp_ratio']:>7.2f}"
            f"{row['psnr_output']:>8.1f}{row['psnr_unchanged']:>11.1f}"
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
    lines += [
        "",
        f"ablation on {', '.join(plan['ablation_styles'])}",
        f"{'sink':<6}{'motion-aware noise':<20}{'named':>7}{'warp':>8}{'ratio':>7}"
        f"{'fast':>7}{'PSNR':>8}",
    ]
    for row in result["ablation"]:
        lines.append(
            f"{_on(row['sink']):<6}{_on(row['motion_aware_noise']):<20}{row['recognised']:>7.0%}"
            f"{row['warp_output']:>8.2f}{row['warp_ratio']:>7.2f}{row['warp_ratio_fast']:>7.2f}"
            f"{row['psnr_output']:>8.1f}"
        )
    return "\n".join(lines)


def _on(value: bool) -> str:
    return "on" if value else "off"


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _image(rgb_3HW: Tensor) -> Image.Image:
    pixels = (rgb_3HW.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().numpy())
