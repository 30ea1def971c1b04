"""The oracle of the stream: no cache and no batch, all frames under one block-causal mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sdv2_host.params import Params
from sdv2_host.stream.noise import HELD_CHUNK, chunk_noise, noise_key
from sdv2_host.wan.attention import WholeAttend, block_causal_mask
from sdv2_host.wan.flow import sigma_of, sigma_table
from sdv2_host.wan.rope import rotary_table
from tests.stream.conftest import GRID, TOKENS, Toy


class SourceLatent(NamedTuple):
    """A chunk of one latent frame, clean."""

    index: int
    x: Tensor
    noise_scale: float


def source_latents(toy: Toy, chunks: list[Tensor], params: Params) -> list[SourceLatent]:
    """The chunks as they come to the model, with the noise that motion gives them."""
    cache = toy.vae.init_cache(1, 32, 48, dtype=torch.float64)
    scale, latents = params.noise_s_max, []
    for index, chunk in enumerate(chunks):
        if index:
            joined = torch.cat([chunks[index - 1][:, -1:], chunk], 1).float()
            rms = (joined[:, 1:] - joined[:, :-1]).square().mean((0, 2, 3, 4)).sqrt().max()
            motion = min(float(rms) / 0.2, 1.0)
            aim = params.noise_s_max - (params.noise_s_max - params.noise_s_min) * motion
            scale = 0.9 * aim + 0.1 * scale
        x, cache = toy.vae.encode(chunk, cache, is_first=index == 0)
        latents.append(SourceLatent(index, x, scale))
    return latents


def denoised(toy: Toy, sources: Sequence[SourceLatent], params: Params) -> list[Tensor]:
    """A stream that begins with the first of `sources`. Step i of a chunk looks at step i's input
    of every earlier chunk, by running all of them again."""
    dit, text = toy.dit, toy.dit.text_kv(toy.text.encode(params.prompt))
    seen: list[list[Tensor]] = [[] for _ in range(params.steps)]
    told: list[list[Tensor]] = [[] for _ in range(params.steps)]
    clean = []
    for count, source in enumerate(sources, start=1):
        x, level = source.x, source.noise_scale
        t = float(int(1000 * level + 1e-3))
        for step in range(params.steps):
            if step:
                t = min(t * 0.85, (700, 500, 400, 200)[step])
                level = float(sigma_of(torch.tensor(t), sigma_table()))
            own, every = (
                chunk_noise(noise_key(params.seed, key, step), x.shape, x.device, torch.float64)
                for key in (source.index, HELD_CHUNK)
            )
            hold = params.noise_hold
            noise = (1 - hold) ** 0.5 * own + hold**0.5 * every
            x = (1 - level) * x + level * noise
            seen[step].append(x)
            told[step].append(torch.tensor([[t]]))
            rotary = rotary_table(dit.dims.head_dim, torch.arange(count), *GRID)
            attend = WholeAttend(rotary, block_causal_mask(count, TOKENS))
            flow = dit(torch.cat(seen[step], 1), torch.cat(told[step], 1), text, attend)
            x = x - float(sigma_of(torch.tensor(t), sigma_table())) * flow[:, -1:]
        clean.append(x)
    return clean


def decoded(toy: Toy, latents: Sequence[Tensor]) -> Tensor:
    """Pictures of a session."""
    cache = toy.vae.init_cache(1, 32, 48, dtype=torch.float64)
    pictures = []
    for index, x in enumerate(latents):
        frames, cache = toy.vae.decode(x, cache, is_first=index == 0)
        pictures.append(frames)
    return torch.cat(pictures, 1)
