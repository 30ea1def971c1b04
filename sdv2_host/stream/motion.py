"""Motion-aware noise: the faster the picture moves, the less noise it is given.

# B rows (1)  T pixel frames of the chunk  C channels  H W size

Everything stays on the device: the noise scale is a scalar tensor that no one reads on the way.
Source: StreamDiffusionV2, section 4.3 "motion-aware noise controller";
streamv2v/inference.py: compute_noise_scale_and_step (pixels, not latents).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class MotionState:
    """All per session, written in place."""

    last_frame_BCHW: Tensor
    """Last input frame in [-1, 1]; meaningless until the first chunk was seen."""
    level: Tensor
    """Motion 0..1 of the newest chunk, scalar."""
    noise_scale: Tensor
    """Smoothed noise scale of the newest chunk, scalar."""

    @classmethod
    def fresh(cls, height_px: int, width_px: int, device: torch.device) -> MotionState:
        return cls(
            torch.zeros(1, 3, height_px, width_px, device=device),
            torch.zeros((), device=device),
            torch.zeros((), device=device),
        )

    def reset_(self) -> None:
        self.last_frame_BCHW.zero_()
        self.level.zero_()
        self.noise_scale.zero_()


@dataclass(frozen=True, slots=True)
class MotionRule:
    """The controller's constants."""

    sigma: float = 0.2
    """Root mean square frame difference, in [-1, 1] units, that counts as full motion."""
    smoothing: float = 0.9
    """Weight of the new value in the running average (the paper's lambda)."""


def motion_level(
    frames_BTCHW: Tensor, previous_BCHW: Tensor | None, sigma: float, gain: float = 1.0
) -> Tensor:
    """0..1: the largest RMS difference of neighbouring frames, times gain over sigma.

    Scalar, float32. With gain 0 nothing counts as motion.
    """
    frames = frames_BTCHW.to(torch.float32)
    if previous_BCHW is not None:
        frames = torch.cat([previous_BCHW.unsqueeze(1).to(torch.float32), frames], dim=1)
    if frames.shape[1] < 2:
        return torch.zeros((), device=frames.device)
    difference = frames[:, 1:] - frames[:, :-1]
    rms_T = difference.square().mean(dim=(0, 2, 3, 4)).sqrt()
    return (rms_T.amax() * gain / sigma).clamp(0, 1)


def noise_scale(
    level: Tensor, previous: Tensor | float, s_min: float, s_max: float, smoothing: float
) -> Tensor:
    """lambda (s_max - (s_max - s_min) level) + (1 - lambda) previous."""
    return smoothing * (s_max - (s_max - s_min) * level) + (1 - smoothing) * previous


def observe_(
    state: MotionState,
    frames_BTCHW: Tensor,
    bounds: tuple[float, float],
    rule: MotionRule,
    is_first: bool,
    gain: float = 1.0,
) -> None:
    """`state` describes this chunk; the first chunk has no motion and gets s_max, as upstream.

    `bounds` are (s_min, s_max), live parameters, as is `gain`.
    """
    s_min, s_max = bounds
    if is_first:
        state.level.zero_()
        state.noise_scale.fill_(s_max)
    else:
        level = motion_level(frames_BTCHW, state.last_frame_BCHW, rule.sigma, gain)
        state.level.copy_(level)
        scale = noise_scale(level, state.noise_scale, s_min, s_max, rule.smoothing)
        state.noise_scale.copy_(scale)
    state.last_frame_BCHW.copy_(frames_BTCHW[:, -1])
