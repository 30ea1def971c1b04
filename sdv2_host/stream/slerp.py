"""Prompts mixed as directions: spherical interpolation of their embeddings, token by token.

A weighted sum of two embeddings that point elsewhere is shorter than both, and the more of a
mixture there is, the less the model hears of it. Here the direction goes along the sphere and the
length from one prompt's to the other's.

# P prompts  L text_len  E text_dim
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROUNDS = 24
"""Two prompts need one. Three at right angles are within float32's rounding after 12, eight in
random directions after 24."""
OPPOSITE = -0.9999
"""Cosine of two directions with no way between them that is shorter than the others."""
NO_DIRECTION = 1e-3
"""Length of a sum of directions that cancel each other."""
TINY = 1e-12


def weighted_slerp(rows_PLE: Tensor, weights: Sequence[float]) -> Tensor:
    """[1, L, E], float32: per token the prompts' spherical mean by weight, lengths averaged.

    Of two prompts this is slerp; of any number it is the point of the sphere whose squared angles
    to them weigh least, whatever their order, and a prompt of weight 1 is itself. A token of
    zeros, as past a prompt's end, has no direction and counts by its length alone. Tokens that
    point away from each other, or cancel each other out, are summed by weight as with linear:
    there is no shortest way between them.

    Source: Buss and Fillmore, "Spherical averages", algorithm A1. A mean is a combination of the
    directions, so its rounds work on P coefficients per token and not on E numbers.
    """
    rows_PLE = rows_PLE.float()
    weight_P = torch.tensor(weights, dtype=torch.float32, device=rows_PLE.device)
    length_LP = rows_PLE.norm(dim=-1).T
    has_direction_LP = length_LP > TINY
    unit_PLE = rows_PLE / length_LP.T.clamp(min=TINY).unsqueeze(-1)
    cosine_LPP = torch.einsum("ple,qle->lpq", unit_PLE, unit_PLE)

    share_LP = weight_P * has_direction_LP
    share_LP = share_LP / share_LP.sum(dim=-1, keepdim=True).clamp(min=TINY)
    mean_LP = _spherical_mean(share_LP, cosine_LPP)
    length_L = (weight_P * length_LP).sum(dim=-1)
    curved_LE = length_L[:, None] * torch.einsum("lp,ple->le", mean_LP, unit_PLE)

    counts_LPP = (share_LP[:, :, None] > 0) & (share_LP[:, None, :] > 0)
    is_opposed_L = ((cosine_LPP < OPPOSITE) & counts_LPP).any(dim=-1).any(dim=-1)
    is_opposed_L |= _length(share_LP, cosine_LPP)[:, 0] < NO_DIRECTION
    straight_LE = torch.einsum("p,ple->le", weight_P, rows_PLE)
    return torch.where(is_opposed_L[:, None], straight_LE, curved_LE).unsqueeze(0)


def _spherical_mean(share_LP: Tensor, cosine_LPP: Tensor) -> Tensor:
    """Coefficients of the mean in the directions whose cosines are given."""
    mean_LP = share_LP / _length(share_LP, cosine_LPP).clamp(min=TINY)
    for _ in range(ROUNDS):
        cos_LP = torch.einsum("lp,lpq->lq", mean_LP, cosine_LPP).clamp(-1, 1)
        sin_LP = (1 - cos_LP.square()).sqrt()
        angle_LP = torch.atan2(sin_LP, cos_LP)
        # A direction p seen from the mean m lies at its angle times (p - cos m) / sin.
        stretch_LP = torch.where(sin_LP > TINY, angle_LP / sin_LP.clamp(min=TINY), 1.0) * share_LP
        way_LP = stretch_LP - (stretch_LP * cos_LP).sum(dim=-1, keepdim=True) * mean_LP
        way_L1 = _length(way_LP, cosine_LPP)
        mean_LP = way_L1.cos() * mean_LP + torch.sinc(way_L1 / torch.pi) * way_LP
        mean_LP = mean_LP / _length(mean_LP, cosine_LPP).clamp(min=TINY)
    return mean_LP


def _length(coefficients_LP: Tensor, cosine_LPP: Tensor) -> Tensor:
    """[L, 1]: of the combinations of directions."""
    square = torch.einsum("lp,lpq,lq->l", coefficients_LP, cosine_LPP, coefficients_LP)
    return square.clamp(min=0).sqrt().unsqueeze(-1)
