"""Training clips: rendered as uint8 by other processes, on the device as latents in many styles.

# N clips  V variants (the source, then styles)  T pixel frames  F latent frames  C channels
# H W size

A clip is [18, H, W, 3]: frame 0 opens the session, `gap` frames before frames 1..17, which are
contiguous. Frame 0 gives the latent that will sit in the sink, frames 2..17 four latents of the
window, and frame 1 warms the autoencoder's memory, as in a stream that has run for a while.
"""

from __future__ import annotations

import math
import multiprocessing
import random
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.bench.styles import STYLES
from sdv2_host.bench.world import Scene
from sdv2_host.wan.dims import LATENT_STRIDE_PX
from sdv2_host.wan.streaming_vae import VAECache
from sdv2_host.wan.tiny_vae import TinyVAE

CONTIGUOUS_FRAMES = 17
CLIP_FRAMES = 1 + CONTIGUOUS_FRAMES
CLIP_LATENTS = 5
MAX_GAP_FRAMES = 240
FPS = 30
FAST_SHARE = 0.4
FAST_SPEEDS = (60.0, 400.0)
"""Units per second of that share of the clips: fast motion is rare among random scenes."""
CLIPS_AT_ONCE = 8
"""Styled and encoded together."""


class ClipSpec(NamedTuple):
    seed: int
    side_px: int


def render_clip(spec: ClipSpec) -> NDArray[np.uint8]:
    """[18, side, side, 3] of one scene, a random crop of its 256x256 picture."""
    torch.set_num_threads(1)
    rng = random.Random(spec.seed)
    is_fast = rng.random() < FAST_SHARE
    speed = math.exp(rng.uniform(*map(math.log, FAST_SPEEDS))) if is_fast else None
    scene = Scene.random(spec.seed, speed=speed)
    gap = 0 if rng.random() < 0.4 else rng.randint(1, MAX_GAP_FRAMES)
    start = gap + rng.randint(0, 60)
    limit = 256 - spec.side_px
    crop = (rng.randint(0, limit), rng.randint(0, limit), spec.side_px, spec.side_px)
    parts = [
        scene.render(count, 256, 256, start=first / FPS, fps=FPS, crop=crop).rgb_T3HW
        for first, count in ((start - gap, 1), (start, CONTIGUOUS_FRAMES))
    ]
    rgb_T3HW = (torch.cat(parts) * 255).round().clamp(0, 255).to(torch.uint8)
    return rgb_T3HW.permute(0, 2, 3, 1).contiguous().numpy()


class Renderer:
    """Renders clips in processes of its own while others train on the first of them.

    Make it before the first use of CUDA: its processes are forked.
    """

    def __init__(self, count: int, side_px: int, first_seed: int, workers: int) -> None:
        self._frames = torch.empty(count, CLIP_FRAMES, side_px, side_px, 3, dtype=torch.uint8)
        self._num_done = 0
        specs = [ClipSpec(first_seed + index, side_px) for index in range(count)]
        pool = multiprocessing.get_context("fork").Pool(workers)

        def gather() -> None:
            with pool:
                for index, clip in enumerate(pool.imap(render_clip, specs)):
                    self._frames[index] = torch.from_numpy(clip)
                    self._num_done = index + 1

        self._gathering = threading.Thread(target=gather, daemon=True)
        self._gathering.start()

    def wait(self, count: int) -> Tensor:
        """At least so many clips [N, T, H, W, 3]: all that there are by then."""
        began = time.monotonic()
        while self._num_done < min(count, len(self._frames)):
            if not self._gathering.is_alive():
                raise RuntimeError(f"rendering ended after {self._num_done} clips")
            if time.monotonic() - began > 5:
                began = time.monotonic()
                print(f"rendered {self._num_done} of {count} clips", flush=True)
            time.sleep(0.05)
        return self._frames[: self._num_done]


def to_rgb(clips: Tensor) -> Tensor:
    """[..., 3, H, W] in 0..1 from stored [..., H, W, 3]."""
    return clips.movedim(-1, -3).float() / 255


def in_style(clips_NTHW3: Tensor, style: int | None) -> Tensor:
    """[N, T, 3, H, W] in 0..1: the clips in the style of that number; None = as they are."""
    rgb = to_rgb(clips_NTHW3)
    if style is None:
        return rgb
    return list(STYLES.values())[style].fn(rgb.flatten(0, 1)).unflatten(0, rgb.shape[:2])


def styled_copy(clips_NTHW3: Tensor, style_N: Tensor) -> Tensor:
    """The clips in a style each, by its number, as uint8 again."""
    styled = torch.empty_like(clips_NTHW3)
    style_N = style_N.to(styled.device)
    for style in range(len(STYLES)):
        for (rows,) in _places(style_N == style):
            rgb = in_style(clips_NTHW3[rows], style)
            styled[rows] = (rgb * 255).round().to(torch.uint8).movedim(-3, -1)
    return styled


def _places(is_wanted: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The indices of True, few enough at once, one tensor for each axis."""
    for places in is_wanted.nonzero().split(CLIPS_AT_ONCE):
        if len(places):
            yield places.unbind(1)


def fresh_cache(vae: TinyVAE, rgb_BTCHW: Tensor) -> VAECache:
    """Empty memories for such frames."""
    num_rows, _, _, height, width = rgb_BTCHW.shape
    return vae.init_cache(num_rows, height, width, rgb_BTCHW.device)


def encode_clips(vae: TinyVAE, rgb_NT3HW: Tensor) -> Tensor:
    """[N, 5, C, h, w]: the session's first latent, then four of the window."""
    frames = rgb_NT3HW * 2 - 1
    opening, window = (
        vae.encode(part, fresh_cache(vae, part), is_first=True).z_BFCHW
        for part in (frames[:, :1], frames[:, 1:])
    )
    return torch.cat([opening, window[:, 1:]], dim=1)


class Encoded(NamedTuple):
    """Latents of clips, unstyled and in styles."""

    latents_NVFCHW: Tensor
    """Half precision."""
    styles_NV: Tensor
    """The number of each variant's style; the first is the source, and has that after the last."""


@torch.no_grad()
def encode_variants(
    vae: TinyVAE, clips_NTHW3: Tensor, styles_per_clip: int, seed: int, device: torch.device
) -> Encoded:
    """Every clip unstyled and in a few random styles, on the device."""
    rng = random.Random(seed)
    source = len(STYLES)
    styles_NV = torch.tensor(
        [[source, *rng.sample(range(source), styles_per_clip)] for _ in clips_NTHW3]
    )
    side = clips_NTHW3.shape[2] // LATENT_STRIDE_PX
    shape = (*styles_NV.shape, CLIP_LATENTS, vae.dims.latent_dim, side, side)
    latents = torch.empty(shape, dtype=torch.float16, device=device)
    for style in range(source + 1):
        for clips, variants in _places(styles_NV == style):
            rgb = in_style(clips_NTHW3[clips].to(device), None if style == source else style)
            encoded = encode_clips(vae, rgb).half()
            latents[clips.to(device), variants.to(device)] = encoded
    return Encoded(latents, styles_NV.to(device))
