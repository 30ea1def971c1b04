"""Scores of styled clips against ground truth, summed exactly so that clips can be pooled.

# T frames   H W size in px
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from sdv2_host.bench.steadiness import Drifts, Flicker, cells, levels
from sdv2_host.bench.warp import warp

MOTION_BINS_PX = ((0.0, 1.0), (1.0, 4.0), (4.0, math.inf))
"""Pixels by how far they moved since the frame before, in pixels of a 256-px picture."""
REFERENCE_SIDE_PX = 256
PSNR_CEILING_DB = 60.0
"""What equal pictures score: infinity neither averages nor fits JSON."""


class Motion(Protocol):
    """How a clip moves: known by the renderer, or estimated."""

    @property
    def flow_T2HW(self) -> Tensor:  # noqa: N802  (a shape in a name)
        """(x, y) px: what is at p of frame t was at p + flow of frame t-1; frame 0 is zero."""

    @property
    def visible_T1HW(self) -> Tensor:  # noqa: N802
        """bool: in frame t-1 that point was inside the picture and not covered; frame 0 False."""


@dataclass(slots=True)
class Mean:
    """A running mean; empty = 0."""

    total: float = 0.0
    count: float = 0.0

    def add(self, total: float, count: float) -> None:
        self.total += total
        self.count += count

    def merge(self, other: Mean) -> None:
        self.add(other.total, other.count)

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else 0.0


@dataclass(slots=True)
class WarpScore:
    """Warp error (L1 x 255) over visible pixels, in all and by motion."""

    overall: Mean = field(default_factory=Mean)
    by_motion: list[Mean] = field(default_factory=lambda: [Mean() for _ in MOTION_BINS_PX])
    detail_by_motion: list[Mean] = field(default_factory=lambda: [Mean() for _ in MOTION_BINS_PX])
    """Difference of neighbouring pixels x 255, of the same pixels: what being a pixel off costs."""

    def add(self, frames_T3HW: Tensor, clip: Motion) -> None:
        """Adds the first frames of a clip, or all of them."""
        count = len(frames_T3HW)
        visible_THW = clip.visible_T1HW[1:count, 0]
        error_THW = left_over(frames_T3HW, clip).abs().mean(1) * 255
        detail_THW = neighbour_difference(frames_T3HW[1:]) * 255
        for index, moving_THW in enumerate(moving_pixels(clip, count)):
            chosen = visible_THW & moving_THW
            part = mean_where(error_THW, chosen)
            self.by_motion[index].merge(part)
            self.overall.merge(part)
            self.detail_by_motion[index].merge(mean_where(detail_THW, chosen))

    def merge(self, other: WarpScore) -> None:
        self.overall.merge(other.overall)
        for mine, theirs in zip(self.by_motion, other.by_motion, strict=True):
            mine.merge(theirs)
        for mine, theirs in zip(self.detail_by_motion, other.detail_by_motion, strict=True):
            mine.merge(theirs)


def left_over(frames_T3HW: Tensor, clip: Motion) -> Tensor:
    """[T - 1, 3, H, W]: of a clip's first frames, but the first, what the one before moved along
    the flow does not explain."""
    moved = warp(frames_T3HW[:-1], clip.flow_T2HW[1 : len(frames_T3HW)])
    return frames_T3HW[1:] - moved


def moving_pixels(clip: Motion, count: int) -> list[Tensor]:
    """Per bin of `MOTION_BINS_PX`, bool [count - 1, H, W]: which pixels of a clip's first frames,
    but the first, moved so far."""
    flow_T2HW = clip.flow_T2HW[1:count]
    speed_THW = flow_T2HW.norm(dim=1) * (REFERENCE_SIDE_PX / flow_T2HW.shape[-2])
    return [(speed_THW >= low) & (speed_THW < high) for low, high in MOTION_BINS_PX]


def squared_error_by_motion(frames_T3HW: Tensor, truth_T3HW: Tensor, clip: Motion) -> list[Mean]:
    """Per bin of `MOTION_BINS_PX`, of a clip's frames but the first: squared difference x 255^2
    from what they should be. Unlike warp error, it is no lower for a picture of nothing."""
    error_THW = ((frames_T3HW - truth_T3HW)[1:] * 255).square().mean(1)
    return [mean_where(error_THW, chosen) for chosen in moving_pixels(clip, len(frames_T3HW))]


def error_beyond_by_motion(frames_T3HW: Tensor, own_T3HW: Tensor, clip: Motion) -> list[Mean]:
    """Per bin of `MOTION_BINS_PX`, of pixels seen before: mean difference x 255 of what is left
    over in a clip's frames and in others of the same clip. Unlike the difference of two warp
    errors, it is no lower for a picture of nothing."""
    beyond_T3HW = left_over(frames_T3HW, clip) - left_over(own_T3HW, clip)
    error_THW = beyond_T3HW.abs().mean(1) * 255
    visible_THW = clip.visible_T1HW[1 : len(frames_T3HW), 0]
    moving = moving_pixels(clip, len(frames_T3HW))
    return [mean_where(error_THW, visible_THW & chosen) for chosen in moving]


def neighbour_difference(frames_T3HW: Tensor) -> Tensor:
    """Mean of the differences to the pixel to the right and to the one below; the edge's are 0."""
    difference_THW = torch.zeros_like(frames_T3HW[:, 0])
    difference_THW[..., :-1] += frames_T3HW.diff(dim=-1).abs().mean(1) / 2
    difference_THW[..., :-1, :] += frames_T3HW.diff(dim=-2).abs().mean(1) / 2
    return difference_THW


def mean_where(values_THW: Tensor, chosen_THW: Tensor) -> Mean:
    """The mean of the chosen ones."""
    total = (values_THW * chosen_THW).sum(dtype=torch.float64)
    return Mean(float(total), float(chosen_THW.sum()))


@dataclass(slots=True)
class Steadiness:
    """Flicker of a style's pictures, and how the output drifts from the ground truth."""

    output: Flicker = field(default_factory=Flicker)
    truth: Flicker = field(default_factory=Flicker)
    source: Flicker = field(default_factory=Flicker)
    drifts: Drifts = field(default_factory=Drifts)

    def add(self, output_T3HW: Tensor, truth_T3HW: Tensor, source_T3HW: Tensor, fps: float) -> None:
        self.output.add(cells(output_T3HW))
        self.truth.add(cells(truth_T3HW))
        self.source.add(cells(source_T3HW))
        self.drifts.add(levels(output_T3HW) - levels(truth_T3HW), fps)

    def merge(self, other: Steadiness) -> None:
        self.output.merge(other.output)
        self.truth.merge(other.truth)
        self.source.merge(other.source)
        self.drifts.merge(other.drifts)

    def summary(self) -> dict[str, Any]:
        flickers = {"output": self.output, "truth": self.truth, "source": self.source}
        return {
            "flicker": {
                name: {"amplitude": flicker.amplitude, "share": flicker.share}
                for name, flicker in flickers.items()
            },
            "drift": {name: found._asdict() for name, found in self.drifts.summary().items()},
        }


@dataclass(slots=True)
class Score:
    """Everything measured on some styled clips; pooled over clips by `merge`."""

    warp_output: WarpScore = field(default_factory=WarpScore)
    warp_truth: WarpScore = field(default_factory=WarpScore)
    warp_source: WarpScore = field(default_factory=WarpScore)
    squared_error: Mean = field(default_factory=Mean)
    """Of the output against ground truth."""
    squared_error_unchanged: Mean = field(default_factory=Mean)
    """Of the source against ground truth: what doing nothing scores."""
    recognised: Mean = field(default_factory=Mean)
    recognised_truth: Mean = field(default_factory=Mean)
    steadiness: Steadiness = field(default_factory=Steadiness)

    def merge(self, other: Score) -> None:
        self.warp_output.merge(other.warp_output)
        self.warp_truth.merge(other.warp_truth)
        self.warp_source.merge(other.warp_source)
        self.squared_error.merge(other.squared_error)
        self.squared_error_unchanged.merge(other.squared_error_unchanged)
        self.recognised.merge(other.recognised)
        self.recognised_truth.merge(other.recognised_truth)
        self.steadiness.merge(other.steadiness)

    def summary(self) -> dict[str, Any]:
        """Fits JSON: shares 0..1, warp errors in 1/255, PSNR in dB."""
        truth = self.warp_truth.overall.value
        output = self.warp_output.overall.value
        return {
            "recognised": self.recognised.value,
            "recognised_truth": self.recognised_truth.value,
            "warp_output": output,
            "warp_truth": truth,
            "warp_source": self.warp_source.overall.value,
            "warp_ratio": output / truth if truth else 0.0,
            "psnr_output": psnr_db(self.squared_error.value),
            "psnr_unchanged": psnr_db(self.squared_error_unchanged.value),
            **self.steadiness.summary(),
        }

    def motion_rows(self) -> list[dict[str, float | str]]:
        """Warp errors in each motion bin with its share of the visible pixels."""
        total = sum(mean.count for mean in self.warp_output.by_motion)
        rows: list[dict[str, float | str]] = []
        for index in range(len(MOTION_BINS_PX)):
            output, truth = self.warp_output.by_motion[index], self.warp_truth.by_motion[index]
            rows.append(
                {
                    "motion_px": bin_name(index),
                    "share": output.count / total if total else 0.0,
                    "warp_output": output.value,
                    "warp_truth": truth.value,
                    "warp_ratio": output.value / truth.value if truth.value else 0.0,
                }
            )
        return rows


def bin_name(index: int) -> str:
    """A motion bin in words, px per frame."""
    low, high = MOTION_BINS_PX[index]
    return f"{low:g}-{high:g}" if math.isfinite(high) else f"over {low:g}"


def psnr_db(mean_squared_error: float) -> float:
    """Peak signal to noise of pictures in 0..1."""
    if mean_squared_error <= 10 ** (-PSNR_CEILING_DB / 10):
        return PSNR_CEILING_DB
    return -10 * math.log10(mean_squared_error)


def squared_error(a_T3HW: Tensor, b_T3HW: Tensor) -> Mean:
    """Sum and count of squared differences."""
    return Mean(float(torch.sum((a_T3HW - b_T3HW) ** 2)), float(a_T3HW.numel()))
