"""RAFT-large, the network whose optical flow the paper's warp error goes by. A user brings the
weights: the file that torchvision publishes, whose names of tensors the modules here share.

Not torchvision itself: its wheels load beside the one build of torch they were made for, and the
host comes with others. tests/bench/test_raft.py holds both to the same numbers.

Source: arXiv 2003.12039; torchvision 0.28, models/optical_flow/raft.py.

# B pairs   C channels   H W size in px   h w size in cells of 8 px   L pyramid levels
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdv2_host.errors import ModelError
from sdv2_host.wan.filling import META, load_
from sdv2_host.wan.weights import Part

CELL_PX = 8
"""Flow is estimated on a grid of this many px and then refined."""
LEVELS, RADIUS = 4, 4
MIN_SIDE_PX = 2 * CELL_PX * 2 ** (LEVELS - 1)
"""The coarsest correlations are two cells a side at least."""
NUM_UPDATES = 12
"""torchvision's default, which the paper's script leaves as it is."""
HIDDEN, MOTION = 128, 128
PUBLISHED = "raft_large_C_T_SKHT_V2-ff5fadd5.pth"
"""What torchvision's raft_large(pretrained=True) of the paper's script stands for."""

RAFT = Part("", (PUBLISHED,), lambda name: name)


def load_raft(path: Path, device: torch.device) -> Raft:
    """RAFT-large of a file or folder, ready for inference; no code of the file is run.

    Raises:
        ModelError: it cannot be read, is damaged, or is not torchvision's RAFT-large.
    """
    with torch.device(META):
        model = Raft()
    try:
        with RAFT.open(path) as checkpoint:
            return load_(model, checkpoint, device, torch.float32)
    except ModelError as error:
        raise ModelError(
            f"--raft {error}; expected RAFT-large as torchvision publishes it, {PUBLISHED}"
        ) from error


def memory_bytes(width_px: int, height_px: int) -> int:
    """What a pair of frames takes at its peak, about: every cell's likeness to every other, twice
    while it is made, and coarser by four thrice."""
    num_cells = math.ceil(width_px / CELL_PX) * math.ceil(height_px / CELL_PX)
    return int(num_cells**2 * 4 * 2.33)


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, norm: type[nn.Module] | None = None
) -> nn.Sequential:
    """Convolution that keeps the size but for its stride, norm if any, ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)]
    if norm is not None:
        layers.append(norm(outputs))
    return nn.Sequential(*layers, nn.ReLU())


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.convnormrelu1 = _conv(inputs, outputs, 3, stride, norm)
        self.convnormrelu2 = _conv(outputs, outputs, 3, 1, norm)
        narrowed = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), norm(outputs))
        self.downsample = narrowed if stride > 1 else nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = self.convnormrelu2(self.convnormrelu1(x_BCHW))
        return F.relu(self.downsample(x_BCHW) + y_BCHW)


class _Encoder(nn.Module):
    """Frames -1..1 [B, 3, H, W] -> [B, 256, h, w]."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.convnormrelu = _conv(3, 64, 7, 2, norm)
        self.layer1 = nn.Sequential(_Residual(64, 64, 1, norm), _Residual(64, 64, 1, norm))
        self.layer2 = nn.Sequential(_Residual(64, 96, 2, norm), _Residual(96, 96, 1, norm))
        self.layer3 = nn.Sequential(_Residual(96, 128, 2, norm), _Residual(128, 128, 1, norm))
        self.conv = nn.Conv2d(128, 2 * HIDDEN, 1)

    def forward(self, frames_B3HW: Tensor) -> Tensor:
        x_BCHW = self.convnormrelu(frames_B3HW)
        features_BChw: Tensor = self.conv(self.layer3(self.layer2(self.layer1(x_BCHW))))
        return features_BChw


class _MotionEncoder(nn.Module):
    """The flow so far and how well it matches -> [B, MOTION, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        self.convcorr1 = _conv(LEVELS * (2 * RADIUS + 1) ** 2, 256, 1)
        self.convcorr2 = _conv(256, 192, 3)
        self.convflow1 = _conv(2, 128, 7)
        self.convflow2 = _conv(128, 64, 3)
        self.conv = _conv(192 + 64, MOTION - 2, 3)

    def forward(self, flow_B2hw: Tensor, matches_BChw: Tensor) -> Tensor:
        matches_BChw = self.convcorr2(self.convcorr1(matches_BChw))
        moved_BChw = self.convflow2(self.convflow1(flow_B2hw))
        both_BChw = self.conv(torch.cat((matches_BChw, moved_BChw), 1))
        return torch.cat((both_BChw, flow_B2hw), 1)


class _Gru(nn.Module):
    def __init__(self, kernel: tuple[int, int]) -> None:
        super().__init__()
        inputs = HIDDEN + HIDDEN + MOTION
        self.convz, self.convr, self.convq = (
            nn.Conv2d(inputs, HIDDEN, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
            for _ in range(3)
        )

    def forward(self, hidden_BChw: Tensor, seen_BChw: Tensor) -> Tensor:
        both_BChw = torch.cat((hidden_BChw, seen_BChw), 1)
        update_BChw = self.convz(both_BChw).sigmoid()
        reset_BChw = self.convr(both_BChw).sigmoid()
        fresh_BChw = self.convq(torch.cat((reset_BChw * hidden_BChw, seen_BChw), 1)).tanh()
        mixed_BChw: Tensor = (1 - update_BChw) * hidden_BChw + update_BChw * fresh_BChw
        return mixed_BChw


class _Recurrent(nn.Module):
    """Two units, along the rows and along the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.convgru1, self.convgru2 = _Gru((1, 5)), _Gru((5, 1))

    def forward(self, hidden_BChw: Tensor, seen_BChw: Tensor) -> Tensor:
        hidden_BChw = self.convgru2(self.convgru1(hidden_BChw, seen_BChw), seen_BChw)
        return hidden_BChw


class _FlowHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(HIDDEN, 256, 3, padding=1)
        self.conv2 = nn.Conv2d(256, 2, 3, padding=1)

    def forward(self, hidden_BChw: Tensor) -> Tensor:
        step_B2hw: Tensor = self.conv2(F.relu(self.conv1(hidden_BChw)))
        return step_B2hw


class _Update(nn.Module):
    """One refinement: the new hidden state and what is to be added to the flow."""

    def __init__(self) -> None:
        super().__init__()
        self.motion_encoder = _MotionEncoder()
        self.recurrent_block = _Recurrent()
        self.flow_head = _FlowHead()

    def forward(
        self, hidden_BChw: Tensor, context_BChw: Tensor, matches_BChw: Tensor, flow_B2hw: Tensor
    ) -> tuple[Tensor, Tensor]:
        motion_BChw = self.motion_encoder(flow_B2hw, matches_BChw)
        seen_BChw = torch.cat((context_BChw, motion_BChw), 1)
        hidden_BChw = self.recurrent_block(hidden_BChw, seen_BChw)
        return hidden_BChw, self.flow_head(hidden_BChw)


class _Weights(nn.Module):
    """How each px mixes the flow of the nine cells around it: [B, 9 * 64, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        self.convrelu = _conv(HIDDEN, 256, 3)
        self.conv = nn.Conv2d(256, 9 * CELL_PX**2, 1)

    def forward(self, hidden_BChw: Tensor) -> Tensor:
        # Trained so, to slow this branch down.
        weights_BChw: Tensor = 0.25 * self.conv(self.convrelu(hidden_BChw))
        return weights_BChw


class Raft(nn.Module):
    """Holds weights; nothing survives a call."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_encoder = _Encoder(nn.InstanceNorm2d)
        self.context_encoder = _Encoder(nn.BatchNorm2d)
        self.update_block = _Update()
        self.mask_predictor = _Weights()

    def forward(self, first_B3HW: Tensor, second_B3HW: Tensor) -> Tensor:
        """Flow in px [B, 2, H, W], (x, y): what is at p of the first is at p + flow of the second.

        Frames are float 0..1, sides multiples of CELL_PX and at least MIN_SIDE_PX.
        """
        both_B3HW = torch.cat((first_B3HW, second_B3HW)) * 2 - 1
        pyramid = _correlations(*self.feature_encoder(both_B3HW).chunk(2))
        context_BChw = self.context_encoder(both_B3HW[: len(first_B3HW)])
        hidden_BChw, context_BChw = context_BChw.split(HIDDEN, 1)
        hidden_BChw, context_BChw = hidden_BChw.tanh(), context_BChw.relu()
        here_B2hw = _cells(hidden_BChw)
        there_B2hw = here_B2hw
        for _ in range(NUM_UPDATES):
            matches_BChw = _look_up(pyramid, there_B2hw)
            hidden_BChw, step_B2hw = self.update_block(
                hidden_BChw, context_BChw, matches_BChw, there_B2hw - here_B2hw
            )
            there_B2hw = there_B2hw + step_B2hw
        return _to_pixels(there_B2hw - here_B2hw, self.mask_predictor(hidden_BChw))


def _cells(like_BChw: Tensor) -> Tensor:
    """Every cell's own place (x, y): [B, 2, h, w]."""
    batch, _, rows, columns = like_BChw.shape
    y = torch.arange(rows, device=like_BChw.device, dtype=like_BChw.dtype)
    x = torch.arange(columns, device=like_BChw.device, dtype=like_BChw.dtype)
    grid_yx = torch.meshgrid(y, x, indexing="ij")
    return torch.stack(grid_yx[::-1]).expand(batch, -1, -1, -1)


def _correlations(first_BChw: Tensor, second_BChw: Tensor) -> list[Tensor]:
    """Every cell of the first with all of the second, which get coarser: [B * h * w, 1, h', w']."""
    batch, channels, rows, columns = first_BChw.shape
    volume = first_BChw.flatten(2).transpose(1, 2) @ second_BChw.flatten(2)
    pyramid = [volume.reshape(batch * rows * columns, 1, rows, columns) / math.sqrt(channels)]
    for _ in range(LEVELS - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid


def _look_up(pyramid: Sequence[Tensor], there_B2hw: Tensor) -> Tensor:
    """How well the cells around `there` match, at all levels: [B, L * 81, h, w]."""
    batch, _, rows, columns = there_B2hw.shape
    reach = torch.arange(-RADIUS, RADIUS + 1, device=there_B2hw.device, dtype=there_B2hw.dtype)
    # x changes along the first axis and y along the second: the order the weights were trained in.
    offsets = torch.stack(torch.meshgrid(reach, reach, indexing="ij"), -1)
    centres = there_B2hw.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
    found = []
    for level, volume in enumerate(pyramid):
        height, width = volume.shape[-2:]
        size = torch.tensor((width - 1, height - 1), device=volume.device, dtype=volume.dtype)
        grid = (centres / 2**level + offsets) * 2 / size - 1
        found.append(
            F.grid_sample(volume, grid, align_corners=True).reshape(batch, rows, columns, -1)
        )
    return torch.cat(found, -1).permute(0, 3, 1, 2)


def _to_pixels(flow_B2hw: Tensor, weights_BChw: Tensor) -> Tensor:
    """Flow of every px as a convex mixture of the nine cells around it: [B, 2, H, W]."""
    batch, _, rows, columns = flow_B2hw.shape
    mix = weights_BChw.reshape(batch, 1, 9, CELL_PX, CELL_PX, rows, columns).softmax(2)
    nine = F.unfold(CELL_PX * flow_B2hw, 3, padding=1).reshape(batch, 2, 9, 1, 1, rows, columns)
    fine = (mix * nine).sum(2).permute(0, 1, 4, 2, 5, 3)
    return fine.reshape(batch, 2, CELL_PX * rows, CELL_PX * columns)
