"""Flow matching: the noise schedule and the two lines of algebra around a prediction.

Source: models/wan/flow_match.py of StreamDiffusionV2, FlowMatchScheduler(shift=8).
"""

from __future__ import annotations

import torch
from torch import Tensor

SHIFT = 8.0
NUM_TIMESTEPS = 1000


def sigma_table() -> Tensor:
    """The 1000 noise levels of the shifted schedule, falling from 1; timestep = 1000 sigma."""
    s = torch.linspace(1, 0, NUM_TIMESTEPS + 1)[:-1]
    return SHIFT * s / (1 + (SHIFT - 1) * s)


def sigma_of(t: Tensor, table: Tensor) -> Tensor:
    """Noise level of timesteps 0..1000: the nearest entry of `sigma_table()`, on t's device."""
    distance = (table.to(t.device) * NUM_TIMESTEPS - t.to(torch.float32).unsqueeze(-1)).abs()
    return table.to(t.device)[distance.argmin(dim=-1)]


def add_noise(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(1 - sigma) x0 + sigma noise, in x0's dtype; sigma per row, broadcast over the rest."""
    sigma = expand(sigma, x0)
    return ((1 - sigma) * x0 + sigma * noise).to(x0.dtype)


def to_x0(x_t: Tensor, flow: Tensor, sigma: Tensor) -> Tensor:
    """The clean latents a flow prediction implies: x_t - sigma flow, in x_t's dtype."""
    return (x_t - expand(sigma, x_t) * flow).to(x_t.dtype)


def expand(sigma: Tensor, like: Tensor) -> Tensor:
    """sigma with trailing axes added until it broadcasts over `like`.

    In float32 at least, and so is what is computed with it: bfloat16 knows 0.7 as 0.6992 only, and
    the reference goes through float64 here. These few numbers cost nothing.
    """
    shaped = sigma.reshape(sigma.shape + (1,) * (like.ndim - sigma.ndim))
    return shaped.to(torch.promote_types(like.dtype, torch.float32))
