"""The streaming autoencoder: a stream equals the whole clip, whatever the widths."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sdv2_host.wan.dims import TAEW2_1, TINY_VAE, TinyVAEDims
from sdv2_host.wan.streaming_vae import VAECache
from sdv2_host.wan.tiny_vae import TinyVAE

TAEHV_SHAPED = TinyVAEDims(encoder_width=6, decoder_widths=(8, 6, 5, 4), num_mem_blocks=1)
PATCHED = TinyVAEDims(
    patch=4,
    encoder_width=6,
    encoder_strides=((2, 2), (2, 1)),
    decoder_widths=(8, 6, 5),
    decoder_strides=((2, 1), (2, 2)),
    num_mem_blocks=2,
    latent_scale=4.0,
)
CHUNKS = ((0, 1), (1, 5), (5, 9), (9, 17))


def make(dims: TinyVAEDims, rows: int) -> tuple[TinyVAE, VAECache, torch.Tensor]:
    torch.manual_seed(0)
    vae = TinyVAE(dims).double().eval().requires_grad_(False)
    frames = torch.rand(rows, 17, 3, 32, 48, dtype=torch.double) * 2 - 1
    return vae, vae.init_cache(rows, 32, 48, dtype=torch.double), frames


@pytest.mark.parametrize("dims", [TAEHV_SHAPED, PATCHED])
def test_streamed_equals_whole_clip(dims: TinyVAEDims) -> None:
    vae, fresh, frames = make(dims, rows=2)
    whole_z = vae.encode(frames, fresh, is_first=True).z_BFCHW
    whole = vae.decode(whole_z, fresh, is_first=True).frames_BTCHW

    cache, latents, pictures = fresh, [], []
    for first, last in CHUNKS:
        z, cache = vae.encode(frames[:, first:last], cache, is_first=first == 0)
        out, cache = vae.decode(z, cache, is_first=first == 0)
        latents.append(z)
        pictures.append(out)

    assert torch.allclose(torch.cat(latents, 1), whole_z, atol=1e-12)
    assert torch.allclose(torch.cat(pictures, 1), whole, atol=1e-12)
    assert whole.shape == frames.shape


@pytest.mark.parametrize("dims", [TAEHV_SHAPED, PATCHED])
def test_rows_do_not_see_each_other(dims: TinyVAEDims) -> None:
    vae, fresh, frames = make(dims, rows=2)
    alone = vae.init_cache(1, 32, 48, dtype=torch.double)

    together = vae.encode(frames, fresh, is_first=True).z_BFCHW
    second = vae.encode(frames[1:], alone, is_first=True).z_BFCHW

    assert torch.allclose(together[1:], second, atol=1e-12)


def test_an_encode_leaves_the_cache_it_was_given_alone() -> None:
    vae, fresh, frames = make(PATCHED, rows=1)

    vae.encode(frames, fresh, is_first=True)

    assert all(not memory.any() for memory in fresh.encoder)


def test_a_chunk_of_the_wrong_length_is_refused() -> None:
    vae, fresh, frames = make(PATCHED, rows=1)

    with pytest.raises(ValueError, match="3 frames"):
        vae.encode(frames[:, :3], fresh, is_first=False)


def test_default_names_and_shapes_equal_the_published_taehv(reference: Path) -> None:
    lines = (reference / "keys/taehv.txt").read_text().split("\n")
    published = {line.split("\t")[0]: line.split("\t")[1] for line in lines if "\t" in line}

    with torch.device("meta"):
        vae = TinyVAE(TAEW2_1)

    assert {k: str(list(v.shape)) for k, v in vae.state_dict().items()} == published


def test_the_embedded_autoencoder_keeps_wans_latent_geometry() -> None:
    vae = TinyVAE(TINY_VAE).eval()
    cache = vae.init_cache(1, 64, 96)

    with torch.inference_mode():
        z = vae.encode(torch.zeros(1, 9, 3, 64, 96), cache, is_first=True).z_BFCHW

    assert z.shape == (1, 3, 16, 8, 12)
