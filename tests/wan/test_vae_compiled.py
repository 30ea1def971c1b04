"""Every autoencoder traces into one graph, which does what eager does, memories included."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise

import pytest
import torch
from torch import Tensor, nn

from sdv2_host.wan.dims import TinyVAEDims, WanVAEDims
from sdv2_host.wan.streaming_vae import BandedVAE, Decoded, Encoded, VAECache
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae import TaehvVAE, WanVAE

WAN = WanVAEDims(base=2, num_res_blocks=0, dim_mult=(1, 1, 1, 1))
TAEHV = TinyVAEDims(encoder_width=6, decoder_widths=(8, 6, 5, 4), num_mem_blocks=1)
PATCHED = TinyVAEDims(
    patch=4,
    encoder_width=6,
    encoder_strides=((2, 2), (2, 1)),
    decoder_widths=(8, 6, 5),
    decoder_strides=((2, 1), (2, 2)),
    num_mem_blocks=2,
    latent_scale=4.0,
)
CHUNKS = (1, 4, 4)
SIDES = (16, 32)
AUTOENCODERS: dict[str, Callable[[], nn.Module]] = {
    "wan": lambda: WanVAE(WAN),
    "embedded": lambda: TinyVAE(PATCHED),
    "taehv": lambda: TaehvVAE(TinyVAE(TAEHV)),
}

pytestmark = pytest.mark.usefixtures("one_thread")


def make(name: str) -> BandedVAE:
    torch.manual_seed(0)
    vae = AUTOENCODERS[name]().double().requires_grad_(False)
    return vae  # type: ignore[return-value]


@torch.inference_mode()
def played(
    vae: BandedVAE,
    encode: Callable[[Tensor, VAECache, bool], Encoded],
    decode: Callable[[Tensor, VAECache, bool], Decoded],
) -> list[Tensor]:
    """Latents, pictures and, at the end, memories of one stream."""
    generator = torch.Generator().manual_seed(1)
    clip = torch.rand(1, sum(CHUNKS), 3, *SIDES, generator=generator, dtype=torch.double) * 2 - 1
    cache = vae.init_cache(1, *SIDES, dtype=torch.double)
    made = []
    for first, last in pairwise(accumulate(CHUNKS, initial=0)):
        z_BFCHW, _ = encode(clip[:, first:last], cache, first == 0)
        frames_BTCHW, _ = decode(z_BFCHW, cache, first == 0)
        made += [z_BFCHW, frames_BTCHW]
    return [*made, *cache.encoder, *cache.decoder]


@pytest.mark.parametrize(
    ("name", "backend"), [("wan", "eager"), ("taehv", "eager"), ("embedded", "aot_eager")]
)
def test_one_graph_without_a_break_does_what_eager_does(name: str, backend: str) -> None:
    vae = make(name)
    eager = played(vae, vae.encode, vae.decode)
    torch.compiler.reset()

    def compiled(half: Callable[..., object]) -> Callable[..., object]:
        return torch.compile(half, backend=backend, fullgraph=True, dynamic=False)

    one_graph = played(vae, compiled(vae.encode), compiled(vae.decode))  # type: ignore[arg-type]

    torch.testing.assert_close(one_graph, eager, rtol=0, atol=1e-12)
