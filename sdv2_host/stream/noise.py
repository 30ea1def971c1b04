"""Noise keyed by what it is for, never by when it was asked for.

# B rows  F latent frames  C channels  H W latent size
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

HELD_CHUNK = 1 << 62
"""Stands where a chunk's number does, for noise that all chunks of a seed share."""
_MASK_64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def noise_key(seed: int, chunk_index: int, step: int) -> int:
    """64 well-mixed bits of (seed, chunk, step). Source: splitmix64's finaliser, chained."""
    key = 0
    for word in (seed, chunk_index, step):
        key = (key + word + _GOLDEN) & _MASK_64
        key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
        key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & _MASK_64
        key ^= key >> 31
    return key


def chunk_noise(key: int, shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Standard normal noise that depends on `key`, shape and kind of device only.

    Drawn in float32 whatever the dtype, so that a float64 run sees the same numbers.
    """
    generator = torch.Generator(device=device)
    generator.manual_seed(key)
    noise = torch.randn(tuple(shape), generator=generator, device=device, dtype=torch.float32)
    return noise.to(dtype)


def mixed_noise(new_BFCHW: Tensor, held_BCHW: Tensor, hold: float) -> Tensor:
    """Standard normal noise of which any two chunks, and any two of their frames, share a part:
    `held_BCHW` is the same for all of them, and their correlation is `hold`.

    Source: Ge et al. 2023, "Preserve Your Own Correlation", the mixed noise model.
    """
    return new_BFCHW * math.sqrt(1 - hold) + held_BCHW.unsqueeze(1) * math.sqrt(hold)
