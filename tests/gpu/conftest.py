"""Random weights behind the real engine."""

from __future__ import annotations

import pytest
import torch

from sdv2_host.wan.dims import TinyTextDims, TinyVAEDims, WanDims
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.weights import TinyModels


@pytest.fixture(scope="session")
def models() -> TinyModels:
    torch.manual_seed(3)
    dims = WanDims(
        dim=24, num_heads=2, ffn_dim=32, num_layers=2, text_dim=8, text_len=4, freq_dim=8
    )
    vae_dims = TinyVAEDims(
        patch=4,
        encoder_width=8,
        encoder_strides=((2, 2), (2, 1)),
        decoder_widths=(8, 8, 8),
        decoder_strides=((2, 1), (2, 2)),
        num_mem_blocks=1,
    )
    text_dims = TinyTextDims(num_buckets=64, bucket_dim=8, text_len=4, text_dim=8, num_heads=2)
    made = TinyModels(CausalWanModel(dims), TinyVAE(vae_dims), TinyTextEncoder(text_dims), {})
    for module in (made.dit, made.vae, made.text):
        module.eval().requires_grad_(False)
    return made
