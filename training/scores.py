"""How far predictions are from the truth: means by their errors, draws by the energy score.

# M members of a forecast (2)  B clips  F latent frames  T frames  C channels  H W size

Source: Gneiting and Raftery 2007, "Strictly proper scoring rules", section 4.2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.wan.tiny_vae import TinyVAE
from training.train_vae import decoded

LATENT_SIZES = (1, 3, 7)
PIXEL_SIZES = (1, 5)
"""Sides of the neighbourhoods in which draws are scored, in cells and pixels."""
SLOPE_WEIGHT = 2.0
"""Of the difference of neighbouring pixels, beside their colours."""
ROUNDING = 1e-6
"""Under the root of a distance, whose slope is infinite at 0."""


def mean_loss(z: Tensor, target: Tensor) -> Tensor:
    """L1 and L2."""
    error = z - target
    return error.abs().mean() + error.square().mean()


def energy_score(
    drawn_MBFCHW: Tensor, target_BFCHW: Tensor, sizes: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The energy score of two draws over neighbourhoods of these sizes, and over what changes from
    frame to frame, whose draws must go on from each other; and the ratio of distances between
    draws and from the truth.

    The first frame is another time, often: only later ones have a change.
    """
    scores, aparts, errors = [], [], []
    kinds = [(*drawn_MBFCHW, target_BFCHW)]
    kinds.append(tuple(part[:, 1:].diff(dim=1) for part in kinds[0]))
    for a, b, truth in kinds:
        for size in sizes:
            errors_2B = (distance(a, truth, size), distance(b, truth, size))
            error = torch.stack(errors_2B).mean()
            apart = distance(a, b, size).mean()
            scores.append(error - 0.5 * apart)
            aparts.append(apart.detach())
            errors.append(error.detach())
    return torch.stack(scores).mean(), torch.stack(aparts).sum() / torch.stack(errors).sum()


def distance(a_BFCHW: Tensor, b_BFCHW: Tensor, size: int) -> Tensor:
    """[B]: root mean square difference of neighbourhoods of so many cells a side, their mean."""
    square = (a_BFCHW - b_BFCHW).square().mean(dim=2).flatten(0, 1).unsqueeze(1)
    if size > 1:
        square = F.avg_pool2d(square, size, stride=max(size // 2, 1))
    return (square + ROUNDING).sqrt().unflatten(0, a_BFCHW.shape[:2]).flatten(1).mean(1)


def decoded_score(vae: TinyVAE, drawn_MBFCHW: Tensor, target_BFCHW: Tensor) -> Tensor:
    """`pixel_score` of what the latents look like, but the first."""
    both = torch.cat([*drawn_MBFCHW, target_BFCHW])
    *drawn, want = decoded(vae, both[:, 1:]).split(len(target_BFCHW))
    return pixel_score(torch.stack(drawn), want.detach())


def pixel_score(drawn_MBTCHW: Tensor, want_BTCHW: Tensor) -> Tensor:
    """The energy score of colours and their slopes, without which the borders of latent cells would
    show."""

    def seen(frames: Tensor) -> Tensor:
        slopes = (frames.diff(dim=-1)[..., 1:, :], frames.diff(dim=-2)[..., 1:])
        return torch.cat([frames[..., 1:, 1:], *(SLOPE_WEIGHT * one for one in slopes)], dim=-3)

    return energy_score(seen(drawn_MBTCHW), seen(want_BTCHW), PIXEL_SIZES)[0]
