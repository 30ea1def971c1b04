"""Models small enough to run a law in milliseconds, shaped like the embedded one, and what they are
played with."""

from __future__ import annotations

from sdv2_host.params import Params
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
PARAMS = Params(prompt="neon outline", steps=2, noise_s_min=0.5, noise_s_max=0.8, seed=11)


def changing_params(num_chunks: int) -> list[Params]:
    """Steps, prompt, seed and held noise change along the way, twice at the same chunk."""
    params = []
    for index in range(num_chunks):
        prompt = ("neon outline", "watercolor", "pixel art")[index // 5 % 3]
        steps = (2, 2, 4, 1, 3)[index // 4 % 5]
        changes = {"prompt": prompt, "steps": steps, "seed": index, "noise_hold": index % 3 / 2}
        params.append(PARAMS.model_copy(update=changes))
    return params
