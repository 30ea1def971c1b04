"""What a viewer sees over time, without any weights: flicker, and drift of the picture's levels.

# T frames   N clips   H W size in px   h w size in cells
# S levels: brightness, contrast, saturation
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = 32
"""The picture is looked at in as many cells a side, so that texture that moves is no flicker."""
HIGH_BAND = 0.25
"""Cycles per frame: as fast as once in four frames, a chunk, or faster."""
MIN_FRAMES = 8
"""Fewer do not tell fast from slow."""
LEVELS = ("brightness", "contrast", "saturation")
LUMA = (0.2126, 0.7152, 0.0722)
FULL_SCALE = 255.0


def cells(frames_T3HW: Tensor) -> Tensor:
    """Means of the cells of frames 0..1: [T, 3, h, w]."""
    return F.adaptive_avg_pool2d(frames_T3HW.float(), CELLS)


@dataclass(slots=True)
class Flicker:
    """Energy of the cells over time in the fast band; pooled over clips by `merge`."""

    fast: float = 0.0
    """Sum over clips and cells of mean squares, of 0..1."""
    all: float = 0.0
    """The same of the whole spectrum, without what stands still."""
    num_cells: int = 0

    def add(self, cells_T3hw: Tensor) -> None:
        """Adds a clip; one of fewer than MIN_FRAMES says nothing and is left out."""
        count = len(cells_T3hw)
        if count < MIN_FRAMES:
            return
        # Without a window the jump from the clip's last frame to its first would count as fast.
        window_T = torch.hann_window(count, periodic=False, dtype=torch.float64)
        moving = (cells_T3hw.double() - cells_T3hw.double().mean(0)).flatten(1)
        spectrum = torch.fft.rfft(moving * window_T[:, None], dim=0).abs() ** 2
        # Every frequency stands for its negative too, but for none and for half the frame rate.
        spectrum[1 : (count + 1) // 2] *= 2
        energy = spectrum.sum(1) / (count * (window_T**2).sum())
        frequency = torch.fft.rfftfreq(count)
        self.fast += float(energy[frequency >= HIGH_BAND].sum())
        self.all += float(energy[1:].sum())
        self.num_cells += moving.shape[1]

    def merge(self, other: Flicker) -> None:
        self.fast += other.fast
        self.all += other.all
        self.num_cells += other.num_cells

    @property
    def share(self) -> float:
        """Of the energy of all change, 0..1; 0 where nothing changes."""
        return self.fast / self.all if self.all else 0.0

    @property
    def amplitude(self) -> float:
        """Root mean square, in 0..255."""
        return FULL_SCALE * math.sqrt(self.fast / self.num_cells) if self.num_cells else 0.0


def levels(frames_T3HW: Tensor) -> Tensor:
    """Brightness, contrast and saturation of frames 0..1: [T, S] in 0..255."""
    return torch.stack([_levels(frame_3HW.double()) for frame_3HW in frames_T3HW])


def _levels(frame_3HW: Tensor) -> Tensor:
    luma_HW = (frame_3HW * frame_3HW.new_tensor(LUMA)[:, None, None]).sum(0)
    colour_HW = frame_3HW.amax(0) - frame_3HW.amin(0)
    found = torch.stack((luma_HW.mean(), luma_HW.std(correction=0), colour_HW.mean()))
    return found * FULL_SCALE


class Drift(NamedTuple):
    """The slope of a level and its standard error, per minute."""

    per_minute: float
    error: float | None
    """None = too few frames or clips to tell."""


@dataclass(slots=True)
class Drifts:
    """Slopes of the levels of many clips, to be averaged."""

    slopes: list[list[float]] = field(default_factory=list)
    """Of each clip, [S], per minute."""

    def add(self, levels_TS: Tensor, fps: float) -> None:
        self.slopes.append([drift(levels_TS[:, index], fps).per_minute for index in range(3)])

    def merge(self, other: Drifts) -> None:
        self.slopes += other.slopes

    def summary(self) -> dict[str, Drift]:
        """Mean over clips, with the error of the mean."""
        slopes_NS = torch.tensor(self.slopes, dtype=torch.float64)
        count = len(slopes_NS)
        errors = (slopes_NS.std(0) / math.sqrt(count)).tolist() if count > 1 else [None] * 3
        found = zip(slopes_NS.mean(0).tolist(), errors, strict=True)
        return {name: Drift(*each) for name, each in zip(LEVELS, found, strict=True)}


def drift(values_T: Tensor, fps: float) -> Drift:
    """The slope by least squares; its error takes neighbouring frames' likeness into account.

    Residuals that follow each other with a correlation r are worth (1 - r) / (1 + r) as many that
    do not. Fewer than four frames have no error to be told.
    """
    values_T = values_T.double()
    count = len(values_T)
    minutes = torch.arange(count, dtype=torch.float64) / (60 * fps)
    minutes -= minutes.mean()
    spread = float((minutes**2).sum())
    slope = float((minutes * values_T).sum()) / spread if spread else 0.0
    if count < 4:
        return Drift(slope, None)
    left = values_T - values_T.mean() - slope * minutes
    energy = float((left**2).sum())
    if energy == 0.0:
        return Drift(slope, 0.0)
    likeness = min(max(float((left[1:] * left[:-1]).sum()) / energy, 0.0), 0.999)
    variance = energy / (count - 2) * (1 + likeness) / (1 - likeness)
    return Drift(slope, math.sqrt(variance / spread))
