"""Moving a picture along its optical flow, and what is left over.

# T frames   H W size in px
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(previous_3HW: Tensor, flow_2HW: Tensor) -> Tensor:
    """The previous frame moved by a backward flow: bilinear, edges repeated; same shape."""
    height, width = previous_3HW.shape[-2:]
    x = torch.arange(width, device=flow_2HW.device) + flow_2HW[0]
    y = torch.arange(height, device=flow_2HW.device)[:, None] + flow_2HW[1]
    grid = torch.stack((x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1), -1)
    sampled = F.grid_sample(
        previous_3HW[None].float(), grid[None], padding_mode="border", align_corners=True
    )
    return sampled[0]


def warp_error(frames_T3HW: Tensor, flow_T2HW: Tensor, visible_T1HW: Tensor) -> float:
    """Mean |frame t - warped frame t-1| x 255 over visible pixels; 0 when none is visible."""
    total, count = 0.0, 0
    for t in range(1, len(frames_T3HW)):
        mask_1HW = visible_T1HW[t]
        difference = (frames_T3HW[t] - warp(frames_T3HW[t - 1], flow_T2HW[t])).abs() * mask_1HW
        total += float(difference.sum())
        count += int(mask_1HW.sum()) * frames_T3HW.shape[1]
    return 255.0 * total / count if count else 0.0
