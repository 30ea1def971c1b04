"""TAEHV in place of the Wan VAE, wholly or as its decoder: same stream, same latents' scale."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise

import pytest
import torch
from torch import Tensor, nn

from sdv2_host.wan.dims import TAEW2_1, WAN_VAE, TinyVAEDims, WanVAEDims
from sdv2_host.wan.streaming_vae import StreamingVAE
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae import HybridVAE, TaehvVAE, WanVAE

WAN = WanVAEDims(base=2, num_res_blocks=1)
TAEHV = TinyVAEDims(encoder_width=6, decoder_widths=(8, 6, 5, 4), num_mem_blocks=1)


def tiny() -> TinyVAE:
    torch.manual_seed(0)
    return TinyVAE(TAEHV).double().requires_grad_(False)


def hybrid() -> HybridVAE:
    return HybridVAE(WanVAE(WAN).double(), tiny())


def taehv() -> TaehvVAE:
    return TaehvVAE(tiny())


def clip() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 13, 3, 16, 32, generator=generator, dtype=torch.double) * 2 - 1


def there_and_back(vae: StreamingVAE, chunks: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    cache = vae.init_cache(2, 16, 32, dtype=torch.double)
    latents, pictures = [], []
    for first, last in pairwise(accumulate(chunks, initial=0)):
        z, cache = vae.encode(clip()[:, first:last], cache, is_first=first == 0)
        frames, cache = vae.decode(z, cache, is_first=first == 0)
        latents.append(z)
        pictures.append(frames)
    return torch.cat(latents, 1), torch.cat(pictures, 1)


@pytest.mark.parametrize("make", [hybrid, taehv])
def test_streamed_equals_whole_clip(make: Callable[[], HybridVAE | TaehvVAE]) -> None:
    vae = make()

    whole = there_and_back(vae, (13,))
    streamed = there_and_back(vae, (1, 4, 8))

    assert whole[0].shape == (2, 4, 16, 2, 4)
    assert whole[1].shape == clip().shape
    assert torch.allclose(streamed[0], whole[0], atol=1e-12)
    assert torch.allclose(streamed[1], whole[1], atol=1e-12)


def test_the_hybrid_encodes_as_wan_and_decodes_as_taehv() -> None:
    vae = hybrid()
    wan_cache = vae.encoder.init_cache(2, 16, 32, dtype=torch.double)
    z = vae.encoder.encode(clip(), wan_cache, is_first=True).z_BFCHW
    tiny_cache = tiny().init_cache(2, 16, 32, dtype=torch.double)
    pictures = tiny().decode(z, tiny_cache, is_first=True).frames_BTCHW

    ours = there_and_back(vae, (13,))

    assert torch.equal(ours[0], z)
    assert torch.equal(ours[1], pictures.clamp(-1, 1))


def test_the_hybrid_holds_no_memory_for_the_half_it_lacks() -> None:
    vae = hybrid()
    wan_cache = vae.encoder.init_cache(2, 16, 32)
    tiny_cache = tiny().init_cache(2, 16, 32)

    cache = vae.init_cache(2, 16, 32)

    assert [m.shape for m in cache.encoder] == [m.shape for m in wan_cache.encoder]
    assert [m.shape for m in cache.decoder] == [m.shape for m in tiny_cache.decoder]


def test_taehv_encodes_to_raw_latents_and_decodes_normalised_ones() -> None:
    vae = taehv()
    tiny_cache = tiny().init_cache(2, 16, 32, dtype=torch.double)
    normalised = tiny().encode(clip(), tiny_cache, is_first=True).z_BFCHW
    pictures = tiny().decode(normalised, tiny_cache, is_first=True).frames_BTCHW
    cache = vae.init_cache(2, 16, 32, dtype=torch.double)
    mean = torch.tensor(WAN_VAE.latent_mean, dtype=torch.double).view(-1, 1, 1)
    std = torch.tensor(WAN_VAE.latent_std, dtype=torch.double).view(-1, 1, 1)

    z = vae.encode(clip(), cache, is_first=True).z_BFCHW
    decoded = vae.decode(normalised, cache, is_first=True).frames_BTCHW

    assert torch.allclose((z - mean) / std, normalised, atol=1e-12)
    assert torch.equal(decoded, pictures.clamp(-1, 1))


def test_pictures_are_clamped() -> None:
    vae = taehv()
    vae.tiny.decoder[-1].bias.fill_(9.0)

    _, pictures = there_and_back(vae, (13,))

    assert pictures.unique().tolist() == [1.0]


def test_a_wrapped_module_brings_its_own_device_and_dtype() -> None:
    with torch.device("meta"):
        on_meta = TinyVAE(TAEW2_1).to(torch.bfloat16)

    vae = TaehvVAE(on_meta)

    assert vae.latent_scale.std.is_meta
    assert vae.latent_scale.std.dtype == torch.bfloat16
    assert vae.to_empty(device="cpu").latent_scale.std[0, 0, 0].float().item() == 2.8125


def test_the_published_weights_alone_are_in_the_state_dict() -> None:
    names = {name.removeprefix("tiny.") for name in taehv().state_dict()}

    assert isinstance(taehv(), nn.Module)
    assert names == set(tiny().state_dict())
