"""The streaming autoencoder: a stream equals the whole clip, whatever the widths."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdv2_host.wan.dims import TAEW2_1, TINY_VAE, TinyVAEDims
from sdv2_host.wan.streaming_vae import VAECache
from sdv2_host.wan.tiny_vae import MemBlock, TGrow, TinyVAE, TPool
from sdv2_host.wan.vae_layers import EnlargingConv

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


def make(dims: TinyVAEDims, rows: int) -> tuple[TinyVAE, VAECache, Tensor]:
    torch.manual_seed(0)
    vae = TinyVAE(dims).double().eval().requires_grad_(False)
    frames = torch.rand(rows, 17, 3, 32, 48, dtype=torch.double) * 2 - 1
    return vae, vae.init_cache(rows, 32, 48, dtype=torch.double), frames


@pytest.mark.parametrize("dims", [TAEHV_SHAPED, PATCHED])
def test_streamed_equals_whole_clip(dims: TinyVAEDims) -> None:
    vae, cache, frames = make(dims, rows=2)
    whole_z, used = vae.encode(frames, make(dims, rows=2)[1], is_first=True)
    whole = vae.decode(whole_z, used, is_first=True).frames_BTCHW

    latents, pictures = [], []
    for first, last in CHUNKS:
        z, cache = vae.encode(frames[:, first:last], cache, is_first=first == 0)
        out, cache = vae.decode(z, cache, is_first=first == 0)
        latents.append(z)
        pictures.append(out)

    assert torch.allclose(torch.cat(latents, 1), whole_z, atol=1e-12)
    assert torch.allclose(torch.cat(pictures, 1), whole, atol=1e-12)
    assert whole.shape == frames.shape


def plain(layers: nn.Sequential, x_TCHW: Tensor) -> Tensor:
    """One row's whole clip through the layers, as TAEHV writes them."""
    for layer in layers:
        num_frames, channels, *size = x_TCHW.shape
        if isinstance(layer, MemBlock):
            past = torch.cat([torch.zeros_like(x_TCHW[:1]), x_TCHW[:-1]])
            x_TCHW = F.relu(layer.conv(torch.cat([x_TCHW, past], 1)) + x_TCHW)
        elif isinstance(layer, TPool):
            x_TCHW = layer.conv(x_TCHW.reshape(-1, layer.stride * channels, *size))
        elif isinstance(layer, TGrow):
            x_TCHW = layer.conv(x_TCHW).reshape(num_frames * layer.stride, channels, *size)
        elif isinstance(layer, EnlargingConv):
            enlarged = F.interpolate(x_TCHW, scale_factor=2.0)
            x_TCHW = F.conv2d(enlarged, layer.weight, layer.bias, padding=1)
        else:
            x_TCHW = layer(x_TCHW)
    return x_TCHW


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dims", [TAEHV_SHAPED, PATCHED])
def test_the_stream_is_what_the_plain_layers_make_of_the_clip(
    dims: TinyVAEDims, layout: torch.memory_format
) -> None:
    vae, cache, frames = make(dims, rows=1)
    given = frames[0].contiguous(memory_format=layout)[None]
    shown = torch.cat([frames[0, :1].expand(3, -1, -1, -1), frames[0]])
    cells = F.pixel_unshuffle(shown / 2 + 0.5, dims.patch)
    plain_z = plain(vae.encoder, cells) * dims.latent_scale
    plain_cells = plain(vae.decoder, plain_z / dims.latent_scale)
    plain_frames = F.pixel_shuffle(plain_cells, dims.patch)[3:] * 2 - 1

    z, cache = vae.encode(given, cache, is_first=True)
    pictures = vae.decode(z, cache, is_first=True).frames_BTCHW

    torch.testing.assert_close(z[0], plain_z, rtol=0, atol=1e-13)
    torch.testing.assert_close(pictures[0], plain_frames, rtol=0, atol=1e-13)
    assert torch.equal(given, frames)


@pytest.mark.parametrize("dims", [TAEHV_SHAPED, PATCHED])
def test_rows_do_not_see_each_other(dims: TinyVAEDims) -> None:
    vae, fresh, frames = make(dims, rows=2)
    alone = vae.init_cache(1, 32, 48, dtype=torch.double)

    together = vae.encode(frames, fresh, is_first=True).z_BFCHW
    second = vae.encode(frames[1:], alone, is_first=True).z_BFCHW

    assert torch.allclose(together[1:], second, atol=1e-12)


@pytest.mark.parametrize("dims", [TAEHV_SHAPED, PATCHED])
def test_caches_keep_their_shapes_and_places_from_the_first_call_on(dims: TinyVAEDims) -> None:
    vae, cache, frames = make(dims, rows=2)
    memories = [*cache.encoder, *cache.decoder]
    before = [(memory.data_ptr(), memory.shape, memory.stride()) for memory in memories]

    for first, last in CHUNKS:
        z, cache = vae.encode(frames[:, first:last], cache, is_first=first == 0)
        cache = vae.decode(z, cache, is_first=first == 0).cache
        after = [*cache.encoder, *cache.decoder]

        assert all(new is old for new, old in zip(after, memories, strict=True))
        assert [(m.data_ptr(), m.shape, m.stride()) for m in after] == before

    assert all(memory.any() for memory in memories)


def test_a_later_chunk_depends_on_every_memory() -> None:
    vae, blank, frames = make(PATCHED, rows=1)
    z, _ = vae.encode(frames[:, :4], blank, is_first=False)
    pictures = vae.decode(z, blank, is_first=False).frames_BTCHW

    for index in range(len(blank.encoder)):
        cache = make(PATCHED, rows=1)[1]
        cache.encoder[index].normal_()
        assert not torch.equal(vae.encode(frames[:, :4], cache, is_first=False).z_BFCHW, z)
    for index in range(len(blank.decoder)):
        cache = make(PATCHED, rows=1)[1]
        cache.decoder[index].normal_()
        assert not torch.equal(vae.decode(z, cache, is_first=False).frames_BTCHW, pictures)


def test_a_session_in_zeroed_memory_equals_a_first_one() -> None:
    vae, cache, frames = make(PATCHED, rows=1)
    z, _ = vae.encode(frames[:, :5], cache, is_first=True)
    pictures = vae.decode(z, cache, is_first=True).frames_BTCHW
    vae.decode(vae.encode(frames[:, 5:], cache, False).z_BFCHW, cache, is_first=False)
    for memory in (*cache.encoder, *cache.decoder):
        memory.zero_()

    again, _ = vae.encode(frames[:, :5], cache, is_first=True)

    assert torch.equal(again, z)
    assert torch.equal(vae.decode(again, cache, is_first=True).frames_BTCHW, pictures)


def test_a_whole_clips_gradients_are_exact_and_its_memories_have_none() -> None:
    """Memories that a later call reads would otherwise keep the graph of every earlier one."""
    vae, _, frames = make(PATCHED, rows=1)
    frames = frames[:, :5, :, :8, :8].requires_grad_()
    cache = vae.init_cache(1, 8, 8, dtype=torch.double)

    def there_and_back(frames: Tensor) -> Tensor:
        cache = vae.init_cache(1, 8, 8, dtype=torch.double)
        z, cache = vae.encode(frames, cache, is_first=True)
        return vae.decode(z, cache, is_first=True).frames_BTCHW

    z, _ = vae.encode(frames, cache, is_first=True)
    vae.decode(z, cache, is_first=True)

    assert torch.autograd.gradcheck(there_and_back, frames, fast_mode=True)
    assert not any(memory.requires_grad for memory in (*cache.encoder, *cache.decoder))


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
