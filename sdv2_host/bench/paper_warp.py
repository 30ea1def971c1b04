"""The paper's warp error, as its script computes it, and motion estimated from pictures alone.

The script takes flow from the source by RAFT-large in both directions, moves every styled frame to
the next along it, and averages |difference| where the two directions agree. Two things in it make
its numbers what they are, and both are kept, since the paper's can be compared in no other way:

* Differences are taken in 8 bits, where 3 - 5 is 254: errors that are as often above as below
  average to 127, however small they are. Hence values such as 73 and 117 in the paper's table.
* The mask is that of the flow forward, which says where a thing was, and is laid on the frame that
  the flow backward leads to. What comes in over the picture's edge is black, and is counted.

The same error without these two is `scores.WarpScore` with an `EstimatedMotion`.

Source: arXiv 2511.07399, section 5; StreamDiffusionV2, evaluation/warp_error.py at commit 4e0f1f6,
which a later commit removed; its OpenCV is taken for a version 4.

# T frames   H W size in px
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sdv2_host.bench.raft import CELL_PX, MIN_SIDE_PX
from sdv2_host.bench.warp import warp

FlowFn = Callable[[Tensor, Tensor], Tensor]
"""As `Raft`: frames [B, 3, H, W] twice, 0..1, to flow [B, 2, H, W] from the first to the second."""
AGREE_SHARE, AGREE_PX = 0.01, 0.5
"""Flows forward and back agree when they miss each other by less than this share of their lengths
and this many px. Source: the script, after UnFlow, arXiv 1711.07837."""
REMAP_STEPS = 32
"""OpenCV 4 rounds the places that it looks at to this part of a px."""


class EstimatedMotion(NamedTuple):
    """A `scores.Motion`, and the paper's mask."""

    flow_T2HW: Tensor
    visible_T1HW: Tensor
    paper_visible_T1HW: Tensor
    """bool, of the flow from frame t-1 at p: it comes back. Frame 0 is False."""


@torch.inference_mode()
def estimate(flow_of: FlowFn, frames_T3HW: Tensor) -> EstimatedMotion:
    """The motion of a clip, float 0..1 on the network's device; a pair of frames at a time."""
    flow_T2HW = frames_T3HW.new_zeros(len(frames_T3HW), 2, *frames_T3HW.shape[2:])
    visible_T1HW = torch.zeros_like(flow_T2HW[:, :1], dtype=torch.bool)
    paper_visible_T1HW = torch.zeros_like(visible_T1HW)
    for index in range(1, len(frames_T3HW)):
        before, after = frames_T3HW[index - 1], frames_T3HW[index]
        forward, backward = _flow(flow_of, before, after), _flow(flow_of, after, before)
        flow_T2HW[index] = backward
        visible_T1HW[index, 0] = _agree(backward, forward) & _is_inside(backward)
        paper_visible_T1HW[index, 0] = _agree(forward, backward)
    return EstimatedMotion(flow_T2HW, visible_T1HW, paper_visible_T1HW)


def _flow(flow_of: FlowFn, first_3HW: Tensor, second_3HW: Tensor) -> Tensor:
    """[2, H, W] of any size; the edges are repeated up to what the network takes.

    One at a time: what the network remembers of a pair grows with the square of its pixels.
    """
    height, width = first_3HW.shape[-2:]
    wanted = [max(MIN_SIDE_PX, -(-side // CELL_PX) * CELL_PX) for side in (height, width)]
    margin = (0, wanted[1] - width, 0, wanted[0] - height)
    padded = [F.pad(each[None], margin, mode="replicate") for each in (first_3HW, second_3HW)]
    return flow_of(*padded)[0, :, :height, :width]


def _agree(there_2HW: Tensor, back_2HW: Tensor) -> Tensor:
    """bool [H, W]: the flow back, where the flow there leads, comes back."""
    lengths_HW = there_2HW.norm(dim=0) + back_2HW.norm(dim=0)
    missed_HW = (there_2HW + warp(back_2HW, there_2HW, "zeros")).norm(dim=0)
    agree_HW: Tensor = missed_HW <= AGREE_SHARE * lengths_HW + AGREE_PX
    return agree_HW


def _is_inside(flow_2HW: Tensor) -> Tensor:
    x_HW, y_HW = _places(flow_2HW)
    height, width = flow_2HW.shape[1:]
    return (x_HW >= 0) & (x_HW <= width - 1) & (y_HW >= 0) & (y_HW <= height - 1)


def _places(flow_2HW: Tensor) -> tuple[Tensor, Tensor]:
    """Where the flow leads, x and y in px."""
    height, width = flow_2HW.shape[1:]
    x_HW = torch.arange(width, device=flow_2HW.device) + flow_2HW[0]
    y_HW = torch.arange(height, device=flow_2HW.device)[:, None] + flow_2HW[1]
    return x_HW, y_HW


def paper_warp_errors(frames_T3HW: Tensor, motion: EstimatedMotion) -> list[float]:
    """The script's error of each frame but the first, 0..255: uint8 frames of the motion's size.

    Its error of a video is the mean of these. A frame without a visible pixel is left out.
    """
    errors = []
    for index in range(1, len(frames_T3HW)):
        visible_HW = motion.paper_visible_T1HW[index, 0].cpu()
        if not visible_HW.any():
            continue
        moved_3HW = _remap(frames_T3HW[index - 1].cpu(), motion.flow_T2HW[index].cpu())
        # Of unsigned bytes, so that it wraps round.
        difference_3HW = moved_3HW - frames_T3HW[index].cpu()
        errors.append(float(difference_3HW[:, visible_HW].double().mean()))
    return errors


def _remap(picture_3HW: Tensor, flow_2HW: Tensor) -> Tensor:
    """The picture moved by a backward flow, as OpenCV 4 does it: uint8, bit for bit."""
    x_HW, y_HW = ((place * REMAP_STEPS).round() / REMAP_STEPS for place in _places(flow_2HW))
    left_HW, top_HW = x_HW.floor(), y_HW.floor()
    right_share_HW, low_share_HW = x_HW - left_HW, y_HW - top_HW
    mixed_3HW = torch.zeros_like(picture_3HW, dtype=torch.float32)
    for down, row_share_HW in ((0, 1 - low_share_HW), (1, low_share_HW)):
        for right, share_HW in ((0, 1 - right_share_HW), (1, right_share_HW)):
            corner_3HW = _at(picture_3HW, left_HW.long() + right, top_HW.long() + down)
            mixed_3HW += corner_3HW * (row_share_HW * share_HW)
    return (mixed_3HW + 0.5).floor().to(torch.uint8)


def _at(picture_3HW: Tensor, x_HW: Tensor, y_HW: Tensor) -> Tensor:
    """The pixels at these places, black beyond the edges."""
    height, width = picture_3HW.shape[1:]
    inside_HW = (x_HW >= 0) & (x_HW < width) & (y_HW >= 0) & (y_HW < height)
    return picture_3HW[:, y_HW.clamp(0, height - 1), x_HW.clamp(0, width - 1)] * inside_HW
