"""Training clips on disk: rendered sources as uint8, later their latents in every style.

# T pixel frames  F latent frames  C channels  H W size

A clip is [18, H, W, 3]: frame 0 opens the session, `gap` frames before frames 1..17, which are
contiguous. Frame 0 gives the latent that will sit in the sink, frames 2..17 four latents of the
window, and frame 1 warms the autoencoder's memory, as in a stream that has run for a while.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.bench.styles import STYLES
from sdv2_host.bench.world import Scene
from sdv2_host.wan.tiny_vae import TinyVAE

CONTIGUOUS_FRAMES = 17
CLIP_FRAMES = 1 + CONTIGUOUS_FRAMES
CLIP_LATENTS = 5
MAX_GAP_FRAMES = 240
FPS = 30


class ClipSpec(NamedTuple):
    seed: int
    side_px: int


def render_clip(spec: ClipSpec) -> NDArray[np.uint8]:
    """[18, side, side, 3] of one scene, a random crop of its 256x256 picture."""
    torch.set_num_threads(1)
    rng = random.Random(spec.seed)
    scene = Scene.random(spec.seed)
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


def render_all(folder: Path, count: int, side_px: int, first_seed: int, workers: int = 2) -> Path:
    """Renders `count` clips into one .npy, unless it is there already."""
    path = folder / f"clips_{side_px}_{first_seed}_{count}.npy"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial.npy")
    shape = (count, CLIP_FRAMES, side_px, side_px, 3)
    clips = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
    specs = [ClipSpec(first_seed + index, side_px) for index in range(count)]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for index, clip in enumerate(pool.imap(render_clip, specs, chunksize=8)):
            clips[index] = clip
            if index % 100 == 0:
                print(f"rendered {index}/{count} clips of {side_px} px", flush=True)
    clips.flush()
    unfinished.rename(path)
    return path


def to_rgb(clip: NDArray[np.uint8]) -> Tensor:
    """[T, 3, H, W] in 0..1 from stored [T, H, W, 3]."""
    return torch.from_numpy(np.ascontiguousarray(clip)).permute(0, 3, 1, 2).float() / 255


def encode_clip(vae: TinyVAE, rgb_T3HW: Tensor) -> Tensor:
    """[5, C, h, w]: the session's first latent, then four of the window."""
    frames = rgb_T3HW[None] * 2 - 1
    side = frames.shape[-1]
    opening, window = (
        vae.encode(part, vae.init_cache(1, side, side), is_first=True).z_BFCHW
        for part in (frames[:, :1], frames[:, 1:])
    )
    return torch.cat([opening, window[:, 1:]], dim=1)[0]


class EncodeJob(NamedTuple):
    clip: NDArray[np.uint8]
    styles: list[int]


def encode_variants(vae: TinyVAE, job: EncodeJob) -> Tensor:
    """[1 + styles, 5, C, h, w] in half precision: the clip unstyled, then in each style."""
    torch.set_num_threads(1)
    names = list(STYLES)
    rgb = to_rgb(job.clip)
    with torch.inference_mode():
        variants = [rgb] + [STYLES[names[style]].fn(rgb) for style in job.styles]
        return torch.stack([encode_clip(vae, variant) for variant in variants]).half()


def encode_all(
    vae: TinyVAE, clips_path: Path, styles_per_clip: int, seed: int, workers: int = 2
) -> Path:
    """Latents of every clip, unstyled and in a few random styles, as one .pt of plain tensors."""
    path = clips_path.with_name(clips_path.stem.replace("clips", "latents") + ".pt")
    if path.exists():
        return path
    rng = random.Random(seed)
    clips = np.load(clips_path, mmap_mode="r")
    chosen = [rng.sample(range(len(STYLES)), styles_per_clip) for _ in clips]
    jobs = (EncodeJob(np.array(clip), styles) for clip, styles in zip(clips, chosen, strict=True))
    latents: list[Tensor] = []
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for encoded in pool.imap(partial(encode_variants, vae), jobs, chunksize=4):
            latents.append(encoded.clone())
            if len(latents) % 100 == 0:
                print(f"encoded {len(latents)}/{len(clips)} clips", flush=True)
    torch.save({"latents": torch.stack(latents), "styles": torch.tensor(chosen)}, path)
    return path


def style_clip(job: tuple[NDArray[np.uint8], str]) -> NDArray[np.uint8]:
    """The clip in a style, as uint8 again."""
    torch.set_num_threads(1)
    clip, name = job
    styled = (STYLES[name].fn(to_rgb(clip)) * 255).round().clamp(0, 255).to(torch.uint8)
    return styled.permute(0, 2, 3, 1).contiguous().numpy()


def style_some(clips_path: Path, count: int, seed: int, workers: int = 2) -> Path:
    """The first `count` clips in a random style each, for the autoencoder."""
    path = clips_path.with_name(clips_path.stem.replace("clips", "styled") + f"_{count}.npy")
    if path.exists():
        return path
    rng = random.Random(seed)
    clips = np.load(clips_path, mmap_mode="r")[:count]
    jobs = ((np.array(clip), rng.choice(list(STYLES))) for clip in clips)
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        np.save(path, np.stack(list(pool.imap(style_clip, jobs, chunksize=8))))
    return path


def pixel_batches(
    pools: Sequence[NDArray[np.uint8]], batch: int, frames: int, crop_px: int, seed: int
) -> Iterator[Tensor]:
    """Endless [B, T, 3, H, W] in 0..1 for the autoencoder, drawn evenly from the pools."""
    rng = random.Random(seed)
    while True:
        rows = []
        for _ in range(batch):
            pool = rng.choice(pools)
            clip = pool[rng.randrange(len(pool))]
            first = rng.randint(1, CLIP_FRAMES - frames)
            y, x = (8 * rng.randint(0, (clip.shape[1] - crop_px) // 8) for _ in range(2))
            rgb = to_rgb(clip[first : first + frames, y : y + crop_px, x : x + crop_px])
            if rng.random() < 0.2:
                rgb = rgb[:, torch.tensor(rng.sample(range(3), 3))]
            rows.append(rgb.flip(-1) if rng.random() < 0.5 else rgb)
        yield torch.stack(rows)
