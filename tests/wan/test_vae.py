"""The Wan autoencoder as a stream: equal to the whole clip, to diffusers', to the recordings."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sdv2_host.wan.dims import WAN_VAE, WanVAEDims
from sdv2_host.wan.streaming_vae import VAECache
from sdv2_host.wan.vae import WanVAE

TOY = WanVAEDims(base=2, num_res_blocks=1)
RECORDED = WanVAEDims(base=16)
CLIP = 21
CHUNKINGS = [(5, 4, 4, 4, 4), (1, 4, 4, 4, 4, 4), (1, 8, 12), (13, 8)]


def make(dims: WanVAEDims = TOY, dtype: torch.dtype = torch.double) -> WanVAE:
    torch.manual_seed(0)
    vae = WanVAE(dims).to(dtype)
    for weight in vae.parameters():
        if weight.ndim == 1:
            weight.normal_(0, 0.1)
    return vae


def clip(rows: int, num_frames: int = CLIP, dtype: torch.dtype = torch.double) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(rows, num_frames, 3, 16, 32, generator=generator, dtype=torch.double)
    return (frames * 2 - 1).to(dtype)


def fresh(vae: WanVAE, rows: int) -> VAECache:
    return vae.init_cache(rows, 16, 32, dtype=vae.conv1.weight.dtype)


def num_latents(num_frames: int) -> int:
    return (num_frames + 3) // 4


@torch.inference_mode()
def stream(
    vae: WanVAE, frames: Tensor, z: Tensor, chunks: tuple[int, ...], cache: VAECache
) -> tuple[Tensor, Tensor]:
    """Latents of `frames` and pictures of `z`, in chunks of so many frames."""
    latents, pictures = [], []
    for first, last in pairwise(accumulate(chunks, initial=0)):
        encoded = vae.encode(frames[:, first:last], cache, is_first=first == 0)
        part = z[:, num_latents(first) : num_latents(last)]
        decoded = vae.decode(part, encoded.cache, is_first=first == 0)
        latents.append(encoded.z_BFCHW)
        pictures.append(decoded.frames_BTCHW)
        cache = decoded.cache
    return torch.cat(latents, 1), torch.cat(pictures, 1)


def latents(rows: int, num_frames: int = CLIP) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = (rows, num_latents(num_frames), 16, 2, 4)
    return torch.randn(shape, generator=generator, dtype=torch.double)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("chunks", CHUNKINGS, ids=str)
def test_streamed_equals_whole_clip(chunks: tuple[int, ...]) -> None:
    vae, frames, z = make(), clip(rows=2), latents(rows=2)

    whole = stream(vae, frames, z, (CLIP,), fresh(vae, 2))
    streamed = stream(vae, frames, z, chunks, fresh(vae, 2))

    assert whole[0].shape == (2, 6, 16, 2, 4)
    assert whole[1].shape == frames.shape
    assert relative_error(streamed[0], whole[0]) < 1e-12
    assert relative_error(streamed[1], whole[1]) < 1e-12


def test_a_session_in_zeroed_memory_equals_a_first_one() -> None:
    vae, frames, z = make(), clip(rows=1), latents(rows=1)
    first = stream(vae, frames, z, (5, 8, 8), fresh(vae, 1))
    used = fresh(vae, 1)
    stream(vae, frames.flip(1), z.flip(1), (9, 4, 8), used)
    for memory in (*used.encoder, *used.decoder):
        memory.zero_()

    second = stream(vae, frames, z, (5, 8, 8), used)

    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_a_later_chunk_depends_on_every_memory() -> None:
    vae, frames, z = make(), clip(rows=1, num_frames=4), latents(rows=1, num_frames=1)

    for index in range(len(fresh(vae, 1).encoder)):
        cache = fresh(vae, 1)
        cache.encoder[index].normal_()
        blank = vae.encode(frames, fresh(vae, 1), is_first=False).z_BFCHW

        assert not torch.equal(vae.encode(frames, cache, is_first=False).z_BFCHW, blank)

    for index in range(len(fresh(vae, 1).decoder)):
        cache = fresh(vae, 1)
        cache.decoder[index].normal_()
        blank = vae.decode(z, fresh(vae, 1), is_first=False).frames_BTCHW

        assert not torch.equal(vae.decode(z, cache, is_first=False).frames_BTCHW, blank)


def test_rows_do_not_see_each_other() -> None:
    vae, frames, z = make(), clip(rows=3), latents(rows=3)

    together = stream(vae, frames, z, (5, 8, 8), fresh(vae, 3))
    alone = stream(vae, frames[1:2], z[1:2], (5, 8, 8), fresh(vae, 1))

    assert relative_error(together[0][1:2], alone[0]) < 1e-12
    assert relative_error(together[1][1:2], alone[1]) < 1e-12


def test_caches_keep_their_shapes_and_places_from_the_first_call_on() -> None:
    vae, frames, z = make(), clip(rows=2), latents(rows=2)
    cache = fresh(vae, 2)
    memories = [*cache.encoder, *cache.decoder]
    before = [(memory.data_ptr(), memory.shape, memory.stride()) for memory in memories]

    for first, last in ((0, 1), (1, 5), (5, 13)):
        part = z[:, num_latents(first) : num_latents(last)]
        cache = vae.encode(frames[:, first:last], cache, is_first=first == 0).cache
        cache = vae.decode(part, cache, is_first=first == 0).cache
        after = [*cache.encoder, *cache.decoder]

        assert all(new is old for new, old in zip(after, memories, strict=True))
        assert [(m.data_ptr(), m.shape, m.stride()) for m in after] == before

    assert all(memory.any() for memory in memories)


@pytest.mark.parametrize(("num_frames", "is_first"), [(3, False), (5, False), (4, True), (0, True)])
def test_a_chunk_of_the_wrong_length_is_refused(num_frames: int, is_first: bool) -> None:
    vae = make()

    with pytest.raises(ValueError, match=f"{num_frames} frames"):
        vae.encode(clip(rows=1)[:, :num_frames], fresh(vae, 1), is_first)


def diffusers_name(name: str) -> str:
    """The name of one of our weights in diffusers' AutoencoderKLWan."""
    for ours, theirs in (
        (r"^conv1", "quant_conv"),
        (r"^conv2", "post_quant_conv"),
        (r"(?<=coder\.)conv1", "conv_in"),
        (r"head\.0", "norm_out"),
        (r"head\.2", "conv_out"),
        (r"middle\.1", "mid_block.attentions.0"),
        (r"middle\.([02])", lambda m: f"mid_block.resnets.{int(m[1]) // 2}"),
        (r"downsamples", "down_blocks"),
        (r"residual\.0", "norm1"),
        (r"residual\.2", "conv1"),
        (r"residual\.3", "norm2"),
        (r"residual\.6", "conv2"),
        (r"shortcut", "conv_shortcut"),
        (r"upsamples\.(\d+)", lambda m: _up_block(int(m[1]))),
    ):
        name = re.sub(ours, theirs, name)
    return name


def _up_block(index: int) -> str:
    stage, place = divmod(index, 4)
    return f"up_blocks.{stage}." + ("upsamplers.0" if place == 3 else f"resnets.{place}")


def stock(vae: WanVAE) -> AutoencoderKLWan:
    """diffusers' module with the same weights."""
    model = AutoencoderKLWan(base_dim=vae.dims.base).to(vae.conv1.weight.dtype).eval()
    model.load_state_dict({diffusers_name(k): v for k, v in vae.state_dict().items()})
    return model.requires_grad_(False)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(32, 48), (48, 16)], ids=str)
def test_equal_to_stock_diffusers(size: tuple[int, int]) -> None:
    vae = make(dims=WanVAEDims(base=8))
    theirs = stock(vae)
    frames = torch.rand(2, 9, 3, *size, dtype=torch.double) * 2 - 1
    raw = torch.randn(2, 3, 16, size[0] // 8, size[1] // 8, dtype=torch.double)
    cache = vae.init_cache(2, *size, dtype=torch.double)

    z = vae.encode(frames, cache, is_first=True).z_BFCHW
    normalised = (raw - vae.latent_scale.mean) / vae.latent_scale.std
    pictures = vae.decode(normalised, cache, is_first=True).frames_BTCHW
    their_z = theirs.encode(frames.transpose(1, 2)).latent_dist.mean.transpose(1, 2)
    their_pictures = theirs.decode(raw.transpose(1, 2)).sample.transpose(1, 2)

    assert relative_error(z, their_z) < 1e-10
    # diffusers rounds to float32 where it enlarges pictures.
    assert relative_error(pictures, their_pictures) < 1e-6
    assert 0.05 < float(pictures.abs().mean()) < 0.95


@torch.inference_mode()
@pytest.mark.parametrize("chunks", [(CLIP,), *CHUNKINGS], ids=str)
def test_equal_to_the_recorded_reference(reference: Path, chunks: tuple[int, ...]) -> None:
    recorded = load_file(reference / "vectors/vae_io.safetensors")
    vae = WanVAE(WanVAEDims(base=16))
    vae.load_state_dict(load_file(reference / "vectors/vae.safetensors"))
    frames, z = recorded["in"].transpose(1, 2), recorded["z"]

    ours = stream(vae, frames, z, chunks, vae.init_cache(1, 64, 96))

    worst = {
        "encode": relative_error(ours[0], recorded["enc_full_raw"].transpose(1, 2)),
        "streamed encode": relative_error(ours[0], recorded["enc_stream_raw"].transpose(1, 2)),
        "decode": relative_error(ours[1], recorded["dec_full"]),
        "streamed decode": relative_error(ours[1], recorded["dec_stream"]),
    }
    print(f"Wan VAE, chunks {chunks}, worst relative error: {worst}")
    assert max(worst.values()) < 1e-5


def test_the_normalisation_is_the_recorded_one(reference: Path) -> None:
    recorded = load_file(reference / "vectors/vae_io.safetensors")

    assert torch.equal(torch.tensor(WAN_VAE.latent_mean), recorded["mean"])
    assert torch.equal(torch.tensor(WAN_VAE.latent_std), recorded["std"])


class ConvolutionRanks(TorchDispatchMode):
    """Notes the number of axes of every convolution's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if "conv" in str(func):
            self.seen.add(args[1].ndim)
        return func(*args, **(kwargs or {}))


def test_no_convolution_is_three_dimensional() -> None:
    vae, frames, z = make(), clip(rows=1), latents(rows=1)

    with ConvolutionRanks() as ranks:
        stream(vae, frames, z, (5, 8, 8), fresh(vae, 1))

    assert ranks.seen == {4}


def test_bfloat16_stays_near_float32() -> None:
    vae, frames, z = make(dims=WanVAEDims(base=8)), clip(rows=1), latents(rows=1)
    exact = stream(vae, frames, z, (5, 8, 8), fresh(vae, 1))
    vae.to(torch.bfloat16)

    rounded = stream(vae, frames.bfloat16(), z.bfloat16(), (5, 8, 8), fresh(vae, 1))

    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.dtype == torch.bfloat16
        assert float((ours - theirs).norm() / theirs.norm()) < 0.05
