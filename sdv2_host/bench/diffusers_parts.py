"""The parts that diffusers has, beside ours, each in the middle of a stream of its own.

AutoencoderKLWan, encoder and decoder with memories that outlive a call, and WanTransformer3DModel
with one latent frame that sees nothing but itself: it has no cache of earlier frames. Same weights
and inputs, eager calls of both. TAEHV is not in diffusers.

# B rows (1)  T pixel frames  F latent frames  C channels  H W size
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sdv2_host.bench.model import Built, Cell, source_clip
from sdv2_host.gpu.staging import Staging
from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.wan.attention import WholeAttend
from sdv2_host.wan.dims import FRAMES_PER_LATENT, LATENT_STRIDE_PX, WanDims
from sdv2_host.wan.streaming_vae import StreamingVAE, VAECache
from sdv2_host.wan.vae import HybridVAE, WanVAE

NUM_CHUNKS = 4
TIMESTEP = 500.0


class Part(NamedTuple):
    """One part of both, in the middle of a stream of its own. Each takes the inputs in turn."""

    name: str
    inputs: list[Tensor]
    """The first begins the stream; the others can follow in any order."""
    ours: Callable[[Tensor], Tensor]
    theirs: Callable[[Tensor], Tensor]


@dataclass(slots=True)
class OurEncoder:
    """Lifetime of the fields: one stream."""

    vae: StreamingVAE
    cache: VAECache
    is_first: bool = True

    def __call__(self, frames_BTCHW: Tensor) -> Tensor:
        encoded = self.vae.encode(frames_BTCHW, self.cache, self.is_first)
        self.cache, self.is_first = encoded.cache, False
        return encoded.z_BFCHW


@dataclass(slots=True)
class OurDecoder:
    """Lifetime of the fields: one stream."""

    vae: StreamingVAE
    cache: VAECache
    is_first: bool = True

    def __call__(self, z_BFCHW: Tensor) -> Tensor:
        decoded = self.vae.decode(z_BFCHW, self.cache, self.is_first)
        self.cache, self.is_first = decoded.cache, False
        return decoded.frames_BTCHW


class TheirEncoder:
    """What `AutoencoderKLWan.encode` does, with memories that the next call goes on with."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        vae.clear_cache()
        self._memories = list(vae._enc_feat_map)

    def __call__(self, frames_BTCHW: Tensor) -> Tensor:
        x_BCTHW = self._vae.encoder(
            frames_BTCHW.transpose(1, 2), feat_cache=self._memories, feat_idx=[0]
        )
        moments: Tensor = self._vae.quant_conv(x_BCTHW)
        return moments.chunk(2, dim=1)[0].transpose(1, 2)


class TheirDecoder:
    """What `AutoencoderKLWan.decode` does, with memories that the next call goes on with, and the
    latents' normalisation taken back before, as its Wan pipelines do."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        vae.clear_cache()
        self._memories = list(vae._feat_map)
        self._is_first = True
        shape, like = (1, 1, vae.config.z_dim, 1, 1), vae.post_quant_conv.weight
        self._mean = torch.tensor(vae.config.latents_mean).view(shape).to(like)
        self._std = torch.tensor(vae.config.latents_std).view(shape).to(like)

    def __call__(self, z_BFCHW: Tensor) -> Tensor:
        x_BCFHW = self._vae.post_quant_conv((z_BFCHW * self._std + self._mean).transpose(1, 2))
        x_BCTHW: Tensor = self._vae.decoder(
            x_BCFHW, feat_cache=self._memories, feat_idx=[0], first_chunk=self._is_first
        )
        self._is_first = False
        return x_BCTHW.clamp(-1.0, 1.0).transpose(1, 2)


def common_parts(cell: Cell, built: Built) -> list[Part]:
    """Those that the cell's models have in common with diffusers."""
    vae = built.models.vae.encoder if isinstance(built.models.vae, HybridVAE) else built.models.vae
    parts = []
    if isinstance(vae, WanVAE):
        parts = _vae_parts(cell, vae, has_decoder=vae is built.models.vae)
    return [*parts, _dit_part(cell, built)]


def _vae_parts(cell: Cell, vae: WanVAE, *, has_decoder: bool) -> list[Part]:
    staging = Staging(cell.size, cell.device, cell.dtype)
    clip = source_clip(cell, 1 + FRAMES_PER_LATENT * (NUM_CHUNKS - 1))
    ends = range(1, len(clip) + 1, FRAMES_PER_LATENT)
    frames = [staging.upload(clip[max(end - FRAMES_PER_LATENT, 0) : end]) for end in ends]
    cache = vae.init_cache(1, cell.size.height, cell.size.width, cell.device, cell.dtype)
    theirs = _their_vae(vae)
    encoder = Part("encode", frames, OurEncoder(vae, cache), TheirEncoder(theirs))
    if not has_decoder:
        return [encoder]
    latents = _latents(cell, NUM_CHUNKS)
    decoder = Part("decode", latents, OurDecoder(vae, cache), TheirDecoder(theirs))
    return [encoder, decoder]


def _dit_part(cell: Cell, built: Built) -> Part:
    """One latent frame, nothing before it."""
    dit, spec, text = built.models.dit, built.spec, built.models.text.encode("bench")
    text = text.to(cell.device, cell.dtype)
    cell_px = LATENT_STRIDE_PX * dit.dims.patch[1]
    grid = (spec.height_px // cell_px, spec.width_px // cell_px)
    rotary = RotaryBook(dit.dims.head_dim, grid, spec.device, spec.dtype).table((0,))
    attend = WholeAttend(rotary, None)
    text_kv = dit.text_kv(text)
    t_BF = torch.full((1, 1), TIMESTEP, device=cell.device)
    theirs = _their_dit(built)

    def ours(x_BFCHW: Tensor) -> Tensor:
        flow_BFCHW: Tensor = dit(x_BFCHW, t_BF, text_kv, attend)
        return flow_BFCHW

    def stock(x_BFCHW: Tensor) -> Tensor:
        (flow_BCFHW,) = theirs(x_BFCHW.transpose(1, 2), t_BF[:, 0], text, return_dict=False)
        flow_BFCHW: Tensor = flow_BCFHW.transpose(1, 2)
        return flow_BFCHW

    return Part("denoise, one step of one frame alone", _latents(cell, NUM_CHUNKS), ours, stock)


def _latents(cell: Cell, count: int) -> list[Tensor]:
    shape = (1, 1, 16, cell.size.height // LATENT_STRIDE_PX, cell.size.width // LATENT_STRIDE_PX)
    generator = torch.Generator().manual_seed(cell.seed)
    drawn = [torch.randn(shape, generator=generator) for _ in range(count)]
    return [one.to(cell.device, cell.dtype) for one in drawn]


def _their_vae(ours: WanVAE) -> Any:
    """AutoencoderKLWan with a copy of our weights, in its own order in memory."""
    dims = ours.dims
    renamed = import_module("diffusers.loaders.single_file_utils").convert_wan_vae_to_diffusers(
        {
            name: tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in ours.state_dict().items()
        }
    )
    with torch.device("meta"):
        theirs = import_module("diffusers").AutoencoderKLWan(
            base_dim=dims.base,
            z_dim=dims.z_dim,
            dim_mult=list(dims.dim_mult),
            num_res_blocks=dims.num_res_blocks,
            temperal_downsample=list(dims.temporal_downsample),
            latents_mean=list(dims.latent_mean),
            latents_std=list(dims.latent_std),
        )
    theirs.load_state_dict(renamed, strict=True, assign=True)
    return theirs.eval().requires_grad_(False)


def _their_dit(built: Built) -> Any:
    """WanTransformer3DModel that shares memory with our weights."""
    dit = built.models.dit
    renamed = import_module(
        "diffusers.loaders.single_file_utils"
    ).convert_wan_transformer_to_diffusers(dict(dit.state_dict()))
    with torch.device("meta"):
        theirs = _transformer(dit.dims, dit.dims.num_layers)
    theirs.load_state_dict(renamed, strict=True, assign=True)
    # Its rotary table is no weight: a model without blocks has it in memory.
    theirs.rope = _transformer(dit.dims, 0).rope.to(built.spec.device)
    return theirs.eval().requires_grad_(False)


def _transformer(dims: WanDims, num_layers: int) -> Any:
    return import_module("diffusers").WanTransformer3DModel(
        patch_size=dims.patch,
        num_attention_heads=dims.num_heads,
        attention_head_dim=dims.head_dim,
        in_channels=dims.in_dim,
        out_channels=dims.out_dim,
        text_dim=dims.text_dim,
        freq_dim=dims.freq_dim,
        ffn_dim=dims.ffn_dim,
        num_layers=num_layers,
        eps=dims.eps,
    )
