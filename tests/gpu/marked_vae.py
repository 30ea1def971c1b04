"""An autoencoder whose latents say which frames they are made of, louder than any noise.

# T pixel frames  F latent frames
"""

from __future__ import annotations

import torch
from torch import Tensor

from sdv2_host.wan.streaming_vae import Decoded, Encoded, VAECache

LATENT_DIM, STRIDE_PX, FRAMES = 16, 8, 4
NUM_BITS = 16
LOUD = 1e12
"""Four steps that leave 5 % of it each are louder than noise still."""


class MarkedVAE:
    """A frame's number is the red and green of its first pixel; so it is of what comes out.

    With a model that predicts no flow the latents' signs come through any number of steps.
    """

    def init_cache(
        self,
        batch: int,
        height_px: int,
        width_px: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> VAECache:
        del batch
        sides = torch.tensor([height_px, width_px], device=device, dtype=dtype)
        return VAECache([sides], [sides.clone()])

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Encoded:
        if is_first:
            early = frames_BTCHW[:, :1].expand(-1, FRAMES - 1, -1, -1, -1)
            frames_BTCHW = torch.cat([early, frames_BTCHW], dim=1)
        assert frames_BTCHW.shape[1] % FRAMES == 0, "a chunk of another length"
        levels_TC = (frames_BTCHW[0, :, :2, 0, 0] * 127.5 + 127.5).round().long()
        numbers_T = levels_TC[:, 0] + 256 * levels_TC[:, 1]
        bits = (numbers_T[:, None] >> torch.arange(NUM_BITS)) & 1
        signs = bits.unflatten(0, (-1, FRAMES)).flatten(1) * 2.0 - 1
        height, width = (side // STRIDE_PX for side in frames_BTCHW.shape[-2:])
        z_FX = torch.zeros(len(signs), LATENT_DIM * height * width)
        z_FX[:, : signs.shape[1]] = signs * LOUD
        return Encoded(z_FX.reshape(1, -1, LATENT_DIM, height, width), cache)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        signs = z_BFCHW[0].flatten(1)[:, : FRAMES * NUM_BITS].reshape(-1, NUM_BITS)
        numbers_T = ((signs > 0).long() << torch.arange(NUM_BITS)).sum(dim=1)
        numbers_T = numbers_T[FRAMES - 1 :] if is_first else numbers_T
        height, width = (side * STRIDE_PX for side in z_BFCHW.shape[-2:])
        frames_BTCHW = torch.zeros(1, len(numbers_T), 3, height, width)
        frames_BTCHW[0, :, 0] = (numbers_T % 256).float()[:, None, None]
        frames_BTCHW[0, :, 1] = (numbers_T // 256).float()[:, None, None]
        return Decoded(frames_BTCHW / 127.5 - 1, cache)
