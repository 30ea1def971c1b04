"""How much of the decoding each of several decoders has to do, halo included.

# B rows  F latent frames  C channels  H W size
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from sdv2_host.config import Config
from sdv2_host.gpu.wan_models import Placement, WanFamily, random_vae
from sdv2_host.gpu.wan_spec import WAN_DIMS
from sdv2_host.types import Size
from sdv2_host.wan.bands import Rows, even_bands
from sdv2_host.wan.dims import LATENT_STRIDE_PX, WAN_VAE
from sdv2_host.wan.filling import META
from sdv2_host.wan.streaming_vae import BandedVAE
from sdv2_host.wan.tiny_weights import open_tiny

MOST_DECODERS = 4
"""A fifth would do little less than each of four: the halo stays as it is."""


def planned_shares(config: Config) -> tuple[float, ...]:
    """`band_shares` of the engine that `config` names; a second, and nothing is allocated.

    Raises:
        ModelError: the embedded model's file is missing or damaged.
    """
    if config.engine == "tiny":
        with open_tiny() as file:
            return band_shares(file.vae, config.size)
    family, place = WanFamily(WAN_DIMS[config.engine]), Placement(META, torch.float32)
    return band_shares(random_vae(config.vae, family, place), config.size)


def band_shares(vae: BandedVAE, size: Size) -> tuple[float, ...]:
    """Of 1, 2, ... decoders, what the one that computes most does of the whole; `vae` on meta.

    In multiplications, so a model of the time: small layers do not use a whole GPU.
    """
    most = min(MOST_DECODERS, size.height // LATENT_STRIDE_PX)
    whole = _decode_flops(vae, size, Rows(0, size.height))
    return tuple(
        max(_decode_flops(vae, size, rows) for rows in even_bands(size.height, count)) / whole
        for count in range(1, most + 1)
    )


@torch.inference_mode()
def _decode_flops(vae: BandedVAE, size: Size, rows: Rows) -> int:
    """Of one latent frame, not a session's first."""
    band = vae.init_band(rows, 1, size.height, size.width, device=META)
    cells = (size.height // LATENT_STRIDE_PX, size.width // LATENT_STRIDE_PX)
    z_BFCHW = torch.empty(1, 1, WAN_VAE.z_dim, *cells, device=META)
    with FlopCounterMode(display=False) as counter:
        vae.decode_band(z_BFCHW, band, is_first=False)
    return int(counter.get_total_flops())
