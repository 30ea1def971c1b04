"""Moving a picture along its optical flow, and what is left over.

# T frames   H W size in px
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(previous: Tensor, flow: Tensor, beyond: str = "border") -> Tensor:
    """The previous frame moved by a backward flow: bilinear, edges repeated; same shape.

    [C, H, W] with flow [2, H, W], or a batch [T, C, H, W] with flow [T, 2, H, W]. `beyond` is
    grid_sample's padding_mode: "zeros" has nothing past the edges.
    """
    if previous.dim() == 3:
        return warp(previous[None], flow[None], beyond)[0]
    height, width = previous.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    grid = torch.stack((x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1), -1)
    return F.grid_sample(previous.float(), grid, padding_mode=beyond, align_corners=True)


def warp_error(frames_T3HW: Tensor, flow_T2HW: Tensor, visible_T1HW: Tensor) -> float:
    """Mean |frame t - warped frame t-1| x 255 over visible pixels; 0 when none is visible."""
    visible = visible_T1HW[1:]
    moved = warp(frames_T3HW[:-1], flow_T2HW[1:])
    total = ((frames_T3HW[1:] - moved).abs() * visible).sum()
    count = int(visible.sum()) * frames_T3HW.shape[1]
    return 255.0 * float(total) / count if count else 0.0
