"""Motion-aware noise: the faster the picture moves, the less noise it is given.

# B rows (1)  T frames of the chunk, of pixels or of latents  C channels  H W size
# K differences remembered

Everything stays on the device: the noise scale is a scalar tensor that no one reads on the way.
Source: StreamDiffusionV2, section 4.3 "motion-aware noise controller", on latents:
d_t = sqrt(|v_t - v_{t-1}|^2 / CHW), the largest of the last k over sigma, a running average;
streamv2v/inference.py: compute_noise_scale_and_step, on pixels, k = the chunk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sdv2_host.params import Params
from sdv2_host.picture_params import MOTION_WINDOW_MAX_FRAMES
from sdv2_host.wan.dims import FRAMES_PER_LATENT, LATENT_STRIDE_PX


@dataclass(frozen=True, slots=True)
class MotionRule:
    """The controller's constants, of a model."""

    sigma: float = 0.2
    """Root mean square frame difference, in [-1, 1] units, that counts as full motion."""
    latent_sigma: float = 1.0
    """The same of neighbouring latent frames, in the model's latent units."""


@dataclass(slots=True)
class Trail:
    """What one metric remembers. Per session, written in place."""

    last_BCHW: Tensor
    """Newest frame, float32; meaningless until the first chunk was seen."""
    differences_K: Tensor
    """Root mean square differences of neighbouring frames, newest last; zeros before the first."""

    @classmethod
    def fresh(cls, shape_CHW: tuple[int, int, int], capacity: int, device: torch.device) -> Trail:
        return cls(torch.zeros(1, *shape_CHW, device=device), torch.zeros(capacity, device=device))

    def observe_(self, frames_BTCHW: Tensor, window: int, is_first: bool) -> Tensor:
        """Largest of the last `window` differences, and of this chunk's own if it has more; 0-dim.

        The window reaches across chunks. The frames of a session's first chunk have no frame
        before them.
        """
        previous_BCHW = None if is_first else self.last_BCHW
        new_T = frame_differences(frames_BTCHW, previous_BCHW)
        seen = torch.cat([self.differences_K, new_T])
        self.differences_K.copy_(seen[-len(self.differences_K) :])
        self.last_BCHW.copy_(frames_BTCHW[:, -1])
        return seen[-max(window, len(new_T)) :].amax()

    def reset_(self) -> None:
        self.last_BCHW.zero_()
        self.differences_K.zero_()


@dataclass(slots=True)
class MotionState:
    """All per session, written in place. Both metrics are kept, so that one can be chosen live."""

    pixels: Trail
    latents: Trail
    level: Tensor
    """Motion 0..1 of the newest chunk, scalar."""
    noise_scale: Tensor
    """Smoothed noise scale of the newest chunk, scalar."""

    @classmethod
    def fresh(
        cls, height_px: int, width_px: int, latent_dim: int, device: torch.device
    ) -> MotionState:
        cells = (height_px // LATENT_STRIDE_PX, width_px // LATENT_STRIDE_PX)
        frames = MOTION_WINDOW_MAX_FRAMES
        return cls(
            Trail.fresh((3, height_px, width_px), frames, device),
            Trail.fresh((latent_dim, *cells), latents_of(frames), device),
            torch.zeros((), device=device),
            torch.zeros((), device=device),
        )

    def reset_(self) -> None:
        self.pixels.reset_()
        self.latents.reset_()
        self.level.zero_()
        self.noise_scale.zero_()


def latents_of(num_frames: int) -> int:
    """Latent frames that so many pixel frames touch."""
    return -(-num_frames // FRAMES_PER_LATENT)


def frame_differences(frames_BTCHW: Tensor, previous_BCHW: Tensor | None) -> Tensor:
    """Root mean square difference of each frame to the one before: float32 [T], or [T - 1] when
    nothing came before."""
    frames = frames_BTCHW.to(torch.float32)
    before = frames[:, :-1]
    if previous_BCHW is not None:
        previous = previous_BCHW.unsqueeze(1).to(torch.float32)
        before = torch.cat([previous, before], dim=1) if before.shape[1] else previous
    difference = frames[:, frames.shape[1] - before.shape[1] :] - before
    norm_T: Tensor = torch.linalg.vector_norm(difference, dim=(0, 2, 3, 4))
    num_values = frames[:, :1].numel()
    return norm_T * math.sqrt(1 / num_values)


def noise_scale(
    level: Tensor, previous: Tensor, bounds: tuple[float, float], reaction: float
) -> Tensor:
    """lambda (s_max - (s_max - s_min) level) + (1 - lambda) previous; bounds are (s_min, s_max)."""
    s_min, s_max = bounds
    towards = level * (-reaction * (s_max - s_min))
    return towards.add_(reaction * s_max).add_(previous, alpha=1 - reaction)


def observe_(
    state: MotionState,
    frames_BTCHW: Tensor,
    latents_BFCHW: Tensor,
    params: Params,
    rule: MotionRule,
    is_first: bool,
) -> None:
    """`state` describes this chunk; the first chunk has no motion and gets s_max, as upstream.

    The params hold the paper's lambda (motion_reaction), k (motion_window, in pixel frames) and
    1 / sigma (motion_gain times the rule's). With gain 0 nothing counts as motion.
    """
    window = params.motion_window
    in_pixels = state.pixels.observe_(frames_BTCHW, window, is_first)
    in_latents = state.latents.observe_(latents_BFCHW, latents_of(window), is_first)
    if is_first:
        state.level.zero_()
        state.noise_scale.fill_(params.noise_s_max)
        return
    is_latent = params.motion_metric == "latents"
    difference = in_latents if is_latent else in_pixels
    sigma = rule.latent_sigma if is_latent else rule.sigma
    torch.clamp(difference * (params.motion_gain / sigma), 0, 1, out=state.level)
    bounds = (params.noise_s_min, params.noise_s_max)
    scale = noise_scale(state.level, state.noise_scale, bounds, params.motion_reaction)
    state.noise_scale.copy_(scale)
