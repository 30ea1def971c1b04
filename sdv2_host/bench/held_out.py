"""Clips that training never saw, and an engine's pictures of them.

# T frames   H W size in px
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.bench.world import Clip, Scene
from sdv2_host.params import Params
from sdv2_host.types import Engine, Frame, FrameMeta

FIRST_HELD_OUT_SEED = 9_000_000
"""Training uses scene seeds below 2,000,000."""
MOTION_TARGETS_PX = (2.0, 6.0, 0.5, 10.0)
"""Mean motion of the clips in turn, px per frame at 256 px: usual, fast, calm, very fast."""
CANDIDATES = 12
"""Scenes looked at for each clip; the one whose motion is nearest to the target is taken."""
START_S = 1.0
FPS = 30.0


class Sample(NamedTuple):
    """A held-out clip and what the engine is shown of it."""

    clip: Clip
    pixels_THW4: NDArray[np.uint8]
    seed: int
    motion_px: float
    """Mean, per frame of a 256-px picture."""


class Streamed(NamedTuple):
    """What an engine made of a clip."""

    frames_T3HW: Tensor
    """T as many as the engine gave."""
    notes: list[dict[str, float]]
    """Of every chunk: noise_scale, motion."""


class Stretch(NamedTuple):
    """A part of a clip."""

    pace: float
    """Time in the scene runs so much faster."""
    num_frames: int


def find_scene(first_seed: int, index: int, target_px: float) -> tuple[int, Scene, float]:
    """Seed, scene and motion of clip `index`: many random scenes hardly move, which tests nothing.

    Motion is the mean over about a second, px per frame of a 256-px picture.
    """
    first = first_seed + index * CANDIDATES
    found: list[tuple[float, int, Scene, float]] = []
    for seed in range(first, first + CANDIDATES):
        scene = Scene.random(seed, speed=2 * FPS * target_px)
        motion_px = _motion_px(scene)
        found.append((abs(math.log(motion_px / target_px)), seed, scene, motion_px))
    _, seed, scene, motion_px = min(found, key=lambda item: item[:2])
    return seed, scene, motion_px


def _motion_px(scene: Scene) -> float:
    side = 32
    probes = [
        scene.render(2, side, side, start=START_S + delay, fps=FPS).flow_T2HW[1].norm(dim=0)
        for delay in (0.1, 0.5, 0.9)
    ]
    return float(torch.stack(probes).mean()) * 256 / side + 1e-3


def render(first_seed: int, index: int, num_frames: int, size_px: int) -> Sample:
    """Held-out clip `index`."""
    target_px = MOTION_TARGETS_PX[index % len(MOTION_TARGETS_PX)]
    seed, scene, motion_px = find_scene(first_seed, index, target_px)
    clip = scene.render(num_frames, size_px, size_px, start=START_S, fps=FPS)
    return as_seen(clip, seed, motion_px)


def render_stretches(scene: Scene, stretches: Sequence[Stretch], size_px: int) -> Clip:
    """Stretches of one scene, end to end, each at its own pace."""
    parts: list[Clip] = []
    start_s = START_S
    for pace, num_frames in stretches:
        step_s = pace / FPS
        parts.append(scene.render(num_frames + 1, size_px, size_px, start=start_s, fps=1 / step_s))
        start_s += num_frames * step_s
    # A stretch's first frame has no flow; it is the last frame of the stretch before.
    return Clip(
        *(torch.cat([frames[1:] for frames in field]) for field in zip(*parts, strict=True))
    )


def as_seen(clip: Clip, seed: int, motion_px: float) -> Sample:
    """The engine sees 8-bit pixels, so ground truth is made of them."""
    rgb_T3HW = (clip.rgb_T3HW * 255).round()
    clip = clip._replace(rgb_T3HW=rgb_T3HW / 255)
    alpha = torch.full_like(rgb_T3HW[:, :1], 255)
    pixels_THW4 = torch.cat((rgb_T3HW, alpha), 1).to(torch.uint8).permute(0, 2, 3, 1)
    return Sample(clip, np.ascontiguousarray(pixels_THW4.numpy()), seed, motion_px)


def stream(engine: Engine, pixels_THW4: NDArray[np.uint8], params: Params) -> Streamed:
    """Frames through a fresh session of the engine, a chunk at a time; a last part chunk is left
    out, because engines take whole chunks."""
    engine.reset()
    height, width = pixels_THW4.shape[1:3]
    parts: list[NDArray[np.uint8]] = []
    notes: list[dict[str, float]] = []
    begin, count = 0, engine.first_chunk_frames
    while begin + count <= len(pixels_THW4):
        frames = [
            Frame(FrameMeta(width, height, frame=begin + offset + 1), pixels_THW4[begin + offset])
            for offset in range(count)
        ]
        chunk = engine.step(frames, params)
        parts.append(chunk.frames)
        notes.append(chunk.notes)
        begin, count = begin + count, engine.chunk_frames
    return Streamed(rgb_of(np.concatenate(parts)), notes)


def rgb_of(pixels_THW4: NDArray[np.uint8]) -> Tensor:
    """Float32 [T, 3, H, W] in 0..1."""
    return torch.from_numpy(pixels_THW4[..., :3].astype(np.float32) / 255).permute(0, 3, 1, 2)
