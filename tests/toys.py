"""Dims of models small enough to run a law in milliseconds, and shaped like the embedded one."""

from __future__ import annotations

from sdv2_host.wan.dims import TinyTextDims, TinyVAEDims, WanDims

TOY_DIT = WanDims(dim=24, num_heads=2, ffn_dim=32, num_layers=2, text_dim=8, text_len=4, freq_dim=8)
TOY_VAE = TinyVAEDims(
    patch=4,
    encoder_width=8,
    encoder_strides=((2, 2), (2, 1)),
    decoder_widths=(8, 8, 8),
    decoder_strides=((2, 1), (2, 2)),
    num_mem_blocks=1,
)
TOY_TEXT = TinyTextDims(num_buckets=64, bucket_dim=8, text_len=4, text_dim=8, num_heads=2)
